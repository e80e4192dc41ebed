"""Hydrogens on N of histidines: those that the model names are there, of the others nobody knows."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.hydrogens.linked import Grown, Key
from arrayrefine.wording import counted

PROTONS = {"HD1": "HD1", "HE2": "HE2", "DD1": "HD1", "DE2": "HE2"}
"""Hydrogens on N, or deuterium, as dictionaries name them; they draw both, though mostly one is there."""


def keep_named(grown: Grown, atoms: Atoms) -> tuple[set[Key], list[str]]:
    """Let hydrogens on N of histidines be there that the model names, with an occupancy; those beside them are not.

    Parameters
    ----------
    grown : Grown
        Hydrogens that the model names get an occupancy.
    atoms : Atoms
        Of the model as read, with its own hydrogens or without any.

    Returns
    -------
    gone : set of key
        Hydrogens to leave out: those that the model does not name, where it names the other one.
    notes : list of str
    """
    named = _named(atoms)
    gone: set[Key] = set()
    residues: set[int] = set()
    for key, parent in grown.parents.items():
        number, name, altloc = key
        if number not in named or grown.homes[parent][1].name != "HIS" or name not in PROTONS:
            continue
        there = {other for other, letter in named[number] if letter == altloc or "\0" in (letter, altloc)}
        if name in there:
            grown.found[key].occ = 1.0
            residues.add(number)
        elif there:
            gone.add(key)
    if not residues:
        return gone, []
    what = f"{counted(len(residues), 'histidine')} with the hydrogens on N that the model names"
    return gone, [f"{what}: the others, {len(gone)}, are not there" if gone else what]


def _named(atoms: Atoms) -> dict[int, set[tuple[str, str]]]:
    """Of residues by their running numbers, names and conformers of the hydrogens on N that a model has."""
    who, found = atoms.identity, dict[int, set[tuple[str, str]]]()
    rows = np.isin(who.atom_name, list(PROTONS)) & (who.residue_name == "HIS") & (atoms.occupancy > 0)
    for k in np.flatnonzero(rows & atoms.is_hydrogen).tolist():
        letter = str(who.altloc[k]) or "\0"
        found.setdefault(int(who.residue[k]), set()).add((PROTONS[str(who.atom_name[k])], letter))
    return found
