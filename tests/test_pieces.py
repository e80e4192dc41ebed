"""The pieces used alone, through the public names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.atoms import Atoms
from arrayrefine.example import DATA, MODEL
from arrayrefine.problem import Problem
from arrayrefine.state import State

OPTIONS = ar.Options(d_min=3.0, perturb=0.2)


@pytest.fixture(scope="module")
def prepared() -> tuple[Problem, State]:
    """The embedded example to 3 Å, read, set up and scored."""
    _, problem, atoms, _ = ar.prepare(MODEL, DATA, OPTIONS)
    return problem, ar.evaluate(problem, atoms)


def test_model_and_data_alone() -> None:
    model = ar.read_model(MODEL)
    reflections, notes = ar.read_reflections(DATA, model.crystal, d_min=2.5)
    assert len(model.atoms) == 1503
    assert model.crystal.space_group == "P 21 21 21"
    assert reflections.d_min >= 2.5
    assert 0.03 < reflections.free.mean() < 0.07
    assert all(isinstance(note, str) for note in notes)


def test_unfreeze_moves_the_selected_atoms_only(prepared: tuple[Problem, State]) -> None:
    problem, state = prepared
    atoms = state.atoms
    riding = atoms.riding
    own = ~riding.mask(len(atoms))
    parameters = ar.Parameters.frozen(atoms).unfreeze("xyz", "chain A and 10-40")
    number, chain = atoms.identity.sequence_number, atoms.identity.chain
    chosen = (chain == "A") & (number >= 10) & (number <= 40)
    assert parameters.size == 3 * (chosen & own).sum()
    weights = ar.find_weights(problem, state, parameters)
    assert weights.geometry is not None
    assert weights.geometry > 0
    assert weights.adp is None
    solution = ar.minimise_step(problem, state, parameters, weights)
    assert solution.value < solution.start_value
    moved = np.linalg.norm(solution.atoms.xyz - atoms.xyz, axis=1)
    assert np.array_equal(moved > 0, chosen)
    assert np.array_equal(solution.atoms.b_iso[own], atoms.b_iso[own])
    after = ar.evaluate(problem, solution.atoms)
    assert after.statistics.r_work < state.statistics.r_work
    assert after.statistics.bond_rmsz is not None
    assert state.statistics.bond_rmsz is not None
    assert after.statistics.bond_rmsz < state.statistics.bond_rmsz


def test_freeze_takes_back(prepared: tuple[Problem, State]) -> None:
    _, state = prepared
    all_b = ar.Parameters.frozen(state.atoms).unfreeze("b")
    without_water = all_b.freeze("b", "water")
    dry = (state.atoms.identity.residue_name != "HOH") & ~state.atoms.riding.mask(len(state.atoms))
    assert without_water.size == int(dry.sum())
    assert all_b.fingerprint != without_water.fingerprint
    assert without_water.unfreeze("b", "water").fingerprint == all_b.fingerprint


def test_pack_unpack_pullback(prepared: tuple[Problem, State]) -> None:
    _, state = prepared
    parameters = ar.Parameters.frozen(state.atoms).unfreeze("xyz", "1-5").unfreeze("b", "resname FOL")
    x = parameters.pack(state.atoms)
    assert x.shape == (parameters.size,)
    back = parameters.unpack(x)
    assert np.array_equal(back.xyz, state.atoms.xyz)
    value, gradient = state.xray(state.atoms)
    slope = parameters.pullback(gradient)
    assert np.isfinite(value)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=len(x))
    h = 1e-3
    ahead, behind = (state.xray(parameters.unpack(x + sign * h * direction))[0] for sign in (1, -1))
    assert (ahead - behind) / (2 * h) == pytest.approx(float(slope @ direction), rel=0.02)


def test_targets_are_called_on_atoms(prepared: tuple[Problem, State]) -> None:
    problem, state = prepared
    for target in (state.xray, problem.geometry, problem.adp):
        value, gradient = target(state.atoms)
        again, second = target(state.atoms)
        assert value == again
        assert np.array_equal(gradient.xyz, second.xyz)  # returned anew, never accumulated
        assert np.array_equal(gradient.b_iso, second.b_iso)
        assert gradient.xyz.shape == state.atoms.xyz.shape
        assert np.isfinite(value)


def test_weights_of_one_freeze_state_are_refused_by_another(prepared: tuple[Problem, State]) -> None:
    problem, state = prepared
    everything = ar.Parameters.frozen(state.atoms).unfreeze("xyz").unfreeze("b")
    weights = ar.find_weights(problem, state, everything)
    only_b = ar.Parameters.frozen(state.atoms).unfreeze("b")
    with pytest.raises(ar.StaleWeightsError, match="freeze state"):
        ar.minimise_step(problem, state, only_b, weights)
    fewer = everything.freeze("xyz", "name CA and 7")
    with pytest.raises(ar.StaleWeightsError):
        ar.minimise_step(problem, state, fewer, weights)
    moved = state.atoms.replace(b_iso=state.atoms.b_iso + 1.0)
    assert everything.at(moved).fingerprint == everything.fingerprint  # masks count, values do not


def test_selection_of_nothing_known_is_an_error(prepared: tuple[Problem, State]) -> None:
    _, state = prepared
    with pytest.raises(ar.InputError, match="not understood"):
        ar.Parameters.frozen(state.atoms).unfreeze("xyz", "chian A")
    with pytest.raises(ar.InputError, match="xyz, b, occupancy"):
        ar.Parameters.frozen(state.atoms).unfreeze("u_aniso")


def test_selection_of_another_kind_is_an_error(prepared: tuple[Problem, State]) -> None:
    with pytest.raises(ar.InputError, match=r"found None; expected text or a gemmi\.Selection"):
        ar.select(prepared[1].atoms, None)  # type: ignore[arg-type]


def test_other_atoms_are_refused(prepared: tuple[Problem, State]) -> None:
    problem, state = prepared
    atoms, bare = state.atoms, ar.read_model(MODEL).atoms
    with pytest.raises(ar.InputError, match=r"of 1503 atoms; expected the \d+ atoms that prepare returned"):
        ar.evaluate(problem, bare)
    with pytest.raises(ar.InputError, match="found 5 coordinates"):
        ar.evaluate(problem, atoms.replace(xyz=atoms.xyz[:5]))
    with pytest.raises(ar.InputError, match="nan or infinity in xyz, B or occupancy of A/MET 1/N"):
        ar.evaluate(problem, atoms.replace(xyz=np.where(np.arange(len(atoms))[:, None] == 0, np.nan, atoms.xyz)))
    with pytest.raises(ar.InputError, match=r"structure factors of \d+ atoms were asked for 1503 atoms"):
        state.xray(bare)
    with pytest.raises(ar.InputError, match=r"parameters of 1503 atoms met \d+ atoms"):
        ar.find_weights(problem, state, ar.Parameters.frozen(bare).unfreeze("xyz"))


def test_restraints_are_exchanged_in_every_target(prepared: tuple[Problem, State]) -> None:
    problem, state = prepared
    fewer = problem.restraints.without(ar.select(state.atoms, "resname FOL"))
    assert len(fewer.bonds.index) < len(problem.restraints.bonds.index)
    with pytest.raises(ar.InputError, match=r"expected problem\.with_restraints"):
        dataclasses.replace(problem, restraints=fewer)
    changed = problem.with_restraints(fewer, state.atoms)
    assert changed.restraints is fewer
    assert changed.geometry(state.atoms)[0] < problem.geometry(state.atoms)[0]
    same = problem.with_restraints(problem.restraints, state.atoms)
    # Lists of contacts may be of other places, as tests before this asked for them: sums in another order.
    assert same.geometry(state.atoms)[0] == pytest.approx(problem.geometry(state.atoms)[0], rel=1e-14)
    # pairs of the start, which was displaced since, are not quite the same
    assert same.adp(state.atoms)[0] == pytest.approx(problem.adp(state.atoms)[0], rel=0.01)


def test_options_are_checked_by_the_pieces_too() -> None:
    with pytest.raises(ar.InputError, match="--cycles: found 'x', expected an integer"):
        ar.prepare(MODEL, DATA, ar.Options(cycles="x"))  # type: ignore[arg-type]
    with pytest.raises(ar.InputError, match=r"'xyz\+q' is not a step"):
        ar.prepare(MODEL, DATA, ar.Options(targets=("xyz+q",)))
    with pytest.raises(ar.InputError, match="options: found a dict"):
        ar.validate_files(MODEL, DATA, {"d_min": 3.0})  # type: ignore[arg-type]


def test_arguments_in_another_order_are_named(prepared: tuple[Problem, State]) -> None:
    problem, state = prepared
    parameters = ar.Parameters.frozen(state.atoms).unfreeze("xyz", "chain A and 10")
    mask = ar.select(state.atoms, "chain A and 10")
    wrong: list[tuple[Callable[..., object], tuple[object, ...], str]] = [
        (ar.evaluate, (state.atoms, problem), "evaluate: problem is of type Atoms; expected Problem: give"),
        (ar.evaluate, (problem, ar.read_model(MODEL)), "evaluate: atoms is of type Model; expected Atoms"),
        (ar.find_weights, (state, problem, parameters), "in the order problem, state, parameters"),
        (ar.minimise_step, (problem, state, parameters, 0.1), "found is of type float; expected Weights"),
        (ar.maps_of, (state, problem), "maps_of: problem is of type State"),
        (ar.validate, (state, problem), "validate: problem is of type State"),
        (ar.omit_map, (problem, state, "chain A"), "omitted is of type str; expected ndarray"),
        (ar.omit_map, (problem, state, np.flatnonzero(mask)), "omitted is int64 of shape .* expected bool of shape"),
        (ar.Parameters.frozen, (problem,), "atoms is of type Problem; expected Atoms$"),
        (ar.select, (ar.read_model(MODEL), "all"), "select: atoms is of type Model; expected Atoms"),
        (ar.select, ("all", state.atoms), "expected Atoms: give the arguments in the order atoms, selection$"),
    ]
    for function, arguments, words in wrong:
        with pytest.raises(ar.InputError, match=words):
            function(*arguments)


def test_structure_factors_alone() -> None:
    model = ar.read_model(MODEL)
    hkl = model.crystal.unique_reflections(4.0, 50.0)
    atoms: Atoms = model.atoms
    by_fft = ar.StructureFactors(model.crystal, hkl, atoms)(atoms)
    directly = ar.StructureFactors(model.crystal, hkl, atoms, method="direct")(atoms)
    assert np.linalg.norm(by_fft - directly) < 3e-4 * np.linalg.norm(directly)
    few = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 4.0]])
    assert np.array_equal(ar.StructureFactors(model.crystal, few, atoms).hkl, few)  # type: ignore[arg-type]
    for wrong, words in (
        (few + 0.5, r"\[1.5, 2.5, 3.5\] in row 0; expected whole"),
        (few * np.nan, "nan.* in row 0; expected whole"),
        (few[0], r"shape \(3,\); expected whole numbers of shape \(R, 3\)"),
        (few > 0, "found bool"),
    ):
        with pytest.raises(ar.InputError, match=words):
            ar.StructureFactors(model.crystal, wrong, atoms)
