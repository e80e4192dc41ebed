"""The weight of displacement restraints from how much refined displacements differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.sparse.linalg import spsolve
from synthetic import crystal, random_atoms

from arrayrefine import evaluate, find_weights, prepare, refine
from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.options import Minimiser, Options, Weighting, Xray
from arrayrefine.parameters import Parameters
from arrayrefine.targets.adp import AdpTarget, Shapes
from arrayrefine.targets.adp_curvature import strain_matrix
from arrayrefine.weighting.adp_evidence import evidence, noise_let_go
from arrayrefine.weighting.schemes import displacements_tell
from arrayrefine.weights import Steering

N = 1500
WIDE = Weighting(clamp=1000.0)
ALL = Weighting(clamp=1000.0, evidence_adp=1.0)
"""For data that say of each atom what they say of no other."""


def chain(n: int = N) -> AdpTarget:
    """Neighbours along a chain, and next neighbours."""
    one = np.arange(n)
    i, j = np.concatenate([one[:-1], one[:-2]]), np.concatenate([one[1:], one[2:]])
    return AdpTarget("kl", i, j, np.repeat([100.0, 40.0], [n - 1, n - 2]))


def curvature(atoms: Atoms, by_log: np.ndarray) -> Gradient:
    """X-ray curvature that is `by_log` by the logarithm of each B."""
    n = len(atoms)
    return Gradient(np.zeros((n, 3)), by_log / atoms.b_iso**2, np.zeros(n))


@pytest.fixture
def atoms() -> Atoms:
    return random_atoms(crystal("P 1"), n=N).replace(b_iso=np.full(N, 30.0))


@pytest.mark.parametrize("h", [1.0, 30.0])
@pytest.mark.parametrize("true", [0.1, 1.0])
def test_finds_the_weight_that_the_displacements_were_drawn_with(atoms: Atoms, true: float, h: float) -> None:
    """From data that say little of each, or much: refined and weighed in turn, from far off on either side. One draw
    of so many displacements is off by a tenth or two, the mean of four by half as much."""
    target, parameters = chain(), Parameters.of(atoms, "b")
    every, none = np.arange(N), np.zeros(0, np.int64)
    matrix = strain_matrix(target, atoms, every, none)
    prior = np.linalg.cholesky(np.linalg.inv(true * matrix.toarray() + 1e-3 * np.eye(N)))
    told = []
    for seed, weight in ((4, 0.001), (4, 5.0), (5, 5.0), (6, 0.001), (7, 5.0)):
        rng = np.random.default_rng(seed)
        by_log = h * rng.uniform(0.5, 2.0, N)
        seen = prior @ rng.normal(size=N) + rng.normal(size=N) / np.sqrt(by_log)
        for _ in range(40):
            log = spsolve(sparse.csc_matrix(sparse.diags_array(by_log) + weight * matrix), by_log * seen)
            refined = atoms.replace(b_iso=30.0 * np.exp(log))
            found = evidence(target, refined, parameters.at(refined), curvature(refined, by_log), ALL)
            assert found is not None
            before, weight = weight, found.weight
            if abs(weight - before) < 1e-5 * weight:
                break
        told.append(weight)
        if seed == 4:
            share = exact_share(matrix.toarray(), by_log, weight)
            assert weight == pytest.approx(N * share / (2.0 * target(refined)[0]), rel=0.05)
    assert told[0] == pytest.approx(told[1], rel=1e-3)  # wherever it began
    assert np.mean(told[1:]) == pytest.approx(true, rel=0.2)


def exact_share(matrix: np.ndarray, by_log: np.ndarray, weight: float) -> float:
    """γ / N from eigenvalues."""
    root = 1.0 / np.sqrt(by_log + 0.02 * by_log.mean())
    mu = np.linalg.eigvalsh(root[:, None] * matrix * root)
    return float(np.mean(1.0 / (1.0 + weight * mu)))


def test_the_share_that_is_determined(atoms: Atoms) -> None:
    """Against eigenvalues."""
    target = chain()
    some = np.random.default_rng(2)
    atoms = atoms.replace(b_iso=atoms.b_iso * np.exp(some.normal(0.0, 0.3, N)))
    by_log = some.uniform(1.0, 20.0, N)
    found = evidence(target, atoms, Parameters.of(atoms, "b"), curvature(atoms, by_log), WIDE)
    assert found is not None
    matrix = strain_matrix(target, atoms, np.arange(N), np.zeros(0, np.int64)).toarray()
    assert found.determined == pytest.approx(exact_share(matrix, by_log, found.weight), rel=0.03)
    assert found.weight == pytest.approx(0.4 * N * found.determined / (2.0 * target(atoms)[0]), rel=0.02)


@pytest.mark.parametrize("n", [40, 400])
def test_few_atoms_that_are_seen_among_many_that_are_not(n: int) -> None:
    """Whatever the random vectors, γ lies between none and all; of forty displacements it is the exact trace."""
    target = chain(n)
    few = random_atoms(crystal("P 1"), n=n)
    by_log = np.full(n, 0.02)
    by_log[n // 6] = 100.0
    found = [evidence(target, few, Parameters.of(few, "b"), curvature(few, by_log), WIDE, seed) for seed in range(6)]
    told = [one for one in found if one is not None]
    assert len(told) == 6
    shares = [one.determined for one in told]
    assert np.ptp(shares) < 0.1 * np.mean(shares)
    assert 0.0 < min(shares) <= max(shares) < 1.0
    matrix = strain_matrix(target, few, np.arange(n), np.zeros(0, np.int64)).toarray()
    for one in told:
        assert one.determined == pytest.approx(exact_share(matrix, by_log, one.weight), rel=0.01 if n == 40 else 0.1)


def test_ends_at_the_clamp_and_says_nothing_where_nothing_differs(atoms: Atoms) -> None:
    target, by_log = chain(), np.full(N, 10.0)
    parameters, options = Parameters.of(atoms, "b"), Weighting(adp_prior=0.05, clamp=2.0)
    assert evidence(target, atoms, parameters, curvature(atoms, by_log), options) is None
    rng = np.random.default_rng(0)
    for spread, weight in ((1e-3, 0.1), (2.0, 0.025)):
        noisy = atoms.replace(b_iso=30.0 * np.exp(rng.normal(0.0, spread, N)))
        found = evidence(target, noisy, parameters.at(noisy), curvature(noisy, by_log), options)
        assert found is not None
        assert found.weight == pytest.approx(weight)


def test_data_that_say_nothing_leave_the_lowest_weight(atoms: Atoms) -> None:
    noisy = atoms.replace(b_iso=30.0 * np.exp(np.random.default_rng(0).normal(0.0, 0.3, N)))
    options = Weighting(adp_prior=0.05, clamp=2.0)
    found = evidence(chain(), noisy, Parameters.of(noisy, "b"), curvature(noisy, np.zeros(N)), options)
    assert found is not None
    assert found.weight == pytest.approx(0.025)


def test_frozen_atoms_have_no_say(atoms: Atoms) -> None:
    """What frozen atoms differ by among themselves is nobody's guess; to free neighbours it counts."""
    target, half = chain(), np.arange(N) < N // 2
    rng = np.random.default_rng(1)
    spread = np.where(half, 0.1, 2.0)
    spread[N // 2 : N // 2 + 2] = 0.1
    atoms = atoms.replace(b_iso=30.0 * np.exp(spread * rng.normal(size=N)))
    parameters = Parameters.of(atoms, "b", held=~half)
    by_log = np.full(N, 10.0)
    found = evidence(target, atoms, parameters, curvature(atoms, by_log), WIDE)
    short = atoms.replace(b_iso=np.where(spread < 1.0, atoms.b_iso, 30.0))
    same = evidence(target, short, parameters.at(short), curvature(short, by_log), WIDE)
    assert found is not None
    assert found == pytest.approx(same)
    assert evidence(target, atoms, Parameters.of(atoms, "xyz"), curvature(atoms, by_log), WIDE) is None


def test_tensors_count_with_all_that_restrains_them(atoms: Atoms) -> None:
    """Six values each; where restraints on their shapes are broken too, all restraints are weaker."""
    n = 300
    rng = np.random.default_rng(3)
    odd = rng.normal(size=(n, 6)) * 0.02
    odd[:, :3] -= odd[:, :3].mean(axis=1, keepdims=True)
    atoms = random_atoms(crystal("P 1"), n=n).replace(b_iso=rng.uniform(20.0, 40.0, n), u_aniso=odd)
    atoms = dataclasses.replace(atoms, anisotropic=np.ones(n, dtype=bool))
    one = np.arange(n - 1)
    shapes = Shapes(one, one + 1, np.zeros(n - 1), 0.0, 0.0, np.full(n, 4.0))
    target = dataclasses.replace(chain(n), shapes=shapes)
    parameters = Parameters.of(atoms, "b")
    assert parameters.u.all()
    found = evidence(target, atoms, parameters, curvature(atoms, np.full(n, 10.0)), WIDE)
    assert found is not None
    assert 0.0 < found.determined < 1.0
    assert found.weight == pytest.approx(0.4 * 6 * n * found.determined / (2.0 * target(atoms)[0]), rel=0.06)
    rounder = dataclasses.replace(target, shapes=dataclasses.replace(shapes, round=np.full(n, 40.0)))
    firm = evidence(rounder, atoms, parameters, curvature(atoms, np.full(n, 10.0)), WIDE)
    assert firm is not None
    assert firm.weight < found.weight


def test_a_refinement_weighs_so_once_displacements_are_refined(case: Callable[[str], Path]) -> None:
    files = case("1aba") / "shaken.pdb", case("1aba") / "norm.mtz"
    options = Options(cycles=2, targets=("xyz", "b"), tls=("none",), minimiser=Minimiser(max_iterations=5))
    steps = {(step.cycle, step.target): step.weights for step in refine(*files, options).report.steps}
    assert "norm_xray" in steps[1, "b"]["adp_detail"]
    detail = steps[2, "b"]["adp_detail"]
    low, high = (options.weighting.adp_prior * options.weighting.clamp**side for side in (-1, 1))
    assert low <= steps[2, "b"]["adp"] == detail["evidence"] * detail["steering"] <= high
    assert "from how much they differ" in steps[2, "b"]["sentence"]
    assert steps[2, "xyz"]["adp"] is None


def test_a_factor_on_the_weight_does_not_feed_on_itself(case: Callable[[str], Path]) -> None:
    """Restraints made twice as strong leave displacements more alike, which is not what the crystal shows."""
    files = case("1aba") / "model.pdb", case("1aba") / "norm.mtz"
    _, problem, atoms, _ = prepare(*files, Options(tls=("none",)))
    state, b = evaluate(problem, atoms), Parameters.of(atoms, "b")
    first = find_weights(problem, state, b, refined=True)
    assert first.evidence is not None
    alike = evaluate(problem, atoms.replace(b_iso=np.sqrt(atoms.b_iso * atoms.b_iso.mean())))
    doubled = find_weights(problem, alike, b, Steering(adp=2.0), last=first, refined=True)
    assert doubled.adp == pytest.approx(2.0 * first.evidence.weight)
    anew = find_weights(problem, alike, b, last=first, refined=True)
    assert anew.evidence is not None
    assert anew.evidence.weight > 1.2 * first.evidence.weight


def test_where_it_does_not_apply_gradients_are_compared(case: Callable[[str], Path]) -> None:
    """The Gaussian target is no log-probability, and the variance of B no prior of neighbours."""
    files = case("1aba") / "shaken.pdb", case("1aba") / "norm.mtz"
    for options in (Options(xray=Xray(target="gaussian")), Options(adp="variance")):
        _, problem, atoms, _ = prepare(*files, dataclasses.replace(options, tls=("none",)))
        found = find_weights(problem, evaluate(problem, atoms), Parameters.of(atoms, "b"), refined=True)
        assert found.evidence is None
        assert "norm_xray" in found.explanation["adp_detail"]


@pytest.mark.parametrize(("loose", "firm"), [(0.01, 0.1), (0.05, 0.1), (0.3, 1.0)])
def test_the_loss_that_is_expected_of_firmer_restraints(atoms: Atoms, loose: float, firm: float) -> None:
    """Displacements that the firmer weight is true of: what data lose is ½ to 1 for each that is determined no more."""
    target, parameters = chain(), Parameters.of(atoms, "b")
    matrix = strain_matrix(target, atoms, np.arange(N), np.zeros(0, np.int64))
    rng = np.random.default_rng(7)
    prior = np.linalg.cholesky(np.linalg.inv(firm * matrix.toarray() + 1e-3 * np.eye(N)))
    by_log = rng.uniform(2.0, 10.0, N)
    losses = []
    for _ in range(20):
        seen = prior @ rng.normal(size=N) + rng.normal(size=N) / np.sqrt(by_log)
        sums = [sparse.csc_matrix(sparse.diags_array(by_log) + weight * matrix) for weight in (loose, firm)]
        was, now = (0.5 * float(np.sum(by_log * (seen - spsolve(h, by_log * seen)) ** 2)) for h in sums)
        losses.append(now - was)
    most = noise_let_go(target, atoms, parameters, curvature(atoms, by_log), loose, firm)
    assert 0.5 * most < np.mean(losses) < 1.02 * most
    assert noise_let_go(target, atoms, parameters, curvature(atoms, by_log), firm, loose) == 0.0
    xyz = Parameters.of(atoms, "xyz")
    assert noise_let_go(target, atoms, xyz, curvature(atoms, by_log), loose, firm) == 0.0


@pytest.mark.parametrize(
    ("options", "refined", "told"),
    [
        (Options(), True, True),
        (Options(), False, False),
        (Options(adp="variance"), True, False),
        (Options(xray=Xray(target="gaussian")), True, False),
    ],
)
def test_displacements_tell_their_weight_where_they_are_refined_by_likelihood(
    options: Options, refined: bool, told: bool
) -> None:
    atoms = random_atoms(crystal("P 1"), n=5)
    assert displacements_tell(options, Parameters.of(atoms, "b" if refined else "xyz")) is told
