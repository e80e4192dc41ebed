"""Names that an mmCIF file pads with blanks are those without, and a blank is no conformer."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest
from joined import joined
from test_write import make_data, make_report

from arrayrefine.io.models.reading import read_model
from arrayrefine.io.output.write import write_outputs
from arrayrefine.monomers import load_monomers
from arrayrefine.topology.build import build_restraints


def padded(block: gemmi.cif.Block, category: str, padding: dict[str, str]) -> None:
    """Put blanks around these values of a category, wherever they are."""
    table = block.get_mmcif_category(category)
    replaced = {name: [padding.get(str(value), value) for value in values] for name, values in table.items()}
    block.set_mmcif_category(category, replaced)


@pytest.mark.parametrize("categories", [("_struct_conn.",), ("_atom_site.", "_struct_conn.")])
def test_links_of_padded_components_find_their_atoms(tmp_path: Path, categories: tuple[str, ...]) -> None:
    structure, _ = joined(("GOL", "O1", "HO1"), ("EDO", "C1", "O1"), 1.43)
    structure.setup_entities()
    document = structure.make_mmcif_document()
    for category in categories:
        padded(document.sole_block(), category, {"GOL": "  GOL", "C1": " C1 "})
    document.write_file(str(tmp_path / "model.cif"))
    model = read_model(tmp_path / "model.cif")
    assert set(model.atoms.identity.residue_name.tolist()) == {"GOL", "EDO"}
    restraints = build_restraints(model.structure, model.atoms, model.crystal, load_monomers(["GOL", "EDO"]))
    assert any("1 link unknown to the library is restrained" in note for note in restraints.notes)
    assert not any("does not have" in note for note in restraints.notes)
    write_outputs(tmp_path, model, model.atoms, *make_data(model.crystal, 8.0), make_report())
    written = gemmi.read_structure(str(tmp_path / "refined.cif"))
    (link,) = written.connections
    assert all(written[0].find_cra(end).atom is not None for end in (link.partner1, link.partner2))


def test_a_blank_is_no_conformer(tmp_path: Path) -> None:
    structure, _ = joined(("GOL", "O1", "HO1"), ("EDO", "C1", "O1"), 1.43)
    structure.setup_entities()
    document = structure.make_mmcif_document()
    column = document.sole_block().find_values("_atom_site.label_alt_id")
    for k in range(len(column)):
        column[k] = "' '"
    document.write_file(str(tmp_path / "model.cif"))
    model = read_model(tmp_path / "model.cif")
    assert set(model.atoms.identity.altloc.tolist()) == {""}
    write_outputs(tmp_path, model, model.atoms, *make_data(model.crystal, 8.0), make_report())
    written = gemmi.read_structure(str(tmp_path / "refined.cif"))
    assert written[0].count_atom_sites() == len(model.atoms)
    (link,) = written.connections
    assert written[0].find_cra(link.partner1).atom is not None
