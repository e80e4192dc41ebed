"""Targets of the user's own, callbacks, and tables of restraints in a refinement of the embedded example."""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import check_direction
from synthetic import crystal, random_atoms

import arrayrefine as ar
from arrayrefine.errors import InputError
from arrayrefine.example import DATA, MODEL
from arrayrefine.minimize import Objective
from arrayrefine.options import External, Minimiser, Xray
from arrayrefine.report import Step
from arrayrefine.state import State
from arrayrefine.targets.extra import check_extra
from arrayrefine.weighting.extra import _balanced

OPTIONS = ar.Options(
    targets=("xyz", "b"), d_min=2.8, cycles=1, tls=("none",), hydrogens="strip", rigid_body="no", weights="fixed",
    minimiser=Minimiser(max_iterations=8), external=External(few_reflections=0.0),
)  # fmt: skip
QUICK = dataclasses.replace(OPTIONS, targets=("xyz",), minimiser=Minimiser(max_iterations=2, precondition=False))
PULLED = "//A/50/CA"


@dataclasses.dataclass(frozen=True)
class Pull:
    """½ (|x − point| / sigma)² of one atom."""

    point: np.ndarray[Any, np.dtype[np.float64]]
    sigma: float

    def __call__(self, atoms: ar.Atoms) -> tuple[float, ar.Gradient]:
        chosen = ar.select(atoms, PULLED)
        z = (atoms.xyz[chosen] - self.point) / self.sigma
        gradient = ar.Gradient.zeros(len(atoms))
        gradient.xyz[chosen] = z / self.sigma
        return 0.5 * float((z**2).sum()), gradient


def even_b(atoms: ar.Atoms) -> tuple[float, ar.Gradient]:
    """½ Σ (ln B − 3)²."""
    z = np.log(atoms.b_iso) - 3.0
    gradient = ar.Gradient.zeros(len(atoms))
    gradient.b_iso[:] = z / atoms.b_iso
    return 0.5 * float(z @ z), gradient


def flat(atoms: ar.Atoms) -> tuple[float, ar.Gradient]:
    """Σ x: its gradient is the same everywhere."""
    gradient = ar.Gradient.zeros(len(atoms))
    gradient.xyz[:, 0] = 1.0
    return float(atoms.xyz[:, 0].sum()), gradient


@pytest.fixture(scope="module")
def model() -> Any:
    return ar.read_model(MODEL)


@pytest.fixture(scope="module")
def target_point(model: Any) -> Any:
    return model.atoms.xyz[ar.select(model.atoms, PULLED)] + 0.4


@pytest.fixture(scope="module")
def refined(model: Any, target_point: Any) -> tuple[ar.Result, list[tuple[Step, State]], list[str]]:
    """One cycle with a pull of fixed weight, an automatic prior on B and a table of restraints."""
    heard: list[tuple[Step, State]] = []
    messages: list[str] = []
    extra = [ar.ExtraTarget("pull", Pull(target_point, 0.1), 30.0), ar.ExtraTarget("even B", even_b, "auto", ratio=3.0)]
    table = [{"kind": "distance", "atom1": "A/10/CA", "atom2": "A/14/CA", "ideal": 6.5, "sigma": 0.02}]
    result = ar.refine(
        model, DATA, OPTIONS, extra=extra, restraint_tables=table, on_message=messages.append,
        on_state=lambda step, state: heard.append((step, state)),
    )  # fmt: skip
    return result, heard, messages


def test_terms_act(refined: Any, model: Any, target_point: Any) -> None:
    result, _, _ = refined
    chosen = ar.select(model.atoms, PULLED)
    before, after = (np.linalg.norm(a.xyz[chosen] - target_point) for a in (model.atoms, result.atoms))
    assert after < 0.5 * before
    ca = [int(np.flatnonzero(ar.select(model.atoms, f"//A/{n}/CA"))[0]) for n in (10, 14)]
    start, end = (np.linalg.norm(a.xyz[ca[0]] - a.xyz[ca[1]]) for a in (model.atoms, result.atoms))
    assert abs(end - 6.5) < 0.3 * abs(start - 6.5)


def test_terms_are_on_record(refined: Any, tmp_path: Path) -> None:
    result, _, messages = refined
    pull, even = result.report.extra
    assert (pull["name"], pull["weight"]) == ("pull", 30.0)
    assert even["weight"] == "auto"
    assert pull["final"] < pull["start"]
    assert any(m.startswith("extra target pull: weight 30.0, ") for m in messages)
    assert any(m == "restraint table in memory (builtins.list): 1 distance" for m in messages)
    xyz, b = result.history
    assert xyz.weights["extra"] == {"pull": 30.0, "even B": None}  # acts on nothing that is free
    assert b.weights["extra"]["even B"] > 0
    assert b.weights["extra_values"]["even B"] == pytest.approx(even["final"])
    assert b.weights["extra_values"]["even B"] < 0.8 * xyz.weights["extra_values"]["even B"]
    result.write(tmp_path)
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["extra"][0]["final"] == pytest.approx(pull["final"])
    assert written["inputs"]["restraint_tables"] == [{"path": "in memory (builtins.list)", "sha256": "in memory"}]
    assert [row["count"] for row in written["restraints"] if row["type"] == "a_table_d"] == [1]


def test_state_goes_with_every_step(refined: Any) -> None:
    result, heard, _ = refined
    assert tuple(step for step, _ in heard) == result.history
    for step, state in heard:
        assert state.statistics.r_work == step.r_work
    assert np.array_equal(heard[-1][1].atoms.xyz, result.atoms.xyz)


def test_automatic_weights_belong_to_what_is_free(model: Any) -> None:
    terms = [ar.ExtraTarget("even B", even_b, "auto"), ar.ExtraTarget("flat", flat, "auto")]
    _, problem, atoms, _ = ar.prepare(model, DATA, OPTIONS, extra=terms)
    state = ar.evaluate(problem, atoms)
    xyz = ar.Parameters.frozen(state.atoms).unfreeze("xyz")
    some, b = ar.Parameters.frozen(state.atoms).unfreeze("b", "20-30"), ar.Parameters.frozen(state.atoms).unfreeze("b")
    found = {name: ar.find_weights(problem, state, p) for name, p in (("xyz", xyz), ("some", some), ("b", b))}
    assert found["xyz"].extra["even B"] is None
    assert found["xyz"].extra["flat"] > 0  # by the gradient itself, which noise does not change
    assert found["b"].extra["flat"] is None
    assert found["b"].extra["even B"] != found["some"].extra["even B"]
    with pytest.raises(ar.StaleWeightsError):
        ar.minimise_step(problem, state, some, found["b"])
    # halving what is asked for doubles the weight
    firm = dataclasses.replace(problem, extra=(ar.ExtraTarget("even B", even_b, "auto", ratio=0.5),))
    assert ar.find_weights(firm, state, b).extra["even B"] == pytest.approx(2.0 * found["b"].extra["even B"])
    by_hand = ar.Weights(None, 0.1, b.fingerprint)
    with pytest.raises(ar.StaleWeightsError, match="'even B' has an automatic weight"):
        ar.minimise_step(problem, state, b, by_hand)


def test_a_term_is_weighed_where_it_acts_by_what_noise_changes_or_by_its_gradient() -> None:
    """Of four atoms, one free by nothing; a term without slope here, a straight one, and one that does not act."""
    free, none = np.array([True, True, True, False]), np.zeros(4, dtype=bool)
    parameters: Any = types.SimpleNamespace(xyz=free, displaced=none, occupancy=none)

    def slopes(changed: list[float], here: list[float]) -> Any:
        along = [np.outer(values, [0.6, 0.0, 0.8]) for values in (changed, here)]
        return {"xyz": tuple(ar.Gradient(xyz, np.zeros(4), np.zeros(4)) for xyz in along)}

    by_xray = slopes([6.0, 8.0, 50.0, 99.0], [3.0, 3.0, 50.0, 99.0])
    at_rest = slopes([2.0, 2.0, 0.0, 9.0], [0.0, 0.0, 0.0, 9.0])
    straight = slopes([0.0, 0.0, 0.0, 9.0], [1.5, 1.5, 0.0, 9.0])
    assert _balanced(by_xray, at_rest, parameters, 1.0) == pytest.approx(np.sqrt(50.0) / 2.0)
    assert _balanced(by_xray, straight, parameters, 2.0) == pytest.approx(1.0)
    assert _balanced(by_xray, slopes([0.0] * 3 + [9.0], [0.0] * 3 + [9.0]), parameters, 1.0) is None


def test_gradient_of_the_objective_with_extra_terms(model: Any, target_point: Any) -> None:
    """Hydrogens ride, so that the pullback has to carry their part."""
    options = dataclasses.replace(
        OPTIONS, d_min=4.0, hydrogens="add", xray=Xray(precision="double"), device="cpu"
    )

    def near(atoms: ar.Atoms) -> tuple[float, ar.Gradient]:  # acts on hydrogens too
        z = atoms.xyz - atoms.xyz.mean(axis=0)
        return 0.5 * float((z**2).sum()), ar.Gradient(z, np.zeros(len(atoms)), np.zeros(len(atoms)))

    terms = (ar.ExtraTarget("near", near, 0.5), ar.ExtraTarget("even B", even_b, "auto"))
    _, problem, atoms, _ = ar.prepare(model, DATA, options, extra=terms)
    state = ar.evaluate(problem, atoms)
    free = problem.parameters(state.atoms, "xyz+b")
    weights = ar.find_weights(problem, state, free)
    objective = Objective(free, weights, state.xray, problem.geometry, problem.adp, terms)
    without = Objective(free, weights, state.xray, problem.geometry, problem.adp)
    x = free.pack(state.atoms)
    value, _ = objective.at(x)
    expected = 0.5 * near(state.atoms)[0] + (weights.of(terms[1]) or 0.0) * even_b(state.atoms)[0]
    assert value - without.at(x)[0] == pytest.approx(expected, rel=1e-6)
    direction = np.random.default_rng(0).normal(size=len(x))
    # At the start itself F_calc is that of the state, to its stated accuracy; a step away it is computed.
    x = x + 1e-4 * np.random.default_rng(1).normal(size=len(x))
    _, slope = objective.at(x)
    check_direction(lambda t: objective.at(x + t * direction)[0], float(slope @ direction), 1e-6, 1e-7)
    b = state.atoms.b_iso
    check_direction(
        lambda t: terms[1](state.atoms.replace(b_iso=b * np.exp(t)))[0], float(even_b(state.atoms)[1].b_iso @ b), 1e-4,
        1e-6,
    )  # fmt: skip


def test_same_as_without_where_the_weight_is_zero(model: Any) -> None:
    options = dataclasses.replace(QUICK, device="cpu")  # terms of the user are added there, in another order elsewhere
    plain = ar.refine(model, DATA, options)
    zero = ar.refine(model, DATA, options, extra=ar.ExtraTarget("none", even_b, 0.0))
    assert np.array_equal(plain.atoms.xyz, zero.atoms.xyz)


def test_a_gradient_by_tensors_has_six_columns() -> None:
    atoms = random_atoms(crystal("P 1"), n=3)

    def target(columns: int) -> ar.ExtraTarget:
        gradient = ar.Gradient(np.zeros((3, 3)), np.zeros(3), np.zeros(3), np.full((3, columns), 0.5))
        return ar.ExtraTarget("round", lambda atoms: (1.0, gradient), 1.0)

    value, gradient = target(6)(atoms)
    assert value == 1.0
    assert np.array_equal(gradient.u_aniso, np.full((3, 6), 0.5))
    with pytest.raises(InputError, match=r"its gradient by u_aniso has the shape \(3, 7\); expected \(3, 6\)$"):
        target(7)(atoms)


def move(atoms: Any) -> Any:
    atoms.xyz[0] += 1.0
    return atoms


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda atoms: 1.0, r"'odd' returned float; expected a tuple \(value, arrayrefine.Gradient\)"),
        (lambda atoms: (1.0, np.zeros(3)), r"returned tuple \(float, ndarray\); expected a tuple"),
        (lambda atoms: even_b(move(atoms)), r"'odd' changed xyz of the atoms in place; expected that it moves a copy"),
        (lambda atoms: (np.nan, ar.Gradient.zeros(len(atoms))), "returned the value nan"),
        (lambda atoms: (np.ones(3), ar.Gradient.zeros(len(atoms))), "returned the value array"),
        (lambda atoms: (1j, ar.Gradient.zeros(len(atoms))), "returned the value 1j"),
        (lambda atoms: (1.0, ar.Gradient.zeros(3)), r"gradient by xyz has the shape \(3, 3\); expected \(1350, 3\)"),
        (lambda atoms: (1.0, 1j * ar.Gradient.zeros(len(atoms))), "gradient by xyz is of type complex128"),
        (lambda atoms: (1.0, 1e308 * 10 * ar.Gradient.zeros(len(atoms))), "gradient by xyz has nan or infinity"),
    ],
)
def test_callables_that_return_something_else(refined: Any, function: Any, words: str) -> None:
    atoms = refined[0].atoms.taken(np.arange(1350))
    with pytest.raises(ar.InputError, match=words), np.errstate(invalid="ignore", over="ignore"):
        ar.ExtraTarget("odd", function)(atoms)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ar.ExtraTarget("", even_b), "the name is ''"),
        (lambda: ar.ExtraTarget("a", 3), "3 cannot be called"),  # type: ignore[arg-type]
        (lambda: ar.ExtraTarget("a", even_b, -1.0), r"weight is -1.0; expected a positive number, or 'auto'"),
        (lambda: ar.ExtraTarget("a", even_b, "much"), "weight is 'much'"),  # type: ignore[arg-type]
        (lambda: ar.ExtraTarget("a", even_b, "auto", 0.0), "ratio is 0.0; expected a positive number"),
        (lambda: ar.refine(MODEL, DATA, OPTIONS, extra=[even_b]), "found a function; expected ExtraTarget"),  # type: ignore[list-item]
        (lambda: check_extra(3), "found a int; expected ExtraTarget"),  # type: ignore[arg-type]
        (lambda: check_extra(even_b), "found a function; expected ExtraTarget"),  # type: ignore[arg-type]
        (lambda: ar.refine(MODEL, DATA, OPTIONS, extra=[ar.ExtraTarget("a", even_b)] * 2), "several targets are named"),
    ],
)
def test_terms_that_make_no_sense(make: Any, words: str) -> None:
    with pytest.raises(ar.InputError, match=words):
        make()


def _raise(*_: object) -> None:
    raise ar.StopRefinement


@pytest.mark.parametrize(
    ("callbacks", "who", "steps"),
    [
        ({"on_step": lambda step: True}, "on_step", 1),
        ({"on_state": lambda step, state: np.bool_(True)}, "on_state", 1),
        ({"on_step": _raise}, "on_step", 1),
        ({"on_message": _raise}, "on_message", 0),
        ({"stop": _raise}, "stop", 0),
        ({"on_step": lambda step: step.r_work}, "", 2),  # means nothing
    ],
)
def test_callbacks_can_end_a_run(model: Any, callbacks: dict[str, Any], who: str, steps: int) -> None:
    short = dataclasses.replace(QUICK, targets=("scale", "scale"))
    result = ar.refine(model, DATA, short, **callbacks)
    assert len(result.history) == steps
    assert result.report.stopped == (
        f"stopped by {who}: the best model so far was kept" if who else "the one cycle done"
    )


def test_the_model_of_the_last_step_is_kept(model: Any) -> None:
    both = dataclasses.replace(OPTIONS, minimiser=Minimiser(max_iterations=4, precondition=False))
    result = ar.refine(model, DATA, both, on_step=lambda step: True)
    assert [step.target for step in result.history] == ["xyz"]
    assert result.r_work == pytest.approx(result.history[0].r_work, abs=1e-3)
    assert result.r_work < result.report.start.r_work
    assert not np.array_equal(result.atoms.xyz, model.atoms.xyz)


def test_what_cannot_be_called_is_refused_before_anything_is_read() -> None:
    job = ar.Job("absent", "absent")
    for name in ("on_step", "on_state", "on_message", "stop"):
        wrong: dict[str, Any] = {name: 3}
        with pytest.raises(ar.InputError, match=f"{name}: found a int; expected a function"):
            ar.refine("absent", "absent", **wrong)
        with pytest.raises(ar.InputError, match=f"{name}: found a int; expected a function"):
            ar.refine_many([job], **wrong)


def test_other_exceptions_are_passed_on(model: Any) -> None:
    def fail(_: Step) -> None:
        raise ZeroDivisionError("of the user's own")

    with pytest.raises(ZeroDivisionError, match="of the user's own"):
        ar.refine(model, DATA, dataclasses.replace(QUICK, targets=("scale",)), on_step=fail)


def test_jobs_have_terms_of_their_own(model: Any, target_point: Any) -> None:
    pull = ar.ExtraTarget("pull", Pull(target_point, 0.1), 30.0)
    heard: list[int] = []
    plain, pulled = ar.refine_many(
        [ar.Job(model, DATA, QUICK), ar.Job(model, DATA, QUICK, extra=[pull])],
        on_state=lambda number, step, state: heard.append(number),
    )
    assert isinstance(plain, ar.Result)
    assert isinstance(pulled, ar.Result)
    assert sorted(heard) == [0, 1]
    assert plain.report.extra == ()
    alone = ar.refine(model, DATA, QUICK, extra=[pull])
    assert np.array_equal(pulled.atoms.xyz, alone.atoms.xyz)
    assert not np.array_equal(pulled.atoms.xyz, plain.atoms.xyz)
