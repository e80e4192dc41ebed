"""Rings of sugars with six members: chairs, as their dictionary draws them."""

from __future__ import annotations

from collections.abc import Iterator

import gemmi
import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.restraints import Float, Int, Torsions
from arrayrefine.topology.terms import TopologyModel
from arrayrefine.wording import Caution, counted, listed

CHAIR_SIGMA = 5.0
"""Degrees. Changes of 10° cost a pyranose next to nothing: Joshi & Rao, Biopolymers 18, 2993 (1979)."""
_DRAWN, _BASIN = 25.0, 45.0
"""Degrees of Cremer & Pople's theta from a pole: what is drawn as a chair, and what belongs to a chair. Half-chairs and
envelopes, the passes to boats and to the other chair, have 51 and 55."""
_FLAT = 0.3
"""Å; of the puckering amplitude Q, which is 0.55 to 0.6 in pyranoses. A ring flatter than this has no conformation."""


def read_chairs(model: TopologyModel, atoms: Atoms, monlib: gemmi.MonLib, notes: list[str]) -> Torsions:
    """Torsions of the rings of pyranoses, to be those of the coordinates in the dictionary.

    The dictionary's own torsions do not tell one chair from another: they have three ideals each, and some are wrong.
    Without any, weak density pulls rings half way to boats. A ring that is in another conformation in the model, as a
    glycosidase may bend it, is left alone.
    """
    drawn: dict[str, list[tuple[tuple[str, ...], Float]]] = {}
    found, ideals, other = [], [], []
    for residue in (residue for chain in model.structure[0] for residue in chain):
        if residue.name not in drawn:
            drawn[residue.name] = chairs(monlib.monomers[residue.name]) if residue.name in monlib.monomers else []
        for names, chair in drawn[residue.name]:
            for ring in _conformers(residue, names, model):
                if _away(atoms.xyz[ring], chair) > _BASIN:
                    other.append(atoms.identity.residue_label(int(ring[0])))
                    continue
                found.append(_around(ring))
                ideals.append(_torsions(chair))
    if other:
        notes.append(Caution(
            f"{counted(len(other), 'pyranose ring')} in another conformation than the chair of the dictionary, which "
            f"is not restrained there: {listed(list(dict.fromkeys(other)))}. Few sugars are; see whether the density "
            "shows it, and build the chair where it does not"
        ))
    if found:
        notes.append(f"{counted(len(found), 'pyranose ring')} held in the chair of the dictionary")
    index = np.array(found, dtype=np.int64).reshape(-1, 4)
    ideal = np.array(ideals, dtype=float).ravel()
    # conformers may have four atoms of a ring in common
    _, first = np.unique(index, axis=0, return_index=True)
    index, ideal = index[np.sort(first)], ideal[np.sort(first)]
    return Torsions(index, ideal, np.full(len(index), CHAIR_SIGMA), np.ones(len(index), dtype=np.int64))


def chairs(component: gemmi.ChemComp) -> list[tuple[tuple[str, ...], Float]]:
    """Pyranose rings that the dictionary draws as chairs: the names of their atoms, oxygen first, and (6, 3) in Å."""
    place = {atom.id: np.array(atom.xyz.tolist()) for atom in component.atoms}
    element = {atom.id: atom.el.name for atom in component.atoms}
    drawn = []
    for ring in _saturated_rings(component, element):
        xyz = np.array([place[name] for name in ring])
        if np.isfinite(xyz).all() and _amplitude(xyz) > _FLAT and min(_theta(xyz), 180.0 - _theta(xyz)) < _DRAWN:
            drawn.append((ring, xyz))
    return drawn


def _saturated_rings(component: gemmi.ChemComp, element: dict[str, str]) -> list[tuple[str, ...]]:
    """Rings of an oxygen and five carbons with single bonds only, of a sugar.

    A sugar is what the dictionary calls a pyranose, or else has another oxygen, nitrogen or sulphur at a carbon beside
    that of the ring, and two more of these around it: tetrahydropyrans that are none may pucker as they like.
    """
    near: dict[str, set[str]] = {}
    unsaturated = set()
    for bond in component.rt.bonds:
        one, two = bond.id1.atom, bond.id2.atom
        near.setdefault(one, set()).add(two)
        near.setdefault(two, set()).add(one)
        if bond.type not in (gemmi.BondType.Single, gemmi.BondType.Unspec):
            unsaturated |= {one, two}
    is_pyranose = component.group == gemmi.ChemComp.Group.Pyranose
    rings: dict[frozenset[str], tuple[str, ...]] = {}
    for oxygen in (name for name, kind in element.items() if kind == "O"):
        for ring in _paths((oxygen,), near, element):
            hetero = [sum(element[n] in ("O", "N", "S") for n in near[c] - set(ring)) for c in ring[1:]]
            sugar = is_pyranose or (bool(hetero[0] or hetero[4]) and sum(hetero) > 2)
            if sugar and not unsaturated & set(ring):
                rings.setdefault(frozenset(ring), ring)
    return list(rings.values())


def _paths(start: tuple[str, ...], near: dict[str, set[str]], element: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """Rings of six that begin with `start` and go on along carbons."""
    for name in sorted(near.get(start[-1], ())):
        if element.get(name) != "C" or name in start:
            continue
        path = (*start, name)
        if len(path) < 6:
            yield from _paths(path, near, element)
        elif start[0] in near[name]:
            yield path


def _conformers(residue: gemmi.Residue, names: tuple[str, ...], model: TopologyModel) -> Iterator[Int]:
    """Rows of the atoms of a ring (6,), for each conformer that has all of them."""
    sites: dict[str, dict[str, int]] = {name: {} for name in names}
    for site in residue:
        if site.name in sites:
            sites[site.name][site.altloc.strip("\0")] = model.row[site.serial]
    letters = sorted({letter for one in sites.values() for letter in one} - {""}) or [""]
    for letter in letters:
        rows = [one.get(letter, one.get("")) for one in sites.values()]
        if all(row is not None for row in rows):
            yield np.array(rows, dtype=np.int64)


def _around(ring: Int) -> Int:
    """The six torsions (6, 4) around a ring."""
    return np.column_stack([np.roll(ring, -k) for k in range(4)])


def _torsions(xyz: Float) -> Float:
    """Torsions (6,) around a ring (6, 3), degrees."""
    spots = [gemmi.Position(*x) for x in xyz]
    return np.array([np.degrees(gemmi.calculate_dihedral(*(spots[i] for i in row))) for row in _around(np.arange(6))])


def _heights(xyz: Float) -> Float:
    """Heights (6,) over the mean plane of a ring (6, 3), Å: Cremer & Pople, J. Am. Chem. Soc. 97, 1354 (1975)."""
    xyz = xyz - xyz.mean(axis=0)
    angle = np.pi / 3.0 * np.arange(6)
    normal = np.cross(np.sin(angle) @ xyz, np.cos(angle) @ xyz)
    height: Float = xyz @ normal / max(float(np.linalg.norm(normal)), 1e-9)
    return height


def _amplitude(xyz: Float) -> float:
    """Cremer and Pople's Q, Å."""
    return float(np.linalg.norm(_heights(xyz)))


def _theta(xyz: Float) -> float:
    """Cremer and Pople's theta, degrees: 0 and 180 are the chairs."""
    height = _heights(xyz)
    cosine = height @ (-1.0) ** np.arange(6) / np.sqrt(6.0) / max(float(np.linalg.norm(height)), 1e-9)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _away(xyz: Float, chair: Float) -> float:
    """How far a ring is from the chair that is drawn, degrees of theta; 0 for one that is flat."""
    if _amplitude(xyz) < _FLAT:
        return 0.0
    theta = _theta(xyz)
    return theta if _theta(chair) < 90.0 else 180.0 - theta
