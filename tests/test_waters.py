"""Ordered waters: where they are found, what they are worth, and models to which some come or from which some go."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from gemmi import cif
from peptide import add_waters, peptide_in_cell
from synthetic import as_data

import arrayrefine as ar
from arrayrefine.__main__ import main
from arrayrefine.atoms import WATERS, Atoms
from arrayrefine.course import Course
from arrayrefine.crystal import Crystal
from arrayrefine.example import DATA, MODEL
from arrayrefine.hydrogens.placing import Hydrogens
from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.io.output.water_residues import waters_in_document
from arrayrefine.options import Options, OrderedSolvent, Xray
from arrayrefine.preparation import prepare_changed
from arrayrefine.problem import Problem
from arrayrefine.real_space.model_maps import maps_of
from arrayrefine.real_space.peaks import Blob, Peak
from arrayrefine.rebuilding import water_rounds, waters
from arrayrefine.rebuilding.model_change import change_of, changed
from arrayrefine.rebuilding.waters import Sites, find_waters, lone_waters, unsupported_waters
from arrayrefine.state import State, evaluate
from arrayrefine.steering.callbacks import Listeners

Case = Callable[[str], Path]

TAKEN = (302, 361, 383, 314, 369, 320, 378, 376, 336, 385, 327, 381, 347, 362, 359)
"""The waters of the example with the lowest B; 383 binds the metal."""
LOOK = Options(d_min=2.0, anisotropic="none", tls=("none",))
LIMITS = OrderedSolvent()
ONCE = OrderedSolvent(rounds=1)
DISPLACED = dataclasses.replace(
    LOOK, d_min=3.0, cycles=1, waters="add", perturb=0.05, start=1, ordered_solvent=ONCE
)


def example(taken: tuple[int, ...] | None = TAKEN) -> gemmi.Structure:
    """The example's model without some of its waters, or without any."""
    structure = gemmi.read_structure(str(MODEL))
    for chain in structure[0]:
        for k in reversed(range(len(chain))):
            if chain[k].is_water() and (taken is None or chain[k].seqid.num in taken):
                del chain[k]
    return structure


@pytest.fixture(scope="module")
def short() -> tuple[Model, Problem, State]:
    """The example without `TAKEN`, its scale and solvent fitted."""
    model, problem, atoms, _ = ar.prepare(example(), DATA, LOOK)
    return model, problem, evaluate(problem, atoms)


@pytest.fixture(scope="module")
def found(short: tuple[Model, Problem, State]) -> Sites:
    _, problem, state = short
    return find_waters(state, maps_of(problem, state), LIMITS)


def nearest(crystal: Crystal, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Distances (m, n) of places, those of symmetry copies included, by brute force."""
    a, b = crystal.fractional(one), crystal.fractional(two)
    out = np.full((len(one), len(two)), np.inf)
    for rotation, translation in zip(crystal.rotations, crystal.translations):
        apart = a[:, None] - (b @ rotation.T + translation)[None]
        apart -= np.rint(apart)
        out = np.minimum(out, np.linalg.norm(crystal.cartesian(apart.reshape(-1, 3)), axis=1).reshape(out.shape))
    return out


def log_p(state: State, f_calc: np.ndarray) -> float:
    return -float(state.xray.values(f_calc)[state.xray.work].sum())


def test_waters_that_were_taken_out_are_found_again(short: tuple[Model, Problem, State], found: Sites) -> None:
    _, problem, _ = short
    whole = gemmi.read_structure(str(MODEL))
    taken = np.array([r[0].pos.tolist() for c in whole[0] for r in c if r.is_water() and r.seqid.num in TAKEN])
    distance = nearest(problem.reflections.crystal, taken, found.xyz).min(axis=1)
    assert len(taken) == len(TAKEN)
    assert (distance < 0.5).sum() >= len(TAKEN) - 1
    assert np.median(distance) < 0.25
    best = nearest(problem.reflections.crystal, found.xyz[:5], taken).min(axis=1)
    assert (best < 0.5).all()  # what gains most is what was taken out
    assert (np.diff(found.gain) <= 0.0).all()
    assert found.gain[-1] >= LIMITS.gain
    assert ((found.b_iso >= 5.0) & (found.b_iso <= 100.0)).all()


def test_something_binds_each_and_nothing_is_too_near(short: tuple[Model, Problem, State], found: Sites) -> None:
    _, problem, state = short
    crystal, atoms = problem.reflections.crystal, state.atoms
    distance = nearest(crystal, found.xyz, atoms.xyz)
    polar, metal = np.isin(atoms.element, ("N", "O")), atoms.element == "Mn"
    carbon = np.isin(atoms.element, ("C", "S", "P"))
    among = nearest(crystal, found.xyz, found.xyz) + np.where(np.eye(len(found), dtype=bool), np.inf, 0.0)
    assert distance[:, polar].min() >= 2.3
    assert distance[:, carbon].min() >= 2.9
    assert distance[:, metal].min() >= 1.8
    assert among.min() >= 2.3
    bound = (distance[:, polar].min(axis=1) <= 3.5) | (distance[:, metal].min(axis=1) <= 3.0)
    assert (bound | (among.min(axis=1) <= 3.5)).all()
    # as near to the model as any copy of it
    own = np.linalg.norm(found.xyz[:, None] - atoms.xyz[~atoms.is_hydrogen][None], axis=2).min(axis=1)
    assert own == pytest.approx(distance[:, ~atoms.is_hydrogen].min(axis=1), abs=1e-6)


def test_a_water_that_another_one_binds() -> None:
    """Those that nothing of the model binds are bound by one that does."""
    _, problem, start, _ = ar.prepare(example(None), DATA, LOOK)
    state = evaluate(problem, start)
    near = dataclasses.replace(LIMITS, longest=3.0, gain=2.0)
    sites = find_waters(state, maps_of(problem, state), near)
    crystal, atoms = problem.reflections.crystal, state.atoms
    binders = np.isin(atoms.element, ("N", "O", "Mn"))
    alone = nearest(crystal, sites.xyz, atoms.xyz[binders]).min(axis=1) > 3.0
    among = nearest(crystal, sites.xyz, sites.xyz) + np.where(np.eye(len(sites), dtype=bool), np.inf, 0.0)
    assert alone.any()
    assert (among[alone].min(axis=1) <= 3.0).all()


def test_density_of_a_ligand_gets_no_water() -> None:
    """Where folate was, which is named instead; unless the option says so."""
    structure, folate = example(), []
    for chain in structure[0]:
        for k in reversed(range(len(chain))):
            if chain[k].name == "FOL":
                folate = [atom.pos.tolist() for atom in chain[k]]
                del chain[k]
    _, problem, atoms, _ = ar.prepare(structure, DATA, LOOK)
    state = evaluate(problem, atoms)
    maps, crystal = maps_of(problem, state), problem.reflections.crystal
    sites = find_waters(state, maps, LIMITS)
    assert len(sites) > len(TAKEN) - 3
    assert nearest(crystal, sites.xyz, np.array(folate)).min() > 1.5
    assert sites.avoided[0].volume > 40.0
    assert nearest(crystal, np.array([sites.avoided[0].xyz]), np.array(folate)).min() < 1.0
    anywhere = find_waters(state, maps, dataclasses.replace(LIMITS, largest=1e4))
    assert (nearest(crystal, anywhere.xyz, np.array(folate)).min(axis=1) < 1.0).sum() > 3
    assert anywhere.avoided == ()


@pytest.mark.parametrize("method", ["fft", "direct"])
def test_the_gain_by_a_new_water(short: tuple[Model, Problem, State], found: Sites, method: str) -> None:
    """Against log p itself, with the occupancy that is best."""
    _, problem, state = short
    if method == "direct":
        options = dataclasses.replace(LOOK, d_min=3.5, xray=Xray(method="direct"))
        _, problem, atoms, _ = ar.prepare(example(), DATA, options)
        state = evaluate(problem, atoms)
    rows = slice(0, 6)
    xyz, b_iso = found.xyz[rows], found.b_iso[rows]
    ones = np.ones(len(xyz), dtype=np.int64)
    gain, whole = waters._Gains(state).by_new(xyz, ones, b_iso)
    f_calc = state.xray.f_calc(state.atoms)
    start, truth, as_whole = log_p(state, f_calc), [], []
    oxygen = np.flatnonzero(state.atoms.element == "O")[:1]
    for place, b in zip(xyz, b_iso):
        one = dataclasses.replace(
            state.atoms.taken(oxygen), xyz=place[None], b_iso=b[None], occupancy=np.ones(1), u_aniso=np.zeros((1, 6))
        )
        part = state.xray.structure_factors.like(oxygen)(one)
        truth.append(max(log_p(state, f_calc + q * part) - start for q in np.arange(0.05, 1.01, 0.05)))
        as_whole.append(log_p(state, f_calc + part) - start)
    assert gain == pytest.approx(np.array(truth), rel=0.35, abs=1.0)
    assert (whole <= gain + 1e-9).all()
    assert np.corrcoef(whole, as_whole)[0, 1] > 0.9
    assert np.corrcoef(gain, truth)[0, 1] > 0.97


def test_the_gain_by_waters_of_the_model(short: tuple[Model, Problem, State]) -> None:
    """Against log p without each, scale and solvent held."""
    _, _, state = short
    rows = lone_waters(state.atoms)
    assert len(rows) == 153 - len(TAKEN)
    rows = rows[::12]
    gain = waters._Gains(state).by_old(rows)
    f_calc = state.xray.f_calc(state.atoms)
    parts = [state.xray.structure_factors.like(rows[[k]])(state.atoms.taken(rows[[k]])) for k in range(len(rows))]
    truth = np.array([log_p(state, f_calc) - log_p(state, f_calc - part) for part in parts])
    assert gain == pytest.approx(truth, rel=0.35, abs=2.0)
    assert set(unsupported_waters(state, rows, OrderedSolvent(gain=1e9)).tolist()) == set(rows.tolist())
    assert not len(unsupported_waters(state, rows, OrderedSolvent(gain=-1e9)))
    assert not len(unsupported_waters(state, rows[:0], LIMITS))


@pytest.mark.parametrize(("apart", "letters", "occupancy", "count"), [
    (2.0, "", 1.0, 1), (2.25, "", 1.0, 0), (2.0, "AB", 1.0, 0), (2.0, "A", 1.0, 1), (2.0, "", 0.5, 0),
])  # fmt: skip
def test_of_two_waters_in_each_others_way_one_goes(
    short: tuple[Model, Problem, State], apart: float, letters: str, occupancy: float, count: int
) -> None:
    _, _, state = short
    rows = lone_waters(state.atoms)
    gain = waters._Gains(state).by_old(rows)
    best = rows[np.argsort(-gain)]
    kept, other = best[0], best[len(best) // 2]
    xyz, q, altloc = state.atoms.xyz.copy(), state.atoms.occupancy.copy(), state.atoms.identity.altloc.copy()
    xyz[other] = xyz[kept] + (0.0, 0.0, apart)
    q[[kept, other]] *= occupancy
    for row, letter in zip((kept, other), letters):
        altloc[row] = letter
    atoms = state.atoms.replace(xyz=xyz, occupancy=q)
    atoms = dataclasses.replace(atoms, identity=dataclasses.replace(atoms.identity, altloc=altloc))
    gone = unsupported_waters(dataclasses.replace(state, atoms=atoms), rows, OrderedSolvent(gain=-1e9))
    assert gone.tolist() == [other] * count
    alone = unsupported_waters(dataclasses.replace(state, atoms=atoms), rows[rows == kept], OrderedSolvent(gain=-1e9))
    assert alone.tolist() == [kept] * count  # where the other one is not to be touched


def small(xyz: list[list[float]], group: str, cell: tuple[float, ...]) -> gemmi.Structure:
    """Seven residues, and waters at some places."""
    waters = gemmi.Chain("W")
    add_waters(waters, xyz)
    return peptide_in_cell(group, cell, waters)


def on_axis(structure: gemmi.Structure) -> tuple[gemmi.Structure, list[float]]:
    """The structure shifted so that a water on the axis along b is bound by a carbonyl, and nothing else is near."""
    for residue in structure[0]["A"]:
        carbon, oxygen = (np.array(residue[name][0].pos.tolist()) for name in ("C", "O"))
        water = oxygen + 2.8 * (oxygen - carbon) / np.linalg.norm(oxygen - carbon)
        shift = gemmi.Position(-water[0], 0.0, -water[2])
        moved = structure.clone()
        for other in moved[0]["A"]:
            for atom in other:
                atom.pos = atom.pos + shift
        place, atoms = np.array([[0.0, water[1], 0.0]]), read_model(moved).atoms
        crystal = read_model(moved).crystal
        apart = nearest(crystal, atoms.xyz, atoms.xyz) + 99.0 * np.eye(len(atoms))
        if (nearest(crystal, place, atoms.xyz) < 3.1).sum() == 1 and apart.min() > 1.1:
            return moved, place[0].tolist()
    raise AssertionError("no carbonyl is free")


def test_what_has_given_way_is_in_nobody_s_way(
    short: tuple[Model, Problem, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three in a row the middle one gives way to the first, so that the last, which gains less, may stay."""
    _, _, state = short
    rows = lone_waters(state.atoms)
    best = rows[np.argsort(-waters._Gains(state).by_old(rows))]
    first, middle, last = best[0], best[1], best[2]
    xyz = state.atoms.xyz.copy()
    xyz[middle], xyz[last] = xyz[first] + (0.0, 0.0, 2.0), xyz[first] + (0.0, 0.0, 4.0)
    put = dataclasses.replace(state, atoms=state.atoms.replace(xyz=xyz))
    gain = {int(first): 30.0, int(middle): 20.0, int(last): 10.0}
    monkeypatch.setattr(waters._Gains, "by_old", lambda _, rows: np.array([gain[row] for row in rows.tolist()]))
    assert unsupported_waters(put, np.array([first, middle, last]), OrderedSolvent()).tolist() == [middle]
    without = put.atoms.replace(occupancy=np.where(np.arange(len(xyz)) == first, 0.0, put.atoms.occupancy))
    left = unsupported_waters(dataclasses.replace(put, atoms=without), np.array([middle, last]), OrderedSolvent())
    assert left.tolist() == [last]


def test_a_water_on_a_twofold_axis() -> None:
    """It lies on the axis, half of it there, and its gain is what log p says."""
    cell = (40.0, 36.0, 38.0, 90.0, 90.0, 90.0)
    dry, place = on_axis(small([], "P 1 2 1", cell))
    model = read_model(dry)
    wet = dry.clone()
    wet[0].add_chain(small([place], "P 1 2 1", cell)[0]["W"])
    wet[0]["W"][0][0].occ = 0.5
    options = Options(anisotropic="none", tls=("none",), hydrogens="strip")
    _, problem, start, _ = ar.prepare(dry, as_data(wet), options)
    state = evaluate(problem, start)
    sites = find_waters(state, maps_of(problem, state), LIMITS)
    crystal = problem.reflections.crystal
    assert nearest(crystal, np.array([place]), sites.xyz).min() < 0.3
    k = int(nearest(crystal, np.array([place]), sites.xyz)[0].argmin())
    _, _, complete = changed(
        model, problem.hydrogens, state.atoms,
        change_of(model, state.atoms, sites.xyz[[k]], sites.b_iso[[k]], np.zeros(0, dtype=np.int64), False),
    )  # fmt: skip
    assert complete.multiplicity[-1] == 2
    assert complete.occupancy[-1] == 0.5
    oxygen = np.flatnonzero(state.atoms.element == "O")[:1]
    part = state.xray.structure_factors.like(oxygen)(complete.taken(np.array([len(complete) - 1])))
    f_calc = state.xray.f_calc(state.atoms)
    truth = max(log_p(state, f_calc + q * part) - log_p(state, f_calc) for q in np.arange(0.05, 1.01, 0.05))
    gain = waters._Gains(state).by_new(sites.xyz[[k]], np.array([2]), sites.b_iso[[k]])[0][0]
    assert gain == pytest.approx(truth, rel=0.5)


def put(
    model: Model, problem: Problem, atoms: Atoms, sites: Sites, left_out: np.ndarray
) -> tuple[Model, Problem, Atoms]:
    change = change_of(model, atoms, sites.xyz, sites.b_iso, left_out, False)
    new, hydrogens, complete = changed(model, problem.hydrogens, atoms, change)
    return new, prepare_changed(problem, new, hydrogens), complete


@pytest.mark.parametrize("hydrogens", ["add", "strip"])
def test_a_changed_model_is_what_would_be_read(found: Sites, hydrogens: Any) -> None:
    """Atoms, hydrogens, restraints and structure factors are those of the new structure prepared from the start."""
    options = dataclasses.replace(LOOK, d_min=2.6, hydrogens=hydrogens)
    model, problem, atoms, _ = ar.prepare(example(), DATA, options)
    gone = lone_waters(atoms)[[3, 50, 51]]
    new, new_problem, complete = put(model, problem, atoms, found, gone)
    new_problem.structure_factors(complete)
    bare = new_problem.hydrogens.bare or new
    _, other, start, _ = ar.prepare(bare.structure, DATA, options)
    assert len(start) == len(complete) == len(atoms) + len(found) - 3
    for name in dataclasses.asdict(start.identity):
        assert (getattr(start.identity, name) == getattr(complete.identity, name)).all(), name
    assert np.abs(start.xyz - complete.xyz)[~start.is_hydrogen].max() < 1e-4
    assert (start.riding.child == complete.riding.child).all()
    assert (start.riding.parent == complete.riding.parent).all()
    placed = new_problem.hydrogens.place(complete)
    assert placed.xyz == pytest.approx(complete.xyz, abs=1e-6)
    one, two = evaluate(new_problem, complete), evaluate(other, complete)
    assert one.f_calc == pytest.approx(two.f_calc, rel=1e-6, abs=1e-3)
    for name, term in new_problem.geometry.terms(complete).items():
        expected = other.geometry.terms(complete)[name]
        assert (term.count, term.rmsz) == (expected.count, pytest.approx(expected.rmsz, rel=1e-6)), name
    assert new_problem.adp(complete)[0] == pytest.approx(other.adp(complete)[0], rel=1e-6)


def test_places_exclude_those_that_are_too_near() -> None:
    """Each place what clashes with it, whatever the order of the pairs; atoms of the model are none."""
    near = waters._Near(
        np.array([0, 2, 1, 0, 2, 1]), np.array([7, 5, 5, 6, 3, 7]), np.zeros(6, dtype=bool),
        np.array([True, True, True, False, True, True]),
    )  # fmt: skip
    assert [rows.tolist() for rows in near.excluded(5, 3)] == [[2, 1], [], [0, 1]]
    assert len(near.excluded(8, 2)[0]) == 0


def test_the_place_of_new_waters() -> None:
    """At the end of a last chain of waters, numbered on; else in a new chain, W where that is free."""
    none, one = np.zeros(0, dtype=np.int64), (np.array([[1.0, 2.0, 3.0]]), np.array([20.0]))
    model = read_model(MODEL)
    added = change_of(model, model.atoms, *one, none, True).added
    assert (added.identity.chain[0], added.identity.sequence_number[0]) == ("W", 1)
    assert added.anisotropic.all()
    wet = read_model(small([[1.0, 1.0, 1.0], [9.0, 1.0, 1.0]], "P 1", (40.0, 40.0, 40.0, 90.0, 90.0, 90.0)))
    added = change_of(wet, wet.atoms, *one, none, False).added
    assert (added.identity.chain[0], added.identity.sequence_number[0]) == ("W", 3)
    # where all waters of that chain go, the chain does
    rows = lone_waters(wet.atoms)
    added = change_of(wet, wet.atoms, *one, rows, False).added
    assert (added.identity.chain[0], added.identity.sequence_number[0]) == ("W", 1)


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example without any water, as PDB."""
    path = tmp_path_factory.mktemp("dry") / "dry.pdb"
    example(None).write_pdb(str(path))
    return path


@pytest.fixture(scope="module")
def kept(dry: Path) -> ar.Result:
    return ar.refine(dry, DATA, dataclasses.replace(LOOK, cycles=2))


@pytest.fixture(scope="module")
def added(dry: Path) -> tuple[ar.Result, list[ar.Step], list[str], list[int]]:
    steps: list[ar.Step] = []
    said: list[str] = []
    atoms: list[int] = []

    def on_state(step: ar.Step, state: State) -> None:
        atoms.append(len(state.atoms))

    options = dataclasses.replace(LOOK, cycles=2, waters="add")
    result = ar.refine(dry, DATA, options, on_step=steps.append, on_message=said.append, on_state=on_state)
    return result, steps, said, atoms


def test_waters_lower_r_free(kept: ar.Result, added: tuple[ar.Result, list[ar.Step], list[str], list[int]]) -> None:
    result, steps, said, atoms = added
    assert kept.r_free is not None
    assert result.r_free is not None
    assert result.r_free < kept.r_free - 0.01
    rows = result.report.waters
    assert len(rows) >= 2
    count = sum(row["added"] - row["left_out"] for row in rows)
    assert count > 50
    assert len(result.atoms) == len(kept.atoms) + count
    assert sum(row["gain"] for row in rows) > 4.0 * count
    assert rows[0]["gain"] > 4.0 * rows[0]["added"]
    assert rows[0]["r_free"][1] < rows[0]["r_free"][0] - 0.005
    assert rows[-1]["r_work"][1] == pytest.approx(result.r_work)
    assert kept.report.waters == ()
    # steps are numbered on, the first of each round says what came, and listeners heard of all
    assert [step.cycle for step in result.history] == [*range(1, len(result.history) + 1)]
    refused = any("are not kept" in sentence for sentence in said)  # a last round of which the model is that before it
    assert [step.cycle for step in steps][: len(result.history)] == [step.cycle for step in result.history]
    assert (len(steps) > len(result.history)) == refused
    coming = sum(row["added"] > 0 for row in rows)
    assert sum("added where log p" in step.note for step in result.history) == coming
    assert sum("added where log p" in sentence for sentence in said) == coming
    assert sum("added where log p" in sentence for sentence in result.report.warnings) == coming
    assert atoms[len(result.history) - 1] - atoms[0] == count
    assert result.report.start.r_work == kept.report.start.r_work
    new = result.atoms.identity.chain == "W"
    assert int(new.sum()) == count
    assert (result.atoms.occupancy[new] == 1.0).all()


def test_what_is_written_has_them(
    added: tuple[ar.Result, list[ar.Step], list[str], list[int]], tmp_path: Path
) -> None:
    result = added[0]
    result.write(tmp_path)
    for name in ("refined.cif", "refined.pdb"):
        structure = gemmi.read_structure(str(tmp_path / name))
        chain = structure[0]["W"]
        assert len(chain) == int((result.atoms.identity.chain == "W").sum())
        assert all(residue.is_water() for residue in chain)
    account = json.loads((tmp_path / "report.json").read_text())
    assert account["data"]["atoms_by_kind"]["water"] == len(chain)
    assert account["waters"][0]["added"] > 20
    again = ar.refine(tmp_path / "refined.cif", DATA, dataclasses.replace(LOOK, cycles=0))
    assert again.r_work == pytest.approx(result.r_work, abs=0.002)
    assert result.validate() is not None


def test_an_mmcif_document_lists_them(tmp_path: Path, found: Sites) -> None:
    """Components, entities, asymmetric units and the scheme agree with the atoms."""
    structure = example()
    structure.setup_entities()
    document = structure.make_mmcif_document()
    block = document.sole_block()
    loop = block.init_mmcif_loop("_pdbx_nonpoly_scheme.", ["asym_id", "entity_id", "mon_id", "pdb_seq_num", "extra"])
    for residue in structure[0]["A"]:
        if residue.is_water() or residue.name == "MN":
            loop.add_row([residue.subchain, "9", residue.name, str(residue.seqid.num), "x"])
    result = ar.refine(document, DATA, dataclasses.replace(LOOK, d_min=2.6, cycles=1, waters="add"))
    count = sum(row["added"] - row["left_out"] for row in result.report.waters)
    assert count > 5
    result.write(tmp_path)
    new = cif.read(str(tmp_path / "refined.cif")).sole_block()
    asym = dict(zip(new.find_values("_struct_asym.id"), new.find_values("_struct_asym.entity_id")))
    types = dict(zip(new.find_values("_entity.id"), new.find_values("_entity.type")))
    rows = new.find("_atom_site.", ["label_asym_id", "label_entity_id", "label_comp_id", "auth_asym_id"])
    waters_there = [row for row in rows if row[2] == "HOH"]
    assert sum(row[3] == "W" for row in waters_there) == count
    assert {row[0] for row in waters_there} <= set(asym)
    for row in waters_there:
        assert asym[row[0]] == row[1]
        assert types[row[1]] == "water"
    scheme = new.find("_pdbx_nonpoly_scheme.", ["mon_id", "pdb_seq_num", "extra"])
    assert sum(row[0] == "HOH" for row in scheme) == len(waters_there)
    assert sum(row[0] == "MN" for row in scheme) == 1
    read = gemmi.read_structure(str(tmp_path / "refined.cif"))
    assert sum(r.is_water() for c in read[0] for r in c) == len(waters_there)


def test_an_entity_says_how_many_waters_there_are(case: Case) -> None:
    model = read_model(case("1cbs") / "model.cif")
    structure = model.structure.clone()
    before = sum(residue.is_water() for chain in structure[0] for residue in chain)
    for chain in structure[0]:
        for k in reversed(range(len(chain))):
            if chain[k].is_water() and chain[k].seqid.num % 2:
                del chain[k]
    count = sum(residue.is_water() for chain in structure[0] for residue in chain)
    assert 0 < count < before
    document = waters_in_document(model.document, structure)
    assert document is not None
    rows = document.sole_block().find("_entity.", ["type", "pdbx_number_of_molecules"])
    assert [row[1] for row in rows if row[0] == "water"] == [str(count)]
    assert [row[1] for row in rows if row[0] == "polymer"] == ["1"]
    assert model.document is not None
    old = model.document.sole_block().find("_entity.", ["type", "pdbx_number_of_molecules"])
    assert [row[1] for row in old if row[0] == "water"] == [str(before)]  # the document of the model stays


def test_a_document_without_waters_gets_an_entity(tmp_path: Path) -> None:
    structure = example(None)
    structure.setup_entities()
    document = structure.make_mmcif_document()
    assert "water" not in list(document.sole_block().find_values("_entity.type"))
    options = dataclasses.replace(LOOK, d_min=2.6, cycles=1, waters="add", ordered_solvent=ONCE)
    result = ar.refine(document, DATA, options)
    result.write(tmp_path)
    new = cif.read(str(tmp_path / "refined.cif")).sole_block()
    types = dict(zip(new.find_values("_entity.id"), new.find_values("_entity.type")))
    own = [name for name, kind in types.items() if kind == "water"]
    assert len(own) == 1
    units = new.find("_struct_asym.", ["id", "entity_id"])
    assert sum(row[1] == own[0] for row in units) == 1
    assert "HOH" in list(new.find_values("_chem_comp.id"))


def with_false_waters() -> gemmi.Structure:
    """The example with ten waters where the solvent is, far from everything."""
    structure = gemmi.read_structure(str(MODEL))
    model = read_model(MODEL)
    rng = np.random.default_rng(5)
    places: list[np.ndarray] = []
    heavy = model.atoms.xyz
    while len(places) < 10:
        place = model.crystal.cartesian(rng.uniform(0, 1, (1, 3)))
        if nearest(model.crystal, place, heavy).min() > 3.2 and all(np.linalg.norm(place - p) > 6.0 for p in places):
            places.append(place)
    chain = structure[0].add_chain(gemmi.Chain("F"))
    for k, place in enumerate(places, 1):
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = "HOH", gemmi.SeqId(str(k)), "H"
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos, atom.b_iso = "O", gemmi.Element("O"), gemmi.Position(*place[0]), 25.0
        residue.add_atom(atom)
        chain.add_residue(residue)
    return structure


def test_update_leaves_out_what_the_data_do_not_bear_out() -> None:
    structure = with_false_waters()
    options = dataclasses.replace(LOOK, cycles=1, waters="update", freeze=("xyz: chain F and 10",))
    result = ar.refine(structure, DATA, options)
    who = result.atoms.identity
    left = set(who.sequence_number[who.chain == "F"].tolist()) & set(range(1, 11))  # those added go on from 11
    assert 10 in left  # frozen
    assert len(left) <= 4
    stayed = np.flatnonzero((who.chain == "F") & (who.sequence_number < 10))
    # those that stay have gone to where there is some density
    assert result.map_grid("2mFo-DFc").at(result.atoms.xyz[stayed]).min(initial=1.0) > 0.25
    assert {383, 425} <= set(who.sequence_number[who.chain == "A"].tolist())  # linked to the metal
    assert sum(row["left_out"] for row in result.report.waters) >= 10 - len(left)
    assert any("left out, by which log p gains too little" in sentence for sentence in result.report.warnings)
    # added ones are numbered on from those at the end
    more = dataclasses.replace(options, d_min=2.6, waters="add", freeze=())
    other = ar.refine(structure, DATA, more)
    numbers = other.atoms.identity.sequence_number[other.atoms.identity.chain == "F"]
    assert set(range(1, 11)) <= set(numbers.tolist())
    assert len(numbers) == 10 + sum(row["added"] - row["left_out"] for row in other.report.waters)


def test_update_keeps_what_a_group_names() -> None:
    """Waters that options name would be missed when the changed model is set up."""
    options = dataclasses.replace(LOOK, cycles=1, d_min=2.6, waters="update", occupancy_groups=("chain F and 3",))
    result = ar.refine(with_false_waters(), DATA, options)
    who = result.atoms.identity
    left = set(who.sequence_number[who.chain == "F"].tolist()) & set(range(1, 11))
    assert 3 in left
    assert len(left) < 10


def test_extra_targets_do_not_go_with_waters(short: tuple[Model, Problem, State]) -> None:
    from arrayrefine.targets.extra import ExtraTarget

    target = ExtraTarget("none", lambda atoms: (0.0, ar.Gradient.zeros(len(atoms))), 1.0)
    for given in ([target], target):
        with pytest.raises(ar.InputError, match="--waters add: found 1 extra target"):
            ar.prepare(MODEL, DATA, dataclasses.replace(LOOK, waters="add"), extra=given)


def test_a_document_loses_units_that_are_no_more() -> None:
    """Asymmetric units, entities and rows of the scheme of waters that went; what is left keeps all its items."""
    structure = with_false_waters()
    structure.setup_entities()
    document = structure.make_mmcif_document()
    block = document.sole_block()
    loop = block.init_mmcif_loop("_pdbx_nonpoly_scheme.", ["asym_id", "mon_id", "pdb_seq_num", "ndb_seq_num", "extra"])
    counts: dict[str, int] = {}
    for chain in structure[0]:
        for residue in chain:
            if residue.is_water():
                counts[residue.subchain] = counts.get(residue.subchain, 0) + 1
                number = str(counts[residue.subchain])
                loop.add_row([residue.subchain, residue.name, str(residue.seqid.num), number, "x"])
    model = read_model(document)
    gone = np.flatnonzero(model.atoms.identity.chain == "F")
    sites = Sites(np.array([[1.0, 2.0, 3.0]]), np.array([20.0]), np.array([5.0]))
    change = change_of(model, model.atoms, sites.xyz, sites.b_iso, gone, False)
    new, _, _ = changed(model, Hydrogens.none(len(model.atoms)), model.atoms, change)
    assert new.document is not None
    after = new.document.sole_block()
    own = {r.subchain for c in new.structure[0] for r in c if r.is_water()}
    water = [row[0] for row in after.find("_entity.", ["id", "type"]) if row[1] == "water"]
    units = after.find("_struct_asym.", ["id", "entity_id"])
    assert {row[0] for row in units if row[1] in water} == own
    tags = ["asym_id", "pdb_seq_num", "ndb_seq_num", "extra"]
    rows = [tuple(row) for row in after.find("_pdbx_nonpoly_scheme.", tags)]
    assert len(rows) == 154
    assert {row[0] for row in rows} == own
    assert sum(row[3] == "x" for row in rows) == 153
    assert rows[-1] == (new.structure[0]["W"][0].subchain, "1", "1", "?")
    # and where all go, so does their entity
    every = lone_waters(model.atoms)
    none = change_of(model, model.atoms, np.zeros((0, 3)), np.zeros(0), every, False)
    bare, _, _ = changed(model, Hydrogens.none(len(model.atoms)), model.atoms, none)
    assert bare.document is not None
    assert "water" not in list(bare.document.sole_block().find_values("_entity.type"))


@pytest.fixture(scope="module")
def courses() -> dict[str, Course]:
    return {}


@pytest.fixture
def begun_once(courses: dict[str, Course], monkeypatch: pytest.MonkeyPatch) -> None:
    """What refinements of the example to 2.6 Å do before the first round is the same, and done once."""
    module = importlib.import_module("arrayrefine.refine")
    real: Callable[..., Course] = module.run_course

    def run_course(problem: Problem, atoms: Atoms, listeners: Listeners) -> Course:
        key = repr(dataclasses.replace(problem.options, ordered_solvent=LIMITS))
        if key not in courses:
            courses[key] = real(problem, atoms, listeners)
        course = courses[key]
        return course._replace(problem=dataclasses.replace(course.problem, options=problem.options))

    monkeypatch.setattr(module, "run_course", run_course)


def rounds_of(monkeypatch: pytest.MonkeyPatch, sites: Sites, **options: Any) -> ar.Result:
    """A refinement in which some places are found instead of any others."""
    monkeypatch.setattr(water_rounds, "find_waters", lambda *given: sites)
    chosen = dataclasses.replace(LOOK, d_min=2.6, cycles=1, waters="add")
    return ar.refine(MODEL, DATA, dataclasses.replace(chosen, **options))


def test_waters_that_gain_nothing_are_not_kept(begun_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one round's changes come to nothing, the model is that of before, and it says so."""
    false = [r[0].pos.tolist() for r in with_false_waters()[0]["F"]]
    n = len(false)
    result = rounds_of(monkeypatch, Sites(np.array(false), np.full(n, 20.0), np.full(n, 5.0)))
    assert result.report.waters == ()
    assert len(result.atoms) == len(read_model(MODEL).atoms)
    assert any("are not kept: log p gained" in sentence for sentence in result.report.warnings)


def test_a_round_that_is_interrupted_is_not_kept() -> None:
    """The end is asked for once the first water has been said."""
    heard: list[str] = []
    options = dataclasses.replace(LOOK, d_min=2.6, cycles=1, waters="add")
    result = ar.refine(
        example(None), DATA, options, on_message=heard.append,
        stop=lambda: 1 if any("added where log p" in said for said in heard) else None,
    )  # fmt: skip
    assert result.report.waters == ()
    assert not (result.atoms.identity.residue_name == "HOH").any()
    assert "interrupted" in result.report.stopped
    assert any("no step has refined them" in sentence for sentence in result.report.warnings)
    # asked for before that, no round begins
    steps: list[ar.Step] = []
    result = ar.refine(
        example(None), DATA, options, on_step=steps.append, stop=lambda: 1 if steps else None
    )
    assert result.report.waters == ()
    assert not any("added where" in sentence for sentence in result.report.warnings)


def test_difference_density_that_stays_at_a_water_is_told(case: Case) -> None:
    """A water for an iron of 1DUR is told, those that are waters are not."""
    folder = case("1dur")
    structure = gemmi.read_structure(str(folder / "model.pdb"))
    chain = structure[0][0]
    cluster = next(residue for residue in chain if residue.name == "SF4")
    water = next(residue for other in structure[0] for residue in other if residue.is_water())
    water[0].pos, water[0].b_iso = cluster["FE1"][0].pos, 10.0
    cluster.remove_atom("FE1", "\0")
    options = dataclasses.replace(LOOK, hydrogens="strip", unknown="hold", d_min=None)
    _, problem, atoms, _ = ar.prepare(structure, folder / "norm.mtz", options)
    state = evaluate(problem, atoms)
    rows = lone_waters(atoms)
    ((row, peak),) = waters.more_than_waters(state, maps_of(problem, state), rows)
    assert atoms.xyz[row] == pytest.approx(np.array(water[0].pos.tolist()), abs=1e-3)
    assert peak.height > 6.0
    assert peak.distance < 0.7
    assert waters.more_than_waters(state, maps_of(problem, state), rows[rows != row]) == ()


def test_a_water_that_is_hardly_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def odd(state: State, _: Any, rows: np.ndarray) -> Any:
        asked.append(rows)
        return ((int(rows[0]), Peak(8.4, (0.0, 0.0, 0.0), int(rows[0]), 0.5)),)

    monkeypatch.setattr(water_rounds, "more_than_waters", odd)
    place = next(r[0].pos.tolist() for c in gemmi.read_structure(str(MODEL))[0] for r in c if r.seqid.num == TAKEN[0])
    given = [Sites(np.array([place]), np.array([20.0]), np.array([50.0]))]
    monkeypatch.setattr(water_rounds, "find_waters", lambda *_: given.pop() if given else Sites.none())
    monkeypatch.setattr(water_rounds, "_FEW", 0.0)
    taken = example(TAKEN[:1])
    result = ar.refine(taken, DATA, dataclasses.replace(LOOK, d_min=2.2, cycles=1, waters="add"))
    assert [rows.tolist() for rows in asked] == [[len(result.every_atom) - 1]]
    (said,) = [sentence for sentence in result.report.cautions if "stays at" in sentence]
    assert said.startswith("difference density stays at 1 water that was added: W/HOH 1/O (8.4 sigma at 0.5 Å).")


def test_density_too_large_for_waters_is_said(begun_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and the model stays as it is where there is nothing else."""
    blob = Blob(65.2, 7.0, 120.0, (1.0, 2.0, 3.0), 5, 3.31)
    result = rounds_of(monkeypatch, dataclasses.replace(Sites.none(), avoided=(blob,)))
    said = [sentence for sentence in result.report.cautions if "too large for waters" in sentence]
    assert len(said) == 1
    assert "1 region of density too large for waters: 65 Å³ 3.3 Å from A/" in said[0]
    assert any("no water was added or left out" in sentence for sentence in result.report.warnings)


def test_no_water_is_looked_for_far_from_the_data(begun_once: None) -> None:
    options = dataclasses.replace(LOOK, d_min=2.6, cycles=1, waters="add")
    far = dataclasses.replace(options, ordered_solvent=OrderedSolvent(most_r_work=0.05))
    result = ar.refine(MODEL, DATA, far)
    assert any("no water was looked for, as R-work is" in sentence for sentence in result.report.cautions)
    none = dataclasses.replace(options, ordered_solvent=OrderedSolvent(gain=1e6))
    result = ar.refine(MODEL, DATA, none)
    assert any("no water was added or left out" in sentence for sentence in result.report.warnings)


def test_places_too_few_for_a_round_are_said(begun_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """153 waters are there; four more are not worth the cycles, and none of them is a lie."""
    sites = Sites(np.array([[1.0, 2.0, 3.0 * k] for k in range(4)]), np.full(4, 20.0), np.full(4, 50.0))
    result = rounds_of(monkeypatch, sites)
    said = "no water was added or left out: 4 places by which log p would gain enough are too few for a round of cycles"
    assert said in result.report.warnings
    assert result.report.waters == ()


def test_waters_are_those_of_the_table_of_gemmi() -> None:
    """One place says what water is: a component that gemmi takes for it, and no other."""
    names = ["HOH", "DOD", "WAT", "H2O", "OH2", "SOL", "TIP", "DIS", "MTO", "O", "PEO", "HO4", "SO4", "ALA", "A"]
    assert {name for name in names if gemmi.find_tabulated_residue(name).is_water()} == set(WATERS)


def test_a_model_without_oxygen() -> None:
    dry = small([], "P 1", (30.0, 26.0, 28.0, 90.0, 90.0, 90.0))
    for residue in dry[0]["A"]:
        for k in reversed(range(len(residue))):
            if residue[k].element.name == "O":
                del residue[k]
    options = dataclasses.replace(LOOK, cycles=1, waters="add")
    result = ar.refine(dry, as_data(dry, 2.6), options)
    assert any("the model has no oxygen" in sentence for sentence in result.report.cautions)


def test_new_waters_are_anisotropic_at_atomic_resolution(case: Case) -> None:
    """As all else is: 4xof, 1.15 Å."""
    folder = case("4xof")
    options = Options(cycles=2, waters="add", ordered_solvent=ONCE)
    dry = gemmi.read_structure(str(folder / "shaken.pdb"))
    dry.remove_waters()
    result = ar.refine(dry, folder / "norm.mtz", options)
    new = result.atoms.identity.chain == "W"
    assert new.sum() > 40
    assert result.atoms.anisotropic[new].all()
    assert result.r_free is not None
    assert result.r_free < 0.19  # 0.236 without


@pytest.fixture(scope="module")
def alone(dry: Path) -> ar.Result:
    """A displaced start, refined by one process and by itself."""
    return ar.refine(dry, DATA, DISPLACED)


def test_two_processes_give_the_same_bits(dry: Path, alone: ar.Result) -> None:
    two = ar.refine(dry, DATA, dataclasses.replace(DISPLACED, threads=2))
    assert len(alone.report.waters)
    assert (alone.atoms.xyz == two.atoms.xyz).all()
    assert alone.r_free == two.r_free


def test_side_by_side_as_one_by_one(dry: Path, alone: ar.Result) -> None:
    jobs = [ar.Job(dry, DATA, dataclasses.replace(DISPLACED, start=k)) for k in range(2)]
    _, together = ar.refine_many(jobs)
    assert isinstance(together, ar.Result)
    assert len(together.atoms) == len(alone.atoms) > len(read_model(dry).atoms)
    assert together.atoms.xyz == pytest.approx(alone.atoms.xyz, abs=1e-9)


def test_from_the_command_line(dry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["refine", str(dry), str(DATA), "--d-min", "3", "--cycles", "1", "--waters", "add", "-o", str(out)]
    assert main([*command, "--ordered-solvent.rounds", "1", "--anisotropic", "none"]) == 0
    assert "waters added where log p is to gain" in capsys.readouterr().out
    account = json.loads((out / "report.json").read_text())
    assert [row["added"] > 0 for row in account["waters"]][:2] in ([True], [True, False])
    assert account["options"]["waters"] == "add"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ordered_solvent": OrderedSolvent(gain=5.0)}, "--ordered-solvent.gain has no effect: --waters is keep"),
        ({"waters": "add", "cycles": 0}, "--waters add has no effect: there is no cycle"),
    ],
)
def test_options_without_effect(options: dict[str, Any], said: str) -> None:
    result = ar.refine(MODEL, DATA, dataclasses.replace(LOOK, d_min=3.5, **({"cycles": 1} | options)))
    assert any(said in sentence for sentence in result.report.cautions)
    assert result.report.waters == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [("gain", -1.0), ("rounds", 0), ("shortest", 1.0), ("longest", 9.0), ("largest", -1.0), ("most_r_work", 0.0)],
)
def test_impossible_options(name: str, value: Any) -> None:
    with pytest.raises(ar.InputError, match=f"--ordered-solvent.{name.replace('_', '-')}"):
        ar.prepare(MODEL, DATA, Options(ordered_solvent=OrderedSolvent(**{name: value})))


def test_course_of_a_kept_model(short: tuple[Model, Problem, State]) -> None:
    """Nothing is looked for where it was not asked for."""
    model, problem, state = short
    course = Course(problem, state, state, (), "", (), ())
    assert water_rounds.water_rounds(model, course, None) == (model, course, (), (), False, ())  # type: ignore[arg-type]


def test_waters_are_not_looked_for_where_the_model_is_far_from_its_data(short: tuple[Model, Problem, State]) -> None:
    model, problem, state = short
    options = dataclasses.replace(LOOK, waters="add", ordered_solvent=OrderedSolvent(most_r_work=0.01))
    course = Course(dataclasses.replace(problem, options=options), state, state, (), "", (), ())
    watered = water_rounds.water_rounds(model, course, Listeners())
    assert "no water was looked for, as R-work is" in watered.notes[0]
    assert not watered.looked
