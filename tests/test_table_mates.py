"""Rows of tables with slack, and to symmetry mates: beside the same pair written out, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import gemmi
import numpy as np
import pytest
from checks import check_direction

import arrayrefine as ar
from arrayrefine.__main__ import main
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.example import DATA, MODEL
from arrayrefine.further_restraints.tables import read_rows, with_tables
from arrayrefine.kernels.backend import to_device, to_host
from arrayrefine.monomers import load_monomers
from arrayrefine.options import Geometry
from arrayrefine.restraints import Restraints
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.topology.build import build_restraints

PLACES = ((0.9, 9.9, 0.35), (2.0, 8.0, -1.0), (9.0, 9.0, 9.0))


def model(group: str, mate: bool) -> Any:
    """Three waters near the twofold axis along b, and their mates about it where asked."""
    lines = [f"CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 {group}"]
    for chain, sign in (("A", 1.0), ("B", -1.0))[: 1 + mate]:
        for number, (x, y, z) in enumerate(PLACES, start=1):
            place = "".join(f"{v:8.3f}" for v in (sign * x, y, sign * z))
            lines.append(f"HETATM{len(lines):5d}  O   HOH {chain}{number:4d}    {place}  1.00 20.00           O")
    return ar.read_model(gemmi.read_pdb_string("\n".join(lines)))


def row(one: str, other: str, ideal: float = 2.5, **more: Any) -> dict[str, Any]:
    return {"kind": "distance", "atom1": one, "atom2": other, "ideal": ideal, "sigma": 0.2} | more


def target(given: Any, rows: list[dict[str, Any]]) -> GeometryTarget:
    nothing = Restraints.none(len(given.atoms))
    found = with_tables(nothing, given.atoms, [rows], crystal=given.crystal)
    return GeometryTarget.build(found, given.crystal, Geometry(contacts=False))


def test_a_mate_is_as_if_it_were_there() -> None:
    """The energy and the gradient of one asymmetric unit are half of those of the pair, written out in P 1."""
    alone, pair = model("P 1 2 1", False), model("P 1", True)
    robust = {"kind": "robust distance", "slack": 0.1}
    about, second, third = "-x,y,-z", "x,y+1,z-1", "-x,y,-z"
    here = target(alone, [
        row("A/1/O", "A/1/O", symmetry=about), row("A/1/O", "A/2/O", symmetry=" -X, Y, -Z "),
        row("A/1/O", "A/3/O", 60.0, symmetry=second), row("A/2/O", "A/3/O", 11.0, symmetry=third, **robust),
        row("A/1/O", "A/2/O", symmetry="x,y,z"),
    ])  # fmt: skip
    there = target(pair, [
        row("A/1/O", "B/1/O"), row("A/1/O", "B/2/O"), row("B/1/O", "A/2/O"),
        row("A/1/O", "A/3/O", 60.0, symmetry=second), row("B/1/O", "B/3/O", 60.0, symmetry="x,y+1,z+1"),
        row("A/2/O", "B/3/O", 11.0, **robust), row("B/2/O", "A/3/O", 11.0, **robust),
        row("A/1/O", "A/2/O"), row("B/1/O", "B/2/O"),
    ])  # fmt: skip
    value, gradient = here(alone.atoms)
    expected, slope = there(pair.atoms)
    assert value == pytest.approx(0.5 * expected, rel=1e-12)
    np.testing.assert_allclose(gradient.xyz, slope.xyz[:3], rtol=1e-9, atol=1e-9)
    assert {d.kind: len(d) for d in here.to_mates} == {"table to mate": 3, "table to mate, robust": 1}
    assert here.restraints.notes[-1] == (
        "restraint table in memory (builtins.list): 4 distances, 1 robust distance; 4 of them to symmetry mates"
    )
    direction = np.random.default_rng(3).normal(size=alone.atoms.xyz.shape)
    check_direction(
        lambda t: here(alone.atoms.replace(xyz=alone.atoms.xyz + t * direction))[0],
        float((gradient.xyz * direction).sum()), 1e-4, 1e-7,
    )  # fmt: skip


def test_the_nearest_image() -> None:
    given = model("P 1 2 1", False)
    rows = [
        row("A/1/O", "A/2/O", symmetry="nearest"), row("A/1/O", "A/1/O", symmetry="nearest mate"),
        row("A/2/O", "A/3/O", symmetry="nearest"),
    ]  # fmt: skip
    found = read_rows(rows, given.atoms, given.crystal)
    apart = []
    for one in found:
        rotation, shift = given.crystal.cartesian_operator(one.operator[0], np.array(one.operator[1]))
        i, j = one.atoms
        apart.append(float(np.linalg.norm(given.atoms.xyz[i] - rotation @ given.atoms.xyz[j] - shift)))
    cell = given.crystal.gemmi_cell
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = cell, "P 1 2 1"
    structure.setup_cell_images()
    places = [gemmi.Position(*xyz) for xyz in PLACES]
    assert apart == pytest.approx([
        structure.cell.find_nearest_image(places[0], places[1], gemmi.Asu.Any).dist(),
        structure.cell.find_nearest_image(places[0], places[0], gemmi.Asu.Different).dist(),
        structure.cell.find_nearest_image(places[1], places[2], gemmi.Asu.Any).dist(),
    ])  # fmt: skip


def test_tables_one_after_the_other() -> None:
    given = model("P 1 2 1", False)
    nothing = Restraints.none(3)
    tables = [
        [row("A/1/O", "A/1/O", symmetry="-x,y,-z"), row("A/1/O", "A/2/O", slack=0.5)],
        [row("A/1/O", "A/2/O", symmetry="-x,y,-z"), row("A/1/O", "A/3/O")],
    ]
    twice = with_tables(nothing, given.atoms, tables, crystal=given.crystal)
    once = with_tables(nothing, given.atoms, [tables[0] + tables[1]], crystal=given.crystal)
    off = Geometry(contacts=False)
    one, other = (GeometryTarget.build(r, given.crystal, off)(given.atoms) for r in (once, twice))
    assert other[0] == pytest.approx(one[0])
    np.testing.assert_allclose(other[1].xyz, one[1].xyz)
    assert [(d.kind, len(d)) for d in (*twice.distances, *twice.across.distances)] == [
        ("table", 2), ("table to mate", 2),
    ]  # fmt: skip


LINKED = """SSBOND   1 CYS A    1    CYS A    1                          1555   2555  2.03
CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 P 1 2 1
ATOM      1  N   CYS A   1       3.200  12.900   0.900  1.00 20.00           N
ATOM      2  CA  CYS A   1       2.600  11.700   0.400  1.00 20.00           C
ATOM      3  C   CYS A   1       3.400  10.500   0.900  1.00 20.00           C
ATOM      4  O   CYS A   1       4.100   9.800   0.200  1.00 20.00           O
ATOM      5  CB  CYS A   1       1.200  11.500   0.900  1.00 20.00           C
ATOM      6  SG  CYS A   1       0.900   9.900   0.350  1.00 20.00           S
"""


def test_a_bond_to_a_mate_takes_the_place_of_the_link_and_ends_contacts() -> None:
    given = ar.read_model(gemmi.read_pdb_string(LINKED))
    before = build_restraints(
        given.structure, given.atoms, given.crystal, load_monomers(["CYS"], [])
    )
    assert len(before.across.bonds.index) == 1
    bond = row("A/1/SG", "A/1/SG", 2.1, kind="bond", symmetry="-x,y,-z")
    after = with_tables(before, given.atoms, [[bond]], crystal=given.crystal)
    assert len(after.across.bonds.index) == 0
    assert len(after.across.angles.index) == len(before.across.angles.index) > 0
    assert after.notes[-1].endswith("1 of them to symmetry mates; 1 restraint of the dictionary replaced")
    none = dataclasses.replace(before.non_bonded, excluded_images=np.zeros((0, 2), dtype=np.int64))
    free = with_tables(dataclasses.replace(before, non_bonded=none), given.atoms, [[bond]], crystal=given.crystal)
    assert free.non_bonded.excluded_images.tolist() == [[4, 5], [5, 5]]
    GeometryTarget.build(after, given.crystal, Geometry())(given.atoms)


def test_distances_of_other_sources_to_a_mate_are_replaced() -> None:
    given = model("P 1 2 1", False)
    about = [row("A/1/O", "A/1/O", symmetry="-x,y,-z"), row("A/1/O", "A/2/O", symmetry="-x,y,-z")]
    known = with_tables(Restraints.none(3), given.atoms, [about], crystal=given.crystal)
    metal = tuple(dataclasses.replace(d, kind="metal to mate") for d in known.across.distances)
    known = dataclasses.replace(known, across=dataclasses.replace(known.across, distances=metal))
    again = row("A/2/O", "A/1/O", 3.0, symmetry="-x,y,-z")  # from the other side
    after = with_tables(known, given.atoms, [[again]], crystal=given.crystal)
    assert [(d.kind, d.index.tolist(), d.ideal.tolist()) for d in after.across.distances] == [
        ("metal to mate", [[0, 3]], [2.5]), ("table to mate", [[1, 5]], [3.0]),
    ]  # fmt: skip
    assert after.notes[-1].endswith("1 of them to symmetry mates; 1 distance of other sources replaced")


def test_positions_of_several_tables_beside_a_link(tmp_path: Path) -> None:
    given = ar.read_model(gemmi.read_pdb_string(LINKED))
    before = build_restraints(given.structure, given.atoms, given.crystal, load_monomers(["CYS"], []))
    table = tmp_path / "held.csv"
    table.write_text("kind,atom1,sigma\nposition,A/1/CA,0.1\nposition,A/1/N,0.2\n")
    bond = row("A/1/SG", "A/1/SG", 2.1, kind="bond", symmetry="-x,y,-z")
    tables = [table, [bond], [{"kind": "position", "atom1": "A/1/CB", "sigma": 0.05}]]
    after = with_tables(before, given.atoms, tables, crystal=given.crystal)
    assert [(d.kind, d.index[:, 0].tolist()) for d in after.across.distances] == [
        ("table to mate", [5]), ("table, position", [1, 0, 4]),
    ]  # fmt: skip
    off = Geometry(contacts=False)
    free = with_tables(before, given.atoms, [[bond]], crystal=given.crystal)
    xyz = given.atoms.xyz + np.random.default_rng(4).normal(0.0, 0.05, (6, 3))
    moved = given.atoms.replace(xyz=xyz)
    value, gradient = GeometryTarget.build(after, given.crystal, off)(moved)
    other, slope = GeometryTarget.build(free, given.crystal, off)(moved)
    sigma = np.array([0.2, 0.1, np.inf, np.inf, 0.05, np.inf])[:, None]
    z = (xyz - given.atoms.xyz) / sigma
    assert value - other == pytest.approx(0.5 * (z**2).sum())
    np.testing.assert_allclose(gradient.xyz - slope.xyz, z / sigma, rtol=1e-8, atol=1e-8)


def test_the_device_agrees(emulated_cuda: ModuleType) -> None:
    given = model("P 1 2 1", False)
    here = target(given, [
        row("A/1/O", "A/1/O", symmetry="-x,y,-z"), row("A/1/O", "A/3/O", 11.0, slack=0.3),
        row("A/2/O", "A/3/O", 11.0, symmetry="-x,y,-z", slack=0.2, kind="robust distance"),
        {"kind": "position", "atom1": "A/2/O", "sigma": 0.1},
    ])  # fmt: skip
    moved = given.atoms.replace(xyz=given.atoms.xyz + np.random.default_rng(7).normal(0.0, 0.2, (3, 3)))
    adp = AdpTarget.build(here.restraints, given.crystal, moved, "none", Geometry())
    device = DeviceRestraints(here, adp, moved.multiplicity)
    value, gradient = device.geometry(to_device(moved.xyz[None], np.float64))
    expected, slope = here(moved)
    assert float(to_host(value)[0]) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(to_host(gradient)[0], slope.xyz, rtol=1e-9, atol=1e-9)


def test_a_bond_with_slack_is_a_distance_without_contacts() -> None:
    given = ar.read_model(gemmi.read_pdb_string(LINKED))
    before = build_restraints(given.structure, given.atoms, given.crystal, load_monomers(["CYS"], []))
    bonds = [row("A/1/CB", "A/1/SG", 1.8, kind="bond", slack=0.1), row("A/1/N", "A/1/SG", 1.8, kind="bond", slack=0.1)]
    after = with_tables(before, given.atoms, [bonds], crystal=given.crystal)
    assert len(after.bonds.index) == len(before.bonds.index) - 1
    assert [(d.kind, d.index.tolist()) for d in after.distances] == [("table", [[4, 5], [0, 5]])]
    assert [0, 5] in after.non_bonded.excluded.tolist()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"symmetry": "-x,-y,z"}, r"row 1: symmetry is '-x,-y,z'; expected an operator of P 1 2 1, such as '-x,y,-z'"),
        ({"symmetry": "the mate"}, "symmetry is 'the mate'; expected an operator"),
        ({"slack": -1}, "row 1: slack is -1; expected 0 or more"),
        ({"slack": "some"}, "slack is 'some'; expected a number"),
        ({"kind": "angle", "atom3": "A/3/O", "slack": 1}, "kind angle has slack; expected it blank, or one of"),
        ({"kind": "angle", "atom3": "A/3/O", "symmetry": "-x,y,-z"}, "kind angle has a symmetry mate; expected"),
    ],
)
def test_what_is_refused(more: dict[str, Any], words: str) -> None:
    given = model("P 1 2 1", False)
    with pytest.raises(ar.InputError, match=words):
        read_rows([row("A/1/O", "A/2/O") | more], given.atoms, given.crystal)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every class is in the report; Gln 108 is drawn to His 149 of the next molecule, and 40 to 45 stay."""
    table, out = tmp_path / "known.csv", tmp_path / "out"
    table.write_text(
        "kind,atom1,atom2,ideal,sigma,slack,symmetry\n"
        'distance,A/108/OE1,A/149/NE2,2.9,0.02,,"x-1,y,z"\n'
        "robust distance,A/158/O,A/408/O,3.4,0.1,,nearest\n"
        "distance,A/10/O,A/17/N,12.5,0.01,0.5,\n"
        + "".join(f"position,A/{number}/CA,,,0.005,,\n" for number in range(40, 46))
    )
    flags = ["--cycles", "1", "--d-min", "3.5", "--tls", "none", "--anisotropic", "none", "--hydrogens", "strip"]
    assert main(["refine", str(MODEL), str(DATA), "--restraint-tables", str(table), *flags, "--out", str(out)]) == 0
    assert "restraint table known.csv: 2 distances, 1 robust distance, 6 positions; 2 of them to symmetry mates" in (
        capsys.readouterr().out
    )
    report = json.loads((out / "report.json").read_text())
    assert {row["type"]: row["count"] for row in report["restraints"] if "table" in row["type"]} == {
        "a_table_d": 1, "a_table_to_mate_d": 1, "a_table_to_mate_robust_d": 1, "a_table_position_d": 6,
    }  # fmt: skip
    before, after = (ar.read_model(path) for path in (MODEL, out / "refined.cif"))

    def xyz(model: Any, selection: str) -> np.ndarray:
        return np.asarray(model.atoms.xyz[ar.select(model.atoms, selection)])

    rotation, shift = after.crystal.cartesian_operator(*after.crystal.operator_named("x-1,y,z"))
    mate = rotation @ xyz(after, "//A/149/NE2")[0] + shift
    assert np.linalg.norm(xyz(after, "//A/108/OE1")[0] - mate) == pytest.approx(2.9, abs=0.1)  # from 3.54
    assert np.linalg.norm(xyz(after, "//A/10/O") - xyz(after, "//A/17/N")) == pytest.approx(13.0, abs=0.1)  # from 13.26
    held = "chain A and 40-45 and name CA"
    assert np.abs(xyz(after, held) - xyz(before, held)).max() < 0.02


def test_without_a_crystal() -> None:
    with pytest.raises(ar.InputError, match="symmetry is 'nearest', but there is no crystal; expected it blank"):
        read_rows([row("A/1/O", "A/2/O", symmetry="nearest")], model("P 1", False).atoms)
