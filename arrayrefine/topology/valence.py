"""Atoms of the backbones of polymers that have all the bonds that they can have."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import gemmi

POLYMER_BONDS = {("C", "N"): 1.341, ("O3'", "P"): 1.61}
"""Å; what joins a residue of a polymer to the next (Engh & Huber (1991) Acta Cryst. A47, 392-400; Parkinson et al.
(1996) Acta Cryst. D52, 57-64)."""
_BACKBONE = frozenset(itertools.chain.from_iterable(POLYMER_BONDS))
_CLOSING = {"OXT": "C", "OP3": "P", "O3P": "P"}
"""Atoms that only the end of a chain has, and what they leave no place at for another bond."""
_ALL = "\0"
"""Instead of the letter of a conformer: all of them."""
LONGEST = 1.5
"""Times these lengths; gemmi sees a gap from there on."""

Place = tuple[str, str, str]
"""Chain, number and name of an atom, whatever its conformer."""


def place(address: gemmi.AtomAddress) -> Place:
    """Where the atom of an address is."""
    return address.chain_name, str(address.res_id.seqid), address.atom_name


def full_atoms(structure: gemmi.Structure) -> set[Place]:
    """C and N, O3' and P of polymers that are bonded to the next or previous residue, or by a link of the model; and
    C and P of ends that the model closes, as by OXT.

    Parameters
    ----------
    structure : gemmi.Structure
        With its entities set up; its connections are taken for bonds, metals and hydrogen bonds aside.

    Returns
    -------
    set of tuple of str
        Chain, number and atom name.
    """
    full: set[Place] = set()
    for chain in structure[0]:
        polymer = chain.get_polymer()
        full |= {
            (chain.name, str(residue.seqid), _CLOSING[atom.name])
            for residue in polymer
            for atom in residue
            if atom.name in _CLOSING
        }
        alternatives = [list(group) for _, group in itertools.groupby(polymer, key=lambda r: str(r.seqid))]
        for before, after in itertools.pairwise(alternatives):
            for one, two in itertools.product(before, after):
                for a, b, limit in polymer_ends(one, two):
                    if a.pos.dist(b.pos) < limit:
                        full |= {(chain.name, str(one.seqid), a.name), (chain.name, str(two.seqid), b.name)}
    for connection in structure.connections:
        if connection.type not in (gemmi.ConnectionType.Hydrog, gemmi.ConnectionType.MetalC):
            full |= filled(structure, (connection.partner1, connection.partner2))
    return full


def polymer_ends(one: gemmi.Residue, two: gemmi.Residue) -> Iterator[tuple[gemmi.Atom, gemmi.Atom, float]]:
    """Atoms by which a polymer could join two residues, and how long the bond may be, Å; all conformers."""
    ends = [[atom for atom in residue if atom.name in _BACKBONE] for residue in (one, two)]
    for a, b in itertools.product(*ends):
        length = POLYMER_BONDS.get((a.name, b.name))
        if length is not None:
            yield a, b, LONGEST * length


def filled(structure: gemmi.Structure, ends: Iterable[gemmi.AtomAddress]) -> set[Place]:
    """The ends of a link that are atoms of a backbone, and with it have all their bonds."""
    found = ((end, structure[0].find_cra(end, ignore_segment=True).residue) for end in ends)
    return {
        place(end)
        for end, residue in found
        if residue is not None and residue.entity_type == gemmi.EntityType.Polymer and end.atom_name in _BACKBONE
    }


class FullAtoms:
    """Atoms of backbones that have all their bonds, as links are found: one of a conformer fills them for that alone.

    Parameters
    ----------
    structure : gemmi.Structure
        See `full_atoms`.
    """

    def __init__(self, structure: gemmi.Structure) -> None:
        self._structure = structure
        self._conformers = {atom: {_ALL} for atom in full_atoms(structure)}

    def __call__(self, ends: tuple[gemmi.AtomAddress, gemmi.AtomAddress]) -> bool:
        """Whether an end has no place left for a link between the two."""
        conformer = _conformer(ends)
        taken = set[str]().union(*(self._conformers.get(place(end), ()) for end in ends))
        return bool(taken) if conformer == _ALL else bool(taken & {_ALL, conformer})

    def add(self, ends: tuple[gemmi.AtomAddress, gemmi.AtomAddress]) -> None:
        """Count a link between the two."""
        for atom in filled(self._structure, ends):
            self._conformers.setdefault(atom, set()).add(_conformer(ends))


def _conformer(ends: Iterable[gemmi.AtomAddress]) -> str:
    """Conformer that a link is of."""
    return max(end.altloc for end in ends)
