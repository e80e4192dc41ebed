"""Which places of a model are worth a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.page.chains import problems
from arrayrefine.page.findings import residue_name
from arrayrefine.page.picture import Drawing, draw
from arrayrefine.page.table import Place, plain
from arrayrefine.real_space.map_grids import MapGrid
from arrayrefine.validation.labels import residue_label

Row = Mapping[str, Any]

MOST = 8
_POOR, _LIGANDS, _PEAKS, _RAMACHANDRAN = 3, 2, 2, 2
"""Pictures of each kind at most."""


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows; `where` is its middle, Å."""

    title: str
    why: str
    alternative: str
    where: Place
    drawing: Drawing


@dataclass(frozen=True)
class _Place:
    title: str
    why: str
    peak: NDArray[np.float64] | None = None


def centres(atoms: Atoms) -> dict[str, Place]:
    """Mean position of each residue by its label, such as "A 10 ALA"."""
    number, first = np.unique(atoms.identity.residue, return_index=True)
    count = np.bincount(atoms.identity.residue)
    sums = np.column_stack([np.bincount(atoms.identity.residue, axis) for axis in atoms.xyz.T])
    middle = (sums[number] / count[number, None]).tolist()
    return {residue_label(atoms.identity, i): (x, y, z) for i, (x, y, z) in zip(first.tolist(), middle)}


def choose(validation: Mapping[str, Any]) -> list[_Place]:
    """The worst places, each once: poor density, torsions, peaks of the difference map, and ligands, good or bad."""
    rows = [row for row in validation["residues"] if row["kind"] not in ("water", "ion")]
    fitted = sorted((row for row in rows if row.get("rscc") is not None), key=lambda row: row["rscc"])
    found: dict[str, list[str]] = {}
    peaks: dict[str, NDArray[np.float64]] = {}

    def add(chosen: Sequence[Row], most: int, words: str) -> None:
        for row in chosen[:most]:
            found.setdefault(residue_name(row), [words, *_why(row)])

    add([row for row in fitted if row["kind"] != "ligand"], _POOR, "among the lowest RSCC")
    add([row for row in rows if row.get("ramachandran") == "outlier"], _RAMACHANDRAN, "Ramachandran outlier")
    ligands = [row for row in rows if row["kind"] == "ligand"]
    add(sorted(ligands, key=lambda row: -len(problems(row))), _LIGANDS, "ligand")
    for sign in (1.0, -1.0):
        for peak in [peak for peak in validation.get("peaks") or () if sign * peak["height"] > 0][: _PEAKS // 2]:
            name = _residue_of(peak["atom"], validation)
            if name:
                words = f"the {'highest peak' if sign > 0 else 'deepest hole'} of the mFo−DFc map"
                near = f"{plain(peak['height'], 1)} σ, {peak['distance']:.1f} Å from {peak['atom']}"
                found.setdefault(name, []).append(f"{words}: {near}")
                peaks[name] = np.array(peak["xyz"])
    return [_Place(name, "; ".join(why), peaks.get(name)) for name, why in list(found.items())[:MOST]]


def _why(row: Row) -> list[str]:
    said = [] if row.get("rscc") is None else [f"RSCC {plain(row['rscc'], 2)}"]
    said.append(f"mean B {plain(row['b_mean'], 0)} Å²")
    if row["occupancy_min"] < 1.0:
        said.append(f"occupancy {plain(row['occupancy_min'], 2)}")
    if row.get("ramachandran") == "outlier":
        said.append(f"φ {plain(row['phi'], 0)}°, ψ {plain(row['psi'], 0)}°, an outlier")
    if row.get("rotamer") == "outlier":
        said.append("rotamer outlier")
    if "geometry" in problems(row):
        said.append(f"worst |z| {plain(row['worst_z'], 1)}")
    return said


def _residue_of(atom: str, validation: Mapping[str, Any]) -> str:
    """Label of the residue of an atom."""
    return next((residue_name(row) for row in validation["residues"] if atom.startswith(residue_name(row) + " ")), "")


def pictures(validation: Mapping[str, Any], atoms: Atoms, best: MapGrid, difference: MapGrid) -> list[Picture]:
    """Pictures of the worst places."""
    heavy = np.flatnonzero(~atoms.is_hydrogen)
    atoms = atoms.taken(heavy)
    labels = _numbers(atoms)
    made = []
    for place in choose(validation):
        focus = np.flatnonzero(atoms.identity.residue == labels[place.title])
        xyz = atoms.xyz[focus]
        drawing = draw(atoms, focus, best, difference, best.d_min, centre=place.peak, mark=place.peak)
        x, y, z = (xyz.mean(axis=0) if place.peak is None else place.peak).tolist()
        made.append(Picture(place.title, place.why, _alternative(place, drawing), (x, y, z), drawing))
    return made


def _numbers(atoms: Atoms) -> dict[str, int]:
    number, first = np.unique(atoms.identity.residue, return_index=True)
    return {residue_label(atoms.identity, i): k for k, i in zip(number.tolist(), first.tolist())}


def _alternative(place: _Place, drawing: Drawing) -> str:
    signs = {stroke.kind.split()[0] for stroke in (*drawing.behind, *drawing.before)}
    said = "difference density: none above 3 σ around it"
    if {"plus", "minus"} & signs:
        parts = [word for kind, word in (("plus", "positive"), ("minus", "negative")) if kind in signs]
        said = f"{' and '.join(parts)} difference density beyond 3 σ around it"
    return f"{place.title} as sticks within its electron density: {place.why}; {said}."
