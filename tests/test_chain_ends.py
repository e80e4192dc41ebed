"""Amino acids of libraries that have no OXT, at the end of a chain and within."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np

from arrayrefine.io.models.reading import read_model
from arrayrefine.monomers import EMBEDDED, MonomerLibrary, load_monomers
from arrayrefine.restraints import Restraints
from arrayrefine.topology.build import build_restraints


def _older(folder: Path, names: set[str]) -> Path:
    """The embedded components as older libraries have them: without OXT, C and O as in a peptide."""
    for name in names:
        path = EMBEDDED / name[0].lower() / f"{name}.cif"
        document = gemmi.cif.read(str(path))
        block = document.find_block(f"comp_{name}")
        for kind in ("atom", "bond", "angle", "tor", "plane_atom"):
            column = block.find_loop(f"_chem_comp_{kind}.comp_id")
            if column:
                _drop(block, column.get_loop())
        for row in block.find("_chem_comp_bond.", ["atom_id_1", "atom_id_2", "value_dist"]):
            if {row.str(0), row.str(1)} == {"C", "O"}:
                row[2] = "1.231"
        (folder / name[0].lower()).mkdir(parents=True, exist_ok=True)
        document.write_file(str(folder / name[0].lower() / f"{name}.cif"))
    return folder


def _drop(block: gemmi.cif.Block, loop: gemmi.cif.Loop) -> None:
    """Rows that name OXT, out of a loop."""
    table = block.find(list(loop.tags))
    for k in range(len(table) - 1, -1, -1):
        if "OXT" in [table[k].str(i) for i in range(len(loop.tags))]:
            table.remove_row(k)


def _restraints(path: Path, library: MonomerLibrary) -> tuple[Restraints, list[str]]:
    model = read_model(path)
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    labels = [model.atoms.identity.label(i) for i in range(len(model.atoms))]
    return restraints, labels


def test_the_end_of_a_chain_is_restrained_and_the_chain_as_it_was(
    case: Callable[[str], Path], tmp_path: Path
) -> None:
    path = case("1aba") / "model.pdb"
    model = read_model(path)
    names = set(model.structure[0].get_all_residue_names())
    amino = {name for name in names if gemmi.find_tabulated_residue(name).is_amino_acid()}
    folder = _older(tmp_path / "older", amino)
    raw = gemmi.make_chemcomp_from_block(gemmi.cif.read(str(folder / "a" / "ALA.cif")).find_block("comp_ALA"))
    assert "OXT" not in [atom.id for atom in raw.atoms]
    last, labels = _restraints(path, load_monomers(sorted(names), [], folder))
    first, _ = _restraints(path, load_monomers(sorted(names)))
    (end,) = [k for k, label in enumerate(labels) if label.endswith("/OXT")]
    assert not last.held[end]
    for kind in ("bonds", "angles"):
        was, now = (getattr(one, kind) for one in (first, last))
        chosen, same = ((np.asarray(one.index) == end).any(axis=1) for one in (was, now))
        assert chosen.sum() == same.sum() > 0
        np.testing.assert_allclose(now.ideal[same], was.ideal[chosen], atol=0.1)  # that of alanine
    np.testing.assert_allclose(np.sort(last.bonds.ideal), np.sort(first.bonds.ideal), atol=1e-6)
    assert (last.planes.index == end).any()
