"""What the tensors of all atoms have in common is the scale's: the anisotropic counterpart of a common shift of B.

A tensor that all atoms share and k_aniso are two names for one thing. A step that holds k_aniso as it is moves some of
it to the atoms, which makes them sharp along an axis where they are not, while waters and hydrogens, which are
isotropic, do without.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.displacements.displacement import parted, possible, total_u
from arrayrefine.kernels import symmetric

Float = NDArray[np.float64]

_MOST = 0.7
"""Part of the atoms, hydrogens aside, that must be anisotropic: what a few share says little of the others."""


def common_anisotropy(atoms: Atoms, crystal: Crystal) -> Float:
    """Traceless part of U that the anisotropic atoms share, as far as the symmetry allows it to a scale (6,), Å².

    Zero where many atoms are isotropic, and where groups (TLS) have tensors.
    """
    heavy = ~atoms.is_hydrogen
    own = atoms.anisotropic & heavy
    weight = atoms.occupancy / atoms.multiplicity
    if (atoms.tls.group >= 0).any() or not weight[own].sum() > _MOST * weight[heavy].sum():
        return np.zeros(6)
    mean = np.average(atoms.u_aniso[own], axis=0, weights=weight[own])
    turn = np.einsum("ij,gjk,kl->gil", crystal.orth, crystal.primitive_rotations.astype(float), crystal.frac)
    shared = symmetric.six(np.einsum("gij,jk,glk->il", turn, symmetric.matrices(mean), turn) / len(turn))
    return np.asarray(shared - symmetric.isotropic(symmetric.trace(shared) / 3.0))


def without_common(atoms: Atoms, common: Float) -> Atoms:
    """The atoms, the anisotropic ones without a part of U (6,), Å², as far as their U stay possible."""
    rows = np.flatnonzero(atoms.anisotropic)
    b_iso, u_aniso = atoms.b_iso.copy(), atoms.u_aniso.copy()
    b_iso[rows], u_aniso[rows] = parted(possible(total_u(atoms, rows) - common))
    return atoms.replace(b_iso=b_iso, u_aniso=u_aniso)
