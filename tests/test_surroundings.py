"""Base pairs, stacks and strands of sheets across the symmetry: as many, and as firm, as with all copies there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import gemmi
import numpy as np
import pytest
from test_external import OFF, Loaded, check_xyz, load, shaken

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.further_restraints.choice import with_external
from arrayrefine.options import Geometry, Options
from arrayrefine.refine import refine
from arrayrefine.restraints import Restraints
from arrayrefine.targets.geometry import GeometryTarget

Case = Callable[[str], Path]

PAIRS, SHEETS = ({name: "on"} for name in ("base_pairs", "secondary_structure"))
KINDS = {"base_pairs": "base pairs", "secondary_structure": "secondary structure"}


def _with(loaded: Loaded, on: dict[str, Any]) -> tuple[Restraints, GeometryTarget]:
    atoms, crystal, restraints = loaded
    found = with_external(restraints, atoms, 3.0, dataclasses.replace(OFF, **on), crystal=crystal)
    return found, GeometryTarget.build(found, crystal, Geometry(contacts=False))


def _counts_and_value(loaded: Loaded, on: dict[str, Any]) -> tuple[int, int, float]:
    """Restraints within the model and to mates, and what they add to the target."""
    (kind,) = (KINDS[name] for name in on)
    terms = _with(loaded, on)[1].terms(loaded[0])
    found = [terms.get(name) for name in (kind, f"{kind} to mate")]
    within, across = (term.count if term else 0 for term in found)
    return within, across, sum(term.value for term in found if term)


def _moved(path: Path, out: Path, chosen: Callable[[gemmi.Chain], bool], copies: bool) -> Loaded:
    """The model with each chosen chain as an image of it; or in P1, with all copies of it."""
    structure = gemmi.read_structure(str(path))
    crystal = Crystal(structure.cell.parameters, structure.spacegroup_hm)
    made = gemmi.Model(1)
    for number in range(len(crystal.rotations) if copies else 1):
        for chain in structure[0]:
            copy = made.add_chain(chain)
            copy.name = ascii_uppercase[len(made) - 1] if copies else chain.name
            operator = number if copies else int(chosen(chain))
            rotation, shift = crystal.cartesian_operator(operator, crystal.translations[operator])
            for atom in (atom for residue in copy for atom in residue):
                atom.pos = gemmi.Position(*(rotation @ atom.pos.tolist() + shift))
                atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    structure.connections.clear()
    del structure[0]
    structure.add_model(made)
    if copies:
        structure.spacegroup_hm = "P 1"
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(out))
    return load(out)


def _b(chain: gemmi.Chain) -> bool:
    return chain.name == "B"


@pytest.mark.parametrize(
    ("name", "file", "on", "across"), [("5e5z", "model.pdb", SHEETS, 3), ("1v9g", "model.cif", PAIRS, 2 * 36)]
)
def test_all_copies_in_the_model_say_the_same_as_many_times(
    case: Case, tmp_path: Path, name: str, file: str, on: dict[str, Any], across: int
) -> None:
    """Strands of an amyloid are joined by a screw axis alone; helices of Z-DNA stack end to end."""
    path = case(name) / file
    loaded = load(path)
    inside, beyond, value = _counts_and_value(loaded, on)
    assert beyond == across
    assert not any("has nothing for" in note for note in _with(loaded, on)[0].notes)
    copies = _moved(path, tmp_path / "p1.cif", _b, True)
    times = len(loaded[1].rotations)
    within, between, total = _counts_and_value(copies, on)
    assert within + between == times * (inside + beyond)
    assert total == pytest.approx(times * value, rel=5e-3)  # the file has three decimals
    check_xyz(_with(loaded, on)[1], shaken(loaded[0], 0.1))


def test_a_strand_written_elsewhere_in_the_crystal_pairs_as_before(case: Case, tmp_path: Path) -> None:
    path = case("1v9g") / "model.cif"
    beside, apart = load(path), _moved(path, tmp_path / "apart.cif", _b, False)
    inside, beyond, value = _counts_and_value(beside, PAIRS)
    within, between, elsewhere = _counts_and_value(apart, PAIRS)
    assert between >= 6 * 36 + beyond
    assert within + between == inside + beyond
    assert elsewhere == pytest.approx(value, rel=5e-3)
    found, target = _with(apart, PAIRS)
    assert any("6 Watson-Crick base pairs" in note and " 6 and " in note for note in found.notes)
    check_xyz(target, shaken(apart[0], 0.1))


def test_sheets_of_a_real_crystal_go_on_in_the_next_molecule(case: Case) -> None:
    loaded = load(case("3sb3") / "model.pdb")
    found, target = _with(loaded, SHEETS)
    assert any(" of sheets" in note and " 6 of them with symmetry mates" in note for note in found.notes)
    assert target.terms(loaded[0])["secondary structure to mate"].count == 6
    check_xyz(target, shaken(loaded[0], 0.1))


def test_what_was_found_is_said_whether_mates_are_among_it_or_not(case: Case) -> None:
    """None are looked for without a crystal."""
    atoms, crystal, restraints = load(case("3sb3") / "model.pdb")
    on = dataclasses.replace(OFF, secondary_structure="on")
    alone, around = (with_external(restraints, atoms, 3.0, on, crystal=box).notes[-1] for box in (None, crystal))
    helices = "6 hydrogen bonds of helices and"
    assert alone == f"{helices} 47 of sheets, found in the model, are restrained"
    assert around == f"{helices} 53 of sheets, found in the model, 6 of them with symmetry mates, are restrained"
    atoms, _, restraints = load(case("1ehz") / "model.pdb")
    on = dataclasses.replace(OFF, base_pairs="on")
    said = with_external(restraints, atoms, 3.0, on).notes[-1]
    pairs = "19 Watson-Crick base pairs, 1 wobble pair and 36 stacks of bases"
    assert said == f"{pairs}, found in the model, are restrained"


def _base(case: Case, path: Path, space_group: str, occupancy: float = 1.0) -> Loaded:
    """A guanine 1.7 Å from a twofold axis, flat along it; in P1 with its image."""
    structure = gemmi.read_structure(str(case("1v9g") / "model.cif"))
    (first, *_) = (r for chain in structure[0] for r in chain if r.name == "DG")
    ring = np.array([first[name][0].pos.tolist() for name in ("N1", "C2", "N3", "C4", "C5", "C6")])
    axes = np.linalg.svd(ring - ring.mean(axis=0))[2][::-1]
    axes[0] *= np.linalg.det(axes)
    model = gemmi.Model(1)
    for k, name in enumerate("AB"[: 2 if space_group == "P 1" else 1]):
        residue = model.add_chain(gemmi.Chain(name)).add_residue(first)
        for atom in residue:
            x, y, z = axes @ (np.array(atom.pos.tolist()) - ring.mean(axis=0)) + [1.7, 20.0, 0.4]
            atom.pos = gemmi.Position(x, y, z) if k == 0 else gemmi.Position(-x, y, -z)
            atom.occ = occupancy
    made = gemmi.Structure()
    made.cell, made.spacegroup_hm = gemmi.UnitCell(40, 44, 48, 90, 90, 90), space_group
    made.add_model(model)
    made.setup_entities()
    made.make_mmcif_document().write_file(str(path))
    return load(path)


def test_a_base_that_lies_on_its_own_image_is_held_once(case: Case, tmp_path: Path) -> None:
    one, two = (_base(case, tmp_path / f"{k}.cif", group) for k, group in enumerate(("P 1 2 1", "P 1")))
    assert _counts_and_value(one, PAIRS)[:2] == (0, 36)
    assert _counts_and_value(two, PAIRS)[:2] == (36, 0)
    alone, both = (_with(loaded, PAIRS | {"loss": 2.0})[1].terms(_displaced(loaded[0])) for loaded in (one, two))
    assert alone["base pairs to mate"].value > 0.1
    assert both["base pairs"].value == pytest.approx(2.0 * alone["base pairs to mate"].value, rel=5e-3)


def _displaced(atoms: Atoms) -> Atoms:
    """Each base displaced by 0.3 Å from its image, as the axis has it."""
    move = np.where((atoms.identity.chain == "A")[:, None], [0.15, 0.0, 0.1], [-0.15, 0.0, -0.1])
    return atoms.replace(xyz=atoms.xyz + move)


def test_what_may_be_there_instead_of_its_mate_is_not_paired_with_it(case: Case, tmp_path: Path) -> None:
    assert _counts_and_value(_base(case, tmp_path / "half.cif", "P 1 2 1", 0.5), PAIRS)[:2] == (0, 0)


def test_a_refinement_reports_what_reaches_across(case: Case) -> None:
    folder = case("5e5z")
    options = Options(cycles=1, external=dataclasses.replace(OFF, secondary_structure="on"))
    result = refine(folder / "model.pdb", folder / "norm.mtz", options)
    (row,) = (row for row in result.report.restraints if row["type"] == "a_hydrogen_bond_to_mate_d")
    assert row["count"] == 3
    assert row["rmsz"] < 3.0
