"""Two components of the embedded library with a link between them."""

from __future__ import annotations

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from arrayrefine.monomers import EMBEDDED

Drawn = dict[str, np.ndarray]


def empty() -> gemmi.Structure:
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(80.0, 80.0, 80.0, 90.0, 90.0, 90.0), "P 1"
    structure.add_model(gemmi.Model(1))
    return structure


def drawn(name: str) -> tuple[Drawn, dict[str, str]]:
    """Coordinates and elements of a component."""
    block = gemmi.cif.read(str(EMBEDDED / name[0].lower() / f"{name}.cif"))[-1]
    atoms = gemmi.make_chemcomp_from_block(block).atoms
    return {a.id: np.array(a.xyz.tolist()) for a in atoms}, {a.id: a.el.name for a in atoms}


def joined(one: tuple[str, str, str], two: tuple[str, str, str], length: float) -> tuple[gemmi.Structure, list[Drawn]]:
    """Two components (name, linked atom, atom that leaves) as drawn, with a link; and where their atoms would be."""
    structure, places = empty(), []
    for number, (name, linked, leaving) in enumerate((one, two)):
        xyz, elements = drawn(name)
        axis = xyz[leaving] - xyz[linked]
        turn, _ = Rotation.align_vectors([[0.0, 0.0, 1.0 - 2.0 * number]], [axis])
        shift = np.array([40.0, 40.0, 40.0 + length * number])
        xyz = {key: turn.apply(position - xyz[linked]) + shift for key, position in xyz.items()}
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId("1"), "H"
        for key, position in xyz.items():
            if elements[key] != "H" and key != leaving:
                atom = gemmi.Atom()
                atom.name, atom.element, atom.b_iso = key, gemmi.Element(elements[key]), 20.0
                atom.serial, atom.pos = 100 * number + len(residue) + 1, gemmi.Position(*position.tolist())
                residue.add_atom(atom)
        chain = gemmi.Chain("AB"[number])
        chain.add_residue(residue)
        structure[0].add_chain(chain)
        places.append(xyz)
    connection = gemmi.Connection()
    connection.name, connection.type = "link1", gemmi.ConnectionType.Covale
    ends = [gemmi.AtomAddress("AB"[k], gemmi.SeqId("1"), end[0], end[1]) for k, end in enumerate((one, two))]
    connection.partner1, connection.partner2 = ends
    structure.connections.append(connection)
    return structure, places
