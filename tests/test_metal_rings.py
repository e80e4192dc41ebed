"""Metals beside a ring whose nitrogen was to bind them: carbons that are too near clash, and the log names them."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.further_restraints.metal_coordination import metal_coordination
from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints
from arrayrefine.validation.clashes import find_clashes


def _beside(name: str, near: dict[str, float], link: str = "", leave: str = "") -> tuple[Atoms, Crystal, Restraints]:
    """A component as its dictionary draws it, and a magnesium in the plane of three atoms at distances of two, Å."""
    drawn = gemmi.make_chemcomp_from_block(gemmi.cif.read(str(EMBEDDED / name[0].lower() / f"{name}.cif"))[-1])
    heavy = {a.id: np.array(a.xyz.tolist()) for a in drawn.atoms if not a.is_hydrogen() and a.id not in leave.split()}
    (one, r), (two, s) = near.items()
    axis = heavy[two] - heavy[one]
    apart = np.linalg.norm(axis)
    along = (r * r - s * s + apart * apart) / (2.0 * apart)
    away = heavy[one] - np.mean(list(heavy.values()), axis=0)
    away -= (away @ axis) * axis / apart**2
    place = heavy[one] + along * axis / apart + np.sqrt(r * r - along * along) * away / np.linalg.norm(away)
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(60.0, 60.0, 60.0, 90.0, 90.0, 90.0), "P 1"
    structure.add_model(gemmi.Model(1))
    chain = gemmi.Chain("A")
    metal = {"MG": place}
    for number, (called, sites) in enumerate(((name, heavy), ("MG", metal)), start=1):
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = called, gemmi.SeqId(str(number)), "H"
        for site, xyz in sites.items():
            atom = gemmi.Atom()
            atom.name, atom.b_iso = site, 20.0
            atom.element = gemmi.Element("Mg" if site == "MG" else site[0])
            atom.pos = gemmi.Position(*(xyz - place + 30.0))
            residue.add_atom(atom)
        chain.add_residue(residue)
    if link:
        connection = gemmi.Connection()
        connection.name, connection.type = "metal1", gemmi.ConnectionType.MetalC
        connection.partner1 = gemmi.AtomAddress("A", gemmi.SeqId("1"), name, link)
        connection.partner2 = gemmi.AtomAddress("A", gemmi.SeqId("2"), "MG", "MG")
        structure.connections.append(connection)
    structure[0].add_chain(chain)
    model = read_model(structure)
    library = load_monomers([name, "MG"])
    return model.atoms, model.crystal, build_restraints(model.structure, model.atoms, model.crystal, library)


def _clashes(atoms: Atoms, crystal: Crystal, restraints: Restraints) -> set[str]:
    found = find_clashes(atoms, restraints.bonds, restraints.non_bonded, crystal)
    return {str(atoms.identity.atom_name[k]) for pair in zip(found.i, found.j) for k in pair} - {"MG"}


@pytest.mark.parametrize(
    ("name", "near", "link", "leave", "expected"),
    [
        ("HIS", {"CE1": 2.2, "NE2": 2.1}, "", "", {"CE1"}),
        ("HIS", {"NE2": 2.1, "CE1": 2.9}, "", "", set()),
        ("HIS", {"CE1": 2.2, "NE2": 2.6}, "", "ND1 CG CD2 CB CA N C O OXT", set()),  # what is left is like cyanide
        ("HIS", {"CB": 2.2, "CG": 2.9}, "", "", {"CB"}),
        ("HIS", {"CB": 2.2, "CG": 2.9}, "CB", "", set()),
        ("ACT", {"O": 2.2, "OXT": 2.2}, "", "", set()),  # C at 2.5 Å
    ],
)
def test_carbons_too_near_to_a_metal_clash(
    name: str, near: dict[str, float], link: str, leave: str, expected: set[str]
) -> None:
    assert _clashes(*_beside(name, near, link, leave)) == expected


@pytest.mark.parametrize(
    ("name", "near", "told"),
    [
        ("HIS", {"CE1": 2.2, "NE2": 2.1}, True),
        ("HIS", {"NE2": 2.1, "CE1": 2.9}, False),
        ("HIS", {"N": 2.1, "CA": 2.3}, False),  # in no ring
        ("ARG", {"NE": 2.1, "CZ": 2.2}, False),
        ("HIS", {"CE1": 3.4, "NE2": 3.5}, False),  # nothing is restrained
    ],
)
def test_rings_with_a_carbon_at_a_metal_are_named(name: str, near: dict[str, float], told: bool) -> None:
    atoms, crystal, restraints = _beside(name, near)
    notes = metal_coordination(atoms, restraints, 0.05, 1.0, crystal).notes
    said = [note for note in notes if "probably to be turned" in note]
    assert bool(said) == told
    if told:
        assert said == [
            "1 ring with a carbon as near to a metal as the nitrogen that it is restrained to, probably to be turned: "
            "A/MG 2/MG: 2.20 Å to A/HIS 1/CE1, 2.10 Å to NE2"
        ]


@pytest.mark.parametrize("told", [True, False])
def test_rings_with_a_carbon_at_a_mate_of_a_metal_are_named(told: bool) -> None:
    atoms, crystal, restraints = _beside("HIS", {"CE1": 2.2, "NE2": 2.1} if told else {"NE2": 2.1, "CE1": 2.9})
    xyz = atoms.xyz.copy()
    xyz[atoms.element == "Mg"] += [60.0, 0.0, 0.0]
    notes = metal_coordination(atoms.replace(xyz=xyz), restraints, 0.05, 1.0, crystal).notes
    assert any("1 of them to symmetry mates: A/HIS 1/NE2 (x+1,y,z)" in note for note in notes)
    said = [note for note in notes if "probably to be turned" in note]
    assert bool(said) == told
    assert all(note.endswith("A/MG 2/MG: 2.20 Å to A/HIS 1/CE1 (x+1,y,z), 2.10 Å to NE2") for note in said)
