"""Hydrogens on N of histidines: those that the model names are there; where it names none, nobody knows."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.hydrogens.linked import Grown
from arrayrefine.wording import counted

PROTONS = {"HD1": "HD1", "HE2": "HE2", "DD1": "HD1", "DE2": "HE2"}
"""Hydrogens on N, or deuterium, as dictionaries name them; they draw both, though mostly one is there."""


def keep_named(grown: Grown, atoms: Atoms) -> None:
    """Let hydrogens on N of histidines be there that the model names, with an occupancy, in place.

    The one that it does not name beside them stays at occupancy 0, for the ring may turn, and what it meets then is
    asked of both.

    Parameters
    ----------
    grown : Grown
        Hydrogens that the model names get an occupancy.
    atoms : Atoms
        Of the model as read, with its own hydrogens or without any.
    """
    named = _named(atoms)
    for key, parent in grown.parents.items():
        number, name, altloc = key
        if number in named and grown.homes[parent][1].name == "HIS" and any(
            name == other and (letter == altloc or "\0" in (letter, altloc)) for other, letter in named[number]
        ):
            grown.found[key].occ = 1.0


def notes_on_protons(atoms: Atoms) -> list[str]:
    """Sentences about hydrogens that ride on N of histidines: those that are there, and those of which nobody knows."""
    who, child = atoms.identity, atoms.riding.child
    mine = child[(who.residue_name[child] == "HIS") & np.isin(who.atom_name[child], list(PROTONS))]
    there = np.unique(who.residue[mine[atoms.occupancy[mine] > 0]])
    parent = np.full(len(atoms), -1)
    parent[child] = atoms.riding.parent
    idle = mine[(atoms.occupancy[mine] == 0) & (atoms.occupancy[parent[mine]] > 0)]
    unknown = int((~np.isin(who.residue[idle], there)).sum())
    notes = []
    if len(there):
        what = f"{counted(len(there), 'histidine')} with the hydrogens on N that the model names"
        notes.append(f"{what}; the other one has occupancy 0" if len(idle) > unknown else what)
    if unknown:
        what = f"{counted(unknown, 'hydrogen')} on N of histidines of occupancy 0"
        notes.append(f"{what}: which of them are there is not known")
    return notes


def _named(atoms: Atoms) -> dict[int, set[tuple[str, str]]]:
    """Of residues by their running numbers, names and conformers of the hydrogens on N that a model has."""
    who, found = atoms.identity, dict[int, set[tuple[str, str]]]()
    rows = np.isin(who.atom_name, list(PROTONS)) & (who.residue_name == "HIS") & (atoms.occupancy > 0)
    for k in np.flatnonzero(rows & atoms.is_hydrogen).tolist():
        letter = str(who.altloc[k]) or "\0"
        found.setdefault(int(who.residue[k]), set()).add((PROTONS[str(who.atom_name[k])], letter))
    return found
