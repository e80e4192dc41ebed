"""Which reflections of a twin add up, and what its data say of fractions, sigma_A and one domain."""

from __future__ import annotations

import dataclasses
import re

import gemmi
import numpy as np
import pytest
from twins import RATIO, TETRAGONAL, TRIGONAL, D, made_up

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.kernels.likelihood import rice_ml
from arrayrefine.lattice_symmetry import families
from arrayrefine.sigma_a import estimate_sigma_a
from arrayrefine.twins.choice import as_twin
from arrayrefine.twins.detwinning import detwinned, measured_intensities
from arrayrefine.twins.evidence import implied_fraction, twin_evidence
from arrayrefine.twins.fit import unmeasured
from arrayrefine.twins.likelihood import orders, twin_values, with_fitted_fractions
from arrayrefine.twins.twin import Twin
from arrayrefine.wording import kind_of

THREE = ("-h,-k,l", "k,h,-l", "-k,-h,-l")
"""Laws of P 31 in a tetartohedral twin, as `Crystal.twin_laws` names them, but for the order of what is equivalent."""


def test_mates_are_those_of_gemmi() -> None:
    """Measured or not, each domain's reflection is the one that the operator gives, in the asymmetric unit."""
    some = made_up(TETRAGONAL, ["-h,k,-l"], [0.3], missing=0.3)
    twin, data = some.twin, some.reflections
    group, asu = gemmi.SpaceGroup("P 43").operations(), gemmi.ReciprocalAsu(gemmi.SpaceGroup("P 43"))
    every = np.concatenate([data.hkl, twin.unmeasured.hkl])
    assert 0 < len(twin.unmeasured) < len(data)
    assert len({tuple(asu.to_asu(h, group)[0]) for h in every.tolist()}) == len(every)
    operator = gemmi.Op("-h,k,-l")
    for i, h in enumerate(data.hkl.tolist()):
        mate = every[twin.mates[1, i]].tolist()
        assert asu.to_asu(operator.apply_to_hkl(h), group)[0] == asu.to_asu(mate, group)[0]
    np.testing.assert_array_equal(twin.mates[0], np.arange(len(data)))
    np.testing.assert_array_equal(twin.complete, (twin.mates[1] < len(data)))


def test_a_reflection_that_is_its_own_mate_is_that_of_one_crystal() -> None:
    some = made_up(TETRAGONAL, ["-h,k,-l"], [0.3])
    own = some.twin.mates[1] == np.arange(len(some.reflections))
    assert 0 < own.sum() < len(own)
    np.testing.assert_array_equal(some.twin.shares[:, own], np.array([[1.0], [0.0]]).repeat(own.sum(), axis=1))
    np.testing.assert_allclose(some.twin.shares.sum(axis=0), 1.0, rtol=1e-15)
    components = some.twin.components(np.abs(some.truth))
    np.testing.assert_allclose(some.twin.amplitude(components)[own], np.abs(some.truth)[: len(own)][own], rtol=1e-12)
    found = detwinned(some.reflections, some.twin, some.f_model, some.sigma_a).reflections
    np.testing.assert_array_equal(found.f_obs[own], some.reflections.f_obs[own])
    np.testing.assert_array_equal(found.sigma[own], some.reflections.sigma[own])


def test_laws_by_any_name() -> None:
    assert TETRAGONAL.twin_law("h,-k,-l") == "-h,k,-l"
    assert TETRAGONAL.twin_law(" K, H, -L ") == "-h,k,-l"
    assert TETRAGONAL.twin_law("-x,y,-z") == "-h,k,-l"
    assert {TRIGONAL.twin_law(law) for law in THREE} == set(TRIGONAL.twin_laws)
    for wrong, text in (
        ("h,k", "is no operator; expected one such as '-h,k,-l'; the lattice allows: -h,k,-l"),
        ("-h,-k,l", "is a symmetry of P 43"), ("l,k,-h", "is none of the lattice"),
    ):  # fmt: skip
        with pytest.raises(InputError, match="twin law") as caught:
            TETRAGONAL.twin_law(wrong)
        assert text in str(caught.value)


def test_laws_that_move_the_axes_of_the_crystal_are_refused() -> None:
    """In a cell that is nearly cubic the fourfold axis of another domain is along a or b."""
    cubic = Crystal((60.0, 60.0, 60.5, 90.0, 90.0, 90.0), "P 4")
    kept = [law for law in cubic.twin_laws if cubic.keeps_point_group(law)]
    assert 0 < len(kept) < len(cubic.twin_laws)
    assert all(cubic.twin_law(law) == law for law in kept)
    wrong = next(law for law in cubic.twin_laws if law not in kept)
    with pytest.raises(InputError, match="turns the axes of P 4 to where the crystal has none"):
        cubic.twin_law(wrong)


def test_families_of_mates_and_test_reflections_with_mates_in_the_work_set() -> None:
    some = made_up(TRIGONAL, [TRIGONAL.twin_law(law) for law in THREE], [0.2, 0.2, 0.2], d_min=5.0)
    group = families(TRIGONAL, some.reflections.hkl)
    for row in some.twin.mates[1:]:
        there = row < len(group)
        np.testing.assert_array_equal(group[there], group[row[there]])
    assert np.bincount(group).max() == 4
    data = some.reflections
    split = [
        i for i in np.flatnonzero(data.free)
        if not data.free[np.flatnonzero(group == group[i])].all()
    ]  # fmt: skip
    assert some.twin.split(data) == len(split) > 0
    assert some.twin.split(dataclasses.replace(data, free=group % 3 == 0)) == 0


@pytest.mark.parametrize(("fraction", "off"), [(0.1, 0.1), (0.35, 0.17), (0.5, 0.25)])
def test_posterior_of_a_pair(fraction: float, off: float) -> None:
    """Expected amplitude and derivative against the posterior of both amplitudes on a grid, without approximation."""
    some = made_up(TETRAGONAL, ["-h,k,-l"], [fraction], noise=0.1, free=0.0)
    data, twin = some.reflections, some.twin
    found = detwinned(data, twin, some.f_model, some.sigma_a)
    x = D * np.abs(some.f_model)
    variance = 100.0 * RATIO
    rows = np.flatnonzero((twin.mates[1] != twin.mates[0]) & ~data.centric & (data.epsilon == 1.0))[:200]
    exact, slope = np.zeros((2, len(rows)))
    grid = np.linspace(0.0, 60.0, 601)[1:]
    i_obs, sigma_i = measured_intensities(data)
    for n, i in enumerate(rows):
        j = twin.mates[1, i]
        acentric, wide = np.zeros(len(grid), dtype=bool), np.full_like(grid, variance)
        one, two = (-rice_ml(grid, np.full_like(grid, x[k]), wide, acentric)[0] for k in (i, j))
        mine, other = grid[:, None] ** 2, grid[None, :] ** 2
        log_p = one[:, None] + two[None, :]
        log_p -= 0.5 * ((i_obs[i] - (1 - fraction) * mine - fraction * other) / sigma_i[i]) ** 2
        log_p -= 0.5 * ((i_obs[j] - fraction * mine - (1 - fraction) * other) / sigma_i[j]) ** 2
        p = np.exp(log_p - log_p.max()).sum(axis=1)
        p /= p.sum()
        exact[n] = p @ grid
        slope[n] = p @ rice_ml(grid, np.full_like(grid, x[i]), wide, acentric)[1]
    prior = np.sqrt(0.5 * variance)
    assert np.sqrt(np.mean((found.amplitude[rows] - exact) ** 2)) < 0.15 * prior
    single = found.reflections
    total = variance + 2.0 * single.sigma[rows] ** 2
    by_x = rice_ml(single.f_obs[rows], x[rows], total, np.zeros(len(rows), dtype=bool))[1]
    # what the model sees of both intensities: as if from one domain, with the derivative of the whole
    assert np.linalg.norm(by_x - slope) < off * np.linalg.norm(slope)
    # and nearer to the truth than the measured amplitude, or the model
    truth = np.abs(some.truth)[rows]
    error = [np.sqrt(np.mean((f - truth) ** 2)) for f in (found.amplitude[rows], data.f_obs[rows], x[rows])]
    assert error[0] < min(error[1:])


def test_the_observation_of_one_domain_has_the_derivative_of_the_posterior() -> None:
    """2 (x - ⟨F cos Δφ⟩)/S, by Fisher's identity, at F̃ and σ̃; centric reflections have half of it."""
    some = made_up(TETRAGONAL, ["-h,k,-l"], [0.4])
    data = some.reflections
    found = detwinned(data, some.twin, some.f_model, some.sigma_a)
    apart = some.twin.shares[0] < 1.0
    x = D * np.abs(some.f_model)[: len(data)]
    variance = some.sigma_a.sigma_total(dataclasses.replace(data, sigma=np.zeros(len(data))))
    factor = np.where(data.centric, 1.0, 2.0)
    expected = factor * (x - found.fom * found.amplitude) / variance
    single = found.reflections
    by_x = rice_ml(single.f_obs, x, some.sigma_a.sigma_total(single), data.centric)[1]
    reached = apart & (single.f_obs > 0.0)
    assert reached.sum() > 0.98 * apart.sum()
    np.testing.assert_allclose(by_x[reached], expected[reached], rtol=1e-5, atol=1e-7)


def test_without_a_second_domain_the_data_are_those_measured() -> None:
    """F̃ and σ̃ are F and σ where F is well above its error."""
    some = made_up(TETRAGONAL, ["-h,k,-l"], [1e-9], noise=0.02)
    data = some.reflections
    found = detwinned(data, some.twin, some.f_model, some.sigma_a).reflections
    strong = data.f_obs > 8.0 * data.sigma
    assert strong.mean() > 0.7
    assert (np.abs(found.f_obs - data.f_obs) < 0.25 * data.sigma)[strong].all()
    np.testing.assert_allclose(found.sigma[strong], data.sigma[strong], rtol=0.1)


def test_a_test_reflection_is_told_by_test_reflections_only() -> None:
    some = made_up(TETRAGONAL, ["-h,k,-l"], [0.4])
    data = some.reflections
    other = np.where(data.free, 5.0, 1.0)
    changed = dataclasses.replace(
        data, f_obs=np.sqrt(other) * data.f_obs, i_obs=None if data.i_obs is None else other * data.i_obs
    )
    one, two = (detwinned(d, some.twin, some.f_model, some.sigma_a).reflections for d in (data, changed))
    np.testing.assert_array_equal(one.f_obs[data.work], two.f_obs[data.work])
    assert (one.f_obs[data.free] != two.f_obs[data.free]).mean() > 0.95


@pytest.mark.parametrize("fractions", [(0.0,), (0.15,), (0.45,), (0.3, 0.2, 0.1)])
def test_fractions_are_found(fractions: tuple[float, ...]) -> None:
    """Of a model that leaves a quarter of the intensity open, from fractions that are far off."""
    crystal, laws = (TETRAGONAL, ["-h,k,-l"]) if len(fractions) == 1 else (TRIGONAL, list(TRIGONAL.twin_laws))
    some = made_up(crystal, laws, fractions, missing=0.05)
    start = some.twin.with_fractions(np.array([1.0 - 0.2 * len(laws), *[0.2] * len(laws)]))
    components = some.twin.components(np.abs(some.f_model))
    found = with_fitted_fractions(some.reflections, start, components, some.sigma_a)
    np.testing.assert_allclose(found.fractions[1:], fractions, atol=0.025)
    assert found.fractions.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(start.fractions[1:], 0.2)


@pytest.mark.parametrize("start", [0.001, 0.2, 0.6])
def test_a_small_fraction_is_found_from_any_start(start: float) -> None:
    """A simplex search from 0.2 ended at 0."""
    some = made_up(TETRAGONAL, ["-h,k,-l"], [0.03], noise=0.01)
    components = some.twin.components(np.abs(some.truth)) / D
    begun = some.twin.with_fractions(np.array([1.0 - start, start]))
    found = with_fitted_fractions(some.reflections, begun, components, some.sigma_a)
    expected = with_fitted_fractions(some.reflections, some.twin, components, some.sigma_a)
    np.testing.assert_allclose(found.fractions, expected.fractions, atol=0.001)
    assert found.fractions[1] > 0.01


def test_the_model_is_that_of_the_first_domain_to_begin_with() -> None:
    laws = tuple(TRIGONAL.twin_laws)
    twin = as_twin(made_up(TRIGONAL, laws, [0.25, 0.25, 0.25]).reflections, laws)
    assert twin is not None
    assert twin.fractions[0] == pytest.approx(0.5)
    assert twin.fractions[1:].max() < 0.25


def test_fractions_of_mates_that_are_alike_do_not_depend_on_the_start() -> None:
    """Of a model with pseudo-symmetry along all laws; a simplex search ended early where fractions are 0."""
    some = made_up(TRIGONAL, list(TRIGONAL.twin_laws), [0.2, 0.0, 0.02], d_min=3.5)
    n, f_model = len(some.reflections), np.abs(some.f_model)
    size = np.mean(f_model**2)
    for laws in ([3], [1, 2]):
        f_model[:n] += 4.0 * f_model[some.twin.mates[laws]].sum(axis=0)
    components = some.twin.components(f_model * np.sqrt(size / np.mean(f_model**2)))
    measured = some.twin.amplitude(components) + np.random.default_rng(1).normal(scale=2.0, size=n)
    data = dataclasses.replace(some.reflections, f_obs=np.abs(measured), i_obs=None, sigma_i=None)
    starts = (some.twin.with_fractions(np.array([1.0 - 3.0 * a, a, a, a])) for a in (0.02, 0.25))
    found = [with_fitted_fractions(data, start, components, some.sigma_a) for start in starts]
    np.testing.assert_allclose(found[0].fractions, found[1].fractions, atol=0.005)


@pytest.mark.parametrize("fractions", [(0.3,), (0.5,), (0.25, 0.25, 0.25)])
def test_sigma_a_is_that_of_one_domain(fractions: tuple[float, ...]) -> None:
    """The amplitudes of sums scatter less, as if the model were better; with their own distribution S is right."""
    crystal, laws = (TETRAGONAL, ["-h,k,-l"]) if len(fractions) == 1 else (TRIGONAL, list(TRIGONAL.twin_laws))
    some = made_up(crystal, laws, fractions, d_min=2.3, free=0.3)
    data, components = some.reflections, some.twin.components(np.abs(some.f_model))
    amplitude = some.twin.amplitude(components)
    order = orders(some.twin, components, data.centric, np.full(len(data), 100.0 * RATIO))
    found = estimate_sigma_a(data, amplitude, order=order)
    x = np.linspace(0.02, 0.18, 5)
    assert np.median(found.s(x)) == pytest.approx(100.0 * RATIO, rel=0.12)
    assert np.median(found.d(x)) == pytest.approx(D, abs=0.02)
    assert np.median(estimate_sigma_a(data, amplitude).s(x)) < 0.85 * 100.0 * RATIO


@pytest.mark.parametrize("sharper", [1e-8, 0.0])
def test_intensities_said_to_be_known_without_error(sharper: float) -> None:
    """Also of two equal domains, of which both sums are the same."""
    some = made_up(TETRAGONAL, ["-h,k,-l"], [0.5])
    data = some.reflections
    assert data.sigma_i is not None
    exact = dataclasses.replace(data, sigma=1e-8 * data.sigma, sigma_i=sharper * data.sigma_i)
    found = detwinned(exact, some.twin, some.f_model, some.sigma_a)
    for values in (found.amplitude, found.fom, found.reflections.f_obs, found.reflections.sigma):
        assert np.isfinite(values).all()


def test_likelihood_of_the_amplitudes_is_greatest_at_the_truth() -> None:
    some = made_up(TETRAGONAL, ["-h,k,-l"], [0.3])
    components = some.twin.components(np.abs(some.f_model))

    def mean(twin: Twin, factor: float = 1.0) -> float:
        return float(twin_values(some.reflections, twin, factor * components, some.sigma_a)[0].mean())

    best = mean(some.twin)
    assert best < min(mean(some.twin.with_fractions(np.array([1 - a, a]))) for a in (0.0, 0.2, 0.4))
    assert best < min(mean(some.twin, factor) for factor in (0.95, 1.05))


def test_intensities_from_amplitudes() -> None:
    some = made_up(TETRAGONAL, ["-h,k,-l"], [0.3])
    data = dataclasses.replace(some.reflections, i_obs=None, sigma_i=None)
    i_obs, sigma_i = measured_intensities(data)
    np.testing.assert_allclose(i_obs, data.f_obs**2)
    strong = data.f_obs > 10 * data.sigma
    np.testing.assert_allclose(sigma_i[strong], (2 * data.f_obs * data.sigma)[strong], rtol=0.01)


def test_mates_of_the_model_tell_twinning_from_pseudo_symmetry() -> None:
    """Intensities of a twin, and those of a crystal with a symmetry of its own that its model has too."""
    some = made_up(TETRAGONAL, ["-h,k,-l"], [0.35], noise=0.02)
    data, n = some.reflections, len(some.reflections)
    (said,) = twin_evidence(data, some.f_model[:n])
    assert "which points to twinning of a fraction near 0.3" in said
    assert said.endswith("(--twin='-h,k,-l' refines it as a twin)")
    (modelled,) = twin_evidence(data, some.f_model[:n], ("-h,k,-l",))
    assert modelled.endswith("of a fraction near " + said.partition("near ")[2][:4])
    alike = np.sqrt(data.f_obs[np.minimum(np.arange(n), some.twin.mates[1])] * data.f_obs)
    same = dataclasses.replace(data, f_obs=alike, i_obs=alike**2)
    (pseudo,) = twin_evidence(same, alike.astype(complex))
    assert pseudo.endswith("which pseudo-symmetry explains as well as twinning")
    # what the model gets wrong makes its mates differ a little more than those of the data
    nearly = alike * np.random.default_rng(0).lognormal(0.0, 0.12, n)
    (pseudo,) = twin_evidence(same, nearly.astype(complex))
    of_data, of_model = (float(words.split()[0]) for words in pseudo.split("correlate by ")[1].split(" and by "))
    assert 0.05 < of_data - of_model < 0.2
    assert implied_fraction(of_data, of_model) > 0.1
    assert pseudo.endswith("which pseudo-symmetry explains as well as twinning")
    # with errors of each copy's own, as a start has: 2drm with its atoms moved by 0.15 Å has 0.99, 0.47 and 0.56
    shaken = alike * np.random.default_rng(0).lognormal(0.0, 0.45, n)
    (pseudo,) = twin_evidence(same, shaken.astype(complex))
    of_data, of_model, agreement = (float(words.split(",")[0].split()[0]) for words in re.split("by (?=0)", pseudo)[1:])
    assert 0.4 < agreement < 0.75
    assert of_data - of_model > 0.3
    assert pseudo.endswith("all of which pseudo-symmetry explains as well as twinning")
    (twin,) = twin_evidence(data, some.f_model[:n] * np.random.default_rng(0).lognormal(0.0, 0.25, n))
    assert "which points to twinning" in twin
    (far,) = twin_evidence(same, np.random.default_rng(0).permutation(alike).astype(complex))
    assert kind_of(far) == "note"
    assert "too little to tell twinning from pseudo-symmetry" in far
    assert twin_evidence(made_up(TETRAGONAL, ["-h,k,-l"], [0.0]).reflections, some.f_model[:n]) == []


@pytest.mark.parametrize("model", [0.0, 0.4])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_fraction_that_correlations_imply(model: float, fraction: float) -> None:
    """From J₁ and J₂ of one domain with unit variance, and the two sums of them."""
    sums = np.array([[1.0 - fraction, fraction], [fraction, 1.0 - fraction]])
    covariance = sums @ np.array([[1.0, model], [model, 1.0]]) @ sums.T
    data = covariance[0, 1] / covariance[0, 0]
    assert implied_fraction(data, model) == pytest.approx(fraction, abs=1e-7)
    assert implied_fraction(0.3, 0.5) == 0.0


def test_fractions_of_a_twin_whose_mates_are_all_their_own_stay() -> None:
    laws = tuple(TRIGONAL.twin_laws)
    some = made_up(TRIGONAL, laws, [0.25, 0.25, 0.25], d_min=4.0)
    alone = dataclasses.replace(some.twin, mates=np.tile(some.twin.mates[0], (len(some.twin.mates), 1)))
    components = alone.components(np.abs(some.f_model))
    assert with_fitted_fractions(some.reflections, alone, components, some.sigma_a) is alone


def test_where_every_mate_was_measured_nothing_more_is_computed() -> None:
    laws = tuple(TRIGONAL.twin_laws)
    some = made_up(TRIGONAL, laws, [0.25, 0.25, 0.25], d_min=4.0)
    assert not len(some.twin.unmeasured.hkl)
    parts = unmeasured(None, some.twin, None)  # type: ignore[arg-type]
    assert [len(part) for part in parts] == [0, 0]
