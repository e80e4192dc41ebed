"""Hydrogens that have old names, such as 1HB and HN, or those of another program."""

from __future__ import annotations

import gemmi

from arrayrefine.topology.atom_names import bonded_atoms, hydrogens_of
from arrayrefine.wording import are, counted, listed

LONGEST_TO_HYDROGEN = 1.6
"""Å; a hydrogen further from all atoms than this has no parent."""


def use_dictionary_names_of_hydrogens(structure: gemmi.Structure, monlib: gemmi.MonLib) -> list[str]:
    """Give hydrogens that the dictionary does not name those of its names that their parents lack, in place.

    Those of one parent are one as good as the other; they keep the order of their names: 1HB and 2HB become HB2 and
    HB3. More of them than the dictionary has there stay as they are, and so does all of a residue with deuterium.

    Parameters
    ----------
    structure : gemmi.Structure
        A structure to look up restraints with, its heavy atoms named as in the dictionary.
    monlib : gemmi.MonLib

    Returns
    -------
    list of str
        Which names were taken for which.
    """
    said = []
    of_parents: dict[str, dict[str, list[str]]] = {}
    for chain in structure[0]:
        for residue in chain:
            if residue.is_water() or residue.name not in monlib.monomers:
                continue
            if residue.name not in of_parents:
                of_parents[residue.name] = _hydrogens_of_parents(monlib.monomers[residue.name])
            known = of_parents[residue.name]
            new = _new_names(residue, known) if _has_others(residue, known) else {}
            for atom in residue:
                atom.name = new.get(atom.name, atom.name)
            said += [f"{chain.name}/{residue.name} {residue.seqid}/{old} as {name}" for old, name in new.items()]
    if not said:
        return []
    n = len(said)
    return [f"{counted(n, 'hydrogen')} {are(n)} named otherwise in the dictionary, taken so: {listed(said)}"]


def _hydrogens_of_parents(component: gemmi.ChemComp) -> dict[str, list[str]]:
    """Names of the hydrogens that the dictionary has at each heavy atom, in order."""
    hydrogens, bonded = hydrogens_of(component), bonded_atoms(component)
    return {
        atom.id: sorted(bonded.get(atom.id, set()) & hydrogens)
        for atom in component.atoms if atom.id not in hydrogens
    }  # fmt: skip


def _has_others(residue: gemmi.Residue, known: dict[str, list[str]]) -> bool:
    """Whether a residue has hydrogens beyond the dictionary, and no deuterium."""
    names = {name for own in known.values() for name in own}
    return any(atom.is_hydrogen() and atom.name not in names for atom in residue) and not any(
        atom.element.name == "D" for atom in residue
    )


def _new_names(residue: gemmi.Residue, known: dict[str, list[str]]) -> dict[str, str]:
    """Names that hydrogens of a residue get, by those that they have."""
    heavy = [atom for atom in residue if not atom.is_hydrogen()]
    there: dict[str, dict[str, None]] = {}
    astray: set[str] = set()
    for atom in residue:
        if not atom.is_hydrogen():
            continue
        near = [other for other in heavy if other.altloc == atom.altloc or "\0" in (other.altloc, atom.altloc)]
        parent = min(near, key=lambda other: other.pos.dist(atom.pos), default=None)
        if parent is not None and parent.pos.dist(atom.pos) < LONGEST_TO_HYDROGEN:
            there.setdefault(parent.name, {})[atom.name] = None
        else:
            astray.add(atom.name)
    new: dict[str, str] = {}
    for parent_name, names in there.items():
        wanted = known.get(parent_name, [])
        others = sorted(set(names) - set(wanted))
        absent = [name for name in wanted if name not in names and name not in astray]
        if len(others) <= len(absent):
            new.update(zip(others, absent))
    return new
