"""Dummy atoms of ARP/wARP are oxygens, never deuterium; unknown atoms scatter as oxygens; warnings name both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.errors import MonomerError
from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.monomers import load_monomers, missing_components_message
from arrayrefine.topology.build import build_restraints
from arrayrefine.wording import Caution

TEXT = """\
CRYST1   40.000   50.000   60.000  90.00  90.00  90.00 P 1
ATOM      1  O   HOH A   1      10.000  10.000  10.000  1.00 20.00           O
ATOM      1  DUM DUM Z   2       9.125  24.749   7.184  1.00 29.59{end}
ATOM      1  DUM DUM Z   3      23.984  18.640   9.570  1.00 32.19{end}
END
"""


def read(folder: Path, end: str) -> Model:
    (folder / "model.pdb").write_text(TEXT.format(end=end))
    return read_model(folder / "model.pdb")


@pytest.mark.parametrize(
    ("end", "element", "said"),
    [("   8     Z", "O", True), ("", "O", True), ("           O", "O", True), ("           N", "N", False)],
)
def test_what_scatters(tmp_path: Path, end: str, element: str, said: bool) -> None:
    model = read(tmp_path, end)
    assert model.atoms.element.tolist() == ["O", element, element]
    notes = [note for note in model.notes if "dummy" in note]
    assert notes == [
        "2 dummy atoms (DUM), as ARP/wARP marks density without a model, are taken for oxygen: Z 2, Z 3. Better "
        "remove them from the model, or rename those that are waters to HOH"
    ] * said
    assert all(isinstance(note, Caution) for note in notes)


def test_the_error_says_what_they_are(tmp_path: Path) -> None:
    model = read(tmp_path, "")
    with pytest.raises(MonomerError, match=r"DUM are dummy atoms.* rename those that are waters to HOH"):
        build_restraints(model.structure, model.atoms, model.crystal, load_monomers(["HOH", "DUM"]))


def test_the_error_says_what_an_unknown_ligand_is() -> None:
    said = missing_components_message({"UNL": ["A 902"], "Q0Q": ["A 1"]})
    assert said.endswith(
        " UNL is what the PDB calls a ligand that nobody could name, for which there can be no restraints: --unknown "
        "hold keeps it, or remove it from the model, or name it."
    )
    assert "UNL is" not in missing_components_message({"Q0Q": ["A 1"]})


def test_unknown_atoms_on_a_crystal(case: Callable[[str], Path], tmp_path: Path) -> None:
    """1RX2 with a third of its waters as unknown atoms, two of them as near as atoms of a ligand: they move, too."""
    folder = case("1rx2")
    structure = gemmi.read_structure(str(next(folder.glob("shaken.cif"))))
    waters = [r for chain in structure[0] for r in chain if r.is_water() and len(r) == 1][:40]
    for water in waters:
        water.name, water[0].name, water[0].element = "UNX", "UNK", gemmi.Element("X")
    first, second = (residue[0] for residue in waters[:2])
    second.pos = first.pos + gemmi.Position(1.2, 0.0, 0.0)
    structure.make_mmcif_document().write_file(str(tmp_path / "model.cif"))
    result = ar.refine(tmp_path / "model.cif", folder / "norm.mtz", ar.Options(cycles=1, hydrogens="strip"))
    said = [w for w in result.report.warnings if w.startswith("40 unknown atoms (UNX, element X) scatter as ox")]
    assert [isinstance(w, Caution) for w in said] == [True]
    assert result.r_free < result.report.start.r_free - 0.03
    result.write(tmp_path / "out")
    refined = gemmi.read_structure(str(tmp_path / "out" / "refined.pdb"))
    written = [r[0] for chain in refined[0] for r in chain if r.name == "UNX"]
    assert [a.element.name for a in written] == ["X"] * 40
    moved = np.array([a.pos.dist(r[0].pos) for a, r in zip(written, waters)])
    assert np.median(moved) > 0.05
    assert written[0].pos.dist(written[1].pos) < 1.7  # contacts would hold them 2.5 Å apart and more
