"""Selections in gemmi's syntax, such as ``//A/10-40/CA``, made on arrays of atoms."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.errors import InputError

Mask = NDArray[np.bool_]

_EXPECTED = (
    "expected /model/chain/residues/atoms as in gemmi, such as '//A/10-40/CA', '//*/(HOH)', '//A/57.B/CA:B', "
    "'//*//[Zn]', or with conditions '//A//;b>60'"
)


def select_gemmi(atoms: Atoms, text: str) -> Mask:
    """Mask (N,) of the atoms that a selection in gemmi's syntax names.

    Raises
    ------
    InputError
        gemmi cannot read it.
    """
    try:
        selection = gemmi.Selection(text)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"selection '{text}': {error}; {_EXPECTED}") from error
    mask = np.zeros(len(atoms), dtype=bool)
    structure = gemmi.Structure()
    structure.add_model(_as_gemmi(atoms))
    chosen = selection.copy_structure_selection(structure)
    mask[[atom.serial for model in chosen for chain in model for residue in chain for atom in residue]] = True
    return mask


def _as_gemmi(atoms: Atoms) -> gemmi.Model:
    """The atoms with all that gemmi selects by; the serial number of each is its place in the arrays."""
    who, model = atoms.identity, gemmi.Model(1)
    b_iso, occupancy, element = atoms.b_iso.tolist(), atoms.occupancy.tolist(), atoms.element.tolist()
    names, altlocs = who.atom_name.tolist(), who.altloc.tolist()
    starts = np.flatnonzero(np.diff(who.residue, prepend=-1)) if len(atoms) else np.zeros(0, dtype=np.int64)
    chains: list[gemmi.Chain] = []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(atoms)]):
        if start == 0 or who.chain[start] != who.chain[start - 1]:
            chains.append(gemmi.Chain(str(who.chain[start])))
        residue = gemmi.Residue()
        residue.name = str(who.residue_name[start])
        residue.seqid = gemmi.SeqId(int(who.sequence_number[start]), str(who.insertion_code[start]) or " ")
        for i in range(start, end):
            atom = gemmi.Atom()
            atom.name, atom.altloc, atom.element = names[i], altlocs[i] or "\0", gemmi.Element(element[i])
            atom.b_iso, atom.occ, atom.serial = b_iso[i], occupancy[i], i
            residue.add_atom(atom)
        chains[-1].add_residue(residue)
    for chain in chains:
        model.add_chain(chain)
    return model
