"""Hydrogen and deuterium that share a place, as in models of neutron diffraction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np

from arrayrefine.options import Options
from arrayrefine.preparation import prepare


def test_hydrogen_and_deuterium_of_one_place_are_kept(case: Callable[[str], Path]) -> None:
    """gemmi makes one atom of the two, by which those of model and restraints were no longer the same."""
    structure = gemmi.read_structure(str(case("1aba") / "model.pdb"))
    structure.remove_hydrogens()
    chain = structure[0][0]
    pairs = 0
    for before, residue in list(zip(chain, list(chain)[1:]))[:40]:
        if residue.name == "PRO" or "N" not in residue or any(atom.altloc != "\0" for atom in residue):
            continue
        n, ca, c = (np.array(one.pos.tolist()) for one in (residue["N"][0], residue["CA"][0], before["C"][0]))
        away = 2.0 * n - ca / 2.0 - c / 2.0 - n
        place = n + 0.86 * away / np.linalg.norm(away)
        for name, altloc, occupancy in (("H", "A", 0.4), ("D", "B", 0.6)):
            atom = gemmi.Atom()
            atom.name, atom.altloc, atom.occ, atom.b_iso = name, altloc, occupancy, 20.0
            atom.element, atom.pos = gemmi.Element(name), gemmi.Position(*place)
            residue.add_atom(atom)
        pairs += 1
    assert pairs > 30
    model, _, atoms, _ = prepare(structure, case("1aba") / "norm.mtz", Options(hydrogens="keep"))
    assert (atoms.element == "D").sum() == pairs == (atoms.element == "H").sum()
    riding = atoms.riding
    assert set(np.flatnonzero(atoms.is_hydrogen).tolist()) == set(riding.child.tolist())
    assert (atoms.identity.atom_name[riding.parent] == "N").all()
    assert len(model.atoms) == len(atoms)
