"""Components as their dictionary draws them, alone in a cell."""

from __future__ import annotations

from collections.abc import Callable

import gemmi
import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints


def built(
    name: str, names: dict[str, str] | None = None, mirrored: bool = False, altloc: str = "", without: str = "",
    lacks: tuple[str, ...] = (), turned: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[Atoms, Restraints]:
    """Restraints of a component as its dictionary draws it, alone in a cell; atoms that are in `names` renamed.

    The dictionary is taken `without` an atom; the model `lacks` others; places (n, 3), Å, may be `turned` to others.
    """
    library = load_monomers([name])
    chemcomp = library.monlib.monomers[name]
    for k in reversed(range(len(chemcomp.rt.bonds))):
        if without in (chemcomp.rt.bonds[k].id1.atom, chemcomp.rt.bonds[k].id2.atom):
            del chemcomp.rt.bonds[k]
    for k in reversed(range(len(chemcomp.atoms))):
        if chemcomp.atoms[k].id == without:
            del chemcomp.atoms[k]
    residue = gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId("1"), "H"
    for drawn in chemcomp.atoms:
        if not drawn.is_hydrogen() and drawn.id not in lacks:
            atom = gemmi.Atom()
            x, y, z = drawn.xyz.tolist()
            atom.name, atom.element = (names or {}).get(drawn.id, drawn.id), drawn.el
            atom.pos = gemmi.Position(30.0 + (-x if mirrored else x), 30.0 + y, 30.0 + z)
            atom.occ, atom.b_iso, atom.altloc = 0.5 if altloc else 1.0, 20.0, altloc or "\0"
            residue.add_atom(atom)
    if turned is not None:
        for atom, place in zip(residue, turned(np.array([atom.pos.tolist() for atom in residue]))):
            atom.pos = gemmi.Position(*place)
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(60, 60, 60, 90, 90, 90), "P 1"
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    structure.setup_entities()
    model = read_model(structure)
    return model.atoms, build_restraints(model.structure, model.atoms, model.crystal, library)
