"""What the data alone say: twinning, anisotropy and completeness, made up and of real crystals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from synthetic import wilson

from arrayrefine.crystal import Crystal
from arrayrefine.io.models.reading import read_model
from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.measurements.data_checks import check_data
from arrayrefine.measurements.intensity_statistics import anisotropy
from arrayrefine.preparation import crystal_of
from arrayrefine.reflections import Reflections
from arrayrefine.twins.signs import l_test, second_moment, suspicion, twin_laws
from arrayrefine.wording import Caution

TETRAGONAL = Crystal((60.0, 60.0, 80.0, 90.0, 90.0, 90.0), "P 43")
TRIGONAL = Crystal((60.0, 60.0, 80.0, 90.0, 90.0, 120.0), "P 31")
ORTHORHOMBIC = Crystal((40.0, 61.0, 83.0, 90.0, 90.0, 90.0), "P 21 21 21")
MONOCLINIC = Crystal((45.0, 61.0, 77.0, 90.0, 106.0, 90.0), "P 1 21 1")


def said(notes: tuple[str, ...], text: str) -> bool:
    return any(text in note for note in notes)


@pytest.mark.parametrize("amplitudes", [False, True])
@pytest.mark.parametrize(("domains", "mean", "moment"), [(1, 0.5, 2.0), (2, 0.375, 1.5)])
def test_statistics_of_twins(domains: int, mean: float, moment: float, amplitudes: bool) -> None:
    """The values of Padilla & Yeates, whatever the anisotropy."""
    tensor = np.diag([15.0, 15.0, -30.0])
    data = wilson(TETRAGONAL, domains, 0.01, tensor, amplitudes)
    found, count = l_test(data)
    assert count == (~data.centric).sum()
    assert found == pytest.approx(mean, abs=0.012)
    assert second_moment(wilson(TETRAGONAL, domains)) == pytest.approx(moment, abs=0.06)


def test_a_pair_of_which_one_is_negative_differs_no_more_than_wholly() -> None:
    data = wilson(TETRAGONAL, 2, 0.01)
    assert data.sigma_i is not None
    negative = np.random.default_rng(1).random(len(data)) < 0.2
    intensity = 100.0 * data.sigma_i.max() * np.where(negative, -0.5, 1.0)
    mean, _ = l_test(with_intensities(data, intensity))
    assert 0.0 < mean < 1.0
    assert l_test(with_intensities(data, np.maximum(intensity, 0.0)))[0] == pytest.approx(mean, abs=1e-12)


def with_intensities(data: Reflections, intensity: np.ndarray) -> Reflections:
    """The same reflections with other amplitudes and intensities."""
    assert data.sigma_i is not None
    return dataclasses.replace(data, i_obs=intensity, f_obs=np.sqrt(np.maximum(intensity, 0.0)))


def mates(data: Reflections, law: str) -> np.ndarray:
    """Rows of the twin mates, each brought into the asymmetric unit by gemmi; -1 where it is not there."""
    group, operator = data.crystal.gemmi_space_group, gemmi.Op(law)
    asu, rows = gemmi.ReciprocalAsu(group), {tuple(h): i for i, h in enumerate(data.hkl.tolist())}
    found = (asu.to_asu(operator.apply_to_hkl(h), group.operations())[0] for h in data.hkl.tolist())
    return np.array([rows.get(tuple(h), -1) for h in found])


def twin(crystal: Crystal, law: str, fraction: float) -> Reflections:
    """Intensities of a twin with two domains."""
    data = wilson(crystal, noise=0.01)
    other = mates(data, law)
    assert data.i_obs is not None
    data = data.select(other >= 0)
    other = mates(data, law)
    return with_intensities(data, (1.0 - fraction) * data.i_obs + fraction * data.i_obs[other])


def test_twin_laws_of_lattices() -> None:
    assert tuple(TETRAGONAL.twin_laws) == ("-h,k,-l",)
    assert ORTHORHOMBIC.twin_laws == {}
    assert len(TRIGONAL.twin_laws) == 3
    hkl = np.array([[1, 2, 3], [-4, 1, 0]])
    for crystal in (TETRAGONAL, TRIGONAL):
        for name, matrix in crystal.twin_laws.items():
            expected = [gemmi.Op(name).apply_to_hkl(h) for h in hkl.tolist()]
            np.testing.assert_array_equal(hkl @ matrix, expected)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.35])
@pytest.mark.parametrize(("crystal", "law"), [(TETRAGONAL, "-h,k,-l"), (TRIGONAL, "-h,-k,l")])
def test_fraction_and_correlation_of_a_twin(crystal: Crystal, law: str, fraction: float) -> None:
    data = twin(crystal, law, fraction)
    found = {one.name: one for one in twin_laws(data)}
    assert len(found) == len(crystal.twin_laws)
    own = found.pop(law)
    assert own.fraction == pytest.approx(fraction, abs=0.02)
    expected = 2.0 * fraction * (1.0 - fraction) / (fraction**2 + (1.0 - fraction) ** 2)
    assert own.correlation == pytest.approx(expected, abs=0.06)
    for other in found.values():
        assert abs(other.correlation) < 0.1
    notes = check_data(data)
    assert said(notes, f"look twinned: mean |L| of the L-test is {l_test(data)[0]:.3f}") == (fraction > 0.0)
    assert said(notes, f"twin law {law} (correlation {own.correlation:.2f}, fraction {own.fraction:.2f}") == (
        fraction > 0.0
    )


def test_even_intensities_without_related_mates_are_no_twin() -> None:
    """Mean |L| is low for other reasons too, with a lattice that allows twinning (as in 3ifx) and without."""
    for crystal in (TETRAGONAL, ORTHORHOMBIC):
        data = wilson(crystal, 2)
        assert l_test(data)[0] < 0.4
        assert check_data(data) == ()


def test_intensities_more_even_than_those_of_any_twin_are_warned_of() -> None:
    """And are no twin, whatever their mates have in common."""
    assert check_data(wilson(ORTHORHOMBIC, 4, amplitudes=True)) == ()  # as four equal domains would have them
    data = wilson(TETRAGONAL, 16)
    alike = np.minimum(np.arange(len(data)), np.where(mates(data, "-h,k,-l") < 0, len(data), mates(data, "-h,k,-l")))
    related = with_intensities(data, data.i_obs[alike])
    assert twin_laws(related)[0].correlation > 0.9
    assert suspicion(related) is None
    (note,) = check_data(related)
    assert isinstance(note, Caution)
    assert note.startswith("intensities are more even than those of any crystal: mean |L| of the L-test is 0.")


def test_related_mates_with_intensities_as_uneven_as_ever_are_named() -> None:
    """A pseudo-symmetry, whose mates are alike but no sums; 5bmg is a twin that looks the same."""
    data = wilson(TETRAGONAL, noise=0.01)
    data = data.select(mates(data, "-h,k,-l") >= 0)
    other = mates(data, "-h,k,-l")
    rng = np.random.default_rng(3)
    shared, own = (rng.normal(size=len(data)) + 1j * rng.normal(size=len(data)) for _ in range(2))
    shared = shared[np.minimum(np.arange(len(data)), other)]
    f = np.sqrt(0.85) * shared + np.sqrt(0.15) * own
    mean = np.exp(-15.0 * data.s_squared) * data.epsilon
    pseudo = with_intensities(data, 900.0 * mean * np.abs(f) ** 2)
    assert l_test(pseudo)[0] > 0.48
    (law,) = twin_laws(pseudo)
    assert law.correlation == pytest.approx(0.85**2, abs=0.05)
    (note,) = check_data(pseudo)
    assert note.startswith(f"intensities are related by the twin law -h,k,-l (correlation {law.correlation:.2f}")
    assert "of higher symmetry than P 43" in note
    (note,) = check_data(with_intensities(data, 900.0 * mean * np.abs(shared) ** 2))
    assert "the crystal is probably of higher symmetry than P 43: merge and refine it in the space group that" in note
    weakly = with_intensities(data, 900.0 * mean * np.abs(np.sqrt(0.5) * (shared + own)) ** 2)
    assert twin_laws(weakly)[0].correlation > 0.2
    assert check_data(weakly) == ()


def test_laws_that_relate_few_reflections_are_left_out() -> None:
    data = twin(TETRAGONAL, "-h,k,-l", 0.3)
    assert twin_laws(data.select(data.s_squared < 1 / 9.0**2)) == []


def test_weak_shells_and_small_data_say_nothing_of_twinning() -> None:
    weak = wilson(TETRAGONAL, 2, noise=3.0)
    assert l_test(weak)[1] < 0.3 * len(weak)
    few = wilson(TETRAGONAL, 2)
    few = few.select(few.s_squared < 1 / 8.0**2)
    assert len(few) < 400
    assert not said(check_data(few), "twinned")
    alone = few.select(np.arange(len(few)) < 1)
    assert np.isnan(l_test(alone)[0])
    assert not said(check_data(alone), "twinned")


def test_the_tensor_is_found() -> None:
    truth = np.array([[20.0, 0.0, 7.0], [0.0, -35.0, 0.0], [7.0, 0.0, 15.0]])
    data = wilson(MONOCLINIC, tensor=truth)
    np.testing.assert_allclose(anisotropy(data), truth, atol=2.5)
    spread = np.ptp(np.linalg.eigvalsh(truth))
    assert spread > 55.0
    assert said(check_data(data), "strongly anisotropic")
    assert check_data(wilson(MONOCLINIC, tensor=0.2 * truth)) == ()


@pytest.mark.parametrize(
    ("d_min", "words"), [(None, "reach this resolution in some directions only"), (6.0, "in all directions (mean I/")]
)
def test_whether_data_reach_their_limit_in_all_directions_is_measured(
    case: Callable[[str], Path], d_min: float | None, words: str
) -> None:
    """2r4r is weak in some directions at 3.4 Å, and in none at 6."""
    path = case("2r4r") / "norm.mtz"
    data, _ = read_reflections(path, crystal_of(path), d_min=d_min)
    (sentence,) = (text for text in check_data(data) if "strongly anisotropic" in text)
    assert words in sentence


def test_anisotropy_is_told_of_directions_that_are_measured() -> None:
    """In a wedge of data the tensor may be anything across it."""
    data = wilson(MONOCLINIC)
    s = data.hkl @ data.crystal.frac
    wedge = data.select(np.abs(s[:, 0]) > 0.9 * np.linalg.norm(s, axis=1))
    assert np.ptp(np.linalg.eigvalsh(anisotropy(wedge))) > 40.0
    assert not said(check_data(wedge), "strongly anisotropic")
    strong = check_data(wilson(ORTHORHOMBIC, tensor=np.diag([60.0, -30.0, -30.0])))
    assert said(strong, "Å² about its mean, by direction, so that mean intensities at")


def test_a_mean_that_rises_with_resolution_is_warned_of() -> None:
    """As that of normalised amplitudes; at lower resolution it may, where folds and bases have their peaks."""
    small, rng = Crystal((25.0, 31.0, 37.0, 90.0, 100.0, 90.0), "P 1 21 1"), np.random.default_rng(5)
    for d_min, b, rises in ((2.0, 10.0, False), (2.0, -10.0, True), (2.4, -10.0, False)):
        hkl = small.unique_reflections(d_min, 9.0)
        mean = small.epsilon(hkl) * np.exp(-0.5 * b * ((hkl @ small.frac) ** 2).sum(axis=1))
        f = np.sqrt(mean * rng.exponential(size=len(hkl)))
        data = Reflections(small, hkl, f, np.linspace(0.05, 0.06, len(hkl)), np.zeros(len(hkl), dtype=bool))
        assert said(check_data(data), "the mean intensity rises by a factor of ") == rises, (d_min, b)


@pytest.mark.parametrize("noise", [0.1, 0.3])
@pytest.mark.parametrize("tensor", [(20.0, -35.0, 15.0), (60.0, -30.0, -30.0)])
def test_noise_in_a_weak_direction_does_not_pass_for_signal(tensor: tuple[float, ...], noise: float) -> None:
    """Mean I/sigma of 4 to 80; in the weak direction there is none."""
    truth = np.diag(tensor)
    found = anisotropy(wilson(ORTHORHOMBIC, noise=noise, tensor=truth))
    np.testing.assert_allclose(found, truth, atol=0.1 * np.abs(truth).max())


def test_a_few_impossible_intensities_do_not_move_the_tensor() -> None:
    truth = np.diag([20.0, -35.0, 15.0])
    data = wilson(ORTHORHOMBIC, tensor=truth)
    assert data.i_obs is not None
    data.i_obs[:: len(data) // 5] *= 1e4
    np.testing.assert_allclose(anisotropy(data), truth, atol=2.5)


@pytest.mark.parametrize("amplitudes", [False, True])
@pytest.mark.parametrize(("factor", "size"), [(100.0, "large"), (0.003, "small"), (3.0, ""), (0.2, "")])
def test_sigmas_on_another_scale_are_noted(factor: float, size: str, amplitudes: bool) -> None:
    data = wilson(MONOCLINIC, noise=0.03, amplitudes=amplitudes)
    scaled = None if data.sigma_i is None else factor * data.sigma_i
    notes = check_data(dataclasses.replace(data, sigma=factor * data.sigma, sigma_i=scaled))
    found = [note for note in notes if note.startswith("the sigmas look too")]
    assert [note.split()[4].rstrip(":") for note in found] == ([size] if size else [])
    assert all(("F/sigma" in note) == amplitudes for note in found)


def test_data_that_go_on_into_noise_are_told_from_sigmas_on_another_scale() -> None:
    data = wilson(MONOCLINIC, noise=0.03)
    assert data.sigma_i is not None
    growing = data.sigma_i * np.exp(8.0 * data.s_squared / np.median(data.s_squared))
    notes = check_data(dataclasses.replace(data, sigma_i=growing))
    assert said(notes, "of the lower half: most of what is beyond is noise, and the resolution of the data is not what")
    assert not said(notes, "the sigmas look too")


@pytest.mark.parametrize("amplitudes", [False, True])
def test_equal_sigmas_are_noted(amplitudes: bool) -> None:
    data = wilson(MONOCLINIC, noise=0.03, amplitudes=amplitudes)
    equal = np.full(len(data), 2.5)
    notes = check_data(dataclasses.replace(data, sigma=equal, sigma_i=None if amplitudes else equal))
    assert said(notes, f"the sigmas of all {len(data)} reflections are 2.5, as where none were measured")
    assert not said(check_data(data), "the sigmas of all")


def test_missing_reflections_at_low_resolution_are_noted(case: Callable[[str], Path]) -> None:
    for name, lacking in (("1cbs", True), ("1rx2", False)):
        folder = case(name)
        model = next(path for path in (folder / "model.pdb", folder / "model.cif") if path.exists())
        data, _ = read_reflections(folder / "norm.mtz", read_model(model).crystal)
        assert said(check_data(data), "beyond 8 Å at low resolution 0 are there") == lacking


def test_missing_reflections_are_noted() -> None:
    data = wilson(ORTHORHOMBIC)
    there = np.random.default_rng(0).random(len(data)) < 0.6
    assert said(check_data(data.select(there)), "only 60 %")


@pytest.mark.parametrize("domains", [1, 2])
def test_amplitudes_read_as_intensities_are_named(domains: int) -> None:
    data = wilson(ORTHORHOMBIC, domains, noise=0.02)
    source = {"columns": ["I", "SIGI"]}
    wrong = dataclasses.replace(data, i_obs=data.f_obs, sigma_i=data.sigma, f_obs=np.sqrt(data.f_obs), source=source)
    assert said(check_data(wrong), "the data were read as intensities but look like amplitudes: mean |L|")
    assert said(check_data(wrong), "read them as such: --columns I,SIGI=amplitude")
    assert not said(check_data(data), "look like amplitudes")
    few = wrong.select(wrong.s_squared < 1 / 8.0**2)
    assert not said(check_data(few), "look like")


def test_intensities_read_as_amplitudes_are_named() -> None:
    data = wilson(ORTHORHOMBIC, noise=0.02)
    assert data.i_obs is not None
    assert data.sigma_i is not None
    positive = data.i_obs > 0.0
    wrong = dataclasses.replace(data, f_obs=data.i_obs, sigma=data.sigma_i, i_obs=None, sigma_i=None).select(positive)
    assert said(check_data(wrong), "the data were read as amplitudes but look like intensities: mean |L|")
    assert said(check_data(wrong), "read them as such: --columns VALUE,SIGMA=intensity")
    assert not said(check_data(wilson(ORTHORHOMBIC, noise=0.02, amplitudes=True)), "look like intensities")


@pytest.mark.parametrize(
    "name",
    [
        "1aba", "1cbs", "1dur", "1ehz", "1l2h", "1rx2", "1v9g", "2r4r", "3g70", "3sb3",
        "4iid", "4xof", "5e5z", "5kzb", "5orl", "5uui", "6mw0", "br_lcls", "hewl_ssad",
    ],
)  # fmt: skip
def test_real_crystals(case: Callable[[str], Path], name: str) -> None:
    """1l2h and 5uui are twinned; 2r4r and 5kzb diffract anisotropically."""
    folder = case(name)
    crystal = read_model(next(folder.glob("model.*"))).crystal
    notes = check_data(read_reflections(folder / "norm.mtz", crystal)[0])
    assert said(notes, "twinned") == (name in ("1l2h", "5uui"))
    assert said(notes, "anisotropic") == (name in ("2r4r", "5kzb"))
    assert not said(notes, "artefacts")
    assert not said(notes, "were read as")
