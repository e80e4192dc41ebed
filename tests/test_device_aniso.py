"""Models with anisotropic atoms on the device against NumPy, on the emulated device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from batches import check_as_alone, sizes_of_batches
from test_device_objective import D_MIN, Case, N, _agree, _case, _moved, _restraints

import arrayrefine as ar
from arrayrefine import structure_factors
from arrayrefine.atoms import Atoms
from arrayrefine.device.factors import GridFactors, made
from arrayrefine.device.objective import DeviceObjective, Member
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, has_u
from arrayrefine.displacements.tls import Tls
from arrayrefine.kernels import symmetric
from arrayrefine.minimize import Objective
from arrayrefine.options import Geometry
from arrayrefine.parameters import Parameters
from arrayrefine.scattering.sampling import Sampling, grid_shape
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.weights import Weights

OWN = slice(3, 12)
"""Atoms with a U of their own; others have one from a group."""


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


def _spread(atoms: Atoms, which: str, seed: int = 8) -> Atoms:
    """U for some of the atoms, for all but the hydrogens, or for all."""
    rng = np.random.default_rng(seed)
    six = rng.uniform(-0.25, 0.25, (N, 6)) * (atoms.b_iso / EIGHT_PI_SQUARED)[:, None]
    six -= symmetric.isotropic(symmetric.trace(six) / 3.0)
    chosen = np.arange(N) < {"some": 18, "heavy": N - 10, "all": N}[which]
    own = np.zeros(N, dtype=bool)
    own[OWN] = True
    return dataclasses.replace(atoms, u_aniso=np.where(chosen[:, None], six, 0.0), anisotropic=own)


def _aniso_case(space_group: str, monkeypatch: pytest.MonkeyPatch, which: str = "some", own: bool = False) -> Case:
    """As `_case`, with anisotropic atoms; `own` says whether some have a U of their own, with restraints on shapes."""
    case = _case(space_group, monkeypatch)
    atoms = _spread(case.atoms, which)
    if not own:
        atoms = dataclasses.replace(atoms, anisotropic=np.zeros(N, dtype=bool))
    skip = atoms.riding.mask(N)
    adp = AdpTarget.build(_restraints(0), case.xray.reflections.crystal, atoms, "kl", Geometry(), skip=skip)
    assert (adp.shapes is not None and len(adp.shapes.i) > 0) == own
    return Case(atoms, case.xray, case.geometry, adp)


def _deep(case: Case, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Gaussians are cut where nothing is left of them, so that bricks and ellipsoids agree."""
    data = case.xray.reflections
    shape = grid_shape(data.crystal, D_MIN, 3.0)
    monkeypatch.setattr(structure_factors, "choose_sampling", lambda *_: Sampling(shape, 15.0, 1e-16))
    factors = StructureFactors(data.crystal, data.hkl, case.atoms, precision="double")
    return case._replace(xray=dataclasses.replace(case.xray, structure_factors=factors))


def _free(atoms: Atoms, target: str) -> Parameters:
    """All but U, which stays as it is."""
    return dataclasses.replace(Parameters.of(atoms, target), u=np.zeros(N, dtype=bool))


def _weights(parameters: Parameters) -> Weights:
    return Weights(0.3 if parameters.xyz.any() else None, 0.2 if parameters.b.any() else None, parameters.fingerprint)


def _device_factors(
    case: Case, n_models: int = 1, channels: int | None = None, precision: str = "single"
) -> GridFactors:
    data = case.xray.reflections
    plan = StructureFactors(data.crystal, data.hkl, case.atoms, device="cuda", precision=precision)  # type: ignore[arg-type]
    factors = made(plan.how, n_models, channels)
    assert isinstance(factors, GridFactors)
    return factors


def _pair(
    case: Case, target: str, channels: int | None = None, precision: str = "single"
) -> tuple[Objective, DeviceObjective]:
    parameters = _free(case.atoms, target)
    assert not parameters.shares
    weights = _weights(parameters)
    host = Objective(parameters, weights, case.xray, case.geometry, case.adp)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    factors = _device_factors(case, 1, channels, precision)
    return host, DeviceObjective([Member(parameters, weights, case.xray)], factors, restraints)


@pytest.mark.parametrize(
    ("space_group", "target", "which", "own"),
    [
        ("P 1", "xyz", "some", False), ("C 1 2 1", "b", "some", False), ("C 1 2 1", "xyz+b+occupancy", "some", True),
        ("P 43 21 2", "xyz+b", "heavy", False), ("R 3:H", "xyz+b+occupancy", "all", True),
    ],
)  # fmt: skip
def test_value_and_gradient_are_those_of_numpy(
    space_group: str, target: str, which: str, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, device = _pair(_aniso_case(space_group, monkeypatch, which, own), target)
    for seed in (5, 6, 7):  # without a graph, captured, and replayed
        _agree(host, device, _moved(host.parameters, seed))


def test_double_precision_agrees_to_ten_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _deep(_aniso_case("C 1 2 1", monkeypatch, own=True), monkeypatch)
    host, device = _pair(case, "xyz+b+occupancy", precision="double")
    for seed in (5, 6):
        _agree(host, device, _moved(host.parameters, seed), 1e-10)


def test_restraints_alone_agree_to_the_last_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    for own in (True, False):
        case = _aniso_case("C 1 2 1", monkeypatch, "heavy", own)
        host, device = _pair(case, "xyz+b")
        x = _moved(host.parameters)
        device.at(x)
        value, _ = case.adp(host.parameters.unpack(x))
        assert device.terms[0, 4] == pytest.approx(value, rel=1e-12)
        assert value > 1.0


def test_direct_summation(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _aniso_case("C 1 2 1", monkeypatch, own=True)
    data = case.xray.reflections
    exact = StructureFactors(data.crystal, data.hkl, case.atoms, method="direct")
    xray = dataclasses.replace(case.xray, structure_factors=exact)
    parameters = _free(case.atoms, "xyz+b+occupancy")
    weights = _weights(parameters)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    device = DeviceObjective([Member(parameters, weights, xray)], made(exact.how), restraints)
    host = Objective(parameters, weights, xray, case.geometry, case.adp)
    for seed in (5, 6):
        _agree(host, device, _moved(parameters, seed), 1e-11)


def test_passes_over_the_grids_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    host, device = _pair(_aniso_case("P 43 21 2", monkeypatch), "xyz+b", channels=1)
    for seed in (5, 6):
        _agree(host, device, _moved(host.parameters, seed))


@pytest.mark.parametrize("alike", [True, False])
def test_models_together_are_the_models_one_by_one(alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    case = _aniso_case("C 1 2 1", monkeypatch, own=True)
    parameters = _free(case.atoms, "xyz+b")
    weights = _weights(parameters)
    members = []
    for seed in (8, 9):
        atoms = case.atoms if alike else _spread(case.atoms, "some", seed)
        members.append(Member(parameters.at(atoms), weights, case.xray))
    two = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity, 2)
    together = DeviceObjective(members, _device_factors(case, 2), two)
    factors = _device_factors(case)
    alone = [
        DeviceObjective([m], factors, DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity))
        for m in members
    ]
    for seed in (5, 6):
        x = np.stack([_moved(m.parameters, 10 * seed + k) for k, m in enumerate(members)])
        check_as_alone(together, alone, x)


def test_the_same_bits_twenty_times(monkeypatch: pytest.MonkeyPatch) -> None:
    _, device = _pair(_aniso_case("R 3:H", monkeypatch, own=True), "xyz+b")
    x = _moved(device.parameters)
    results = [device.at(x) for _ in range(20)]
    assert len({value for value, _ in results}) == 1
    assert len({gradient.tobytes() for _, gradient in results}) == 1
    assert device.launches <= 50


def test_lists_without_room_are_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _aniso_case("C 1 2 1", monkeypatch)
    host, _ = _pair(case, "xyz+b")
    factors = _device_factors(case)
    for kind in factors.density.kinds:
        kind.enlarge(8)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    device = DeviceObjective([Member(host.parameters, host.weights, case.xray)], factors, restraints)
    for seed in (5, 6, 7):
        _agree(host, device, _moved(host.parameters, seed))
    assert factors.generation >= 1
    assert all(kind.lists.capacity > 8 for kind in factors.density.kinds)


@pytest.mark.parametrize("method", ["fft", "direct"])
def test_structure_factors_for_atoms_on_the_host(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which atoms are anisotropic changes, and the plan with them."""
    case = _deep(_aniso_case("C 1 2 1", monkeypatch), monkeypatch)
    data = case.xray.reflections
    round_ = case.atoms.replace(u_aniso=np.zeros((N, 6)))
    others = _spread(case.atoms, "heavy", 12)
    others.u_aniso[:5] = 0.0
    host, device = (
        StructureFactors(data.crystal, data.hkl, round_, method=method, precision="double", device=where)  # type: ignore[arg-type]
        for where in ("cpu", "cuda")
    )
    d_f = np.random.default_rng(0).normal(size=(2, len(data.hkl))).T @ [1.0, 1.0j]
    plans = []
    for atoms in (round_, case.atoms, others, round_):
        expected = host(atoms)
        assert np.linalg.norm(device(atoms) - expected) <= 1e-9 * np.linalg.norm(expected)
        found, wanted = device.pullback(d_f, atoms), host.pullback(d_f, atoms)
        for kind in ("xyz", "b_iso", "occupancy"):
            one, two = getattr(found, kind), getattr(wanted, kind)
            assert np.linalg.norm(one - two) <= 1e-9 * np.linalg.norm(two), kind
        some = has_u(atoms)
        if len(some):
            assert found.u_aniso is not None
            assert wanted.u_aniso is not None
            error = found.u_aniso[some] - wanted.u_aniso[some]
            assert np.linalg.norm(error) <= 1e-9 * np.linalg.norm(wanted.u_aniso[some])
        plans.append(device.on_device_for(atoms))
    assert plans[1] is not plans[0]
    assert (plans[2] is plans[1]) == (method == "direct")
    assert plans[3] is plans[2]


def test_atoms_made_on_the_host_with_tensors_and_groups_that_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """As extra targets want it."""
    case = _deep(_aniso_case("C 1 2 1", monkeypatch, own=True), monkeypatch)
    heavy = np.arange(N) < N - 10
    tls = Tls(np.where(heavy, 0, -1), case.atoms.xyz[heavy].mean(axis=0)[None], np.zeros((1, 20)))
    atoms = case.atoms.replace(tls=tls)
    parameters = Parameters.of(atoms, "xyz+b+tls")
    weights = _weights(parameters)
    data = case.xray.reflections
    on_device = StructureFactors(data.crystal, data.hkl, case.atoms, precision="double", device="cuda")
    other = dataclasses.replace(case.xray, structure_factors=on_device)
    one, two = (Objective(parameters, weights, x, case.geometry, case.adp) for x in (case.xray, other))
    x = parameters.pack(atoms)
    rng = np.random.default_rng(1)
    x[parameters.slices["xyz"]] += 0.02 * rng.normal(size=parameters.sizes.xyz)
    x[parameters.slices["tls"]] += 1e-3 * rng.normal(size=20)
    assert len(has_u(parameters.unpack(x))) > len(has_u(atoms))
    value, gradient = one.at(x)
    found, slope = two.at(x)
    assert found == pytest.approx(value, rel=1e-10)
    for name, part in parameters.slices.items():
        error = np.linalg.norm(slope[part] - gradient[part])
        assert error <= 1e-9 * np.linalg.norm(gradient[part]), name


def test_memory_for_other_atoms_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _aniso_case("P 1", monkeypatch)
    parameters = _free(_spread(case.atoms, "heavy"), "xyz")
    member = Member(parameters, _weights(parameters), case.xray)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    with pytest.raises(ValueError, match="other atoms were anisotropic"):
        DeviceObjective([member], _device_factors(case), restraints)
    with pytest.raises(ValueError, match="no u_aniso was given"):
        _device_factors(case).place(None, None, None)


def test_structure_factors_keep_the_accuracy_on_a_real_crystal(case: Callable[[str], Path]) -> None:
    model = ar.read_model(case("5e5z") / "model.pdb")
    data, _ = ar.read_reflections(case("5e5z") / "norm.mtz", model.crystal)
    atoms = model.atoms
    exact = StructureFactors(data.crystal, data.hkl, atoms, method="direct")
    single = StructureFactors(data.crystal, data.hkl, atoms, device="cuda")
    f_calc = exact(atoms)
    assert np.linalg.norm(single(atoms) - f_calc) <= 3e-4 * np.linalg.norm(f_calc)
    d_f = f_calc * np.random.default_rng(0).normal(1.0, 0.5, len(f_calc))
    found, expected = single.pullback(d_f, atoms), exact.pullback(d_f, atoms)
    some = has_u(atoms)
    for kind in ("xyz", "b_iso", "occupancy", "u_aniso"):
        one, two = getattr(found, kind)[some], getattr(expected, kind)[some]
        assert np.linalg.norm(one - two) <= 1e-3 * np.linalg.norm(two), kind


def test_a_refinement_is_that_of_numpy(case: Callable[[str], Path]) -> None:
    """Coordinates are refined with tensors as constants, then tensors."""
    files = case("5e5z") / "model.pdb", case("5e5z") / "norm.mtz"
    options = ar.Options(cycles=1, targets=("xyz", "b"), anisotropic="keep", perturb=0.1, hydrogens="strip")
    host, device = (ar.refine(*files, dataclasses.replace(options, device=where)) for where in ("cpu", "cuda"))  # type: ignore[arg-type]
    assert device.atoms.anisotropic.sum() == 46
    assert device.r_work == pytest.approx(host.r_work, abs=5e-4)
    assert np.sqrt(np.mean(np.sum((host.atoms.xyz - device.atoms.xyz) ** 2, axis=1))) < 0.01
    assert np.abs(host.atoms.u_aniso - device.atoms.u_aniso).max() < 0.01
    assert all(step.launches for step in device.history)
    assert "tensors" in device.report.as_dict()["mode"]["memory"]["parts"]


def test_starts_of_one_crystal_share_their_launches(
    case: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sizes_of_batches(monkeypatch)
    folder = case("5e5z")
    brief = ar.Options(cycles=1, targets=("xyz",), anisotropic="keep", perturb=0.1, hydrogens="strip", device="cuda")
    jobs = [ar.Job(folder / "model.pdb", folder / "norm.mtz", dataclasses.replace(brief, seed=s)) for s in (0, 1)]
    together = ar.refine_many(jobs)
    assert sizes
    assert max(sizes) == 2
    for job, result in zip(jobs, together):
        assert isinstance(result, ar.Result)
        assert len(has_u(result.atoms)) > 40
        alone = ar.refine(job.model, job.data, job.options)
        assert np.abs(result.atoms.xyz - alone.atoms.xyz).max() < 0.02
        assert result.r_work == pytest.approx(alone.r_work, abs=2e-3)
