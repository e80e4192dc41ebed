"""Memory on the device: reckoned without allocating, and not exceeded."""

from __future__ import annotations

import dataclasses
import gc
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine.crystal import Crystal
from arrayrefine.device.choice import Device
from arrayrefine.device.factors import made
from arrayrefine.device.memory import Sizes, fitted, parts
from arrayrefine.device.objective import DeviceObjective, Member
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.errors import DeviceError
from arrayrefine.kernels.bricks_cuda import expected_pairs
from arrayrefine.kernels.contacts_tables import Symmetry
from arrayrefine.parameters import Parameters
from arrayrefine.scattering.form_factors import form_factors, scattering
from arrayrefine.scattering.sampling import SPHERE_TAIL, Errors, choose_sampling
from arrayrefine.weights import Weights

VOLUME_PER_ATOM = 2.4 * 13.5
"""Å³ of the cell for each atom but hydrogens, as in a common crystal of a protein."""


def sizes(space_group: str, heavy: int, d_min: float, b_iso: float = 30.0, channels: int = 3) -> Sizes:
    """What a protein with as many hydrogens as other atoms would need; its reflections are estimated, not made."""
    operators = len(Crystal((10.0, 10.0, 10.0, 90.0, 90.0, 90.0), space_group).rotations)
    edge = (heavy * operators * VOLUME_PER_ATOM) ** (1 / 3)
    box = Crystal((edge, edge, edge, 90.0, 90.0, 90.0), space_group)
    few = np.random.default_rng(0).permutation(_sphere(edge, d_min))[:3000]
    farthest = int(edge / d_min)
    hkl = np.vstack([few, np.diag([farthest] * 3)])
    n = 2 * heavy
    b = np.full(n, b_iso)
    strength = np.repeat(scattering(form_factors(["C", "H"])[2], [0.0])[:, 0] ** 2, heavy)
    sampling = choose_sampling(Errors(box, hkl, SPHERE_TAIL), b, strength, channels, 1.8e-4)
    radius = np.sqrt(-math.log(sampling.cutoff) * (b + sampling.blur)) / (2.0 * np.pi)
    reflections = int(4.0 / 3.0 * np.pi * box.volume / d_min**3 / 2.0 / (operators / len(box.centring)))
    return Sizes(
        n, reflections // len(box.centring), operators // len(box.centring), sampling.shape, channels,
        int(1.3 * expected_pairs(sampling.shape, box.orth, radius)), 30 * heavy, 30 * heavy,
        Symmetry(box.rotations, box.translations, box.orth, box.frac), 4.6,
    )  # fmt: skip


def _sphere(edge: float, d_min: float) -> np.ndarray:
    """Some hkl of a cubic cell to d_min."""
    rng = np.random.default_rng(1)
    hkl = np.rint(rng.uniform(-edge / d_min, edge / d_min, (40000, 3))).astype(int)
    inside = (hkl**2).sum(axis=1)
    return hkl[(inside > 0) & (inside <= (edge / d_min) ** 2)]


@pytest.mark.parametrize("space_group", ["P 1", "P 21 21 21", "C 1 2 1", "P 61 2 2", "I 4 2 2"])
def test_ten_thousand_atoms_at_2_angstrom_take_less_than_a_gigabyte(space_group: str) -> None:
    wanted = sizes(space_group, 10_000, 2.0)
    budget = fitted(wanted, 10**9)
    assert budget.needed <= 10**9
    assert budget.sizes.channels_at_once >= budget.sizes.channels


@pytest.mark.parametrize("space_group", ["P 1", "P 21 21 21", "P 61 2 2"])
def test_150_000_atoms_at_2_5_angstrom_fit_in_16_gigabytes(space_group: str) -> None:
    assert fitted(sizes(space_group, 150_000, 2.5), 16 * 10**9).needed <= 16 * 10**9


def test_what_does_not_fit_takes_turns_and_then_is_refused() -> None:
    wanted = dataclasses.replace(sizes("P 21 21 21", 3000, 2.0), models=8)
    whole = fitted(wanted, 10**12)
    assert (whole.sizes.models, whole.sizes.channels_at_once) == (8, 3)
    one = fitted(dataclasses.replace(wanted, models=1), 10**12).needed
    some = fitted(wanted, int(3.5 * one))
    assert 2 <= some.sizes.models < 8
    assert some.sizes.channels_at_once == 3
    passes = fitted(wanted, int(0.8 * one))
    assert passes.sizes.models == 1
    assert passes.sizes.channels_at_once < 3
    assert "passes over the grids" in passes.sentence()
    assert passes.needed <= passes.limit
    with pytest.raises(DeviceError, match=r"needs [\d.]+ MiB of memory on the device .*, 1\.0 MiB can be used"):
        fitted(wanted, 2**20)


def test_grids_of_all_models_can_be_numbered() -> None:
    wanted = dataclasses.replace(sizes("P 1", 150_000, 2.5), models=1000)
    budget = fitted(wanted, 10**15)
    assert 1 < budget.sizes.models < 1000
    assert budget.sizes.models * budget.sizes.channels_at_once * math.prod(budget.sizes.shape) < 2**31


@pytest.mark.parametrize("anisotropic", ["no", "constant", "free", "groups"])
def test_memory_used_is_what_was_reckoned(
    anisotropic: str, case: Callable[[str], Path], emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = case("1dur")
    some = anisotropic in ("constant", "free")
    tls = "chain" if anisotropic == "groups" else "none"
    options = ar.Options(device="cuda", anisotropic="not water" if some else "none", tls=(tls,))
    _, problem, atoms, _ = ar.prepare(folder / "shaken.pdb", folder / "norm.mtz", options)
    if some:
        spread = 1e-4 * atoms.b_iso[:, None] * np.array([1.0, 2.0, -3.0, 0.0, 1.0, 0.0])
        atoms = atoms.replace(u_aniso=np.where(atoms.anisotropic[:, None], spread, 0.0))
    pool = emulated_cuda.get_default_memory_pool()
    factors = problem.structure_factors(atoms)
    parameters = Parameters.of(atoms, "xyz+b+tls")
    if anisotropic == "constant":
        parameters = dataclasses.replace(parameters, u=np.zeros(len(atoms), dtype=bool))
    how = factors.how_for(atoms, parameters.tensors)
    weights = Weights(0.1, 0.1, parameters.fingerprint)
    state = ar.evaluate(dataclasses.replace(problem, device=Device("cpu", "NumPy"), _plans={}), atoms, absorb_b=False)
    for models in (1, 2):
        budget = problem.budget(how, models)
        gc.collect()  # what earlier tests have left must not be given back meanwhile
        before = pool.used_bytes()
        member = Member(parameters, weights, state.xray)
        restraints = DeviceRestraints(problem.geometry, problem.adp, atoms.multiplicity, models)
        objective = DeviceObjective([member] * models, made(how, models), restraints)
        x = np.tile(parameters.pack(atoms), (models, 1))
        for _ in range(2):
            objective.at_all(x)
        used = pool.used_bytes() - before
        expected = budget.needed - parts(budget.sizes)["FFT plans"]
        assert ("tensors" in parts(budget.sizes)) == (anisotropic != "no")
        assert 0.7 * expected <= used <= expected, f"{used} bytes used, {expected} expected"
        del objective, restraints
    few = Device("cuda", "small", "", int(0.8 * problem.budget(how).needed))
    small = dataclasses.replace(problem, device=few, _plans={}, _on_device=[])
    assert small.budget(how).sizes.channels_at_once < how.channel.shape[1]
    engine = small.structure_factors(atoms).on_device_for(atoms, parameters.tensors)
    assert len(engine._factors) > 1
