"""Anisotropic atoms that the data ask for: signal and noise of the shapes, and what is left to the data at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import crystal, random_atoms

from arrayrefine.displacement import CURVATURE_BY_U, EIGHT_PI_SQUARED, parted, total_u
from arrayrefine.io.tls_header import is_ours
from arrayrefine.kernels import symmetric
from arrayrefine.options import Options
from arrayrefine.preparation import prepare
from arrayrefine.refine import refine
from arrayrefine.reflections import Reflections
from arrayrefine.shape_evidence import ENOUGH, decided, signal_to_noise, undecided
from arrayrefine.state import Problem, evaluate
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.xray import XrayTarget

Float = NDArray[np.float64]
Case = Callable[[str], Path]

EVERY = np.ones(60, dtype=bool)


def data_of(shape: float, error: float, seed: int = 0) -> tuple[XrayTarget, Any]:
    """Target and model of atoms whose true U differ from spheres by a share `shape`; `error` of the amplitudes."""
    box = crystal("P 21 21 21")
    rng = np.random.default_rng(seed)
    round_atoms = random_atoms(box, n=len(EVERY), seed=seed)
    strains = shape * rng.normal(size=(len(EVERY), 5))
    u_aniso = (strains @ symmetric.STRAINS[1:]) * (round_atoms.b_iso / (8.0 * np.pi**2))[:, None]
    truth = round_atoms.replace(u_aniso=u_aniso)
    hkl = box.unique_reflections(1.3, 1e3)
    sf = StructureFactors(box, hkl, truth, precision="double", accuracy=1e-6)
    amplitude = np.abs(sf(truth))
    sigma = np.full(len(hkl), error * amplitude.mean())
    measured = np.abs(amplitude + sigma * rng.normal(size=len(hkl)))
    data = Reflections(box, hkl, measured, sigma, rng.random(len(hkl)) < 0.05)
    one, none = np.ones(len(hkl)), np.zeros(len(hkl), dtype=complex)
    return XrayTarget(data, sf, one, none, one, one, "gaussian"), round_atoms


@pytest.mark.parametrize("seed", range(4))
def test_shapes_that_are_there_are_a_signal_and_noise_is_none(seed: int) -> None:
    clear = signal_to_noise(*data_of(0.3, 0.03, seed), EVERY)
    faint = signal_to_noise(*data_of(0.3, 0.3, seed), EVERY)
    absent = signal_to_noise(*data_of(0.0, 0.1, seed), EVERY)
    assert clear > 1.0
    assert ENOUGH < faint < 0.7 * clear
    assert abs(absent) < 0.5 * ENOUGH


def test_signal_is_in_units_of_the_noise() -> None:
    """Both grow with the weight of the data; the ratio of a sum over atoms is not changed by what it is measured in."""
    target, atoms = data_of(0.2, 0.05)
    data = target.reflections
    once = signal_to_noise(target, atoms, EVERY)
    scaled = dataclasses.replace(data, f_obs=10.0 * data.f_obs, sigma=10.0 * data.sigma)
    other = dataclasses.replace(target, reflections=scaled, factor=10.0 * target.factor)
    assert signal_to_noise(other, atoms, EVERY) == pytest.approx(once, rel=1e-6)


def test_atoms_that_scatter_nothing_tell_nothing() -> None:
    target, atoms = data_of(0.3, 0.03)
    assert signal_to_noise(target, atoms, ~EVERY) == 0.0
    assert signal_to_noise(target, atoms.replace(occupancy=np.zeros(len(atoms))), EVERY) == 0.0


def test_shapes_that_the_model_has_are_no_signal_any_more() -> None:
    target, atoms = data_of(0.3, 0.05)
    data, sf = target.reflections, target.structure_factors
    rng = np.random.default_rng(0)
    random_atoms(crystal("P 21 21 21"), n=len(EVERY), seed=0)
    strains = 0.3 * rng.normal(size=(len(EVERY), 5))
    truth = atoms.replace(u_aniso=(strains @ symmetric.STRAINS[1:]) * (atoms.b_iso / (8.0 * np.pi**2))[:, None])
    assert np.corrcoef(np.abs(sf(truth)), data.f_obs)[0, 1] > 0.99
    assert abs(signal_to_noise(target, truth, EVERY)) < ENOUGH < signal_to_noise(target, atoms, EVERY)


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
        {"targets": ("xyz",)}, {"freeze": ("tls: all",)}, {"freeze": ("b: all",)},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_user_decided_is_not_left_to_the_data(
    retinoid: tuple[Problem, Any], options: dict[str, Any]
) -> None:
    problem, atoms = retinoid
    assert undecided(problem, atoms)[0] is not None
    assert undecided(with_options(problem, **options), atoms) == (None, ())


def test_atoms_that_may_become_anisotropic(retinoid: tuple[Problem, Any]) -> None:
    problem, atoms = retinoid
    chosen = problem.undecided
    assert chosen is not None
    assert not (chosen & (atoms.is_hydrogen | (atoms.identity.residue_name == "HOH"))).any()
    assert (chosen | (atoms.tls.group < 0)).all()
    part, _ = undecided(with_options(problem, freeze=("b: 1-10",)), atoms)
    assert part is not None
    first = atoms.identity.sequence_number <= 10
    assert part.tolist() == (chosen & ~(first & (atoms.identity.chain == "A"))).tolist()
    few = dataclasses.replace(problem.reflections, free=np.arange(len(problem.reflections)) > 2000)
    assert undecided(dataclasses.replace(problem, reflections=few), atoms) == (None, ())
    flagged = dataclasses.replace(atoms, anisotropic=np.arange(len(atoms)) == int(np.flatnonzero(first)[0]))
    assert undecided(problem, flagged) == (None, ())
    still, _ = undecided(with_options(problem, freeze=("b: 1-10",)), flagged)
    assert still is not None
    assert still.tolist() == part.tolist()


def test_one_cycle_is_too_short_to_ask_and_says_so(retinoid: tuple[Problem, Any]) -> None:
    problem, atoms = retinoid
    none, (note,) = undecided(with_options(problem, cycles=1), atoms)
    assert none is None
    assert "after the first of several cycles" in note
    assert undecided(with_options(problem, cycles=0), atoms) == (None, ())


@pytest.mark.parametrize(("found", "asked"), [(ENOUGH + 0.01, True), (ENOUGH - 0.01, False)])
def test_a_decision_leaves_the_model_as_it_is(
    retinoid: tuple[Problem, Any], found: float, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, atoms = retinoid
    monkeypatch.setattr("arrayrefine.shape_evidence.signal_to_noise", lambda *_: found)
    state = evaluate(problem, atoms)
    after, then, news = decided(problem, state)
    assert after.undecided is None
    assert f"their signal is {found:.2f} of the noise, {ENOUGH:g} asked for" in news
    if not asked:
        assert then is state
        assert news.startswith("no atom becomes anisotropic")
        return
    assert news.endswith("; 1 TLS group ends")
    poor = dataclasses.replace(state, statistics=dataclasses.replace(state.statistics, r_work=0.36))
    assert decided(problem, poor)[1:] == (
        poor, "no atom becomes anisotropic, as the model is too far from the data: R-work 0.36"
    )  # fmt: skip
    loose = with_options(problem, adp="variance")
    assert "1 asked for" in decided(loose, state)[2]
    assert decided(loose, state)[1] is state
    assert then.atoms.anisotropic.tolist() == problem.undecided.tolist()  # type: ignore[union-attr]
    assert not len(then.atoms.tls)
    assert np.array_equal(total_u(then.atoms), total_u(state.atoms))
    assert then.xray.knows(then.atoms)
    assert after.adp.shapes is not None
    assert problem.adp.shapes is None
    assert after.parameters(then.atoms, "xyz+b").sizes.u == 6 * int(then.atoms.anisotropic.sum())
    assert decided(after, then)[2] == ""
    again = evaluate(after, then.atoms)
    assert again.statistics.r_work == pytest.approx(state.statistics.r_work, abs=1e-3)


def test_a_crystal_whose_data_tell_shapes_gets_anisotropic_atoms(case: Case, tmp_path: Path) -> None:
    folder = case("4xof")
    result = refine(folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=2, d_min=1.3))
    first, second = result.history
    (answer,) = [note for note in result.report.warnings if "anisotropic from here on" in note]
    assert answer in second.note
    assert "TLS group" in " ".join(result.report.warnings)
    assert not result.report.tls
    assert second.free_parameters > 1.8 * first.free_parameters
    assert second.r_free is not None
    assert first.r_free is not None
    assert second.r_free < first.r_free - 0.01
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
    assert any("ANISOU of" in note and "isotropic equivalent" in note for note in notes)
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

    import arrayrefine.shape_evidence as evidence

    real = evidence.decided

    def and_stop(*given: Any) -> Any:
        out = real(*given)
        seen.append("decided")
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "decided", and_stop)
        result = refine(
            folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=3, d_min=1.4), on_step=on_step, stop=stop
        )
    assert seen == ["stepped", "decided"]
    assert result.report.tls
    assert not result.atoms.anisotropic.any()
    assert not [note for note in result.report.warnings if "anisotropic from here on" in note]


def test_a_crystal_whose_data_do_not_keeps_its_groups(case: Case) -> None:
    folder = case("1cbs")
    result = refine(folder / "shaken.pdb", folder / "norm.mtz", Options(cycles=2))
    assert result.report.tls
    assert not any("anisotropic from here on" in step.note for step in result.history)
    assert [note for note in result.report.warnings if "no atom becomes anisotropic" in note]


def test_parted_is_what_the_shapes_are_of() -> None:
    """The shapes of `STRAINS` are traceless and of length 1, so that the curvature of each is the same."""
    shapes = symmetric.STRAINS[1:]
    assert np.allclose(parted(shapes)[0], 0.0)
    lengths = np.array([np.linalg.norm(symmetric.matrices(shape)) for shape in shapes])
    assert np.allclose(lengths, 1.0)
    assert np.allclose(shapes @ CURVATURE_BY_U @ shapes.T, 2.0 / 15.0 * EIGHT_PI_SQUARED**2 * np.eye(5))
