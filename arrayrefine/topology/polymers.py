"""Chains as rows of residues: which atoms a residue has, which residues follow each other, which chains are alike."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms

Int = NDArray[np.int64]

BACKBONE = ("N", "CA", "C", "O")
"""Of a peptide."""
IDENTITY = 0.8
"""Fraction of equal residue names among those aligned from which two chains are alike."""
COMPACT = 0.5
"""Fraction of the residues between the first and the last aligned that are aligned, in both chains."""
LEAST = 10
"""Residues that two alike chains have in common at least."""


@dataclass(frozen=True)
class Residue:
    """A residue of a polymer in its first conformer.

    Attributes
    ----------
    number : int
        Running index, see `Identity.residue`.
    chain, name : str
    key : tuple of int and str
        Sequence number and insertion code.
    atoms : dict of str to int
        Atom name to position in `Atoms`, no hydrogens; of alternates the first.
    """

    number: int
    chain: str
    name: str
    key: tuple[int, str]
    atoms: dict[str, int]


def residues_of(atoms: Atoms) -> list[Residue]:
    """All residues of amino and nucleic acids, in the order of the model; of microheterogeneity the first."""
    who = atoms.identity
    heavy = ~atoms.is_hydrogen
    found: list[Residue] = []
    at: dict[tuple[str, int, str], Residue] = {}
    chains, names, labels = who.chain.tolist(), who.residue_name.tolist(), who.atom_name.tolist()
    numbers, codes, rows = who.sequence_number.tolist(), who.insertion_code.tolist(), who.residue.tolist()
    for i in np.flatnonzero(heavy & of_polymers(who.residue_name)).tolist():
        place = chains[i], numbers[i], codes[i]
        residue = at.get(place)
        if residue is None:
            residue = at[place] = Residue(rows[i], chains[i], names[i], (numbers[i], codes[i]), {})
            found.append(residue)
        if residue.number == rows[i]:
            residue.atoms.setdefault(labels[i], i)
    return found


def is_polymer(name: str) -> bool:
    """Whether a component is known as an amino acid or a nucleotide of chains."""
    info = gemmi.find_tabulated_residue(name)
    return info.is_amino_acid() or info.is_nucleic_acid()


def of_polymers(names: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which of the components (N,) are known as amino acids or nucleotides of chains."""
    known = [name for name in np.unique(names).tolist() if is_polymer(name)]
    return np.isin(names, np.array(known, dtype=str))


def by_chain(residues: list[Residue]) -> dict[str, list[Residue]]:
    """Residues of each chain, in order."""
    chains: dict[str, list[Residue]] = {}
    for residue in residues:
        chains.setdefault(residue.chain, []).append(residue)
    return chains


def aligned(one: list[Residue], two: list[Residue]) -> list[tuple[Residue, Residue]]:
    """Corresponding residues of two chains, equal names only; empty unless the chains are alike.

    By sequence number where that fits, else by an alignment of the names.
    """
    number = {residue.key: residue for residue in two}
    pairs = [(residue, number[residue.key]) for residue in one if residue.key in number]
    if not _alike(pairs, one, two):
        pairs = _by_sequence(one, two)
        if not (_alike(pairs, one, two) and _compact(pairs)):
            return []
    return [(a, b) for a, b in pairs if a.name == b.name]


def _alike(pairs: list[tuple[Residue, Residue]], one: list[Residue], two: list[Residue]) -> bool:
    same = sum(a.name == b.name for a, b in pairs)
    return same >= max(IDENTITY * len(pairs), 0.5 * min(len(one), len(two)), LEAST)


def _compact(pairs: list[tuple[Residue, Residue]]) -> bool:
    """Whether aligned residues are not too far between: those of a short peptide are found scattered over any chain."""
    spans = [max(numbers) - min(numbers) + 1 for numbers in zip(*((a.number, b.number) for a, b in pairs))]
    return bool(len(pairs) >= COMPACT * max(spans))


def _by_sequence(one: list[Residue], two: list[Residue]) -> list[tuple[Residue, Residue]]:
    """Pairs of a global alignment of the residue names."""
    query, target = ([residue.name for residue in chain] for chain in (one, two))
    result = gemmi.align_string_sequences(query, target, [], gemmi.AlignmentScoring())
    pairs, i, j = [], 0, 0
    for length, kind in _runs(result.cigar_str()):
        if kind == "M":
            pairs += list(zip(one[i : i + length], two[j : j + length]))
        i += length if kind in "MI" else 0
        j += length if kind in "MD" else 0
    return pairs


def _runs(cigar: str) -> list[tuple[int, str]]:
    runs, digits = [], ""
    for letter in cigar:
        if letter.isdigit():
            digits += letter
        else:
            runs.append((int(digits), letter))
            digits = ""
    return runs


def corresponding(pairs: list[tuple[Residue, Residue]]) -> tuple[Int, Int]:
    """Atoms of equal name in pairs of residues: positions (n,) of the first, and of the second."""
    names = [(a.atoms[name], b.atoms[name]) for a, b in pairs for name in a.atoms if name in b.atoms]
    table = np.array(names, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def backbone(residues: list[Residue], bonds: Int, n_atoms: int) -> tuple[list[Residue], Int, Int]:
    """Residues with a whole peptide backbone, and how they follow each other.

    Parameters
    ----------
    residues : list of Residue
    bonds : (b, 2) int
    n_atoms : int

    Returns
    -------
    peptides : list of n Residue
    table : (n, 4) int
        N, CA, C and O of each.
    previous : (n,) int
        Which of them is bonded to N of each, -1 for none.
    """
    peptides = [r for r in residues if all(name in r.atoms for name in BACKBONE)]
    table = np.array([[r.atoms[name] for name in BACKBONE] for r in peptides], dtype=np.int64).reshape(-1, 4)
    of_c, of_n = np.full(n_atoms, -1), np.full(n_atoms, -1)
    of_n[table[:, 0]] = np.arange(len(table))
    of_c[table[:, 2]] = np.arange(len(table))
    previous = np.full(len(table), -1)
    for one, two in ((0, 1), (1, 0)):
        c, n = of_c[bonds[:, one]], of_n[bonds[:, two]]
        peptide = (c >= 0) & (n >= 0) & (c != n)
        previous[n[peptide]] = c[peptide]
    return peptides, table, previous


def following(previous: Int) -> Int:
    """Which of them (n,) comes after each, -1 for none."""
    after = np.full(len(previous), -1)
    after[previous[previous >= 0]] = np.flatnonzero(previous >= 0)
    return after
