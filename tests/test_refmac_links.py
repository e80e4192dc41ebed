"""LINKR records of REFMAC: disulfides come out as such, and gaps are no links."""

from __future__ import annotations

import json
from pathlib import Path

import gemmi
from joined import joined
from test_write import make_data, make_report

from arrayrefine.io.models.reading import read_model
from arrayrefine.io.output.write import write_outputs
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.build import build_restraints
from arrayrefine.wording import Caution

DISULFIDE = "LINKR        SG  CYS A   1                 SG  CYS B   1                SS\n"
GAP = "LINKR            CYS A   1                     CYS B   1                gap\n"
BLANK = "LINK             CYS A   1                     CYS B   1     1555   1555  3.90\n"


def source(folder: Path, records: str) -> Path:
    """Two Cys with their sulfurs 2.04 Å apart, and records of links."""
    structure, _ = joined(("CYS", "SG", "HG"), ("CYS", "SG", "HG"), 2.04)
    structure.connections.pop(0)
    path = folder / "model.pdb"
    path.write_text(records + structure.make_pdb_string())
    return path


def notes(path: Path) -> list[str]:
    model = read_model(path)
    return list(build_restraints(model.structure, model.atoms, model.crystal, load_monomers(["CYS"])).notes)


def test_disulfides_and_gaps_in_the_output(tmp_path: Path) -> None:
    model = read_model(source(tmp_path, DISULFIDE + GAP))
    write_outputs(tmp_path, model, model.atoms, *make_data(model.crystal, 8.0), make_report())
    lines = (tmp_path / "refined.pdb").read_text().splitlines()
    assert sum(line.startswith("SSBOND") for line in lines) == 1
    assert not any(line.startswith("LINK") for line in lines)
    block = gemmi.cif.read(str(tmp_path / "refined.cif")).sole_block()
    assert list(block.find_values("_struct_conn.conn_type_id")) == ["disulf"]
    said = [note for note in json.loads((tmp_path / "report.json").read_text())["warnings"] if "LINKR" in note]
    assert said == [
        "left out of the output, as they name residues and no atoms: 1 record of links or gaps (LINKR); refinement "
        "follows what they say of gaps"
    ]
    assert not [note for note in notes(tmp_path / "refined.pdb") if "left out" in note]


def test_a_link_without_atoms_is_not_said_to_be_of_others(tmp_path: Path) -> None:
    (note,) = [note for note in notes(source(tmp_path, DISULFIDE + BLANK)) if "left out" in note]
    assert note == "1 link left out, whose record names residues and no atoms: A/CYS 1/ - B/CYS 1/"
    assert not isinstance(note, Caution)
