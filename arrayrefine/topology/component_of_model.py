"""Components that no dictionary describes, restrained to the shape that the model gives them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.topology.atom_names import prime_for_star
from arrayrefine.topology.component_restraints import restraint_block
from arrayrefine.topology.compounds import Bond, Compound
from arrayrefine.wording import Caution, are, counted, listed

Float = NDArray[np.float64]

_FURTHER, _BONDED = 0.3, 1.2
"""Å beyond the longest bonds of such elements, and where these are not known times the sum of covalent radii; atoms
further apart are not bonded. 1.86 Å for carbon, whose next neighbours in a chain are 2.5 Å away."""
_VALENCE = {"H": 1, "D": 1, "F": 1, "CL": 1, "BR": 1, "I": 1, "O": 2, "C": 4, "N": 4}
"""Most bonds; of more the shortest are taken. To metals all but hydrogen may have more, and to deuterium, which may be
where a hydrogen is, too."""
_LENGTHS = {
    "C C": (1.18, 1.56), "C N": (1.14, 1.51), "C O": (1.20, 1.46), "N N": (1.10, 1.46), "N O": (1.20, 1.46),
    "C S": (1.62, 1.84), "O S": (1.42, 1.62), "N S": (1.54, 1.70), "S S": (2.00, 2.10), "O P": (1.46, 1.64),
    "C P": (1.76, 1.86), "N P": (1.58, 1.72), "C F": (1.32, 1.41), "C CL": (1.70, 1.81), "BR C": (1.86, 1.97),
    "C I": (2.05, 2.17), "O O": (1.20, 1.50), "B O": (1.34, 1.49), "B C": (1.54, 1.64), "P S": (1.90, 2.10),
}  # fmt: skip
"""Å; from triple bonds to single ones: International Tables for Crystallography C (2006), table 9.5.1.1."""
_MONOXIDE = 1.12
"""Å; shortest bond of carbon and oxygen where carbon has nothing else but metals."""
_UNUSUAL = 0.05
"""Å; bonds of the model that are further out of these ranges are named."""
_TORN = 1.0
"""Å; what is bonded in one residue is not this much further apart than bonds reach in another of the same compound."""
_DOUBLE = {"C O": 1.29, "C C": 1.37, "C N": 1.31, "O P": 1.53, "O S": 1.50, "N O": 1.28}
"""Å; shorter bonds are taken for double ones."""
_BACKBONES = (
    ("L-peptide linking", (("N", "CA"), ("CA", "C"), ("C", "O"))),
    ("RNA linking", (("P", "O5'"), ("O5'", "C5'"), ("C4'", "C3'"), ("C3'", "O3'"), ("C2'", "O2'"))),
    ("DNA linking", (("P", "O5'"), ("O5'", "C5'"), ("C4'", "C3'"), ("C3'", "O3'"))),
)
"""Bonds by which a component is taken for a residue of a polymer."""


class _InRange:
    """Lengths as the coordinates have them, in the range of such bonds."""

    def length(self, compound: Compound, one: int, two: int) -> float:
        return float(np.clip(compound.distance(one, two), *_range(compound, one, two)))

    def angle(self, compound: Compound, one: int, centre: int, two: int) -> None:
        return None


def components_of_model(
    structure: gemmi.Structure, names: Iterable[str]
) -> tuple[dict[str, gemmi.cif.Block], list[str]]:
    """Describe components by the coordinates of their residues.

    Ideals are means over the residues and their conformers that have the atoms, brought into the range of lengths that
    such bonds have.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model is used.
    names : iterable of str
        Components that the model has.

    Returns
    -------
    blocks : dict of str to gemmi.cif.Block
        Restraints by name, but for those whose residues are not of one compound.
    notes : list of str
    """
    blocks: dict[str, gemmi.cif.Block] = {}
    notes: list[str] = []
    for name in names:
        residues = [residue for chain in structure[0] for residue in chain if residue.name == name]
        compound, unusual, torn = _compound(name, residues)
        if torn:
            notes.append(Caution(
                f"component {name}: its {counted(len(residues), 'residue')} are not of one compound (they differ in "
                f"{torn}): no shape is taken from them"
            ))
            continue
        blocks[name] = restraint_block(compound, _InRange())
        atoms, bonds, copies = (
            counted(len(compound.atoms), "atom"), counted(len(compound.bonds), "bond"),
            counted(len(residues), "residue"),
        )  # fmt: skip
        bare = ", without hydrogens" if len(compound.heavy_atoms) == len(compound.atoms) else ""
        notes.append(Caution(
            f"nothing describes component {name}: held in the shape that the model gives it "
            f"({atoms}, {bonds}, {copies}{bare}), whether that is right or not"
        ))
        loose = [compound.atoms[k] for k in compound.heavy_atoms if not compound.neighbours[k]]
        if loose and len(compound.heavy_atoms) > 1:
            notes.append(Caution(
                f"component {name}: {listed(loose)} {are(len(loose))} not near enough to anything of it to be bonded: "
                "free to go"
            ))
        if unusual:
            notes.append(Caution(
                f"component {name} has bonds in the model that no compound has, and are restrained to what comes "
                f"nearest: {listed(unusual)}"
            ))
    return blocks, notes


def _compound(name: str, residues: Sequence[gemmi.Residue]) -> tuple[Compound, list[str], str]:
    """The compound that residues are, bonds of unusual length, and what tells that they are of several, or ""."""
    atoms: dict[str, str] = {}
    copies: list[dict[str, list[float]]] = []
    torn = ""
    own = {atom.name for residue in residues for atom in residue}
    called = {key: prime_for_star(key) for key in own}  # by names from before 2007 no nucleotide is told
    if len(set(called.values())) < len(own):
        called = {key: key for key in own}
    for residue in residues:
        for letter in sorted({atom.altloc for atom in residue} - {"\0"}) or ["\0"]:
            copy = {called[atom.name]: atom for atom in residue if atom.altloc in ("\0", letter)}
            for key, atom in copy.items():
                if atoms.setdefault(key, atom.element.name.upper()) != atom.element.name.upper():
                    torn = f"the element of {key}"
            copies.append({key: atom.pos.tolist() for key, atom in copy.items()})
    names, elements = tuple(atoms), tuple(atoms.values())
    places = np.array([[copy.get(key, [np.nan] * 3) for key in names] for copy in copies])
    apart, reach = _distances(places), _reach(elements)
    both = (apart < reach).any(axis=0) & (apart > reach + _TORN).any(axis=0)
    if both.any():
        torn = "the distance of " + "-".join(names[k] for k in np.argwhere(both)[0])
    bonds = _bonds(elements, apart, reach)
    ends = {frozenset((names[one], names[two])) for one, two, _ in bonds}
    kind = next((kind for kind, needs in _BACKBONES if all(frozenset(pair) in ends for pair in needs)), "non-polymer")
    compound = Compound(
        name, kind, names, elements, (0,) * len(names), tuple(bonds), places, frozenset(names)
    )  # fmt: skip
    unusual = []
    for one, two, _ in bonds:
        low, high = _range(compound, one, two)
        length = compound.distance(one, two)
        if not low - _UNUSUAL < length < high + _UNUSUAL:
            unusual.append(f"{names[one]}-{names[two]} of {length:.2f} Å")
    return compound, unusual, torn


def _distances(places: Float) -> Float:
    """All distances (K, m, m), Å; nan where a copy lacks an atom."""
    return np.asarray(np.linalg.norm(places[:, :, None] - places[:, None], axis=-1))


def _reach(elements: Sequence[str]) -> Float:
    """Å; atoms (m, m) that are further apart are not bonded."""
    radius = np.array([gemmi.Element(element).covalent_r for element in elements])
    reach = _BONDED * (radius[:, None] + radius)
    for one, two in itertools.product(range(len(elements)), repeat=2):
        if (pair := _pair(elements, one, two)) in _LENGTHS:
            reach[one, two] = _LENGTHS[pair][1] + _FURTHER
    return np.asarray(reach)


def _bonds(elements: Sequence[str], apart: Float, reach: Float) -> list[Bond]:
    """What is near enough by the mean over copies (K, m, m), and where an atom has too many, the nearest."""
    there = np.isfinite(apart)
    count = there.sum(axis=0)
    mean = np.where(count > 0, np.where(there, apart, 0.0).sum(axis=0) / np.maximum(count, 1), np.inf)
    left = [_VALENCE.get(element, len(elements)) for element in elements]
    aside = [element == "D" or bool(gemmi.Element(element).is_metal) for element in elements]
    metal = np.array([bool(gemmi.Element(element).is_metal) for element in elements])
    if not metal.all():
        mean = np.where(metal[:, None] & metal, np.inf, mean)  # others hold metals together
    found: list[Bond] = []
    rows, columns = np.triu_indices(len(elements), 1)
    for k in np.argsort((mean / reach)[rows, columns], kind="stable"):
        one, two = int(rows[k]), int(columns[k])
        if mean[one, two] > reach[one, two]:
            break
        counts = [(a, b) for a, b in ((one, two), (two, one)) if not aside[b] or elements[a] in ("H", "D")]
        if all(left[atom] for atom, _ in counts):
            for atom, _ in counts:
                left[atom] -= 1
            double = mean[one, two] < _DOUBLE.get(_pair(elements, one, two), 0.0)
            found.append((one, two, "double" if double else "single"))
    return sorted(found)


def _pair(elements: Sequence[str], one: int, two: int) -> str:
    return " ".join(sorted((elements[one], elements[two])))


def _range(compound: Compound, one: int, two: int) -> tuple[float, float]:
    """Lengths, Å, that such bonds have."""
    pair = _pair(compound.elements, one, two)
    low, high = _LENGTHS.get(pair, (0.0, np.inf))
    if pair == "C O":
        carbon, oxygen = (one, two) if compound.elements[one] == "C" else (two, one)
        if all(compound.is_metal(atom) for atom in compound.neighbours[carbon] if atom != oxygen):
            low = _MONOXIDE
    return low, high
