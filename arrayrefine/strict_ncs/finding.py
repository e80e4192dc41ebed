"""Which atoms of a model are copies: those that alike chains have in common, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from arrayrefine.atoms import Atoms
from arrayrefine.further_restraints.neighbour_distances import alike_chains
from arrayrefine.options import External
from arrayrefine.strict_ncs.copies import Copies, superposed
from arrayrefine.topology.polymers import LEAST, Residue, aligned, by_chain, residues_of
from arrayrefine.wording import Caution, are, counted, listed

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]
_Names = dict[tuple[str, str], int]
"""Atoms of a residue by name and conformer."""

_TRACE = ("CA", "C1'")
_ELSEWHERE = 2.0
"""Å; a residue of which CA or C1' is further than this from where the operator takes it lies otherwise in that copy, so
it is free. Side chains may differ by more: which way they point is decided for all copies together."""
_SHARED = 0.7
"""Of the atoms that two chains have in common, those that have to lie alike for both to be copies of one."""
_LEAST = 30
"""Atoms that an operator is found from at least."""
_TOGETHER = 0.5
"""Å; chains move by one operator where that of others takes them nearly (by this in the rms) where their own does."""
_SAME_PLACE = 1.5
"""Å; ligands and ions are copies where each atom is nearer than this to where the operator takes it."""
_SAME_WATER = 0.02
"""Å; waters only where an operator made them: all others bind as the crystal lets them, and are no copies. By chance
some of 3G70 are within 0.1 Å."""
_UNLIKE = (
    "found no chains that are alike; expected at least two with the same residues, numbered alike or not, of the same "
    "fold, that are refined, or operators in the model file"
)
_HELD = (
    "coordinates of alike chains are not refined in all of them, and what stays in one copy stays in all; expected "
    "--targets with xyz, and that --freeze leaves a part of every copy free, the same in all"
)
_DIFFERENT = 0.8
"""Å rms; copies that differ by more are hardly the same, whatever errors the start has."""


@dataclass(eq=False)
class _Operator:
    """What one operator takes where: rows of parents and children, and chains."""

    parent: Int
    child: Int
    chains: list[tuple[str, str]]

    def motion(self, atoms: Atoms) -> tuple[Float, Float]:
        """Rotation and shift."""
        return superposed(atoms.xyz[self.parent], atoms.xyz[self.child])


class _Family(NamedTuple):
    """An alike chain and its copies: their operators, and the atoms that are the same in all."""

    operators: list[_Operator]
    parent: Int
    children: list[Int]


def strict_copies(
    atoms: Atoms, options: External, held: Mask, given_b: Mask | None = None
) -> tuple[Copies, list[str]]:
    """Copies that are to stay the same, where `ncs` is "strict", and what to say of them.

    Parameters
    ----------
    atoms : Atoms
        With riding hydrogens, if any.
    options : External
    held : (N,) bool
        Atoms that are to stay where they are, and so are no copies, nor is anything a copy of them.
    given_b : (N,) bool, optional
        Atoms that are to keep their displacements; by default none.

    Returns
    -------
    Copies
        None of them where the option does not ask for them, or no chains are alike.
    list of str
    """
    return find_copies(atoms, held, given_b) if options.ncs == "strict" else (Copies.none(), [])


def find_copies(
    atoms: Atoms, held: Mask | None = None, given_b: Mask | None = None
) -> tuple[Copies, list[str]]:
    """All atoms that alike chains have in common, and the ligands and ions that lie alike about them."""
    able = (atoms.multiplicity == 1) & ~atoms.riding.mask(len(atoms))
    if held is not None:
        able &= ~held
    residues = _by_residue(atoms, able)
    families: list[_Family] = []
    operators: list[_Operator] = []
    alike = alike_chains(by_chain(residues_of(atoms)))
    for group in (part for chains in alike for part in _of_one_shape(atoms, chains, residues)):
        parent, children = _in_common(atoms, group, residues)
        parent, children = _near(atoms, parent, children)
        if len(parent) < _LEAST:
            continue
        used: list[_Operator] = []
        for chain, child in zip(group[1:], children):
            names = group[0][0].chain, chain[0].chain
            used.append(_operator(atoms, operators, used, _Operator(parent, child, [names])))
        families.append(_Family(used, parent, children))
    if not families:
        alike_but_held = held is not None and held.any() and len(find_copies(atoms)[0])
        return Copies.none(), [Caution(f"--external.ncs strict has no effect: {_HELD if alike_but_held else _UNLIKE}")]
    chains = [*families]
    families += _others(atoms, families, residues)
    given_b = np.zeros(len(atoms), dtype=bool) if given_b is None else given_b
    parts = [
        (family.parent, child, operators.index(operator))
        for family in families for child, operator in zip(family.children, family.operators)
    ]  # fmt: skip
    parent, child = (np.concatenate([part[k] for part in parts]) for k in range(2))
    copies = Copies(
        child, parent, np.concatenate([np.full(len(parent), k) for parent, _, k in parts]),
        tuple(_named(operator) for operator in operators), ~(given_b[parent] | given_b[child]),
    )  # fmt: skip
    return copies, _sentences(atoms, copies, chains, families[len(chains) :])


def _by_residue(atoms: Atoms, able: Mask) -> dict[int, _Names]:
    """Atoms that can be copies, by the number of their residue."""
    who = atoms.identity
    found: dict[int, _Names] = {}
    rows = np.flatnonzero(able)
    for i, number, name, altloc in zip(
        rows.tolist(), who.residue[rows].tolist(), who.atom_name[rows].tolist(), who.altloc[rows].tolist()
    ):
        found.setdefault(number, {})[name, altloc] = i
    return found


def _shared(atoms: Atoms, tables: Sequence[_Names]) -> list[list[int]]:
    """Atoms that several residues have by the same name: a row for each."""
    first, *rest = tables
    keys = [key for key in first if all(key in table for table in rest)]
    rows = [[table[key] for table in tables] for key in keys]
    return [row for row in rows if (atoms.element[row] == atoms.element[row[0]]).all()]


def _of_one_shape(
    atoms: Atoms, group: list[list[Residue]], residues: dict[int, _Names]
) -> list[list[list[Residue]]]:
    """A group of alike chains in parts, of which all are folded as the first of the part is; one alone is in none."""
    parts: list[list[list[Residue]]] = []
    for chain in group:
        for part in parts:
            every, others = _in_common(atoms, [part[0], chain], residues)
            near, _ = _near(atoms, every, others)
            if len(near) >= _SHARED * len(every):
                part.append(chain)
                break
        else:
            parts.append([chain])
    return [part for part in parts if len(part) > 1]


def _in_common(atoms: Atoms, group: list[list[Residue]], residues: dict[int, _Names]) -> tuple[Int, list[Int]]:
    """Atoms of the first chain that all others of a group have, and theirs."""
    partners: list[dict[int, int]] = [
        {a.number: b.number for a, b in aligned(group[0], chain)} for chain in group[1:]
    ]
    rows: list[list[int]] = []
    for residue in group[0]:
        numbers = [residue.number, *(partner.get(residue.number, -1) for partner in partners)]
        if all(number in residues for number in numbers):
            rows += _shared(atoms, [residues[number] for number in numbers])
    table = np.array(rows, dtype=np.int64).reshape(-1, len(group))
    return table[:, 0], [*table[:, 1:].T]


def _near(atoms: Atoms, parent: Int, children: list[Int]) -> tuple[Int, list[Int]]:
    """Without the residues that are elsewhere in one of the copies."""
    while len(parent) >= _LEAST:
        far = np.zeros(len(parent), dtype=bool)
        trace = np.isin(atoms.identity.atom_name[parent], _TRACE)
        for child in children:
            rotation, shift = superposed(atoms.xyz[parent], atoms.xyz[child])
            far |= np.linalg.norm(atoms.xyz[parent] @ rotation.T + shift - atoms.xyz[child], axis=1) > _ELSEWHERE
        residue = atoms.identity.residue[parent]
        kept = ~np.isin(residue, residue[far & trace])
        if kept.all():
            break
        parent, children = parent[kept], [child[kept] for child in children]
    return parent, children


def _rms(atoms: Atoms, motion: tuple[Float, Float], parent: Int, child: Int) -> float:
    rotation, shift = motion
    off = atoms.xyz[parent] @ rotation.T + shift - atoms.xyz[child]
    return float(np.sqrt((off**2).sum(axis=1).mean()))


def _operator(atoms: Atoms, known: list[_Operator], used: list[_Operator], own: _Operator) -> _Operator:
    """The operator by which others move alike, joined by these chains, or a new one; of each group one chain only."""
    limit = _rms(atoms, own.motion(atoms), own.parent, own.child) + _TOGETHER
    for one in known:
        if not any(one is other for other in used) and _rms(atoms, one.motion(atoms), own.parent, own.child) < limit:
            one.parent, one.child = np.append(one.parent, own.parent), np.append(one.child, own.child)
            one.chains += own.chains
            return one
    known.append(own)
    return own


def _others(atoms: Atoms, families: list[_Family], residues: dict[int, _Names]) -> list[_Family]:
    """Ligands, ions and short chains that lie alike about alike chains; each residue by itself."""
    who = atoms.identity
    taken = set(np.unique(np.concatenate([
        who.residue[np.concatenate([family.parent, *family.children])] for family in families
    ])).tolist())  # fmt: skip
    chains = by_chain(residues_of(atoms)).values()
    taken |= {residue.number for chain in chains if len(chain) >= LEAST for residue in chain}
    left = {number: table for number, table in residues.items() if number not in taken}
    if not left:
        return []
    numbers = list(left)
    centre = np.array([atoms.xyz[[*left[number].values()]].mean(axis=0) for number in numbers])
    tree = KDTree(centre)
    found: list[_Family] = []
    free = dict.fromkeys(numbers, True)
    for family in families:
        own = np.concatenate([family.parent, *family.children])
        distance, nearest = KDTree(atoms.xyz[own]).query(centre)
        motions = [operator.motion(atoms) for operator in family.operators]
        for k in np.argsort(distance).tolist():
            if nearest[k] >= len(family.parent) or not free[numbers[k]]:
                continue
            tables = _alike_about(atoms, numbers[k], motions, left, numbers, tree, centre[k], free)
            if not tables:
                continue
            rows = np.array(_shared(atoms, [left[number] for number in tables]), dtype=np.int64)
            found.append(_Family(family.operators, rows[:, 0], [*rows[:, 1:].T]))
            free.update(dict.fromkeys(tables, False))
    return found


def _alike_about(
    atoms: Atoms, number: int, motions: Iterable[tuple[Float, Float]], left: dict[int, _Names], numbers: list[int],
    tree: KDTree, centre: Float, free: dict[int, bool],
) -> list[int]:  # fmt: skip
    """A residue and what is the same where each operator takes it; empty where one of them takes it to nothing."""
    names = atoms.identity.residue_name
    first = next(iter(left[number].values()))
    reach = _SAME_WATER if atoms.is_water[first] else _SAME_PLACE
    found = [number]
    for rotation, shift in motions:
        near = (numbers[i] for i in tree.query_ball_point(rotation @ centre + shift, reach))
        for other in near:
            table = left[other]
            if not free[other] or other in found or names[next(iter(table.values()))] != names[first]:
                continue
            if table.keys() != left[number].keys():
                continue
            rows = np.array(_shared(atoms, [left[number], table]), dtype=np.int64)
            off = atoms.xyz[rows[:, 0]] @ rotation.T + shift - atoms.xyz[rows[:, 1]]
            if len(rows) == len(table) and np.linalg.norm(off, axis=1).max() < reach:
                found.append(other)
                break
        else:
            return []
    return found


def _named(operator: _Operator) -> str:
    parents, children = zip(*operator.chains)
    return f"{', '.join(dict.fromkeys(parents))} to {', '.join(dict.fromkeys(children))}"


def _sentences(atoms: Atoms, copies: Copies, chains: list[_Family], others: list[_Family]) -> list[str]:
    """What to say of the copies."""
    motions = copies.motions(atoms)
    off = np.linalg.norm(motions.applied(copies.operator, atoms.xyz[copies.parent]) - atoms.xyz[copies.child], axis=1)
    rms = [float(np.sqrt(np.mean(off[copies.operator == k] ** 2))) for k in range(len(copies.names))]
    named = listed([f"{name} ({value:.2f} Å rms)" for name, value in zip(copies.names, rms)], "; ")
    same = np.zeros(len(atoms), dtype=bool)
    same[copies.child] = same[copies.parent] = True
    free = ~same & ~atoms.riding.mask(len(atoms))
    waters = int((free & atoms.is_water).sum())
    values = "coordinates and B" if copies.same_b.any() else "coordinates"
    about = f" (with {counted(len(others), 'residue')} beside them, such as ligands)" if others else ""
    notes = [
        f"strict NCS: chains {named} at the start{about}: {counted(len(np.unique(copies.parent)), 'atom')} with their "
        f"{counted(len(copies), 'copy').replace('copys', 'copies')} have one set of {values}; "
        f"{counted(int(free.sum()), 'atom')} {are(int(free.sum()))} in no copy, or not in all of them, and free "
        f"({counted(waters, 'water')})"
    ]
    if max(rms) > _DIFFERENT:
        notes.append(Caution(
            f"strict NCS: copies differ by up to {max(rms):.2f} Å rms where one operator is to make them the same; "
            "--external.ncs on restrains their short distances only, and lets parts move against each other"
        ))
    return notes
