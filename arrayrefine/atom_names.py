"""Names of the atoms of ligands: matched with those of the dictionary, and refused where it is of another compound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import gemmi

from arrayrefine.wording import are, counted, listed

_BONDED = 2.0
"""Å; lighter atoms of one residue are bonded up to here (C-Br 1.94), and angles keep others 2.2 Å apart."""
_PHOSPHATE = {"O1P": "OP1", "O2P": "OP2", "O3P": "OP3"}
_SYNONYMS = {**_PHOSPHATE, **{new: old for old, new in _PHOSPHATE.items()}}
"""Oxygens of phosphates before and after the remediation of the PDB (2007); libraries have either."""


class _Log(Protocol):
    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def use_dictionary_names(structure: gemmi.Structure, monlib: gemmi.MonLib, log: _Log) -> list[str]:
    """Give atoms the names that the dictionary has for them, in place: a structure to look up restraints with.

    Old names that the dictionary lists are gemmi's part. Beyond them, atoms of ligands that the dictionary does not
    name are matched by the marks of old names (* for ', O1P for OP1), then by their place: they take the name of an
    absent atom of their element with the same neighbours.

    Parameters
    ----------
    structure : gemmi.Structure
        With its entities set up.
    monlib : gemmi.MonLib
    log : object with write and flush
        Gets what gemmi has to say.

    Returns
    -------
    list of str
        Which names were taken for which.
    """
    monlib.update_old_atom_names(structure, log)
    renamed: list[str] = []
    for chain, residue, component in _ligands(structure, monlib):
        for name in _unnamed(residue, component):
            new = _dictionary_name(name, residue, component)
            if new is None:
                continue
            renamed.append(f"{chain.name}/{residue.name} {residue.seqid}/{name} as {new}")
            _rename(structure, gemmi.AtomAddress(chain.name, residue.seqid, residue.name, name), residue, new)
    if not renamed:
        return []
    n = len(renamed)
    return [f"{counted(n, 'atom')} of ligands {are(n)} named otherwise in the dictionary, taken so: {listed(renamed)}"]


def strangers(structure: gemmi.Structure, monlib: gemmi.MonLib) -> dict[str, str]:
    """Components of ligands with heavy atoms beyond their dictionary, and what was found in the first of each.

    Parameters
    ----------
    structure : gemmi.Structure
        With the names of the dictionary where these can be matched.
    monlib : gemmi.MonLib

    Returns
    -------
    dict of str to str
        Component name to a sentence that lacks its end, the file of the dictionary.
    """
    found: dict[str, str] = {}
    for chain, residue, component in _ligands(structure, monlib):
        names = _unnamed(residue, component)
        if names and residue.name not in found:
            count = len({atom.name for atom in residue if not atom.is_hydrogen()})
            found[residue.name] = (
                f"{chain.name}/{residue.name} {residue.seqid}: {len(names)} of its {counted(count, 'atom')} "
                f"({listed(names)}) {are(len(names))} not in the component {residue.name} of"
            )
    return found


def other_compound_message(found: Sequence[str]) -> str:
    """Say which ligands their dictionaries do not fit, and what to do.

    Parameters
    ----------
    found : sequence of str
        What `strangers` found, with the file of the dictionary.
    """
    return (
        "; ".join(found)
        + ": it is of another compound with the same name, or has other names for the atoms. Give a restraint CIF of "
        "this compound, with the names of atoms that the model has, with --restraints FILE (made by AceDRG, grade2 or "
        "eLBOW, for instance), or keep such residues fixed in place with --unknown hold."
    )


def _rename(structure: gemmi.Structure, old: gemmi.AtomAddress, residue: gemmi.Residue, new: str) -> None:
    """Rename an atom in all its conformers, and in the links that name it."""
    for atom in [atom for atom in residue if atom.name == old.atom_name]:
        atom.name = new
    for connection in structure.connections:
        for end in (connection.partner1, connection.partner2):
            if (end.chain_name, end.res_id, end.atom_name) == (old.chain_name, old.res_id, old.atom_name):
                end.atom_name = new


def _ligands(
    structure: gemmi.Structure, monlib: gemmi.MonLib
) -> Iterator[tuple[gemmi.Chain, gemmi.Residue, gemmi.ChemComp]]:
    """Residues outside polymers, waters aside, that have a dictionary."""
    for chain in structure[0]:
        for residue in chain:
            outside = residue.entity_type not in (gemmi.EntityType.Polymer, gemmi.EntityType.Water)
            if outside and residue.name in monlib.monomers:
                yield chain, residue, monlib.monomers[residue.name]


def _unnamed(residue: gemmi.Residue, component: gemmi.ChemComp) -> list[str]:
    """Names of heavy atoms that the dictionary does not have, each once."""
    known = {atom.id for atom in component.atoms}
    return list(dict.fromkeys(a.name for a in residue if not a.is_hydrogen() and a.name not in known))


def _dictionary_name(name: str, residue: gemmi.Residue, component: gemmi.ChemComp) -> str | None:
    """What the dictionary calls an atom that it does not name, if that can be told."""
    atom = next(atom for atom in residue if atom.name == name)
    present = {atom.name for atom in residue}
    absent = {a.id: a for a in component.atoms if a.id not in present and a.el == atom.element}
    for new in (name.replace("*", "'"), _SYNONYMS.get(name)):
        if new in absent:
            return new
    near = {
        other.name
        for other in residue
        if other.name != name and not other.is_hydrogen() and _together(atom, other)
        and other.pos.dist(atom.pos) < _BONDED
    }  # fmt: skip
    fitting = [new for new in absent if _neighbours(new, component) == near]
    # several that fit are one as good as the other only where they are of one kind, as the oxygens of a phosphate
    return fitting[0] if len({absent[new].chem_type for new in fitting}) == 1 else None


def _together(one: gemmi.Atom, two: gemmi.Atom) -> bool:
    return one.altloc == two.altloc or "\0" in (one.altloc, two.altloc)


def _neighbours(name: str, component: gemmi.ChemComp) -> set[str]:
    """Heavy atoms that the dictionary bonds to an atom."""
    hydrogens = {atom.id for atom in component.atoms if atom.is_hydrogen()}
    bonded = ({bond.id1.atom, bond.id2.atom} for bond in component.rt.bonds)
    return {other for pair in bonded if name in pair for other in pair - {name} if other not in hydrogens}
