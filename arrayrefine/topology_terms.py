"""gemmi's topology read into index / ideal / sigma arrays, one function per kind of restraint."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels.geometry import chirality
from arrayrefine.restraints import Angles, Bonds, Chiralities, Int, Planes, Torsions
from arrayrefine.wording import are, counted, listed

CHIRAL_SIGMA = 0.2
"""Å³."""
HYDROGEN_BOND_LENGTH, HYDROGEN_BOND_SIGMA = 0.95, 0.02
"""Å; for hydrogens that the dictionary does not name."""
_LINK_TORSIONS = ("omega", "ss")
_RIGID_LABELS = ("omega", "const", "CONST", "sp2_sp2")

Mask = NDArray[np.bool_]


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
    """

    structure: gemmi.Structure
    topology: gemmi.Topo
    row: dict[int, int]
    altloc: NDArray[np.str_]

    def across(self, kind: gemmi.RKind) -> set[int]:
        """Numbers of the bonds, angles, ... of links to symmetry mates: not between the atoms as the model has them."""
        return {
            rule.index
            for link in self.topology.extras
            if link.asu == gemmi.Asu.Different
            for rule in link.link_rules
            if rule.rkind == kind
        }

    def rows(self, atoms: Sequence[gemmi.Atom]) -> list[int]:
        """Positions in `Atoms` of gemmi's atoms."""
        row = self.row
        return [row[a.serial] for a in atoms]


def _mixed(altloc: NDArray[np.str_], index: Int) -> Mask:
    """(n,) True where atoms of different conformers meet."""
    letters = altloc[index]
    first = letters[:, :1]
    for k in range(1, letters.shape[1]):
        first = np.where(first == "", letters[:, k : k + 1], first)
    mixed: Mask = ((letters != "") & (letters != first)).any(axis=1)
    return mixed


def _table(rows: Sequence[Sequence[int]], width: int) -> Int:
    return np.array(rows, dtype=np.int64).reshape(-1, width)


def image_links(model: TopologyModel) -> Int:
    """Bonded atoms of links to symmetry mates (s, 2); an atom may be linked to its own mate."""
    pairs = [model.rows(model.topology.bonds[number].atoms) for number in sorted(model.across(gemmi.RKind.Bond))]
    return _table(pairs, 2)


def read_bonds(model: TopologyModel, known_links: Collection[str], held: Mask, notes: list[str]) -> tuple[Bonds, Int]:
    """Bonds, and all pairs that count as bonded (n, 2), restrained or not.

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
    index, ideal, sigma, edges = [], [], [], []
    free_metal, simple, no_sigma = [], [], 0
    for number, bond in enumerate(model.topology.bonds):
        pair = model.rows(bond.atoms)
        if number in across or pair[0] == pair[1]:
            continue
        edges.append(pair)
        if held[pair[0]] and held[pair[1]]:
            continue
        restraint = bond.restr
        if number in guessed:
            label = " - ".join(a.name for a in bond.atoms)
            if any(a.element.is_metal for a in bond.atoms):
                free_metal.append(label)
                continue
            simple.append(f"{label} ({restraint.value:.2f} Å)")
        if not restraint.esd > 0 or not restraint.value > 0:
            no_sigma += 1
            continue
        index.append(pair)
        ideal.append(restraint.value)
        sigma.append(restraint.esd)
    if free_metal:
        notes.append(
            f"{counted(len(free_metal), 'metal-ligand link')} without a dictionary length {are(len(free_metal))} "
            f"not restrained (kept out of contacts): {_short(free_metal)}"
        )
    if simple:
        notes.append(
            f"{counted(len(simple), 'link')} unknown to the library {are(len(simple))} restrained by distance alone: "
            + _short(simple)
        )
    if across:
        n = len(across)
        notes.append(f"{counted(n, 'link')} to symmetry mates {are(n)} not restrained (kept out of contacts)")
    if no_sigma:
        what = counted(no_sigma, "bond")
        notes.append(f"{what} without a positive sigma in the dictionary {are(no_sigma)} not restrained")
    pairs = _table(index, 2)
    fine = ~_mixed(model.altloc, pairs)
    _, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    fine[np.setdiff1d(np.arange(len(pairs)), first)] = False
    bonds = Bonds(pairs[fine], np.array(ideal, dtype=float)[fine], np.array(sigma, dtype=float)[fine])
    all_pairs = _table(edges, 2)
    return bonds, all_pairs[~_mixed(model.altloc, all_pairs)]


def _short(labels: Sequence[str]) -> str:
    counts = Counter(labels)
    return listed([f"{k} x {label}" if k > 1 else label for label, k in counts.items()])


def tie_hydrogens(bonds: Bonds, guessed: Int, hydrogen: Mask) -> Bonds:
    """Add a bond for each hydrogen that the dictionary does not name, to the atom that it is closest to."""
    rows = [pair for pair in guessed.tolist() if hydrogen[pair[0]] != hydrogen[pair[1]]]
    seen: set[int] = set()
    extra = []
    for i, j in rows:
        atom = i if hydrogen[i] else j
        if atom not in seen:
            seen.add(atom)
            extra.append((i, j))
    count = len(extra)
    return Bonds(
        np.vstack([bonds.index, _table(extra, 2)]),
        np.r_[bonds.ideal, np.full(count, HYDROGEN_BOND_LENGTH)],
        np.r_[bonds.sigma, np.full(count, HYDROGEN_BOND_SIGMA)],
    )


def read_angles(model: TopologyModel, held: Mask, notes: list[str]) -> Angles:
    """Angles with a positive sigma."""
    index, ideal, sigma = [], [], []
    no_sigma = 0
    across = model.across(gemmi.RKind.Angle)
    for number, angle in enumerate(model.topology.angles):
        if number in across:
            continue
        rows = model.rows(angle.atoms)
        if held[rows].all():
            continue
        restraint = angle.restr
        if not restraint.esd > 0 or not math.isfinite(restraint.value):
            no_sigma += 1
            continue
        index.append(rows)
        ideal.append(restraint.value)
        sigma.append(restraint.esd)
    if no_sigma:
        notes.append(f"{no_sigma} angles without a positive sigma in the dictionary are not restrained")
    table = _table(index, 3)
    fine = ~_mixed(model.altloc, table)
    value = np.abs(np.array(ideal, dtype=float)[fine])
    return Angles(table[fine], np.where(value > 180.0, 360.0 - value, value), np.array(sigma, dtype=float)[fine])


def read_torsions(model: TopologyModel, held: Mask, metal_parts: Mask) -> tuple[Torsions, Int]:
    """Torsions chi*, omega and that of disulfides; and the bonds that cannot turn (r, 2), restrained or not.

    Dictionaries also list ring torsions (const, sp2_sp2: sigma 0, period 0), hydrogens' (hh), two
    contradictory sets of sugar puckers, and guesses (var, sp3_sp3); planes, chirality and contacts hold
    what is real about these. A period of 0 means that there is only one ideal: it is kept for the torsions
    of links (omega), where it comes with a real sigma, and taken as 1.
    """
    index, ideal, sigma, period, rigid = [], [], [], [], []
    across = model.across(gemmi.RKind.Torsion)
    for number, torsion in enumerate(model.topology.torsions):
        if number in across:
            continue
        restraint = torsion.restr
        label = restraint.label
        is_link = label in _LINK_TORSIONS
        is_rigid = label.startswith(_RIGID_LABELS)
        if not (is_link or is_rigid or label.startswith("chi")):
            continue
        rows = model.rows(torsion.atoms)
        if is_rigid:
            rigid.append(rows[1:3])
        if held[rows].all() or metal_parts[rows].any() or not restraint.esd > 0 or label.startswith(_RIGID_LABELS[1:]):
            continue
        if restraint.period < 1 and not is_link:
            continue
        index.append(rows)
        ideal.append(restraint.value)
        sigma.append(restraint.esd)
        period.append(max(restraint.period, 1))
    table = _table(index, 4)
    fine = ~_mixed(model.altloc, table)
    torsions = Torsions(
        table[fine],
        np.array(ideal, dtype=float)[fine],
        np.array(sigma, dtype=float)[fine],
        np.array(period, dtype=np.int64)[fine],
    )
    return torsions, _table(rigid, 2)


def _equal_ends(edges: Int, atoms: Atoms) -> Mask:
    """(N,) True for atoms with two or more equal neighbours that have no others: CH(CH3)2, SO3, PO2.

    Hydrogens do not count; conformers of one atom count once.
    """
    heavy = ~atoms.is_hydrogen
    both = np.vstack([edges, edges[:, ::-1]])
    both = both[heavy[both].all(axis=1)]
    degree = np.bincount(both[:, 0], minlength=len(atoms))
    ends = both[degree[both[:, 1]] == 1]
    _, name = np.unique(atoms.identity.atom_name, return_inverse=True)
    _, first = np.unique(np.column_stack([ends[:, 0], name[ends[:, 1]]]), axis=0, return_index=True)
    ends = ends[first]
    found = np.zeros(len(atoms), dtype=bool)
    for symbol in np.unique(atoms.element[ends[:, 1]]):
        centres = ends[atoms.element[ends[:, 1]] == symbol, 0]
        found |= np.bincount(centres, minlength=len(atoms)) >= 2
    return found


def read_chiralities(
    model: TopologyModel, held: Mask, metal_parts: Mask, edges: Int, atoms: Atoms, notes: list[str]
) -> Chiralities:
    """Chiral volumes with one sign.

    Components with metals are left out: the atom names of FeS clusters are arbitrary, so are their signs.
    Where two ends are equal the sign only says which end has which name, and a model named the other way
    cannot get there without tearing: such centres keep the sign that they have.
    """
    index, ideal = [], []
    unknown = skipped = 0
    across = model.across(gemmi.RKind.Chirality)
    for number, centre in enumerate(model.topology.chirs):
        if number in across or centre.restr.sign == gemmi.ChiralityType.Both:
            continue
        rows = model.rows(centre.atoms)
        if held[rows].all():
            continue
        if metal_parts[rows].any():
            skipped += 1
            continue
        volume = model.topology.ideal_chiral_abs_volume(centre)
        if not math.isfinite(volume) or volume <= 0:
            unknown += 1
            continue
        index.append(rows)
        ideal.append(volume if centre.restr.sign == gemmi.ChiralityType.Positive else -volume)
    if unknown:
        notes.append(f"{unknown} chiral centres without an ideal volume are not restrained")
    if skipped:
        notes.append(f"{skipped} chiral centres of components with metals are not restrained: names are arbitrary")
    table = _table(index, 4)
    fine = ~_mixed(model.altloc, table)
    table, value = table[fine], np.array(ideal, dtype=float)[fine]
    present = _volumes(atoms.xyz, table)
    other_hand = _equal_ends(edges, atoms)[table[:, 0]] & (present * value < 0)
    if other_hand.any():
        notes.append(
            f"{other_hand.sum()} centres with equal ends are named the other way than in the dictionary; "
            "they keep their hand: " + _short([atoms.identity.label(int(i)) for i in table[other_hand, 0]])
        )
    value[other_hand] *= -1.0
    return Chiralities(table, value, np.full(len(value), CHIRAL_SIGMA))


def _volumes(xyz: NDArray[np.float64], index: Int) -> NDArray[np.float64]:
    """Signed volumes (n,), Å³, centre first."""
    ones = np.ones(len(index))
    return chirality(xyz, index, 0.0 * ones, ones)[0]


def read_planes(model: TopologyModel, held: Mask) -> Planes:
    """Planes of at least four atoms with a positive sigma."""
    index: list[int] = []
    number: list[int] = []
    sigma: list[float] = []
    count = 0
    across = model.across(gemmi.RKind.Plane)
    for k, plane in enumerate(model.topology.planes):
        if k in across:
            continue
        esd = plane.restr.esd
        rows = model.rows(plane.atoms)
        if len(rows) < 4 or not esd > 0 or held[rows].all() or _mixed(model.altloc, _table([rows], len(rows)))[0]:
            continue
        index += rows
        number += [count] * len(rows)
        sigma += [esd] * len(rows)
        count += 1
    return Planes(np.array(index, dtype=np.int64), np.array(number, dtype=np.int64), np.array(sigma, dtype=float))
