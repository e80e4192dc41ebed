"""Names of atoms: matched with those of the dictionary, and refused where it is of another compound."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

import gemmi

from arrayrefine.wording import are, counted, listed

_BONDED = 2.0
"""Å; lighter atoms of one residue are bonded up to here (C-Br 1.94), and angles keep others 2.2 Å apart."""
_PHOSPHATE = {"O1P": "OP1", "O2P": "OP2", "O3P": "OP3"}
_SYNONYMS = {**_PHOSPHATE, **{new: old for old, new in _PHOSPHATE.items()}, "OT1": "O", "OT2": "OXT", "OT": "OXT"}
"""Oxygens of phosphates before and after the remediation of the PDB (2007), of which libraries have either, and those
that end a chain in CNS and CHARMM."""
_CARBOXYLATE = {"O", "OXT"}
"""Oxygens that end a chain; libraries draw one with a double bond. GROMACS calls them OC1 and OC2, or O1 and O2."""
_OTHER_PROGRAMS = {
    "ADE": "A or DA", "CYT": "C or DC", "GUA": "G or DG", "THY": "DT", "T": "DT", "URI": "U", "URA": "U",
    "HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "HID": "HIS", "HIE": "HIS", "HIP": "HIS",
    "CYX": "CYS", "CYM": "CYS", "LYN": "LYS", "ASH": "ASP", "GLH": "GLU", "SUL": "SO4",
    **{base + end: base for base in ("A", "C", "G", "U", "DA", "DC", "DG", "DT") for end in "53"},
    **{f"R{base}{end}": base for base in "ACGU" for end in ("", "5", "3")},
}  # fmt: skip
"""Residues as CNS, X-PLOR, CHARMM and AMBER, or old files, name them, and as the PDB and its dictionaries do."""
_IONS = {
    name: f"{ion} with an atom {ion}, where it is an ion"
    for name, ion in {
        "Na+": "NA", "Cl-": "CL", "K+": "K", "Li+": "LI", "Rb+": "RB", "Cs+": "CS",
        "SOD": "NA", "CLA": "CL", "POT": "K", "CAL": "CA", "CES": "CS", "ZN2": "ZN",
        "NA+": "NA", "CL-": "CL", "MG2": "MG", "CA2": "CA", "IP": "NA", "IM": "CL",
    }.items()
}  # fmt: skip
"""Ions as AMBER and CHARMM name them, some as the PDB does other compounds: CLA is chlorophyll."""
_ANOTHER = 0.5
"""A residue of a polymer that has a larger share of its heavy atoms beyond the dictionary is of another compound; fewer
may be a modification."""


_Group = gemmi.ChemComp.Group
OF_CHAINS = (_Group.Peptide, _Group.PPeptide, _Group.MPeptide, _Group.Rna, _Group.Dna, _Group.DnaRna)


class _Log(Protocol):
    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def use_dictionary_names(structure: gemmi.Structure, monlib: gemmi.MonLib, log: _Log) -> list[str]:
    """Give atoms the names that the dictionary has for them, in place: a structure to look up restraints with.

    Old names that the dictionary lists are gemmi's part. Beyond them, atoms that the dictionary does not name are
    matched by the marks of old names (* for ', O1P for OP1), then by their place: they take the name of an
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
    renamed: dict[str, list[str]] = {"polymers": [], "ligands": []}
    for chain, residue, component, unnamed in _residues(structure, monlib):
        for name in unnamed:
            new = _dictionary_name(name, residue, component)
            if new is None:
                continue
            said = f"{chain.name}/{residue.name} {residue.seqid}/{name} as {new}"
            renamed["polymers" if _in_polymer(residue) else "ligands"].append(said)
            _rename(structure, gemmi.AtomAddress(chain.name, residue.seqid, residue.name, name), residue, new)
    return [
        f"{counted(len(names), 'atom')} of {kind} {are(len(names))} named otherwise in the dictionary, taken so: "
        f"{listed(names)}"
        for kind, names in renamed.items() if names
    ]  # fmt: skip


def strangers(structure: gemmi.Structure, monlib: gemmi.MonLib) -> dict[str, str]:
    """Components of ligands with heavy atoms beyond their dictionary, or of polymers with most of them beyond it.

    In polymers some beyond it are enough where other programs give the name to a residue and the dictionary's is none,
    as the nucleoside URI. What was found in the first of each goes with it.

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
    for chain, residue, component, names in _residues(structure, monlib):
        if not names or residue.name in found:
            continue
        count = len({atom.name for atom in residue if not atom.is_hydrogen()})
        trivial = residue.name in _OTHER_PROGRAMS and component.group not in OF_CHAINS
        if not _in_polymer(residue) or trivial or len(names) > _ANOTHER * count:
            found[residue.name] = (
                f"{chain.name}/{residue.name} {residue.seqid}: {len(names)} of its {counted(count, 'atom')} "
                f"({listed(names)}) {are(len(names))} not in the component {residue.name} of"
            )
    return found


def names_of_other_programs(components: Iterable[str]) -> str:
    """What the PDB calls components that programs for refinement or dynamics name otherwise: a sentence, or ""."""
    known = _OTHER_PROGRAMS | _IONS
    names = [f"{name} is {known[name]}" for name in components if name in known]
    names += [f"{name} is {name.upper()}" for name in components if name not in known and name != name.upper()]
    if not names:
        return ""
    return f" If they have the names of another program, rename them in the model: in the PDB {', '.join(names)}."


def other_compound_message(found: Mapping[str, str]) -> str:
    """Say which residues their dictionaries do not fit, and what to do.

    Parameters
    ----------
    found : mapping of str to str
        What `strangers` found, with the file of the dictionary.
    """
    return (
        "; ".join(found.values())
        + ": it is of another compound with the same name, or has other names for the atoms. Give a restraint CIF of "
        "this compound, with the names of atoms that the model has, with --restraints FILE (made by AceDRG, grade2 or "
        "eLBOW, for instance), or hold such residues in the shape that the model gives them with --unknown shape, or "
        "fixed in place with --unknown hold."
        + names_of_other_programs(found)
    )


def _rename(structure: gemmi.Structure, old: gemmi.AtomAddress, residue: gemmi.Residue, new: str) -> None:
    """Rename an atom in all its conformers, and in the links that name it."""
    for atom in [atom for atom in residue if atom.name == old.atom_name]:
        atom.name = new
    for connection in structure.connections:
        for end in (connection.partner1, connection.partner2):
            if (end.chain_name, end.res_id, end.atom_name) == (old.chain_name, old.res_id, old.atom_name):
                end.atom_name = new


def _residues(
    structure: gemmi.Structure, monlib: gemmi.MonLib
) -> Iterator[tuple[gemmi.Chain, gemmi.Residue, gemmi.ChemComp, list[str]]]:
    """Residues that have a dictionary, waters aside, with the names of heavy atoms that it does not have."""
    known: dict[str, frozenset[str]] = {}
    for chain in structure[0]:
        for residue in chain:
            name = residue.name
            if residue.entity_type == gemmi.EntityType.Water or name not in monlib.monomers:
                continue
            component = monlib.monomers[name]
            if name not in known:
                known[name] = frozenset(atom.id for atom in component.atoms)
            yield chain, residue, component, _unnamed(residue, known[name])


def _in_polymer(residue: gemmi.Residue) -> bool:
    return bool(residue.entity_type == gemmi.EntityType.Polymer)


def _unnamed(residue: gemmi.Residue, known: Collection[str]) -> list[str]:
    """Names of heavy atoms that are not known, each once."""
    return list(dict.fromkeys(a.name for a in residue if a.name not in known and not a.is_hydrogen()))


def _dictionary_name(name: str, residue: gemmi.Residue, component: gemmi.ChemComp) -> str | None:
    """What the dictionary calls an atom that it does not name, if that can be told."""
    atom = next(atom for atom in residue if atom.name == name)
    present = {atom.name for atom in residue}
    absent = {a.id: a for a in component.atoms if a.id not in present and a.el == atom.element}
    for new in (prime_for_star(name), _SYNONYMS.get(name)):
        if new in absent:
            return new
    near = {
        other.name
        for other in residue
        if other.name != name and not other.is_hydrogen() and _together(atom, other)
        and other.pos.dist(atom.pos) < _BONDED
    }  # fmt: skip
    bonded, hydrogens = bonded_atoms(component), hydrogens_of(component)
    fitting = [new for new in absent if bonded.get(new, set()) - hydrogens == near]
    # several that fit are one as good as the other only where they are of one kind, as the oxygens of a phosphate
    alike = len({absent[new].chem_type for new in fitting}) == 1 or set(fitting) == _CARBOXYLATE
    return fitting[0] if alike else None


def prime_for_star(name: str) -> str:
    """Name of an atom of a sugar as it is since the remediation of the PDB (2007)."""
    return name.replace("*", "'")


def _together(one: gemmi.Atom, two: gemmi.Atom) -> bool:
    return one.altloc == two.altloc or "\0" in (one.altloc, two.altloc)


def hydrogens_of(component: gemmi.ChemComp) -> set[str]:
    """Names of its hydrogens."""
    return {atom.id for atom in component.atoms if atom.is_hydrogen()}


def bonded_to(name: str, component: gemmi.ChemComp) -> set[str]:
    """Atoms that the dictionary bonds to an atom; those of every atom are found together by `bonded_atoms`."""
    return bonded_atoms(component).get(name, set())


def bonded_atoms(component: gemmi.ChemComp) -> dict[str, set[str]]:
    """Atoms that the dictionary bonds to each atom that has any."""
    found: dict[str, set[str]] = {}
    for bond in component.rt.bonds:
        one, two = bond.id1.atom, bond.id2.atom
        if one != two:
            found.setdefault(one, set()).add(two)
            found.setdefault(two, set()).add(one)
    return found
