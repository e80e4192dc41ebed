"""What gemmi's atoms hold, as arrays, and back."""

from __future__ import annotations

from collections.abc import Sequence

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.displacements.displacement import parted

Float = NDArray[np.float64]


def values_of(
    structure: gemmi.Structure,
) -> tuple[Float, Float, Float, NDArray[np.str_], Float, NDArray[np.bool_]]:
    """Coordinates (N, 3), B (N,), occupancy (N,), element (N,), traceless part of U (N, 6), and where there is one."""
    sites = [atom for chain in structure[0] for residue in chain for atom in residue]
    xyz = np.array([atom.pos.tolist() for atom in sites], dtype=float)
    occupancy = np.array([atom.occ for atom in sites], dtype=float)
    b_iso = np.array([atom.b_iso for atom in sites], dtype=float)
    anisotropic = np.array([atom.aniso.nonzero() for atom in sites], dtype=bool)
    u_aniso = np.zeros((len(sites), 6))
    for i in np.flatnonzero(anisotropic):
        u = sites[i].aniso
        u_aniso[i] = u.u11, u.u22, u.u33, u.u12, u.u13, u.u23
    # gemmi holds single precision: 0.35 must not come out as 0.3499999940395355
    equivalent, traceless = parted(np.round(u_aniso, 6))
    b_iso[anisotropic], u_aniso[anisotropic] = equivalent[anisotropic], traceless[anisotropic]
    element = np.array([atom.element.name for atom in sites], dtype=np.str_)
    return xyz, np.round(b_iso, 5), np.round(occupancy, 6), element, u_aniso, anisotropic


def put_displacements(sites: Sequence[gemmi.Atom], b_iso: Float, u: Float) -> None:
    """Give sites B (N,), Å², and whole U (N, 6), Å², which is 0 where there is no ANISOU."""
    for site, b, tensor in zip(sites, b_iso.tolist(), u.tolist()):
        site.b_iso = b
        site.aniso = gemmi.SMat33f(*tensor)
