"""Weights: the slice they see, the state they are bound to, clamp and steering."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from synthetic import crystal, random_atoms

from arrayrefine import macrocycle, weights
from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.device.choice import Device
from arrayrefine.displacements.tls import NUMBERS, Tls
from arrayrefine.errors import InputError, StaleWeightsError
from arrayrefine.example import DATA, MODEL
from arrayrefine.minimize import Objective
from arrayrefine.options import Options, Weighting
from arrayrefine.parameters import Parameters
from arrayrefine.preparation import prepare
from arrayrefine.problem import Problem
from arrayrefine.refinement_step import Path
from arrayrefine.state import evaluate
from arrayrefine.targets.extra import ExtraTarget
from arrayrefine.weighting import gradient_norms, search
from arrayrefine.weighting.adp_evidence import Evidence
from arrayrefine.weights import Steering


@dataclass(frozen=True)
class Quadratic:
    """½ k_x |xyz − x₀|² + ½ k_b |B − b₀|²."""

    xyz: np.ndarray
    b: np.ndarray
    k_xyz: float
    k_b: float

    def __call__(self, atoms: Atoms) -> tuple[float, Gradient]:
        dx, db = atoms.xyz - self.xyz, atoms.b_iso - self.b
        value = 0.5 * self.k_xyz * (dx**2).sum() + 0.5 * self.k_b * (db**2).sum()
        return float(value), Gradient(self.k_xyz * dx, self.k_b * db, np.zeros(len(atoms)))


@pytest.fixture
def atoms() -> Atoms:
    return random_atoms(crystal("P 1"), n=400)


def _targets(atoms: Atoms, k: float = 300.0, k_b: float = 0.02):
    rng = np.random.default_rng(1)
    here = (atoms.xyz + rng.normal(0, 0.01, atoms.xyz.shape), atoms.b_iso + rng.normal(0, 0.1, len(atoms)))
    there = (atoms.xyz + rng.normal(0, 0.01, atoms.xyz.shape), atoms.b_iso + rng.normal(0, 0.1, len(atoms)))
    return Quadratic(*here, k, k_b), Quadratic(*there, 4000.0, 0.0), Quadratic(*there, 0.0, 0.5)


def _robust(atoms: Atoms, parameters: Parameters, targets, **changes):
    keywords = {"d_min": 2.0, "options": Weighting(), "steering": Steering(), "seed": 0} | changes
    return weights.robust_weights(atoms, parameters, *targets, **keywords)


def test_robust_weight_measures_the_ratio_of_curvatures(atoms: Atoms) -> None:
    """Half a perturbation away from both minima the norms stand as the curvatures do."""
    found = _robust(atoms, Parameters.of(atoms, "xyz"), _targets(atoms), clamp=False)
    assert found.geometry == pytest.approx(300.0 / 4000.0 / Weighting().ratio, rel=0.05)
    assert found.adp is None
    found = _robust(atoms, Parameters.of(atoms, "b"), _targets(atoms), clamp=False)
    assert found.adp == pytest.approx(0.02 / 0.5 / Weighting().ratio_adp, rel=0.05)
    assert found.geometry is None


def test_robust_weight_does_not_depend_on_convergence(atoms: Atoms) -> None:
    """The literal ratio returns w at a minimum of T_x + w T_g; the robust one does not care."""
    xray, geometry, adp = _targets(atoms)
    parameters = Parameters.of(atoms, "xyz")
    for w in (0.01, 1.0):
        k, g = xray.k_xyz, w * geometry.k_xyz
        minimum = atoms.replace(xyz=(k * xray.xyz + g * geometry.xyz) / (k + g))
        literal = weights.literal_weights(minimum, parameters, xray, geometry, adp)
        assert literal.geometry == pytest.approx(w, rel=1e-6)
        robust = _robust(minimum, parameters, (xray, geometry, adp), clamp=False)
        assert robust.geometry == pytest.approx(300.0 / 4000.0 / Weighting().ratio, rel=0.05)


def test_only_the_unmasked_slice_enters(atoms: Atoms) -> None:
    """Frozen atoms with huge gradients change nothing: not in the robust, not in the literal scheme."""
    xray, geometry, adp = _targets(atoms)
    parameters = Parameters.frozen(atoms).unfreeze("xyz", "1-200").unfreeze("b", "1-200")
    wild = Quadratic(
        np.where(np.arange(400)[:, None] < 200, xray.xyz, xray.xyz + 50.0),
        np.where(np.arange(400) < 200, xray.b, xray.b + 500.0), xray.k_xyz, xray.k_b,
    )  # fmt: skip
    for scheme in (_robust, lambda a, p, t: weights.literal_weights(a, p, *t)):
        calm, stormy = (
            scheme(atoms, parameters, (xray, geometry, adp)),
            scheme(atoms, parameters, (wild, geometry, adp)),
        )
        assert stormy.geometry == calm.geometry
        assert stormy.adp == calm.adp


def test_robust_norm_leaves_out_hydrogens_metals_and_outliers(atoms: Atoms) -> None:
    xray, geometry, adp = _targets(atoms)
    parameters = Parameters.of(atoms, "xyz")
    before = _robust(atoms, parameters, (xray, geometry, adp), clamp=False)
    target = geometry.xyz.copy()
    target[5] += 40.0  # a clash
    after = _robust(atoms, parameters, (xray, Quadratic(target, geometry.b, 4000.0, 0.0), adp), clamp=False)
    assert after.geometry == pytest.approx(before.geometry, rel=0.02)


def _curvature(xray: Quadratic, atoms: Atoms, factor: float = 1.0) -> Gradient:
    n = len(atoms)
    return Gradient(np.full((n, 3), factor * xray.k_xyz), np.full(n, factor * xray.k_b), np.zeros(n))


@pytest.mark.parametrize("grown", [0.9, 1.0, 1.2])
def test_measured_weight_follows_the_curvature(atoms: Atoms, grown: float) -> None:
    """Nothing else of the data is asked for: the target of the second call cannot be evaluated."""
    xray, geometry, adp = _targets(atoms)
    parameters = Parameters.of(atoms, "xyz+b")
    first = _robust(atoms, parameters, (xray, geometry, adp), clamp=False, curvature=_curvature(xray, atoms))
    again = _robust(
        atoms, parameters, (None, geometry, adp), clamp=False, curvature=_curvature(xray, atoms, grown), last=first
    )
    assert again.geometry == pytest.approx(grown * first.geometry)
    assert again.adp == pytest.approx(grown * first.adp)
    third = _curvature(xray, atoms, grown**2)
    if grown == 1.2:  # together too far from where it was measured
        with pytest.raises(TypeError):
            _robust(atoms, parameters, (None, geometry, adp), curvature=third, last=again)
    else:
        found = _robust(atoms, parameters, (None, geometry, adp), clamp=False, curvature=third, last=again)
        assert found.geometry == pytest.approx(grown**2 * first.geometry)


def test_weights_of_another_freeze_state_are_measured_anew(atoms: Atoms) -> None:
    targets = _targets(atoms)
    curvature = _curvature(targets[0], atoms)
    both = _robust(atoms, Parameters.of(atoms, "xyz+b"), targets, curvature=curvature)
    alone = Parameters.of(atoms, "xyz")
    with pytest.raises(TypeError):
        _robust(atoms, alone, (None, *targets[1:]), curvature=curvature, last=both)
    anew = _robust(atoms, alone, targets, curvature=curvature, last=both)
    assert anew.geometry == _robust(atoms, alone, targets).geometry


@pytest.mark.parametrize(("k", "side"), [(300000.0, "upper"), (1.0, "lower")])
def test_clamp_around_the_prior_and_its_account(atoms: Atoms, k: float, side: str) -> None:
    options = Weighting()
    found = _robust(atoms, Parameters.of(atoms, "xyz"), _targets(atoms, k=k))
    prior = weights.geometry_prior(2.0)
    factor = options.clamp if side == "upper" else 1 / options.clamp
    assert found.geometry == pytest.approx(prior * factor)
    detail = found.explanation["geometry_detail"]
    assert detail["clamp"] == side
    assert f"clamp {side}" in found.sentence()
    assert f"ratio {options.ratio:g}" in found.as_dict()["sentence"]
    assert detail["measured"] == pytest.approx(detail["norm_xray"] / detail["norm_term"] / options.ratio)
    steered = _robust(atoms, Parameters.of(atoms, "xyz"), _targets(atoms, k=k), steering=Steering(2.0, 1.0))
    assert steered.geometry == pytest.approx(2.0 * found.geometry)


@pytest.mark.parametrize("k", [300000.0, 1000.0, 1.0])
def test_half_the_ratio_doubles_the_weight_even_where_it_is_clamped(atoms: Atoms, k: float) -> None:
    def found(**ratios: float) -> weights.Weights:
        return _robust(atoms, Parameters.of(atoms, "xyz+b"), _targets(atoms, k=k, k_b=k), options=Weighting(**ratios))

    plain, tight = found(), found(ratio=0.1, ratio_adp=1.0)
    assert tight.geometry == pytest.approx(2.0 * plain.geometry)
    assert tight.adp == pytest.approx(2.0 * plain.adp)


def test_what_displacements_ask_for_lies_about_a_prior_that_no_ratio_moves(atoms: Atoms) -> None:
    options = Weighting(ratio_adp=1.0)
    parameters, asked = Parameters.of(atoms, "b"), Evidence(0.03, 0.5)
    found = _robust(atoms, parameters, _targets(atoms), options=options, ask=lambda: asked)
    assert found.adp == asked.weight
    assert found.explanation["adp_detail"]["prior"] == options.adp_prior


def test_prior_falls_with_better_data() -> None:
    assert weights.geometry_prior(2.0) == pytest.approx(0.12)
    assert weights.geometry_prior(1.0) > weights.geometry_prior(1.5) > weights.geometry_prior(3.0)


def test_weights_are_refused_by_another_freeze_state(atoms: Atoms) -> None:
    targets = _targets(atoms)
    coordinates, displacement = Parameters.of(atoms, "xyz"), Parameters.of(atoms, "b")
    found = _robust(atoms, coordinates, targets)
    Objective(coordinates, found, *targets)
    for other in (displacement, Parameters.of(atoms, "xyz+b"), coordinates.freeze("xyz", "1")):
        with pytest.raises(StaleWeightsError, match="compute weights for this state"):
            Objective(other, found, *targets)


def test_stale_weights_pass_only_when_rebound_on_purpose(atoms: Atoms) -> None:
    targets = _targets(atoms)
    everything, displacement = Parameters.of(atoms, "xyz+b"), Parameters.of(atoms, "b")
    stale = weights.literal_weights(atoms, everything, *targets)
    rebound = stale.rebound(displacement)
    Objective(displacement, rebound, *targets)
    assert rebound.geometry is None
    assert rebound.adp == stale.adp
    assert rebound.explanation["rebound_from"] == everything.fingerprint
    own = weights.literal_weights(atoms, displacement, *targets)
    assert rebound.adp > 10 * own.adp  # made by the coordinates' gradient


def test_fixed_weights(atoms: Atoms) -> None:
    parameters = Parameters.of(atoms, "xyz")
    assert weights.fixed_weights(parameters, d_min=2.0, options=Weighting(geometry=0.3)).geometry == 0.3
    prior = weights.fixed_weights(parameters, d_min=2.0, options=Weighting())
    assert prior.geometry == weights.geometry_prior(2.0)
    assert prior.adp is None


def test_a_weight_that_is_a_number_stays_and_one_that_was_found_goes_before(atoms: Atoms) -> None:
    term = ExtraTarget("spring", lambda atoms: (0.0, Gradient.zeros(len(atoms))), weight=2.5)
    found = weights.fixed_weights(Parameters.of(atoms, "xyz"), d_min=2.0, options=Weighting())
    assert found.of(term) == 2.5
    assert dataclasses.replace(found, extra={"spring": 0.5}).of(term) == 0.5


@pytest.mark.parametrize("d_min", [0.8, 2.0, 3.4])
def test_prior_of_displacements_is_the_same_at_every_resolution(atoms: Atoms, d_min: float) -> None:
    """How alike neighbours move does not depend on how far the data reach; the clamp follows from it."""
    options = Weighting()
    parameters = Parameters.of(atoms, "b")
    assert weights.fixed_weights(parameters, d_min=d_min, options=options).adp == options.adp_prior
    found = _robust(atoms, parameters, _targets(atoms, k_b=1e6), d_min=d_min)
    assert found.adp == pytest.approx(options.adp_prior * options.clamp)


@pytest.mark.parametrize(
    ("bond", "angle", "change"),
    [(0.75, 0.9, "same"), (0.5, 0.2, "same"), (0.75, 1.1, "same"), (None, None, "same"), (1.3, 1.0, "up"),
     (0.3, 0.5, "down"), (0.7, 1.6, "up"), (0.3, 1.6, "up"), (0.7, None, "same")],
)  # fmt: skip
def test_steering_moves_only_outside_the_band(bond: float | None, angle: float | None, change: str) -> None:
    factor = weights.steer(bond, angle, 1.5, Weighting())
    assert (factor == 1.5, factor > 1.5, factor < 1.5) == (change == "same", change == "up", change == "down")


def test_steering_aims_at_the_nearer_quarter_of_the_band() -> None:
    band = Weighting(rmsz_low=0.4, rmsz_high=0.8, angle_rmsz_high=1.2)
    assert weights.steer(1.05, 1.2, 1.0, band) == pytest.approx(1.05 / 0.7)
    assert weights.steer(0.6, 1.5, 1.0, band) == pytest.approx(1.0 / 0.7)  # angles as far above their band as 1.0 is
    assert weights.steer(0.3, 0.2, 1.0, band) == pytest.approx(0.3 / 0.5)
    assert weights.steer(9.0, None, 1.0, band) == 2.0
    assert weights.steer(0.1, None, 0.03, band) == 0.02


def test_a_search_that_is_stopped_before_its_first_step_changes_nothing() -> None:
    _, problem, atoms, _ = prepare(MODEL, DATA, Options(d_min=6.0, weights="search"))
    state = evaluate(problem, atoms)
    path, steps = macrocycle._searched(problem, Path(state, Steering()), 1, lambda: True)
    assert not steps
    assert path.state is state


def test_an_error_of_a_trial_on_a_device_reaches_the_caller() -> None:
    """Trials have threads of their own there, which end all the same."""
    _, problem, _, _ = prepare(MODEL, DATA, Options(d_min=6.0))
    on_device = dataclasses.replace(problem, device=Device("cuda", "a device", ""))
    done: list[Problem] = []

    def work(own: Problem) -> Any:
        done.append(own)

    def fails(own: Problem) -> Any:
        raise InputError("this trial cannot be done")

    with pytest.raises(InputError, match="this trial cannot be done"):
        search.side_by_side(on_device, [work, fails, work])
    assert len(done) == 2
    assert all(own.meet is not None and own.timer is not problem.timer for own in done)


def test_perturbed_copy_moves_only_what_is_free_and_is_seeded(atoms: Atoms) -> None:
    parameters = Parameters.frozen(atoms).unfreeze("b", "1-100")
    copy = gradient_norms.perturbed(atoms, parameters, Weighting(), 3, "b")
    assert np.array_equal(copy.xyz, atoms.xyz)
    assert (copy.b_iso[:100] != atoms.b_iso[:100]).all()
    assert np.array_equal(copy.b_iso[100:], atoms.b_iso[100:])
    assert np.array_equal(copy.b_iso, gradient_norms.perturbed(atoms, parameters, Weighting(), 3, "b").b_iso)
    assert np.array_equal(gradient_norms.perturbed(atoms, parameters, Weighting(), 3, "xyz").b_iso, atoms.b_iso)


def test_noise_of_groups_is_that_of_the_b_of_their_atoms(atoms: Atoms) -> None:
    inside = np.arange(len(atoms)) < 30
    tls = Tls(np.where(inside, 0, -1), atoms.xyz[:30].mean(axis=0, keepdims=True), np.zeros((1, NUMBERS)))
    grouped = dataclasses.replace(atoms, tls=tls)
    parameters = Parameters.of(grouped, "tls")
    assert parameters.displaced.tolist() == inside.tolist()
    copy = gradient_norms.perturbed(grouped, parameters, Weighting(), 3, "b")
    single = gradient_norms.perturbed(atoms, Parameters.of(atoms, "b"), Weighting(), 3, "b")
    assert np.array_equal(copy.b_iso, np.where(inside, single.b_iso, atoms.b_iso))
    assert np.array_equal(copy.xyz, atoms.xyz)


def test_a_joint_step_has_the_weights_of_each_kind_alone(atoms: Atoms) -> None:
    """Coordinates that are out of place change the slope by B, which must not make B look better determined."""
    plain, geometry, adp = _targets(atoms)

    def xray(at: Atoms) -> tuple[float, Gradient]:
        value, slope = plain(at)
        return value, Gradient(slope.xyz, slope.b_iso + 50.0 * (at.xyz - atoms.xyz).sum(axis=1), slope.occupancy)

    joint = _robust(atoms, Parameters.of(atoms, "xyz+b"), (xray, geometry, adp), clamp=False)
    assert joint.geometry == _robust(atoms, Parameters.of(atoms, "xyz"), (xray, geometry, adp), clamp=False).geometry
    assert joint.adp == _robust(atoms, Parameters.of(atoms, "b"), (xray, geometry, adp), clamp=False).adp
