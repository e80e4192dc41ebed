"""Restraints of the dictionary that a model is far from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels import geometry, mates
from arrayrefine.restraints import Angles, Bonds, Planes, Restraints, Torsions, taken
from arrayrefine.targets.geometry import TO_MATES

Float = NDArray[np.float64]
Int = NDArray[np.int64]

LIMIT = 4.0
"""Sigma; what is further from its ideal is an outlier."""


@dataclass(frozen=True)
class Outlier:
    """A restraint that is far from its ideal.

    Attributes
    ----------
    kind : str
        "bond", "angle", "torsion", "chirality" or "plane"; of links to symmetry mates "bond to mate" and so on.
    atoms : tuple of int
        Atoms of the restraint; of a plane, the atom that is out of it.
    value, ideal, sigma : float
        Å (bond, plane), degrees (angle, torsion), Å³ (chirality). Of torsions the nearest of the equivalent ideals; of
        planes the distance from the best plane, ideal 0.
    z : float
        (value − ideal) / sigma.
    """

    kind: str
    atoms: tuple[int, ...]
    value: float
    ideal: float
    sigma: float
    z: float


@dataclass(frozen=True)
class _Kind:
    name: str
    index: Int
    z: Float
    ideal: Float
    sigma: Float


def _kinds(atoms: Atoms, restraints: Restraints) -> list[_Kind]:
    """All restraints of the dictionary, evaluated."""
    r, xyz = restraints, atoms.xyz
    c, across = r.chiralities, r.across
    found = _evaluated(xyz, r.bonds, r.angles, _without_proline_rings(r.torsions, atoms), r.planes)
    volume = geometry.chirality(xyz, c.index, c.ideal, c.sigma)[0]
    found.insert(3, _Kind("chirality", c.index, volume, c.ideal, c.sigma))
    if len(across):
        extended = mates.placed(xyz, across.mates)
        source = np.concatenate([np.arange(len(xyz)), across.mates.source])
        beyond = _evaluated(extended, across.bonds, across.angles, across.torsions, across.planes)
        found += [
            dataclasses.replace(kind, name=TO_MATES[kind.name], index=source[kind.index])
            for kind in beyond if len(kind.z)
        ]  # fmt: skip
    return found


def _evaluated(xyz: Float, b: Bonds, a: Angles, t: Torsions, p: Planes) -> list[_Kind]:
    turned = geometry.torsion(xyz, t.index, t.ideal, t.sigma, t.period)[0]
    nearest = geometry.dihedral(xyz, t.index)[0] - turned * t.sigma
    return [
        _Kind("bond", b.index, geometry.bond(xyz, b.index, b.ideal, b.sigma)[0], b.ideal, b.sigma),
        _Kind("angle", a.index, geometry.angle(xyz, a.index, a.ideal, a.sigma)[0], a.ideal, a.sigma),
        _Kind("torsion", t.index, turned, nearest, t.sigma),
        _Kind(
            "plane", p.index[:, None], geometry.plane(xyz, p.index, p.plane, p.sigma)[0], np.zeros(len(p.index)),
            p.sigma,
        ),
    ]  # fmt: skip


def _without_proline_rings(torsions: Torsions, atoms: Atoms) -> Torsions:
    """The dictionary gives chi of proline the ideals of open chains, ±60° and 180°: the ring, at ±27°, has none of
    them, and its rotamer says more."""
    residue = atoms.identity.residue[torsions.index]
    ring = (residue == residue[:, :1]).all(axis=1) & (atoms.identity.residue_name[torsions.index[:, 0]] == "PRO")
    return taken(torsions, ~ring)


def find_outliers(
    atoms: Atoms, restraints: Restraints, n_residues: int, limit: float = LIMIT
) -> tuple[tuple[Outlier, ...], Float, dict[str, dict[str, int]]]:
    """Outliers, the worst first, the largest \\|z\\| in each residue, and how many there are of each kind.

    Restraints from other sources than the dictionary, those on riding hydrogens, and torsions of the ring of proline
    are not looked at.

    Parameters
    ----------
    atoms : Atoms
    restraints : Restraints
    n_residues : int
    limit : float
        Sigma.

    Returns
    -------
    outliers : tuple of Outlier
    worst : (n_residues,) float64
        By running number of the residue; nan where there is no restraint.
    counts : dict
        By kind: "count", and "outliers" among them.
    """
    counts: dict[str, dict[str, int]] = {}
    worst = np.full(n_residues, -1.0)
    found: list[Outlier] = []
    for kind in _kinds(atoms, restraints):
        size = np.abs(kind.z)
        np.maximum.at(worst, atoms.identity.residue[kind.index].ravel(), np.repeat(size, kind.index.shape[1]))
        rows = np.flatnonzero(size > limit)
        counts[kind.name] = {"count": len(size), "outliers": len(rows)}
        z, ideal, sigma = kind.z[rows], kind.ideal[rows], kind.sigma[rows]
        columns = ((ideal + z * sigma).tolist(), ideal.tolist(), sigma.tolist(), z.tolist())
        found += [Outlier(kind.name, tuple(index), *v) for index, *v in zip(kind.index[rows].tolist(), *columns)]
    found.sort(key=lambda outlier: -abs(outlier.z))
    return tuple(found), np.where(worst < 0.0, np.nan, worst), counts
