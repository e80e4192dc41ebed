"""Hydrogens on N of histidines and other imidazoles: those that the model names are there; where it names none, nobody
knows.
"""

from __future__ import annotations

import itertools

import gemmi
import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.hydrogens.linked import Grown
from arrayrefine.topology.atom_names import bonded_atoms, hydrogens_of
from arrayrefine.wording import counted

PROTONS = {"HD1": "HD1", "HE2": "HE2", "DD1": "HD1", "DE2": "HE2"}
"""Hydrogens on N, or deuterium, as dictionaries name them; they draw both, though mostly one is there."""


def keep_named(grown: Grown, atoms: Atoms) -> None:
    """Let hydrogens on N of histidines be there that the model names, with an occupancy, in place.

    The one that it does not name beside them stays at occupancy 0, for the ring may turn, and what it meets then is
    asked of both. gemmi does so with HIS; others of which the dictionary draws both, D-histidine and imidazole among
    them, are told by their rings.

    Parameters
    ----------
    grown : Grown
        Hydrogens that the model names get an occupancy.
    atoms : Atoms
        Of the model as read, with its own hydrogens or without any.
    """
    named = _named(atoms)
    _leave_open(grown, atoms)
    for key, parent in grown.parents.items():
        number, name, altloc = key
        if number in named and grown.homes[parent][1].name == "HIS" and any(
            name == other and (letter == altloc or "\0" in (letter, altloc)) for other, letter in named[number]
        ):
            grown.found[key].occ = 1.0


def _leave_open(grown: Grown, atoms: Atoms) -> None:
    """Let hydrogens on N of other imidazoles be there that the model names alone, in place."""
    who = atoms.identity
    rows = np.flatnonzero(atoms.is_hydrogen & (atoms.occupancy > 0))
    there = set(zip(who.residue[rows].tolist(), who.atom_name[rows].tolist()))
    drawn: dict[str, frozenset[str]] = {}
    for key, parent in grown.parents.items():
        name = grown.homes[parent][1].name
        if name not in drawn:
            component = grown.monlib.monomers[name] if name in grown.monlib.monomers and name != "HIS" else None
            drawn[name] = frozenset() if component is None else protons_of_imidazole(component)
        if key[1] in drawn[name] and key[:2] not in there:
            grown.found[key].occ = 0.0


def protons_of_imidazole(component: gemmi.ChemComp) -> frozenset[str]:
    """Names of the hydrogens on both N of a ring of imidazole, where the dictionary draws both; of one such ring."""
    element = {atom.id: atom.el.name for atom in component.atoms}
    hydrogens = hydrogens_of(component)
    bonded = bonded_atoms(component)
    near = {name: bonded.get(name, set()) for name in element}
    flat = {name for name, kind in element.items() if kind == "C" and len(near[name]) == 3}
    with_proton = {
        name: near[name] & hydrogens for name, kind in element.items()
        if kind == "N" and len(near[name] & hydrogens) == 1 and len(near[name] & flat) == 2
    }  # fmt: skip
    for one, two in itertools.combinations(sorted(with_proton), 2):
        for middle in near[one] & near[two]:
            ends = (near[one] & flat) - {middle}, (near[two] & flat) - {middle}
            others = {element[name] for name in near[middle] - {one, two}}
            if all(ends) and ends[1] <= near[min(ends[0])] and others <= {"C", "H"}:
                return frozenset(with_proton[one] | with_proton[two])
    return frozenset()


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
