"""Classes of backbone and side-chain torsions of proteins, by how often well-determined structures have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.geometry import dihedral
from arrayrefine.topology.polymers import Residue, backbone, following
from arrayrefine.validation.top8000 import interpolated, percentiles, tables

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Class = Literal["favoured", "allowed", "outlier"]

# Percentiles above which a torsion is favoured or allowed, as MolProbity draws the contours of these grids: Williams
# et al., Protein Sci. 27, 293 (2018); for rotamers Hintze et al., Proteins 84, 1177 (2016).
_FAVOURED = 0.02
_ALLOWED = {"general": 0.0005, "cis-proline": 0.002}
_ALLOWED_OTHERS = 0.001
_ALLOWED_ROTAMER = 0.003
_CIS = 60.0
"""Degrees; a peptide bond turned by less from 0 is called cis."""
CHI: dict[str, tuple[str, ...]] = {
    "ARG": ("CG", "CD", "NE", "CZ"), "LYS": ("CG", "CD", "CE", "NZ"), "MET": ("CG", "SD", "CE"),
    "GLN": ("CG", "CD", "OE1"), "GLU": ("CG", "CD", "OE1"), "ASN": ("CG", "OD1"), "ASP": ("CG", "OD1"),
    "HIS": ("CG", "ND1"), "ILE": ("CG1", "CD1"), "LEU": ("CG", "CD1"), "PHE": ("CG", "CD1"), "TYR": ("CG", "CD1"),
    "TRP": ("CG", "CD1"), "CYS": ("SG",), "SER": ("OG",), "THR": ("OG1",), "VAL": ("CG1",), "PRO": ("CG",),
}  # fmt: skip
"""Last atoms of chi1, chi2, ...; those before them follow."""


@dataclass(frozen=True)
class Backbone:
    """Backbone of one residue; angles in degrees, None where a neighbour is missing.

    Attributes
    ----------
    kind : str or None
        Of the six distributions of the Top8000 data set.
    percentile : float or None
        Fraction of the residues of the data set that lie where residues are rarer.
    """

    phi: float | None = None
    psi: float | None = None
    omega: float | None = None
    kind: str | None = None
    percentile: float | None = None
    classified: Class | None = None


@dataclass(frozen=True)
class SideChain:
    """Side chain of one residue: chi in degrees, name of the nearest rotamer, and how common these chi are.

    Attributes
    ----------
    percentile : float or None
        As in `Backbone`; None for Arg and Lys, whose distance from the nearest rotamer decides instead.
    """

    chi: tuple[float, ...] = ()
    name: str | None = None
    percentile: float | None = None
    classified: Class | None = None


def _classified(percentile: float, allowed: float) -> Class:
    return "favoured" if percentile >= _FAVOURED else "allowed" if percentile >= allowed else "outlier"


def classify_backbone(atoms: Atoms, bonds: Int, residues: list[Residue]) -> dict[int, Backbone]:
    """Ramachandran class of every residue with a whole backbone, by the running number of the residue.

    Of alternates the first conformer counts. A residue without a neighbour on either side has no class.

    Parameters
    ----------
    atoms : Atoms
    bonds : (b, 2) int
        They say which residues follow each other.
    residues : list of Residue
        See `residues_of`.
    """
    peptides, table, previous = backbone(residues, bonds, len(atoms))
    if not peptides:
        return {}
    after = following(previous)
    n, ca, carbonyl = table[:, 0], table[:, 1], table[:, 2]
    phi = _angles(atoms, np.column_stack([table[previous, 2], n, ca, carbonyl]), previous >= 0)
    omega = _angles(atoms, np.column_stack([table[previous, 1], table[previous, 2], n, ca]), previous >= 0)
    psi = _angles(atoms, np.column_stack([n, ca, carbonyl, table[after, 0]]), after >= 0)
    whole = (previous >= 0) & (after >= 0)
    successors = [peptides[k].name if k >= 0 else "" for k in after.tolist()]
    cis = (np.abs(omega) < _CIS).tolist()
    kinds = [_kind(residue.name, name, is_cis) for residue, name, is_cis in zip(peptides, successors, cis)]
    value = np.full(len(peptides), np.nan)
    for kind in sorted(set(kinds)):
        rows = np.flatnonzero(whole & (np.array(kinds) == kind))
        angles = np.column_stack([phi[rows], psi[rows]])
        value[rows] = interpolated(percentiles(f"ramachandran/{kind}"), angles, -180.0, np.array([360.0, 360.0]))
    found = {}
    columns = (kinds, *(column.tolist() for column in (phi, psi, omega, value)))
    for residue, kind, *numbers in zip(peptides, *columns):
        first, second, third, percentile = (number if number == number else None for number in numbers)
        verdict = None if percentile is None else _classified(percentile, _ALLOWED.get(kind, _ALLOWED_OTHERS))
        found[residue.number] = Backbone(first, second, third, None if verdict is None else kind, percentile, verdict)
    return found


def _kind(name: str, following: str, cis: bool) -> str:
    """Which distribution a residue belongs to."""
    if name == "GLY":
        return "glycine"
    if name == "PRO":
        return "cis-proline" if cis else "trans-proline"
    if following == "PRO":
        return "pre-proline"
    return "isoleucine-valine" if name in ("ILE", "VAL") else "general"


def _angles(atoms: Atoms, index: Int, known: NDArray[np.bool_]) -> Float:
    """Torsions (n,) in degrees, nan where not `known`."""
    angles = np.full(len(index), np.nan)
    angles[known] = dihedral(atoms.xyz, index[known])[0]
    return angles


def common_name(residue: Residue) -> str:
    """Name that a residue has in the tables of side chains: selenomethionine is a methionine."""
    return "MET" if residue.name == "MSE" else residue.name


def chi_path(residue: Residue) -> list[int]:
    """Atoms N, CA, CB, and the last of each chi; empty where there is no chi, or one of them is missing."""
    name = common_name(residue)
    if name not in CHI:
        return []
    path = ["N", "CA", "CB", *(CHI[name] if residue.name != "MSE" else ("CG", "SE", "CE"))]
    return [residue.atoms[atom] for atom in path] if all(atom in residue.atoms for atom in path) else []


def classify_side_chains(atoms: Atoms, residues: list[Residue]) -> dict[int, SideChain]:
    """Rotamer class of every complete side chain of the common amino acids, by the running number of the residue.

    Of alternates the first conformer counts; selenomethionine counts as methionine.
    """
    members: dict[str, list[tuple[int, list[list[int]]]]] = {}
    for residue in residues:
        rows = chi_path(residue)
        if rows:
            quadruples = [rows[k : k + 4] for k in range(len(rows) - 3)]
            members.setdefault(common_name(residue), []).append((residue.number, quadruples))
    found: dict[int, SideChain] = {}
    for name, chains in members.items():
        index = np.array([rows for _, rows in chains], dtype=np.int64)
        chi = dihedral(atoms.xyz, index.reshape(-1, 4))[0].reshape(len(chains), -1)
        found |= dict(zip([number for number, _ in chains], _side_chains(name, chi)))
    return found


def _side_chains(name: str, chi: Float) -> list[SideChain]:
    """Classes of side chains of one kind (n, k)."""
    known = tables()
    grid = f"rotamer/{name}"
    periods = known[f"period/{name}"] if grid in known else np.full(chi.shape[1], 360.0)
    delta = chi[:, None] - known[f"mean/{name}"]
    delta -= periods * np.rint(delta / periods)
    distance = np.sqrt(((delta / known[f"esd/{name}"]) ** 2).mean(axis=2))
    nearest = known[f"name/{name}"][distance.argmin(axis=1)].tolist()
    angles = [tuple(row) for row in chi.tolist()]
    if grid in known:
        value = interpolated(percentiles(grid), chi % periods, 0.0, periods).tolist()
        return [SideChain(c, n, p, _classified(p, _ALLOWED_ROTAMER)) for c, n, p in zip(angles, nearest, value)]
    common, rare = known[f"limit/{name}"].tolist()
    least = distance.min(axis=1).tolist()
    verdicts: list[Class] = ["favoured" if d <= common else "allowed" if d <= rare else "outlier" for d in least]
    return [SideChain(c, n, None, v) for c, n, v in zip(angles, nearest, verdicts)]
