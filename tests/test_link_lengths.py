"""Links that no library describes have typical lengths, not the sum of covalent radii."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from joined import joined

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.link_lengths import is_planar


def _joined(one: tuple[str, str], two: tuple[str, str], mate: bool = False, unknown: str = "error") -> Restraints:
    """Two components as their dictionaries draw them, and a LINK between an atom of each."""
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(60.0, 60.0, 60.0, 90.0, 90.0, 90.0), "P 1"
    structure.add_model(gemmi.Model(1))
    ends: list[gemmi.AtomAddress] = []
    places: list[gemmi.Position] = []
    for number, (name, linked) in enumerate((one, two)):
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId("1"), "H"
        file = EMBEDDED / name[0].lower() / f"{name}.cif"
        drawn = gemmi.make_chemcomp_from_block(gemmi.cif.read(str(file))[-1]) if file.is_file() else None
        sites = [(a.id, a.el.name, a.xyz.tolist()) for a in drawn.atoms] if drawn else [("C1", "C", [0.0, 0.0, 0.0])]
        for known, element, xyz in sites:
            if element != "H":
                atom = gemmi.Atom()
                atom.name, atom.element, atom.b_iso = known, gemmi.Element(element), 20.0
                atom.serial, atom.pos = 100 * number + len(residue) + 1, gemmi.Position(*xyz)
                residue.add_atom(atom)
        places.append(residue.sole_atom(linked).pos)
        if number:
            # far from the rest of the first, and 1.6 Å from its linked atom
            shift = places[0] - places[1] + gemmi.Position(0.0, 0.0, 1.6 + (60.0 if mate else 0.0))
            for atom in residue:
                atom.pos += shift
        chain = gemmi.Chain("AB"[number])
        chain.add_residue(residue)
        structure[0].add_chain(chain)
        ends.append(gemmi.AtomAddress("AB"[number], residue.seqid, name, linked))
    connection = gemmi.Connection()
    connection.name, connection.type = "link1", gemmi.ConnectionType.Covale
    connection.partner1, connection.partner2 = ends
    structure.connections.append(connection)
    model = read_model(structure)
    library = load_monomers([one[0], two[0]])
    return build_restraints(model.structure, model.atoms, model.crystal, library, unknown=unknown)  # type: ignore


def _length(restraints: Restraints) -> float:
    (note,) = [note for note in restraints.notes if "unknown to the library" in note]
    return float(note.split("(")[1].split(" ")[0])


@pytest.mark.parametrize(
    ("one", "two", "length"),
    [
        (("CYS", "SG"), ("MTN", "S1"), 2.03),
        (("CYS", "SG"), ("MTN", "C4"), 1.81),
        (("GOL", "O1"), ("EDO", "C1"), 1.43),
        (("GOL", "C1"), ("EDO", "C1"), 1.52),
        (("LYS", "NZ"), ("EDO", "C1"), 1.47),
        (("LYS", "NZ"), ("BTN", "C11"), 1.33),
        (("BTN", "C11"), ("LYS", "NZ"), 1.33),
        (("PO4", "P"), ("GOL", "O1"), 1.60),
        (("PO4", "P"), ("LYS", "NZ"), 1.65),
        (("SO4", "S"), ("GOL", "O1"), 1.58),
        (("GOL", "O1"), ("BTN", "C11"), 1.43),  # with both its oxygens, it is no ester
        (("GOL", "C1"), ("F", "F"), 1.40),
        (("F", "F"), ("BNZ", "C1"), 1.36),
        (("GOL", "C1"), ("CL", "CL"), 1.79),
        (("BNZ", "C1"), ("BR", "BR"), 1.90),
        (("PO4", "P"), ("CYS", "SG"), 2.12),  # no typical length: the sum of radii
    ],
)
def test_lengths_follow_what_is_joined(one: tuple[str, str], two: tuple[str, str], length: float) -> None:
    restraints = _joined(one, two)
    assert _length(restraints) == pytest.approx(length, abs=0.006)
    assert any(abs(ideal - length) < 0.006 for ideal in restraints.bonds.ideal)


@pytest.mark.parametrize(
    ("residue", "out_of_plane", "length"),
    [("SER", 0.0, 1.34), ("SER", 0.4, 1.34), ("SER", 1.2, 1.43), ("CYS", 0.0, 1.76), ("CYS", 1.2, 1.81)],
)
def test_an_acyl_carbon_is_told_by_its_plane(residue: str, out_of_plane: float, length: float) -> None:
    """A serine or cysteine on biotin's carboxyl: an ester where the carbon stays flat, else as a hemiacetal has it."""
    structure, _ = joined((residue, "OG" if residue == "SER" else "SG", "HG"), ("BTN", "C11", "O12"), 1.38)
    acid = structure[0]["B"][0]
    carbon, first, second = (np.array(acid[name][0].pos.tolist()) for name in ("C11", "O11", "C10"))
    normal = np.cross(first - carbon, second - carbon)
    shift = gemmi.Position(*(out_of_plane * normal / np.linalg.norm(normal)))
    for atom in structure[0]["A"][0]:
        atom.pos += shift
    model = read_model(structure)
    library = load_monomers([residue, "BTN"])
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    assert _length(restraints) == pytest.approx(length)


def test_a_component_without_a_dictionary_has_no_carbonyl() -> None:
    assert _length(_joined(("LYS", "NZ"), ("Q0Q", "C1"), unknown="hold")) == pytest.approx(1.47)


def test_atoms_without_a_dictionary_are_not_planar() -> None:
    monlib = load_monomers(["ALA"]).monlib
    assert is_planar("ALA", "C", monlib)
    assert not is_planar("ALA", "CA", monlib)
    assert not is_planar("NON", "C", monlib)


def test_links_to_mates_have_them_too() -> None:
    restraints = _joined(("LYS", "NZ"), ("BTN", "C11"), mate=True)
    assert restraints.across.bonds.ideal.tolist() == pytest.approx([1.33])
