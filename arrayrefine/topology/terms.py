"""gemmi's topology read into index / ideal / sigma arrays, one function per kind of restraint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.hydrogens.lengths import bond_length
from arrayrefine.restraints import Angles, Bonds, Float, Int, Planes, Torsions
from arrayrefine.wording import Caution, are, counted, listed

HYDROGEN_BOND_LENGTH, HYDROGEN_BOND_SIGMA = 0.95, 0.02
"""Å; for hydrogens that the dictionary does not name."""
LINK_TORSIONS = ("omega", "ss")
"""Torsions of links that are restrained."""
_RIGID_LABELS = ("omega", "const", "CONST", "sp2_sp2")

Mask = NDArray[np.bool_]
LinkEnds: TypeAlias = frozenset[tuple[str, str, str, str]]
"""The residues of a link (subchain, number, name), and the conformer of each."""
_Restraint = gemmi.Topo.Bond | gemmi.Topo.Angle | gemmi.Topo.Torsion | gemmi.Topo.Chirality


@dataclass(frozen=True)
class TopologyModel:
    """A structure with its topology.

    Attributes
    ----------
    structure : gemmi.Structure
        Owner of the atoms; kept because the topology points into it.
    topology : gemmi.Topo
    row : dict of int to int
        gemmi's serial number to the position in `Atoms`.
    altloc : (N,) str
    lone : set of LinkEnds
        Residues that are linked though their conformers differ.
    """

    structure: gemmi.Structure
    topology: gemmi.Topo
    row: dict[int, int]
    altloc: NDArray[np.str_]
    lone: AbstractSet[LinkEnds] = frozenset()

    @cached_property
    def sites(self) -> dict[int, gemmi.Atom]:
        """The atoms by their position in `Atoms`."""
        return {self.row[site.serial]: site for chain in self.structure[0] for home in chain for site in home}

    def across(self, kind: gemmi.RKind) -> set[int]:
        """Numbers of the bonds, angles, ... of links to symmetry mates: not between the atoms as the model has them."""
        return {
            rule.index
            for link in self.topology.extras
            if link.asu == gemmi.Asu.Different
            for rule in link.link_rules
            if rule.rkind == kind
        }

    def joined(self, kind: gemmi.RKind) -> set[int]:
        """Numbers of the bonds, angles, ... of links between conformers of different letters that belong together."""
        return {
            rule.index
            for link in self.topology.extras
            if link.alt1 != link.alt2 and self.lone and link_ends(link) in self.lone
            for rule in link.link_rules
            if rule.rkind == kind
        }

    def apart(self, index: Int, kind: gemmi.RKind, number: NDArray[np.int64] | None = None) -> Mask:
        """(n,) True where atoms (n, k) of restraints of these numbers are of conformers that are never together."""
        number = np.arange(len(index)) if number is None else number
        return mixed(self.altloc, index) & ~np.isin(number, sorted(self.joined(kind)))

    def rows(self, restraints: Iterable[_Restraint], width: int) -> Int:
        """Positions in `Atoms` (n, width) of the atoms of gemmi's bonds, angles, ..."""
        row = self.row
        return _table([row[atom.serial] for restraint in restraints for atom in restraint.atoms], width)


def link_ends(link: gemmi.Topo.Link) -> LinkEnds:
    """The residues of a link (subchain, number, name), and the conformer of each."""
    ends = ((link.res1, link.alt1), (link.res2, link.alt2))
    return frozenset((residue.subchain, str(residue.seqid), residue.name, altloc) for residue, altloc in ends)


def mixed(altloc: NDArray[np.str_], index: Int) -> Mask:
    """(n,) True where atoms of different conformers meet."""
    letters = altloc[index]
    first = letters[:, :1]
    for k in range(1, letters.shape[1]):
        first = np.where(first == "", letters[:, k : k + 1], first)
    mixed: Mask = ((letters != "") & (letters != first)).any(axis=1)
    return mixed


def _values(values: Iterable[float]) -> NDArray[np.float64]:
    return np.array(list(values), dtype=float)


def _without(n: int, numbers: Collection[int]) -> Mask:
    """(n,) False at the numbers."""
    mask = np.ones(n, dtype=bool)
    mask[list(numbers)] = False
    return mask


def _table(rows: Sequence[Sequence[int]] | Sequence[int], width: int) -> Int:
    return np.array(rows, dtype=np.int64).reshape(-1, width)


def image_links(model: TopologyModel) -> Int:
    """Bonded atoms of links to symmetry mates (s, 2); an atom may be linked to its own mate."""
    return model.rows([model.topology.bonds[number] for number in sorted(model.across(gemmi.RKind.Bond))], 2)


def read_bonds(
    model: TopologyModel, known_links: Collection[str], held: Mask, notes: list[str], at_nuclei: bool = False
) -> tuple[Bonds, Int]:
    """Bonds, and all pairs that count as bonded (n, 2), restrained or not; hydrogens at nuclei or at their electrons.

    A bond from a metal that no library link describes has only a guessed length, which can be wrong by 0.5
    Å: it is not restrained. So are bonds with sigma 0, between conformers, or within what is held.
    """
    guessed = {
        rule.index
        for link in model.topology.extras
        if link.link_id not in known_links
        for rule in link.link_rules
        if rule.rkind == gemmi.RKind.Bond
    }
    across = model.across(gemmi.RKind.Bond)
    bonds = model.topology.bonds
    every = model.rows(bonds, 2)
    bonded = _without(len(every), across) & (every[:, 0] != every[:, 1])
    wanted = bonded & ~held[every].all(axis=1)
    free_metal, simple = [], []
    for number in sorted(guessed):
        if not wanted[number]:
            continue
        bond = bonds[number]
        label = " - ".join(a.name for a in bond.atoms)
        if any(a.element.is_metal for a in bond.atoms):
            free_metal.append(label)
            wanted[number] = False
        else:
            simple.append(f"{label} ({bond.restr.value:.2f} Å)")
    lengths = [bond_length(bond, at_nuclei) for bond in bonds]
    ideal, sigma = _values(value for value, _ in lengths), _values(esd for _, esd in lengths)
    sound = (sigma > 0) & (ideal > 0)
    no_sigma = int((wanted & ~sound).sum())
    if free_metal:
        notes.append(
            f"{counted(len(free_metal), 'metal-ligand link')} without a dictionary length {are(len(free_metal))} "
            f"kept out of contacts: {_short(free_metal)}"
        )
    if simple:
        notes.append(
            f"{counted(len(simple), 'link')} unknown to the library {are(len(simple))} restrained by typical lengths: "
            + _short(simple)
        )
    if no_sigma:
        what = counted(no_sigma, "bond")
        notes.append(Caution(f"{what} without a positive sigma in the dictionary {are(no_sigma)} not restrained"))
    unmixed = ~model.apart(every, gemmi.RKind.Bond)
    chosen = np.flatnonzero(wanted & sound)
    low, high = every[chosen].min(axis=1), every[chosen].max(axis=1)
    _, first = np.unique(low * len(model.altloc) + high, return_index=True)
    chosen = chosen[np.sort(first)]
    chosen = chosen[unmixed[chosen]]
    return Bonds(every[chosen], ideal[chosen], sigma[chosen]), every[bonded & unmixed]


def _short(labels: Sequence[str]) -> str:
    counts = Counter(labels)
    return listed([f"{k} x {label}" if k > 1 else label for label, k in counts.items()])


def tie_hydrogens(bonds: Bonds, guessed: Int, hydrogen: Mask, xyz: Float) -> Bonds:
    """Add a bond for each hydrogen that the dictionary does not name, to the atom that it is closest to."""
    rows = guessed[hydrogen[guessed].sum(axis=1) == 1]
    rows = rows[np.argsort(np.linalg.norm(xyz[rows[:, 0]] - xyz[rows[:, 1]], axis=1), kind="stable")]
    _, nearest = np.unique(rows[hydrogen[rows]], return_index=True)
    count = len(nearest)
    return Bonds(
        np.vstack([bonds.index, rows[nearest]]),
        np.r_[bonds.ideal, np.full(count, HYDROGEN_BOND_LENGTH)],
        np.r_[bonds.sigma, np.full(count, HYDROGEN_BOND_SIGMA)],
    )


def read_angles(model: TopologyModel, held: Mask, notes: list[str]) -> Angles:
    """Angles with a positive sigma."""
    angles = model.topology.angles
    index = model.rows(angles, 3)
    restraints = [angle.restr for angle in angles]
    ideal, sigma = _values(r.value for r in restraints), _values(r.esd for r in restraints)
    wanted = _without(len(index), model.across(gemmi.RKind.Angle)) & ~held[index].all(axis=1)
    sound = (sigma > 0) & np.isfinite(ideal)
    no_sigma = int((wanted & ~sound).sum())
    if no_sigma:
        what = counted(no_sigma, "angle")
        notes.append(Caution(f"{what} without a positive sigma in the dictionary {are(no_sigma)} not restrained"))
    fine = wanted & sound & ~model.apart(index, gemmi.RKind.Angle)
    return Angles(index[fine], folded(ideal[fine]), sigma[fine])


def folded(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles, degrees, as those between two directions: dictionaries have some beyond 180°, or with a sign."""
    value = np.abs(angle)
    return np.where(value > 180.0, 360.0 - value, value)


def _within_rings(index: Int, edges: Int, atoms: Atoms) -> Mask:
    """(n,) True for torsions (n, 4) whose atoms are all in one ring of up to six: a second way leads from end to end.

    Conformers of one atom count once: they would look like two ways.
    """
    _, name = np.unique(atoms.identity.atom_name, return_inverse=True)
    _, place = np.unique(np.column_stack([atoms.identity.residue, name]), axis=0, return_inverse=True)
    place = place.ravel()
    neighbours: dict[int, set[int]] = {}
    for i, j in place[edges].tolist():
        neighbours.setdefault(i, set()).add(j)
        neighbours.setdefault(j, set()).add(i)
    found = np.zeros(len(index), dtype=bool)
    for row, (a, b, c, d) in enumerate(place[index].tolist()):
        beside_a, beside_d = neighbours.get(a, set()) - {b}, neighbours.get(d, set()) - {c}
        found[row] = (
            d in beside_a or bool(beside_a & beside_d) or any(neighbours[x] & beside_d for x in beside_a)
        )
    return found


def read_torsions(
    model: TopologyModel, held: Mask, metal_parts: Mask, edges: Int, atoms: Atoms
) -> tuple[Torsions, Int]:
    """Torsions chi*, omega and that of disulfides; and the bonds that cannot turn (r, 2), restrained or not.

    Dictionaries also list ring torsions (const, sp2_sp2: sigma 0, period 0), hydrogens' (hh), two contradictory sets of
    sugar puckers, and guesses (var, sp3_sp3); planes, chirality, contacts and the chairs of pyranoses hold what is real
    about these. A period of 0 means that there is only one ideal: it is kept for the torsions of links (omega), where
    it comes with a real sigma, and taken as 1. The chi of proline have the ideals of an open chain, 60° and 180°, where
    the ring has some 30°: within rings of the bonds `edges` (e, 2) they are left out.
    """
    across = model.across(gemmi.RKind.Torsion)
    named = []
    for number, torsion in enumerate(model.topology.torsions):
        restraint = torsion.restr
        label = restraint.label
        if (label in LINK_TORSIONS or label.startswith((*_RIGID_LABELS, "chi"))) and number not in across:
            named.append((torsion, restraint, label, number))
    index = model.rows([torsion for torsion, *_ in named], 4)
    restraints = [restraint for _, restraint, *_ in named]
    numbers = np.array([number for *_, number in named], dtype=np.int64)
    ideal, sigma = _values(r.value for r in restraints), _values(r.esd for r in restraints)
    period = np.array([r.period for r in restraints], dtype=np.int64)
    is_link = np.array([label in LINK_TORSIONS for _, _, label, _ in named], dtype=bool)
    is_rigid = np.array([label.startswith(_RIGID_LABELS) for _, _, label, _ in named], dtype=bool)
    in_ring = np.array([label.startswith(_RIGID_LABELS[1:]) for _, _, label, _ in named], dtype=bool)
    fine = ~held[index].all(axis=1) & ~metal_parts[index].any(axis=1) & (sigma > 0) & ~in_ring
    fine &= ((period >= 1) | is_link) & (is_link | ~_within_rings(index, edges, atoms))
    fine &= ~model.apart(index, gemmi.RKind.Torsion, numbers)
    torsions = Torsions(index[fine], ideal[fine], sigma[fine], np.maximum(period[fine], 1))
    return torsions, index[is_rigid, 1:3]


def read_planes(model: TopologyModel, held: Mask, notes: list[str]) -> Planes:
    """Planes with a positive sigma; of gemmi those of at least four atoms come."""
    row, across = model.row, model.across(gemmi.RKind.Plane)
    every = [(k, plane.atoms, plane.restr.esd) for k, plane in enumerate(model.topology.planes) if k not in across]
    planes = [one for one in every if one[2] > 0]
    if no_sigma := len(every) - len(planes):
        what = counted(no_sigma, "plane")
        notes.append(Caution(f"{what} without a positive sigma in the dictionary {are(no_sigma)} not restrained"))
    index = np.array([row[atom.serial] for _, atoms, _ in planes for atom in atoms], dtype=np.int64)
    if not len(index):
        return Planes(index, index, np.zeros(0))
    size = np.array([len(atoms) for _, atoms, _ in planes], dtype=np.int64)
    joined = model.joined(gemmi.RKind.Plane)
    first = np.cumsum(size) - size
    fine = ~np.logical_and.reduceat(held[index], first)
    branched = np.logical_or.reduceat(model.altloc[index] != "", first)
    for k in np.flatnonzero(fine & branched):
        fine[k] = planes[k][0] in joined or not mixed(model.altloc, index[None, first[k] : first[k] + size[k]])[0]
    number = np.repeat(np.cumsum(fine) - 1, size)
    sigma = np.repeat(_values(esd for *_, esd in planes), size)
    kept = np.repeat(fine, size)
    return Planes(index[kept], number[kept], sigma[kept])
