"""Atoms that become anisotropic: which, when, and what it does to real crystals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from synthetic import crystal, random_atoms

from arrayrefine import macrocycle
from arrayrefine.displacements import tensors
from arrayrefine.displacements.displacement import CURVATURE_BY_U, EIGHT_PI_SQUARED, parted, total_u
from arrayrefine.displacements.tensors import FITS, REFUSED, fits, fits_at_once, given_tensors, never, undecided
from arrayrefine.hydrogens.sources import add_hydrogens
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.models.tls_header import is_ours
from arrayrefine.kernels import adp_aniso, symmetric
from arrayrefine.monomers import load_monomers
from arrayrefine.options import Geometry, Options
from arrayrefine.preparation import prepare, prepare_changed
from arrayrefine.problem import Problem
from arrayrefine.refine import refine
from arrayrefine.state import State, evaluate
from arrayrefine.steering.convergence import KEPT
from arrayrefine.targets import adp_curvature
from arrayrefine.targets.adp import AdpTarget

Case = Callable[[str], Path]

@pytest.fixture(scope="module")
def retinoid(case: Case) -> tuple[Problem, Any]:
    folder = case("1cbs")
    _, problem, atoms, _ = prepare(folder / "shaken.pdb", folder / "norm.mtz", Options())
    return problem, atoms


def with_options(problem: Problem, **options: Any) -> Problem:
    return dataclasses.replace(problem, options=Options(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"anisotropic": "none"}, {"anisotropic": "all"}, {"tls": ("chain",)}, {"tls": ("chain A",)},
        {"targets": ("xyz",)}, {"adp": "variance"}, {"weights": "stale"}, {"freeze": ("tls: all",)},
        {"freeze": ("b: all",)},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_user_decided_stays(
    retinoid: tuple[Problem, Any], options: dict[str, Any]
) -> None:
    problem, atoms = retinoid
    assert undecided(problem, atoms) is not None
    assert undecided(with_options(problem, **options), atoms) is None


def test_a_model_that_has_changed_is_asked_again(retinoid: tuple[Problem, Any], case: Case) -> None:
    problem, _ = retinoid
    crystal, bare = problem.reflections.crystal, read_model(case("1cbs") / "shaken.pdb")
    library = load_monomers(bare.structure[0].get_all_residue_names())
    model, hydrogens, _ = add_hydrogens(bare, crystal, library, problem.options.riding)
    changed = prepare_changed(problem, model, hydrogens)
    assert problem.undecided is not None
    assert changed.undecided is not None
    assert np.array_equal(changed.undecided, problem.undecided)
    decided = dataclasses.replace(problem, undecided=None)
    assert prepare_changed(decided, model, hydrogens).undecided is None


def test_atoms_that_may_become_anisotropic(retinoid: tuple[Problem, Any]) -> None:
    problem, atoms = retinoid
    chosen = problem.undecided
    assert chosen is not None
    assert not (chosen & (atoms.is_hydrogen | (atoms.identity.residue_name == "HOH"))).any()
    assert (chosen | (atoms.tls.group < 0)).all()
    part = undecided(with_options(problem, freeze=("b: 1-10",)), atoms)
    assert part is not None
    first = atoms.identity.sequence_number <= 10
    assert part.tolist() == (chosen & ~(first & (atoms.identity.chain == "A"))).tolist()
    few = dataclasses.replace(problem.reflections, free=np.arange(len(problem.reflections)) > 2000)
    assert undecided(dataclasses.replace(problem, reflections=few), atoms) is not None
    flagged = dataclasses.replace(atoms, anisotropic=np.arange(len(atoms)) == int(np.flatnonzero(first)[0]))
    assert undecided(problem, flagged) is None
    still = undecided(with_options(problem, freeze=("b: 1-10",)), flagged)
    assert still is not None
    assert still.tolist() == part.tolist()


def test_few_data_wait_for_the_first_cycle(retinoid: tuple[Problem, Any]) -> None:
    problem, atoms = retinoid
    state = evaluate(problem, atoms)
    assert fits_at_once(problem, state)
    few = dataclasses.replace(problem.reflections, free=np.arange(len(problem.reflections)) > 2000)
    assert not fits_at_once(dataclasses.replace(problem, reflections=few), state)
    assert fits(dataclasses.replace(problem, reflections=few), state)
    assert undecided(with_options(problem, cycles=0), atoms) is None


def test_tensors_leave_the_model_as_it_is(retinoid: tuple[Problem, Any]) -> None:
    problem, atoms = retinoid
    state = evaluate(problem, atoms)
    poor = dataclasses.replace(state, statistics=dataclasses.replace(state.statistics, r_work=FITS + 0.01))
    assert fits(problem, state)
    assert not fits(problem, poor)
    assert not fits_at_once(problem, poor)
    assert never(poor).endswith("R-work 0.36")
    assert never(state).endswith("no further cycle for it")
    after, then, news = given_tensors(problem, state, "from cycle 2 on")
    assert f"{int(then.atoms.anisotropic.sum())} atoms anisotropic from cycle 2 on" in news
    assert after.undecided is None
    assert not fits(after, then)
    assert news.endswith("; 1 TLS group ends")
    assert then.atoms.anisotropic.tolist() == problem.undecided.tolist()  # type: ignore[union-attr]
    assert not len(then.atoms.tls)
    assert np.array_equal(total_u(then.atoms), total_u(state.atoms))
    assert then.xray.knows(then.atoms)
    assert after.adp.shapes is not None
    assert problem.adp.shapes is None
    assert after.parameters(then.atoms, "xyz+b").sizes.u == 6 * int(then.atoms.anisotropic.sum())
    few = dataclasses.replace(problem, undecided=problem.undecided & (np.arange(len(atoms)) % 2 == 0))
    _, of_groups, _ = given_tensors(few, state, "at once")  # groups end, so what only they moved has a tensor too
    assert of_groups.atoms.anisotropic.tolist() == then.atoms.anisotropic.tolist()
    again = evaluate(after, then.atoms)
    assert again.statistics.r_work == pytest.approx(state.statistics.r_work, abs=1e-3)


def test_tensors_wait_until_the_model_is_near_its_data(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = case("1aba")
    files, options = (folder / "shaken.pdb", folder / "norm.mtz"), Options(cycles=3, d_min=2.8)
    seen: list[float] = []

    def later(problem: Problem, state: State) -> bool:
        seen.append(state.statistics.r_work)
        return problem.undecided is not None and len(seen) > 2

    monkeypatch.setattr(tensors, "fits", later)
    result = refine(*files, options)
    notes = [step.note for step in result.history]
    assert "anisotropic from cycle" not in notes[1]
    assert "anisotropic from cycle 3 on" in notes[2]
    seen.clear()
    once = refine(*files, dataclasses.replace(options, cycles=1))
    assert "no atom became anisotropic, as there was no further cycle for it" in once.report.warnings
    monkeypatch.setattr(tensors, "fits", lambda *_: False)
    result = refine(*files, options)
    assert [note for note in result.report.warnings if note.startswith("no atom became anisotropic")]
    assert result.report.tls
    assert not result.atoms.anisotropic.any()


def test_what_tensors_make_worse_stays_as_it_was(case: Case) -> None:
    """Five hundred reflections of a peptide: TLS groups and B are kept, and refined further."""
    folder = case("5e5z")
    result = refine(folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=4, d_min=2.9))
    assert any("anisotropic from cycle 2 on" in step.note and "rolled back" in step.note for step in result.history)
    assert REFUSED in result.report.warnings
    assert not [note for note in result.report.warnings if "anisotropic from" in note]
    assert not result.atoms.anisotropic.any()
    assert len(result.history) > 2


def test_a_last_cycle_that_is_not_kept_takes_its_tensors_with_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first cycle with tensors made the data less likely in the end: the model has B and groups as before it."""
    folder = case("5e5z")
    monkeypatch.setattr(macrocycle, "settled", lambda problem, before, now, made: KEPT)
    result = refine(folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=4, d_min=2.4))
    first, *others = result.history
    assert others
    assert all(step.cycle == 2 for step in others)
    assert any("anisotropic from cycle 2 on" in step.note for step in others)
    assert not result.atoms.anisotropic.any()
    assert result.r_work == pytest.approx(first.r_work, abs=0.005)
    assert REFUSED in result.report.warnings
    assert result.report.stopped == f"converged: cycle 2 {KEPT}"


def test_a_run_that_is_stopped_between_cycles_says_what_became_of_its_atoms(case: Case) -> None:
    folder = case("5e5z")
    seen: list[int] = []
    result = refine(
        folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=4), on_step=lambda step: seen.append(step.cycle),
        stop=lambda: 2 if seen else None,
    )  # fmt: skip
    assert result.report.stopped.startswith("interrupted")
    assert result.atoms.anisotropic.any()
    assert [note for note in result.report.warnings if "anisotropic from the start" in note]
    assert not [note for note in result.report.warnings if note.startswith("no atom became")]


def test_pairs_of_the_start_serve_tensors_too(case: Case) -> None:
    """As if they had been looked for anew; those near only by symmetry have no line between them to be rigid along."""
    folder = case("1aba")
    _, problem, atoms, _ = prepare(folder / "shaken.pdb", folder / "norm.mtz", Options(tls=("none",)))
    assert problem.undecided is not None
    later = dataclasses.replace(atoms, anisotropic=problem.undecided)
    geometry = problem.options.geometry
    known = problem.adp.with_tensors(later, geometry)
    anew = AdpTarget.build(
        problem.restraints, problem.reflections.crystal, later, "kl", geometry, skip=later.riding.mask(len(later))
    )  # fmt: skip
    for name in ("i", "j", "weight", "image"):
        assert np.array_equal(getattr(known, name), getattr(anew, name))
    assert len(known.i) < len(problem.adp.i)  # mates that a rotation brings near are out
    assert known.shapes is not None
    assert known.shapes.alike == pytest.approx(24.0)
    assert known.shapes.rigid == pytest.approx(25.0)
    apart = np.linalg.norm(later.xyz[known.shapes.i] - later.xyz[known.shapes.j], axis=1)
    assert apart.max() <= geometry.adp_distance
    listed = np.linalg.norm(later.xyz[known.i] - later.xyz[known.j], axis=1)
    assert listed.max() > geometry.adp_distance  # by a translation
    loose = dataclasses.replace(geometry, shape_ratio=1.5, rigid_ratio=0.0)
    none = problem.adp.with_tensors(later, loose).shapes
    assert none is not None
    assert none.alike == none.rigid == 0.0
    u = total_u(later)
    value, _, by_xyz = none(u, later.xyz)
    assert value == adp_aniso.sphericity(u, none.round)[0]
    assert not by_xyz.any()
    value, _ = known(later)
    assert value > problem.adp.with_tensors(later, loose)(later)[0] - 1e-9


def test_curvatures_are_the_same_in_pieces_and_kept(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = case("5e5z")
    _, problem, atoms, _ = prepare(folder / "model.pdb", folder / "norm.mtz", Options(anisotropic="not water"))
    own, none = np.flatnonzero(atoms.anisotropic), np.zeros(0, np.int64)
    whole = adp_curvature.strain_matrix(problem.adp, atoms, none, own)
    assert adp_curvature.strain_matrix(problem.adp, atoms, none, own) is whole
    assert adp_curvature.strain_matrix(problem.adp, atoms.replace(b_iso=2.0 * atoms.b_iso), none, own) is not whole
    monkeypatch.setattr(adp_curvature, "_PAIRS", 7)
    pieces = adp_curvature.strain_matrix(problem.adp, atoms, none, own)
    assert pieces is not whole
    np.testing.assert_allclose(pieces.toarray(), whole.toarray(), rtol=1e-10, atol=1e-9)


def test_weak_pairs_count_as_they_do_in_the_mean_of_all_directions() -> None:
    n, rng = 2000, np.random.default_rng(0)
    atoms = random_atoms(crystal("P 1"), n=n)
    every, first, none = np.arange(n), np.zeros(n - 1, np.int64), np.zeros(0, np.int64)
    other = every[1:]
    along = rng.normal(size=(n, 3))
    along[0] = 0.0
    atoms = dataclasses.replace(
        atoms, xyz=along, b_iso=np.full(n, 30.0), u_aniso=np.zeros((n, 6)), anisotropic=np.ones(n, dtype=bool)
    )
    target = AdpTarget("kl", first, other, np.full(n - 1, 2.0))
    target = target.with_tensors(atoms, Geometry())
    found = adp_curvature.strain_matrix(target, atoms, none, every).toarray()[:6, :6]
    u, weight = total_u(atoms), target.weight
    e = adp_aniso.directions(along, first, other)
    expected = adp_aniso.sphericity_curvature(u, target.shapes.round)[0]  # type: ignore[union-attr]
    expected += adp_aniso.kl_curvature(u, first, other, weight)[0].sum(axis=0)
    expected += adp_aniso.shape_curvature(u, first, other, 24.0 * weight)[0].sum(axis=0)
    expected += adp_aniso.rigid_bond_curvature(u, first, other, e, 25.0 * weight)[0].sum(axis=0)
    np.testing.assert_allclose(found, expected, atol=0.03 * expected.max())


def test_a_crystal_at_low_resolution_gains(case: Case) -> None:
    """Far fewer reflections than numbers, and yet the test set is the better for it."""
    folder = case("5kzb")
    ends = [
        refine(folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=3, anisotropic=option))
        for option in ("none", "auto")
    ]
    assert ends[1].history[-1].free_parameters > 1.8 * ends[0].history[-1].free_parameters
    assert ends[1].r_free < ends[0].r_free - 0.001


def test_a_crystal_gets_anisotropic_atoms(case: Case, tmp_path: Path) -> None:
    folder = case("4xof")
    result = refine(folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=2, d_min=1.3))
    first, _ = result.history
    (answer,) = [note for note in result.report.warnings if "anisotropic from the start" in note]
    assert answer in first.note
    assert answer.endswith("1 TLS group ends")
    assert not result.report.tls
    isotropic = refine(
        folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=2, d_min=1.3, anisotropic="none", tls=("none",))
    )
    assert first.free_parameters > 1.8 * isotropic.history[0].free_parameters
    assert result.r_free < isotropic.r_free - 0.01
    result.write(tmp_path)
    structure = gemmi.read_structure(str(tmp_path / "refined.cif"))
    sites = [a for c in structure[0] for r in c for a in r if not a.is_hydrogen() and r.name != "HOH"]
    assert all(site.aniso.nonzero() for site in sites)
    for name in ("refined.cif", "refined.pdb"):
        assert is_ours(gemmi.read_structure(str(tmp_path / name)))
        _, problem, atoms, _ = prepare(tmp_path / name, folder / "norm.mtz", Options(d_min=1.3))
        assert atoms.anisotropic.sum() == result.atoms.anisotropic.sum()
        assert problem.undecided is None
    assert not is_ours(gemmi.read_structure(str(folder / "model.pdb")))
    options = Options(d_min=1.8)
    _, problem, atoms, notes = prepare(folder / "model.pdb", folder / "norm.mtz", options)
    assert not atoms.anisotropic.any()
    assert any("anisotropy of" in note and "isotropic equivalent" in note for note in notes)
    still = dataclasses.replace(options, freeze=("b: 1-20",))
    _, problem, atoms, _ = prepare(folder / "model.pdb", folder / "norm.mtz", still)
    low = atoms.identity.sequence_number <= 20
    assert atoms.anisotropic[low & ~atoms.is_hydrogen & (atoms.identity.residue_name != "HOH")].all()
    assert not atoms.anisotropic[~low].any()


def test_a_run_that_ends_before_the_first_step_with_tensors_keeps_its_groups(case: Case) -> None:
    folder = case("4xof")
    seen: list[str] = []

    def stop() -> int | None:
        return 1 if seen and seen[-1] == "decided" else None

    def on_step(step: Any) -> None:
        seen.append("stepped")

    real = tensors.given_tensors

    def and_stop(*given: Any) -> Any:
        out = real(*given)
        seen.append("decided")
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "given_tensors", and_stop)
        result = refine(
            folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=3, d_min=3.2), on_step=on_step, stop=stop
        )
    assert seen == ["stepped", "decided"]
    assert result.report.tls
    assert not result.atoms.anisotropic.any()
    assert not [note for note in result.report.warnings if "anisotropic from" in note]


def test_parted_is_what_the_shapes_are_of() -> None:
    """The shapes of `STRAINS` are traceless and of length 1, so that the curvature of each is the same."""
    shapes = symmetric.STRAINS[1:]
    assert np.allclose(parted(shapes)[0], 0.0)
    lengths = np.array([np.linalg.norm(symmetric.matrices(shape)) for shape in shapes])
    assert np.allclose(lengths, 1.0)
    assert np.allclose(shapes @ CURVATURE_BY_U @ shapes.T, 2.0 / 15.0 * EIGHT_PI_SQUARED**2 * np.eye(5))
