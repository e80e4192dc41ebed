"""Links of atoms with conformers, whose records name none, are there in each that can be."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.monomers import EMBEDDED, load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.links import with_found_links

_S_S = 2.04
"""Å"""


def _residue(name: str, altlocs: str, leaves: str, toward: gemmi.Position) -> gemmi.Residue:
    """A component as its dictionary draws it, in conformers 3 Å apart along z, with its sulfur at a place."""
    file = EMBEDDED / name[0].lower() / f"{name}.cif"
    drawn = gemmi.make_chemcomp_from_block(gemmi.cif.read(str(file))[-1])
    heavy = [atom for atom in drawn.atoms if not atom.is_hydrogen() and atom.id not in leaves.split()]
    sulfur = next(atom for atom in heavy if atom.el.name == "S")
    residue = gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = name, gemmi.SeqId("1"), "H"
    for number, altloc in enumerate(altlocs):
        for site in heavy:
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso, atom.altloc = site.id, site.el, 20.0, altloc
            atom.occ = 1.0 / len(altlocs)
            shift = site.xyz - sulfur.xyz
            atom.pos = toward + gemmi.Position(shift.x, shift.y, shift.z + 3.0 * number)
            residue.add_atom(atom)
    return residue


def _model(path: Path, record: str, cys: str = "AB", ligand: str = "AB", apart: float = _S_S) -> Model:
    """A Cys and a mercaptoethanol bonded by their sulfurs, and a record that says so."""
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(60.0, 60.0, 60.0, 90.0, 90.0, 90.0), "P 1"
    structure.add_model(gemmi.Model(1))
    parts = _residue("CYS", cys, "OXT", gemmi.Position(20.0, 20.0, 20.0)), _residue(
        "BME", ligand, "", gemmi.Position(20.0, 20.0 + _S_S, 20.0)
    )
    for atom in parts[1]:
        if atom.altloc == "B":
            atom.pos += gemmi.Position(0.0, apart - _S_S, 0.0)
    for name, residue in zip("AB", parts):
        chain = gemmi.Chain(name)
        chain.add_residue(residue)
        structure[0].add_chain(chain)
    path.write_text(f"{record}\n{structure.make_pdb_string()}")
    return read_model(path)


_SSBOND = "SSBOND   1 CYS A    1    BME B    1                          1555   1555  2.04"
_LINK = "LINK         SG {}CYS A   1                 S2 {}BME B   1     1555   1555  2.04"
_BLANK = _LINK.format(" ", " ")


def _read(model: Model) -> tuple[Model, list[str], Restraints]:
    library = load_monomers(["CYS", "BME"])
    linked, notes = with_found_links(model, model.crystal, library.monlib)
    return linked, notes, build_restraints(linked.structure, linked.atoms, linked.crystal, library)


def _joined(model: Model, restraints: Restraints) -> list[tuple[str, str]]:
    """Conformers of the two sulfurs that are bonded."""
    who = model.atoms.identity
    rows = restraints.bonds.index[np.all(model.atoms.element[restraints.bonds.index] == "S", axis=1)]
    return sorted((str(who.altloc[a]), str(who.altloc[b])) for a, b in np.sort(rows, axis=1))


def test_conformers_on_each_other_are_not_joined(tmp_path: Path) -> None:
    """A disulfide of A, found or named without conformers, says nothing of B, of which the sulfurs are at one place."""
    model = _model(tmp_path / "a.pdb", _SSBOND, apart=0.9)
    for end in (model.structure.connections[0].partner1, model.structure.connections[0].partner2):
        end.altloc = "A"
    model, _, restraints = _read(model)
    assert _joined(model, restraints) == [("A", "A")]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (_SSBOND, True),
        (_BLANK, True),
        (_LINK.format("A", "A") + "\n" + _LINK.format("B", "B"), False),
        (_SSBOND + "\n" + _SSBOND, True),  # as we write it
        (_SSBOND + "\n" + _LINK.format("B", "B"), False),
    ],
)
def test_each_conformer_has_its_link(tmp_path: Path, record: str, told: bool) -> None:
    model, notes, restraints = _read(_model(tmp_path / "a.pdb", record))
    assert _joined(model, restraints) == [("A", "A"), ("B", "B")]
    assert {str(link.partner1.altloc) for link in model.structure.connections} == {"A", "B"}
    assert bool([note for note in notes if "do not name them" in note]) == told
    assert not [note for note in restraints.notes if "left out" in note or "more than once" in note]


@pytest.mark.parametrize("record", [_SSBOND, _BLANK])
def test_a_partner_without_conformers_has_one_with_each(tmp_path: Path, record: str) -> None:
    source = _model(tmp_path / "a.pdb", record, ligand="\0")
    for atom in (structure := source.structure.clone())[0]["A"][0]:
        atom.pos.z = 20.0 if atom.name == "SG" else atom.pos.z
    structure.input_format = gemmi.CoorFormat.Pdb
    model, notes, restraints = _read(read_model(structure))
    assert _joined(model, restraints) == [("A", ""), ("B", "")]
    assert "A/CYS 1/SG.A - B/BME 1/S2; A/CYS 1/SG.B - B/BME 1/S2" in notes[0]


def test_ssbond_leaves_reduced_conformers_alone(tmp_path: Path) -> None:
    model, notes, restraints = _read(_model(tmp_path / "a.pdb", _SSBOND, apart=3.5))
    assert _joined(model, restraints) == [("A", "A")]
    assert not [note for note in notes if "do not name them" in note]


def test_first_conformers_that_do_not_match(tmp_path: Path) -> None:
    """The record stands for B and B, the only pair there is."""
    model, notes, restraints = _read(_model(tmp_path / "a.pdb", _BLANK, cys="AB", ligand="CB", apart=_S_S))
    assert _joined(model, restraints) == [("B", "B")]
    assert "1 link of atoms with conformers is taken" in notes[0]


def test_conformers_that_are_never_there_together(tmp_path: Path) -> None:
    model, _, restraints = _read(_model(tmp_path / "a.pdb", _BLANK, cys="A", ligand="B"))
    assert not _joined(model, restraints)
    (note,) = [note for note in restraints.notes if "left out" in note]
    assert note == "1 link left out, of atoms that have no conformer in common: A/CYS 1/SG - B/BME 1/S2"


def test_conformers_that_are_elsewhere_are_not_joined(tmp_path: Path) -> None:
    """The other one of a LINK that names none may be far off: it is not drawn there."""
    model = _model(tmp_path / "model.pdb", _BLANK, apart=_S_S + 1.3)
    linked, notes, restraints = _read(model)
    assert _joined(linked, restraints) == [("A", "A")]
    (note,) = (note for note in notes if "not joined by a link that names none" in note)
    assert "SG.B" in note
    assert "(3.3 Å)" in note
    for record, apart in ((_BLANK, _S_S + 0.7), (_LINK.format("B", "B"), _S_S + 0.7)):
        linked, notes, restraints = _read(_model(tmp_path / "model.pdb", record, apart=apart))
        assert ("B", "B") in _joined(linked, restraints)
        assert not any("not joined" in note for note in notes)
