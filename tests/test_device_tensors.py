"""Tensors and TLS groups that are refined on the device against NumPy, on the emulated device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from batches import check_as_alone, sizes_of_batches
from test_device_aniso import _aniso_case, _deep, _device_factors, _spread
from test_device_objective import Case, N

import arrayrefine as ar
from arrayrefine.atoms import Atoms
from arrayrefine.device.factors import made
from arrayrefine.device.objective import DeviceObjective, Member
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.displacements.displacement import U_LIMITS, total_u
from arrayrefine.displacements.tls import Tls
from arrayrefine.kernels import symmetric
from arrayrefine.minimize import Objective
from arrayrefine.parameters import Parameters
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.weights import Weights


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


def _grouped(atoms: Atoms, seed: int = 4) -> Atoms:
    """Two groups of atoms without a U of their own, at work already, and what a twofold axis along b leaves of U."""
    rng = np.random.default_rng(seed)
    number = np.arange(N)
    group = np.where(atoms.anisotropic | (number >= N - 10), -1, (number % 3 == 0).astype(int))
    origin = np.stack([atoms.xyz[group == k].mean(axis=0) for k in (0, 1)])
    scale = np.repeat([2e-2, 2e-4, 1e-3], [6, 6, 8])
    projection = None
    if atoms.multiplicity[0] == 2:
        projection = np.tile(np.eye(6), (N, 1, 1))
        projection[0, [3, 5], [3, 5]] = 0.0  # 12 and 23
        atoms.u_aniso[0, [3, 5]] = 0.0
    return dataclasses.replace(atoms, tls=Tls(group, origin, scale * rng.normal(size=(2, 20))), u_projection=projection)


def _case(space_group: str, monkeypatch: pytest.MonkeyPatch, own: bool = True) -> Case:
    case = _aniso_case(space_group, monkeypatch, "heavy", own)
    return case._replace(atoms=_grouped(case.atoms))


def _parameters(atoms: Atoms, target: str) -> Parameters:
    """All that the target names; of members of groups every second atom's B is frozen, and one U is."""
    p = Parameters.of(atoms, target)
    number = np.arange(N)
    return dataclasses.replace(p, b=p.b & ((number % 2 == 0) | (atoms.tls.group < 0)), u=p.u & (number != 5))


def _weights(p: Parameters) -> Weights:
    return Weights(0.3 if p.xyz.any() else None, 0.2 if p.displaced.any() else None, p.fingerprint)


def _moved(p: Parameters, seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale = np.repeat([1e-3, 2e-5, 1e-4], [6, 6, 8])
    width = np.concatenate(
        [np.full(p.sizes.xyz, 0.05), np.full(p.sizes.b, 1.0), np.full(p.sizes.occupancy, 0.02),
         np.full(p.sizes.u, 0.01), np.tile(scale, p.sizes.tls // 20)]
    )  # fmt: skip
    return p.pack(p.reference) + width * rng.normal(size=p.size)


def _pair(case: Case, target: str, precision: str = "single") -> tuple[Objective, DeviceObjective]:
    p = _parameters(case.atoms, target)
    assert not p.shares
    weights = _weights(p)
    host = Objective(p, weights, case.xray, case.geometry, case.adp)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    return host, DeviceObjective([Member(p, weights, case.xray)], _factors(case, p, 1, precision), restraints)


def _factors(case: Case, p: Parameters, n_models: int = 1, precision: str = "single") -> Any:
    data = case.xray.reflections
    plan = StructureFactors(data.crystal, data.hkl, case.atoms, device="cuda", precision=precision)  # type: ignore[arg-type]
    return made(plan.how_for(case.atoms, p.tensors), n_models)


def _agree(host: Objective, device: DeviceObjective, x: np.ndarray, tolerance: float = 1e-5) -> None:
    value, gradient = host.at(x)
    found, slope = device.at(x)
    assert abs(found - value) <= tolerance * abs(value)
    for name, part in host.parameters.slices.items():
        error = np.linalg.norm(slope[part] - gradient[part])
        assert error <= tolerance * np.linalg.norm(gradient[part]), name


TARGETS = ["xyz+b+tls", "tls", "b", "xyz+b+occupancy+tls"]


@pytest.mark.parametrize("space_group", ["P 1", "C 1 2 1", "P 43 21 2"])
@pytest.mark.parametrize("target", TARGETS)
def test_value_and_gradient_are_those_of_numpy(space_group: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host, device = _pair(_case(space_group, monkeypatch), target)
    for seed in (5, 6, 7):  # without a graph, captured, and replayed
        _agree(host, device, _moved(host.parameters, seed), 5e-5)  # derivatives by TLS of many atoms cancel


@pytest.mark.parametrize("own", [True, False])
def test_double_precision_agrees_to_ten_digits(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    case = _deep(_case("C 1 2 1", monkeypatch, own), monkeypatch)
    host, device = _pair(case, "xyz+b+occupancy+tls", "double")
    assert bool(host.parameters.sizes.u) == own
    for seed in (5, 6):
        _agree(host, device, _moved(host.parameters, seed), 1e-10)


@pytest.mark.parametrize("kind", ["variance", "none"])
def test_other_restraints(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = _deep(_case("C 1 2 1", monkeypatch), monkeypatch)
    none = np.zeros(0, dtype=np.int64)
    host, device = _pair(case._replace(adp=AdpTarget(kind, none, none, np.zeros(0))), "xyz+b+tls", "double")
    for seed in (5, 6):
        _agree(host, device, _moved(host.parameters, seed), 1e-10)


def test_direct_summation(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("C 1 2 1", monkeypatch)
    data = case.xray.reflections
    exact = StructureFactors(data.crystal, data.hkl, case.atoms, method="direct")
    p = _parameters(case.atoms, "xyz+b+tls")
    xray, weights = dataclasses.replace(case.xray, structure_factors=exact), _weights(p)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    device = DeviceObjective([Member(p, weights, xray)], made(exact.how_for(case.atoms, p.tensors)), restraints)
    host = Objective(p, weights, xray, case.geometry, case.adp)
    for seed in (5, 6, 7):
        _agree(host, device, _moved(p, seed), 1e-10)


def test_tensors_at_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clip has no slope of its own on either side."""
    case = _deep(_case("C 1 2 1", monkeypatch), monkeypatch)
    host, device = _pair(case, "xyz+b+tls", "double")
    p = host.parameters
    for seed in (5, 6):
        x = _moved(p, seed)
        x[p.slices["u"]].reshape(-1, 6)[:3, 0] -= 1.0
        x[p.slices["tls"]].reshape(-1, 20)[0, 1] -= 0.4
        low = symmetric.eigenvalues(total_u(p.unpack(x)))[:, 0]
        assert (low < 1.01 * U_LIMITS[0]).sum() > 5
        _agree(host, device, x, 1e-7)


def test_groups_without_motion_have_a_whole_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are round then; the device knows that they need not stay so."""
    case = _deep(_aniso_case("C 1 2 1", monkeypatch, "some", True), monkeypatch)
    own = case.atoms.anisotropic[:, None]
    atoms = _grouped(case.atoms.replace(u_aniso=np.where(own, case.atoms.u_aniso, 0.0)))
    atoms.tls.values[...] = 0.0
    case = case._replace(atoms=atoms)
    host, device = _pair(case, "xyz+b+tls", "double")
    p = host.parameters
    x = p.pack(atoms)
    _, gradient = device.at(x)
    rng = np.random.default_rng(3)
    step = np.zeros(p.size)
    step[p.slices["tls"]] = np.tile(np.repeat([1e-5, 2e-7, 1e-6], [6, 6, 8]), 2) * rng.normal(size=40)
    slope = (host.at(x + step)[0] - host.at(x - step)[0]) / 2.0
    assert float(gradient @ step) == pytest.approx(slope, rel=1e-5)


def test_models_together_are_the_models_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("C 1 2 1", monkeypatch)
    first = _parameters(case.atoms, "xyz+b+tls")
    members = []
    for seed in (8, 9, 10):
        atoms = _grouped(_spread(case.atoms, "heavy", seed), seed)
        atoms = dataclasses.replace(atoms, anisotropic=case.atoms.anisotropic)
        p = first.at(atoms)
        members.append(Member(p, _weights(p), case.xray))
    three = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity, 3)
    together = DeviceObjective(members, _factors(case, first, 3), three)
    factors = _factors(case, first)
    alone = [
        DeviceObjective([m], factors, DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity))
        for m in members
    ]
    for seed in (5, 6):
        x = np.stack([_moved(m.parameters, 10 * seed + k) for k, m in enumerate(members)])
        value = check_as_alone(together, alone, x)
        host = Objective(members[2].parameters, members[2].weights, case.xray, case.geometry, case.adp)
        assert value[2] == pytest.approx(host.at(x[2])[0], rel=1e-5)


def test_the_same_bits_twenty_times(monkeypatch: pytest.MonkeyPatch) -> None:
    _, device = _pair(_case("C 1 2 1", monkeypatch), "xyz+b+tls")
    x = _moved(device.parameters)
    results = [device.at(x) for _ in range(20)]
    assert len({value for value, _ in results}) == 1
    assert len({gradient.tobytes() for _, gradient in results}) == 1


@pytest.mark.parametrize(("target", "more"), [("xyz+b+tls", 3), ("xyz+b", 2)])
def test_three_launches_more_than_with_constant_tensors(
    target: str, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One to make the atoms, one for the way back, and one that adds up the groups."""
    case = _case("C 1 2 1", monkeypatch)
    _, device = _pair(case, target)
    p = dataclasses.replace(Parameters.of(case.atoms, "xyz+b"), u=np.zeros(N, dtype=bool))
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    constant = DeviceObjective([Member(p, _weights(p), case.xray)], _device_factors(case), restraints)
    device.at(_moved(device.parameters))
    constant.at(_moved(p))
    assert device.launches == constant.launches + more
    assert device.launches <= 55


def test_only_the_vector_and_the_result_cross(emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    _, device = _pair(_case("C 1 2 1", monkeypatch), "xyz+b+tls")
    x = _moved(device.parameters)
    for _ in range(2):
        device.at(x)
    crossed: list[tuple[str, int]] = []
    array = emulated_cuda.ndarray
    for name in ("set", "get"):
        kept = getattr(array, name)

        def watched(self: Any, *a: Any, _name: str = name, _kept: Any = kept, **k: Any) -> Any:
            crossed.append((_name, self.size))
            return _kept(self, *a, **k)

        monkeypatch.setattr(array, name, watched)
    pool = emulated_cuda.get_default_memory_pool()
    before = pool.used_bytes()
    device.at(x + 1e-4)
    assert pool.used_bytes() == before
    assert crossed == [("set", device.parameters.size), ("get", device.parameters.size + 7)]


def test_memory_for_other_atoms_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _aniso_case("P 1", monkeypatch)
    round_ = case.atoms.replace(u_aniso=np.zeros((N, 6)))
    p = Parameters.of(_grouped(round_), "tls")
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    with pytest.raises(ValueError, match="other atoms were anisotropic"):
        DeviceObjective([Member(p, _weights(p), case.xray)], _device_factors(case._replace(atoms=round_)), restraints)


def _refined(files: tuple[Path, Path], options: ar.Options) -> tuple[ar.Result, ar.Result]:
    host, device = (ar.refine(*files, dataclasses.replace(options, device=where)) for where in ("cpu", "cuda"))  # type: ignore[arg-type]
    assert all(step.launches for step in device.history)
    assert device.r_work == pytest.approx(host.r_work, abs=1e-3)
    assert np.sqrt(np.mean(np.sum((host.atoms.xyz - device.atoms.xyz) ** 2, axis=1))) < 0.01
    return host, device


def test_a_refinement_with_groups_is_that_of_numpy(case: Callable[[str], Path]) -> None:
    files = case("1dur") / "shaken.pdb", case("1dur") / "norm.mtz"
    options = ar.Options(cycles=1, targets=("xyz+b",), tls=("chain",), hydrogens="strip")
    host, device = _refined(files, options)
    assert host.atoms.tls.values.any()
    ours, theirs = total_u(device.atoms), total_u(host.atoms)
    assert np.linalg.norm(ours - theirs) < 0.1 * np.linalg.norm(theirs)


def test_a_refinement_of_tensors_is_that_of_numpy(case: Callable[[str], Path]) -> None:
    files = case("5e5z") / "model.pdb", case("5e5z") / "norm.mtz"
    options = ar.Options(cycles=1, targets=("xyz+b",), anisotropic="keep", perturb=0.1, hydrogens="strip")
    host, device = _refined(files, options)
    assert device.atoms.anisotropic.sum() == 46
    assert np.abs(host.atoms.u_aniso - device.atoms.u_aniso).max() < 0.01


def test_starts_of_one_crystal_share_their_launches(
    case: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sizes_of_batches(monkeypatch)
    folder = case("5e5z")
    brief = ar.Options(cycles=1, targets=("b",), anisotropic="keep", perturb=0.1, hydrogens="strip", device="cuda")
    jobs = [ar.Job(folder / "model.pdb", folder / "norm.mtz", dataclasses.replace(brief, seed=s)) for s in (0, 1)]
    together = ar.refine_many(jobs)
    assert sizes
    assert max(sizes) == 2
    for job, result in zip(jobs, together):
        assert isinstance(result, ar.Result)
        alone = ar.refine(job.model, job.data, job.options)
        assert np.abs(result.atoms.u_aniso - alone.atoms.u_aniso).max() < 0.01
        assert result.r_work == pytest.approx(alone.r_work, abs=2e-3)
