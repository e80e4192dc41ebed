"""Pictures of a place in the model: its atoms and bonds within both maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import WATERS, Atoms, coexist
from arrayrefine.page.mesh import View, wires
from arrayrefine.real_space.map_grids import MapGrid

Float = NDArray[np.float64]
Int = NDArray[np.int64]

BEST_LEVEL = 1.2
"""Sigma of the 2mFo-DFc map at which it is drawn."""
DIFFERENCE_LEVEL = 3.0
"""The same of the mFo-DFc map."""
_REACH_BEST, _REACH_DIFFERENCE = 1.9, 2.6
_FINER = 0.8
_SURROUNDINGS = 4.5
"""Å around the atoms shown, within which others are drawn too."""
_SCALE = 32
"""Units of the drawing per Å."""
_BOND = {"H": 1.25, "S": 2.1, "P": 2.0, "Se": 2.2, "Br": 2.2, "I": 2.4, "Cl": 2.0}
_LONGEST_BOND = 1.85
"""Å; longer where one of the atoms is in `_BOND`, shorter to hydrogen: who is joined in a drawing depends on it."""
_TINTS = {"C": "c", "N": "n", "O": "o", "S": "s", "P": "p", "H": "h"}
_LONE = 0.3
"""Å; radius of an atom without bonds in the drawing."""


@dataclass(frozen=True)
class Stroke:
    """A path of the drawing and its class."""

    kind: str
    path: str


@dataclass(frozen=True)
class Ball:
    """A circle of the drawing."""

    kind: str
    x: int
    y: int
    r: int


@dataclass(frozen=True)
class Label:
    """Words in the drawing."""

    x: int
    y: int
    text: str


@dataclass(frozen=True)
class Drawing:
    """A picture, back to front, in a square of `size` units; `bar` is the length of 2 Å."""

    size: int
    behind: tuple[Stroke, ...]
    bonds: tuple[Stroke, ...]
    balls: tuple[Ball, ...]
    before: tuple[Stroke, ...]
    labels: tuple[Label, ...]
    bar: int = 2 * _SCALE


def draw(atoms: Atoms, focus: Int, best: MapGrid, difference: MapGrid, d_min: float, *,
         centre: Float | None = None, mark: Float | None = None) -> Drawing:  # fmt: skip
    """Draw atoms with the density around them.

    Parameters
    ----------
    atoms : Atoms
    focus : (n,) int
        Atoms that the picture is about.
    best, difference : MapGrid
        2mFo-DFc and mFo-DFc.
    d_min : float
        Å; the wires are closer at high resolution.
    centre : (3,) float, optional
        Middle of the picture, Å; default: that of the atoms.
    mark : (3,) float, optional
        A place to be marked with a cross.
    """
    xyz = atoms.xyz[focus]
    seen = xyz if mark is None else np.vstack([xyz, mark])
    view = View.onto(seen, centre)
    step = float(np.clip(d_min / 4.2, 0.36, 0.75))
    (blue,) = wires(best, view, (BEST_LEVEL,), seen, _REACH_BEST, step)
    levels = (DIFFERENCE_LEVEL, -DIFFERENCE_LEVEL)
    green, red = wires(difference, view, levels, seen, _REACH_DIFFERENCE, _FINER * step)
    layers = [
        [Stroke(f"{kind} d{depth}", _path(lines, view)) for kind, lines in zip(("best", "plus", "minus"), group)]
        for depth, group in enumerate(zip(blue, green, red))
    ]
    strokes, balls, labels = _model(atoms, focus, seen, view)
    if mark is not None:
        x, y = _units(view.project(mark[None])[:, :2], view)[0]
        strokes.append(Stroke("mark", f"M{x - 9} {y}h18M{x} {y - 9}v18"))
    return Drawing(
        round(2 * view.half * _SCALE), tuple(s for s in layers[0] if s.path), tuple(strokes), tuple(balls),
        tuple(s for layer in layers[1:] for s in layer if s.path), tuple(labels),
    )  # fmt: skip


def _units(seen: Float, view: View) -> Int:
    """Å in the view (n, 2) to units of the drawing; y down."""
    return np.rint((seen * (1.0, -1.0) + view.half) * _SCALE).astype(np.int64)


def _path(lines: Sequence[Float], view: View) -> str:
    """Lines as one path, in whole units and relative."""
    parts = []
    for line in lines:
        points = _units(line, view)
        moves = np.diff(points, axis=0)
        moves = moves[np.any(moves, axis=1)]
        if len(moves):
            parts.append(f"M{points[0, 0]} {points[0, 1]}l" + " ".join(f"{x} {y}" for x, y in moves.tolist()))
    return "".join(parts).replace(" -", "-")


def _model(atoms: Atoms, focus: Int, places: Float, view: View) -> tuple[list[Stroke], list[Ball], list[Label]]:
    """Half bonds in the tint of their atoms, atoms without bonds as balls, and names."""
    every = np.setdiff1d(cKDTree(atoms.xyz).query_ball_point(places, _SURROUNDINGS).sum(), [])
    near = np.unique(np.concatenate([np.asarray(every, dtype=np.int64), focus]))
    seen = view.project(atoms.xyz[near])
    deep = np.abs(seen[:, 2]) <= view.depth + 1.5
    near, seen = near[deep | np.isin(near, focus)], seen[deep | np.isin(near, focus)]
    chosen, flat = np.isin(near, focus), _units(seen[:, :2], view)
    pairs = _bonds(atoms, near)
    strokes: list[tuple[float, Stroke]] = []
    for i, j in pairs:
        middle = (flat[i] + flat[j]) // 2
        for end in (i, j):
            kind = f"bond {'own' if chosen[end] else 'other'} {_TINTS.get(str(atoms.element[near[end]]), 'x')}"
            path = f"M{flat[end, 0]} {flat[end, 1]}L{middle[0]} {middle[1]}"
            strokes.append((float(seen[i, 2] + seen[j, 2]), Stroke(kind, path)))
    joined = np.zeros(len(near), dtype=bool)
    joined[pairs.ravel()] = True
    balls = [
        Ball(f"ball {'own' if chosen[k] else 'other'} {_TINTS.get(str(atoms.element[near[k]]), 'x')}",
             int(flat[k, 0]), int(flat[k, 1]), round(_LONE * _SCALE * (1.0 if chosen[k] else 0.7)))
        for k in np.flatnonzero(~joined & (chosen | _single(atoms)[near]))
    ]  # fmt: skip
    ordered = [stroke for _, stroke in sorted(strokes, key=lambda pair: pair[0])]
    return ordered, balls, _labels(atoms, near, chosen, flat, round(2 * view.half * _SCALE))


def _single(atoms: Atoms) -> NDArray[np.bool_]:
    """Atoms (N,) that are a residue of their own: waters and ions."""
    return np.asarray(np.bincount(atoms.identity.residue)[atoms.identity.residue] == 1)


def _bonds(atoms: Atoms, near: Int) -> Int:
    """Pairs (n, 2) of `near` that are joined in a drawing, by distance; conformers apart."""
    xyz, altloc, element = atoms.xyz[near], atoms.identity.altloc[near], atoms.element[near]
    pairs = cKDTree(xyz).query_pairs(2.4, output_type="ndarray")
    if not len(pairs):
        return np.zeros((0, 2), dtype=np.int64)
    i, j = pairs.T
    limit = np.full(len(pairs), _LONGEST_BOND)
    for name, longest in _BOND.items():
        has = (element[i] == name) | (element[j] == name)
        limit[has] = np.minimum(limit[has], longest) if name == "H" else np.maximum(limit[has], longest)
    metal = ~np.isin(element, ("C", "N", "O", "S", "P", "H", "D", "Se", "F", "Cl", "Br", "I", "B"))
    limit[metal[i] | metal[j]] = 0.0
    same = coexist(altloc[i], altloc[j])
    distance = np.linalg.norm(xyz[i] - xyz[j], axis=1)
    return np.asarray(pairs[same & (distance < limit) & (distance > 0.5)], dtype=np.int64)


def _labels(atoms: Atoms, near: Int, chosen: NDArray[np.bool_], flat: Int, size: int) -> list[Label]:
    """Names of the residues around, at their CB, CA, C1' or first atom; the picture's own is in its title."""
    identity, found = atoms.identity, []
    taken: list[tuple[int, int]] = []
    for residue in sorted(set(identity.residue[near].tolist())):
        members = np.flatnonzero(identity.residue[near] == residue)
        if chosen[members[0]] or str(identity.residue_name[near[members[0]]]) in WATERS:
            continue
        names = [str(identity.atom_name[near[k]]) for k in members]
        anchor = next((members[names.index(n)] for n in ("CB", "CA", "C1'") if n in names), members[0])
        x, y = int(flat[anchor, 0]), int(flat[anchor, 1])
        inside = 25 < x < size - 60 and 25 < y < size - 25
        if not inside or any(abs(x - a) < 90 and abs(y - b) < 22 for a, b in taken):
            continue
        taken.append((x, y))
        k = near[anchor]
        text = f"{identity.residue_name[k]} {identity.sequence_number[k]}{identity.insertion_code[k]}"
        found.append(Label(x + 8, y - 8, text))
    return found
