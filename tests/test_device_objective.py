"""The objective on the device against NumPy's, on the emulated device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from batches import check_as_alone
from synthetic import atoms_from, crystal, random_hkl

import arrayrefine as ar
from arrayrefine import structure_factors
from arrayrefine.atoms import Atoms, Riding
from arrayrefine.crystal import Crystal
from arrayrefine.device.factors import made
from arrayrefine.device.objective import DeviceObjective, Member
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.errors import DeviceError, StaleWeightsError
from arrayrefine.measurements.phases import KnownPhases
from arrayrefine.minimize import Objective
from arrayrefine.options import Geometry
from arrayrefine.parameters import Parameters
from arrayrefine.reflections import Reflections
from arrayrefine.restraints import (
    Angles,
    Bonds,
    Chiralities,
    Distances,
    JellyBody,
    Mates,
    NonBonded,
    Planes,
    Restraints,
    TorsionClass,
    Torsions,
)
from arrayrefine.scattering.sampling import Sampling, grid_shape
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.firm_outliers import Limits
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.targets.xray import XrayTarget
from arrayrefine.weights import Weights

N, D_MIN = 40, 2.2


@pytest.fixture(autouse=True)
def _cuda(emulated_cuda: ModuleType) -> None:
    """Every test here runs on the emulator."""


class Case(NamedTuple):
    """A made-up problem."""

    atoms: Atoms
    xray: XrayTarget
    geometry: GeometryTarget
    adp: AdpTarget


def _model(box: Crystal, seed: int) -> Atoms:
    """A chain that turns at random through the cell, with riding hydrogens, and an atom on a twofold axis along b."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(N, 3))
    xyz = np.cumsum(1.4 * steps / np.linalg.norm(steps, axis=1)[:, None], axis=0) + box.cartesian(np.full((1, 3), 0.3))
    element = list(rng.choice(["C", "N", "O", "S"], N))
    child = np.arange(N - 10, N)
    parent = rng.integers(1, 15, 10)
    for c, p in zip(child, parent):
        element[c] = "H"
        xyz[c] = xyz[p] + 0.95 * steps[c] / np.linalg.norm(steps[c])
    projection, multiplicity = np.tile(np.eye(3), (N, 1, 1)), np.ones(N, dtype=np.int64)
    if box.space_group == "C 1 2 1":
        xyz[0] = box.cartesian(np.array([[0.0, 0.37, 0.0]]))[0]
        projection[0], multiplicity[0] = np.diag([0.0, 1.0, 0.0]), 2
    occupancy = rng.choice([1.0, 1.0, 0.6], N) / multiplicity
    atoms = atoms_from(xyz, element, rng.uniform(8.0, 40.0, N), occupancy)
    return dataclasses.replace(
        atoms, site_projection=projection, multiplicity=multiplicity, riding=Riding(child, parent)
    )


def _restraints(seed: int) -> Restraints:
    """Some of every kind, between atoms that do not ride."""
    rng = np.random.default_rng(seed)
    own = np.arange(N - 10)

    def windows(width: int, count: int) -> np.ndarray:
        return np.stack([own[s : s + width] for s in rng.integers(0, len(own) - width, count)])

    b, a, t, c, p = (windows(w, k) for w, k in ((2, 29), (3, 28), (4, 20), (4, 10), (5, 4)))
    excluded = np.unique(np.sort(np.concatenate([b, a[:, [0, 2]]]), axis=1), axis=0)
    hydrogen = np.arange(N) >= N - 10
    kinds = NonBonded(
        radius=np.where(hydrogen, 1.2, rng.choice([1.5, 1.7], N)), ion_radius=np.full(N, np.nan),
        radius_one_four=np.full(N, 1.4), donor=~hydrogen & (rng.random(N) < 0.2),
        acceptor=~hydrogen & (rng.random(N) < 0.2), hydrogen=hydrogen & (rng.random(N) < 0.5),
        metal=np.zeros(N, dtype=bool), excluded=excluded, excluded_images=np.zeros((0, 2), dtype=np.int64),
        one_four=np.sort(t[:, [0, 3]], axis=1), conformer=np.zeros(N, dtype=np.int64),
    )  # fmt: skip
    return Restraints(
        Bonds(b, rng.uniform(1.3, 1.6, len(b)), np.full(len(b), 0.05)),
        Angles(a, rng.uniform(100.0, 120.0, len(a)), np.full(len(a), 5.0)),
        Torsions(t, rng.uniform(-180.0, 180.0, len(t)), np.full(len(t), 20.0), rng.choice([1, 2, 3], len(t))),
        Chiralities(c, rng.choice([-2.5, 2.5], len(c)), np.full(len(c), 0.5)),
        Planes(p.reshape(-1), np.repeat(np.arange(len(p)), 5), np.full(p.size, 0.1)),
        kinds,
        np.zeros(N, dtype=bool),
    )


def _case(
    space_group: str, monkeypatch: pytest.MonkeyPatch, kind: Any = "ml", adp: Any = "kl", seed: int = 0
) -> Case:
    """The same fine sampling for NumPy and the device, so that only rounding tells them apart."""
    box = crystal(space_group)
    shape = grid_shape(box, D_MIN, 3.0)
    monkeypatch.setattr(structure_factors, "choose_sampling", lambda *_: Sampling(shape, 15.0, 1e-11))
    atoms, restraints, rng = _model(box, seed), _restraints(seed), np.random.default_rng(seed + 1)
    hkl = random_hkl(box, D_MIN, 400)
    factors = StructureFactors(box, hkl, atoms, precision="double")
    amplitude = np.abs(factors(atoms))
    r = len(hkl)
    f_obs = (amplitude + 0.1 * amplitude.mean()) * np.exp(rng.normal(0.0, 0.3, r))
    data = Reflections(box, hkl, f_obs, 0.05 * f_obs + 0.1, rng.random(r) < 0.1)
    solvent = 0.1 * amplitude.mean() * (rng.normal(size=r) + 1j * rng.normal(size=r))
    xray = XrayTarget(
        data, factors, rng.uniform(0.9, 1.1, r), solvent, rng.uniform(0.7, 1.0, r),
        (amplitude.mean() * rng.uniform(0.3, 0.6, r)) ** 2, kind,
    )  # fmt: skip
    geometry = GeometryTarget.build(restraints, box, Geometry())
    skip = atoms.riding.mask(N)
    return Case(atoms, xray, geometry, AdpTarget.build(restraints, box, atoms, adp, Geometry(), skip=skip))


def _weights(parameters: Parameters) -> Weights:
    return Weights(
        0.3 if parameters.xyz.any() else None, 0.2 if parameters.b.any() else None, parameters.fingerprint
    )


def _device_factors(case: Case, n_models: int = 1, channels: int | None = None) -> Any:
    single = StructureFactors(case.xray.reflections.crystal, case.xray.reflections.hkl, case.atoms, device="cuda")
    return made(single.how, n_models, channels)


def _pair(case: Case, target: str, channels: int | None = None) -> tuple[Objective, DeviceObjective]:
    parameters = Parameters.of(case.atoms, target)
    weights = _weights(parameters)
    host = Objective(parameters, weights, case.xray, case.geometry, case.adp)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    member = Member(parameters, weights, case.xray)
    return host, DeviceObjective([member], _device_factors(case, channels=channels), restraints)


def _moved(parameters: Parameters, seed: int = 5) -> np.ndarray:
    """A vector away from the reference, within bounds."""
    rng = np.random.default_rng(seed)
    n_xyz, n_b, n_q, *_ = parameters.sizes
    width = np.concatenate([np.full(n_xyz, 0.05), np.full(n_b, 1.0), np.full(n_q, 0.02)])
    return parameters.pack(parameters.reference) + width * rng.normal(size=parameters.size)


def _agree(host: Objective, device: DeviceObjective, x: np.ndarray, tolerance: float = 1e-5) -> None:
    value, gradient = host.at(x)
    found, slope = device.at(x)
    assert abs(found - value) <= tolerance * abs(value)
    for part in np.split(np.arange(len(x)), np.cumsum(host.parameters.sizes)[:2]):
        error = np.linalg.norm(slope[part] - gradient[part])
        assert error <= tolerance * np.linalg.norm(gradient[part]), f"{error / np.linalg.norm(gradient[part]):.1e}"


@pytest.mark.parametrize("space_group", ["P 1", "C 1 2 1", "P 43 21 2", "R 3:H", "F 2 2 2"])
@pytest.mark.parametrize("target", ["xyz", "b", "xyz+b", "xyz+b+occupancy"])
def test_value_and_gradient_are_those_of_numpy(
    space_group: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, device = _pair(_case(space_group, monkeypatch), target)
    for seed in (5, 6, 7):  # without a graph, captured, and replayed
        _agree(host, device, _moved(host.parameters, seed))


def test_an_error_in_a_capture_spoils_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    host, device = _pair(_case("P 1", monkeypatch), "xyz")
    x = _moved(host.parameters)
    device.at(x)

    def broken(*_: object) -> None:
        raise RuntimeError("in a capture")

    with monkeypatch.context() as patched:
        patched.setattr(device._factors, "backward", broken)
        with pytest.raises(RuntimeError, match="in a capture"):
            device.at(x)
    _agree(host, device, x)


@pytest.mark.parametrize(("kind", "adp"), [("gaussian", "kl"), ("ml", "variance"), ("ml", "none")])
def test_other_targets(kind: str, adp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host, device = _pair(_case("C 1 2 1", monkeypatch, kind, adp), "xyz+b")
    _agree(host, device, _moved(host.parameters))


def test_phases_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("P 21 21 21", monkeypatch)
    data, rng = case.xray.reflections, np.random.default_rng(8)
    coefficients = rng.normal(0.0, 2.0, (len(data), 4))
    coefficients[data.centric, 2:] = 0.0
    phased = dataclasses.replace(data, phases=KnownPhases(coefficients, ("A", "B", "C", "D")))
    host, device = _pair(case._replace(xray=dataclasses.replace(case.xray, reflections=phased)), "xyz+b")
    without, _ = _pair(case, "xyz+b")
    x = _moved(host.parameters)
    _agree(host, device, x)
    assert np.linalg.norm(host.at(x)[1] - without.at(x)[1]) > 0.01 * np.linalg.norm(without.at(x)[1])


def test_contacts_that_are_off_are_off_on_the_device_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where distances are restrained, which are listed anew as contacts would be."""
    case = _case("C 1 2 1", monkeypatch)
    with_them, _ = _pair(case, "xyz+b")
    off = GeometryTarget.build(case.geometry.restraints, case.xray.reflections.crystal, Geometry(contacts=False))
    host, device = _pair(_with_distances(case._replace(geometry=off)), "xyz+b")
    for seed in (5, 6, 7):
        x = _moved(host.parameters, seed)
        _agree(host, device, x)
        assert device.terms[0, 3] == 0.0
    assert with_them.at(x)[0] != pytest.approx(host.at(x)[0])


def test_restraints_alone_agree_to_the_last_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("C 1 2 1", monkeypatch)
    host, device = _pair(case, "xyz+b")
    x = _moved(host.parameters)
    device.at(x)
    atoms = host.parameters.unpack(x)
    terms = case.geometry.terms(atoms)
    expected = [sum(t.value for k, t in terms.items() if k != "contact"), terms["contact"].value, case.adp(atoms)[0]]
    np.testing.assert_allclose(device.terms[0, 2:], expected, rtol=1e-12)
    assert expected[1] > 1.0


def _with_distances(case: Case, jelly: JellyBody | None = None) -> Case:
    """The case with robust restraints on distances and on differences of two, and a jelly body."""
    rng = np.random.default_rng(8)
    own = np.arange(N - 10)
    one, two = (np.array([rng.choice(own, w, replace=False) for _ in range(50)]) for w in (2, 4))
    classes = (
        Distances("one", one, rng.uniform(2.0, 9.0, 50), np.full(50, 0.5), -2.0, 1.5),
        Distances("two", two, np.zeros(50), np.full(50, 0.5), 0.0),
    )
    chains = np.stack([own[k : k + 4] for k in range(12)])
    torsions = Torsions(chains, rng.uniform(-180.0, 180.0, 12), np.full(12, 15.0), np.full(12, 1))
    turns = TorsionClass("turn", torsions, 0.7)
    known = dataclasses.replace(case.geometry.restraints, distances=classes, jelly_body=jelly, conformation=(turns,))
    geometry = dataclasses.replace(case.geometry, restraints=known, distances=classes, conformation=(turns,))
    return case._replace(geometry=geometry)


def test_other_sources_are_a_part_of_the_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("C 1 2 1", monkeypatch)
    host, device = _pair(_with_distances(case), "xyz+b")
    x = _moved(host.parameters)
    plain, _ = _pair(case, "xyz+b")
    assert host.at(x)[0] > plain.at(x)[0] + 1.0
    for seed in (5, 6, 7):
        _agree(host, device, _moved(host.parameters, seed))


def test_distances_to_mates_are_a_part_of_the_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else reaches across the symmetry."""
    case = _case("C 1 2 1", monkeypatch)
    box, source = crystal("C 1 2 1"), np.array([3, 8, 8, 21])
    shifts = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
    how = [box.cartesian_operator(1, shift) for shift in box.translations[1] + shifts]
    mates = Mates(source, np.array([rotation for rotation, _ in how]), np.array([shift for _, shift in how]))
    index = np.array([[1, N], [5, N + 1], [N + 2, 9], [20, N + 3]])
    classes = (
        Distances("one", index, np.full(4, 8.0), np.full(4, 2.0), -2.0, 1.5),
        Distances("two", index[1:], np.full(3, 6.0), np.full(3, 1.0)),
    )
    known = case.geometry.restraints
    across = dataclasses.replace(known, across=known.across.with_distances(mates, *classes))
    geometry = dataclasses.replace(case.geometry, restraints=across, to_mates=classes)
    host, device = _pair(case._replace(geometry=geometry), "xyz+b")
    plain, _ = _pair(case, "xyz+b")
    x = _moved(host.parameters)
    assert host.at(x)[0] > plain.at(x)[0] + 1.0
    for seed in (5, 6, 7):
        _agree(host, device, _moved(host.parameters, seed))


def test_the_jelly_body_follows_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _with_distances(_case("C 1 2 1", monkeypatch), JellyBody(4.2, 0.1))
    parameters = Parameters.of(case.atoms, "xyz")
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    factors, weights = _device_factors(case), _weights(parameters)
    for seed in (5, 6):
        start = parameters.unpack(_moved(parameters, seed))
        geometry = case.geometry.anchored(start)
        assert len(geometry.distances) == 3
        restraints.hold([geometry])
        device = DeviceObjective([Member(parameters, weights, case.xray)], factors, restraints)
        host = Objective(parameters, weights, case.xray, geometry, case.adp)
        for moved in (7, 8, 9):
            _agree(host, device, _moved(parameters, moved))


def test_outliers_follow_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory that stays where it is: what was captured stays valid."""
    case = _case("C 1 2 1", monkeypatch)
    parameters = Parameters.of(case.atoms, "xyz")
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    weights = _weights(parameters)
    device = DeviceObjective([Member(parameters, weights, case.xray)], _device_factors(case), restraints)
    values = set()
    for spread, exempt in ((1.0, ()), (3.0, ()), (1.5, (3, 4))):
        geometry = dataclasses.replace(case.geometry, limits=Limits(spread, exempt))
        restraints.hold([geometry])
        assert restraints.generation == 0
        host = Objective(parameters, weights, case.xray, geometry, case.adp)
        values.add(round(host.at(_moved(parameters, 5))[0], 3))
        for seed in (5, 6, 7):
            _agree(host, device, _moved(parameters, seed))
    assert len(values) == 3


def test_contacts_are_chosen_by_the_occupancies_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mates that cannot be there together do not begin to repel as occupancies rise, until the next step does."""
    case = _case("P 43 21 2", monkeypatch)
    half = case.atoms.replace(occupancy=np.full(N, 0.5))
    parameters = Parameters.of(half, "xyz+occupancy")
    more = half.replace(occupancy=np.full(N, 0.6))
    restraints = DeviceRestraints(case.geometry, case.adp, half.multiplicity)
    device = DeviceObjective([Member(parameters, _weights(parameters), case.xray)], _device_factors(case), restraints)
    at_start = case.geometry.terms(half)["contact"].value
    generations = set()
    for geometry in (case.geometry, case.geometry.anchored(half), case.geometry.anchored(more), case.geometry):
        restraints.hold([geometry])
        generations.add(restraints.generation)
        expected = geometry.terms(more)["contact"].value
        for _ in range(3):
            device.at(parameters.pack(more))
            assert device.terms[0, 3] == pytest.approx(expected, rel=1e-12)
        held = geometry.contacts is not None and geometry.contacts.occupancy is half.occupancy
        assert expected == pytest.approx(at_start, rel=1e-12) if held else expected > at_start + 1.0
    assert len(generations) >= 3  # what was captured reads other memory


def test_direct_summation(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("C 1 2 1", monkeypatch)
    data = case.xray.reflections
    exact = StructureFactors(data.crystal, data.hkl, case.atoms, method="direct")
    xray = dataclasses.replace(case.xray, structure_factors=exact)
    parameters = Parameters.of(case.atoms, "xyz+b+occupancy")
    weights = _weights(parameters)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    device = DeviceObjective([Member(parameters, weights, xray)], made(exact.how), restraints)
    host = Objective(parameters, weights, xray, case.geometry, case.adp)
    for seed in (5, 6, 7):
        _agree(host, device, _moved(parameters, seed), 1e-11)


def test_passes_over_the_grids_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("P 43 21 2", monkeypatch)
    host, device = _pair(case, "xyz+b", channels=1)
    assert case.xray.structure_factors.how.channel.shape[1] > 1
    for seed in (5, 6, 7):
        _agree(host, device, _moved(host.parameters, seed))


def test_models_together_are_the_models_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("C 1 2 1", monkeypatch)
    parameters = Parameters.of(case.atoms, "xyz+b")
    rng = np.random.default_rng(3)
    members = []
    for factor in (1.0, 0.5, 2.0):
        shift = 0.02 * rng.normal(size=(N, 3)) * (case.atoms.multiplicity == 1)[:, None]
        atoms = case.atoms.replace(xyz=case.atoms.xyz + shift, b_iso=case.atoms.b_iso * rng.uniform(0.9, 1.1, N))
        weights = dataclasses.replace(_weights(parameters), geometry=0.3 * factor)
        xray = dataclasses.replace(case.xray, d=case.xray.d * 0.9**factor, variance=case.xray.variance * factor)
        members.append(Member(parameters.at(atoms), weights, xray))
    three = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity, 3)
    together = DeviceObjective(members, _device_factors(case, 3), three)
    factors = _device_factors(case)
    alone = [
        DeviceObjective([m], factors, DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity))
        for m in members
    ]
    for seed in (5, 6, 7):
        x = np.stack([_moved(m.parameters, 10 * seed + k) for k, m in enumerate(members)])
        value = check_as_alone(together, alone, x)
        objective = Objective(
            members[2].parameters, members[2].weights, members[2].xray, case.geometry, case.adp
        )
        assert value[2] == pytest.approx(objective.at(x[2])[0], rel=1e-5)


def test_the_same_bits_twenty_times(monkeypatch: pytest.MonkeyPatch) -> None:
    _, device = _pair(_case("R 3:H", monkeypatch), "xyz+b")
    x = _moved(device.parameters)
    results = [device.at(x) for _ in range(20)]
    assert len({value for value, _ in results}) == 1
    assert len({gradient.tobytes() for _, gradient in results}) == 1


def test_only_the_vector_and_the_result_cross(emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    _, device = _pair(_case("C 1 2 1", monkeypatch), "xyz+b")
    x = _moved(device.parameters)
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
    device.at(x)
    before = pool.used_bytes()
    device.at(x + 0.01)
    assert pool.used_bytes() == before
    size = device.parameters.size
    assert crossed == [("set", size), ("get", size + 7)] * 2
    assert 20 <= device.launches <= 30


def test_lists_without_room_are_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("C 1 2 1", monkeypatch)
    host, _ = _pair(case, "xyz+b")
    factors = _device_factors(case)
    factors.density.kinds[0].enlarge(8)
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    restraints._contacts = case.geometry.contacts.device_plan(case.atoms.multiplicity, 1, 4)  # type: ignore[union-attr]
    device = DeviceObjective([Member(host.parameters, host.weights, case.xray)], factors, restraints)
    for seed in (5, 6, 7):
        _agree(host, device, _moved(host.parameters, seed))
    assert factors.generation >= 1
    assert restraints.generation >= 1


def test_what_cannot_be_mended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, device = _pair(_case("P 1", monkeypatch), "xyz")
    x = _moved(device.parameters)
    x[0] = np.nan
    with pytest.raises(DeviceError, match="not finite"):
        device.at(x)
    x[0] = 0.0
    assert np.isfinite(device.at(x)[0])
    with pytest.raises(ValueError, match="vectors of shape"):
        device.at(x[1:])


def test_mismatches_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case("P 1", monkeypatch)
    one, other = Parameters.of(case.atoms, "xyz"), Parameters.of(case.atoms, "b")
    restraints = DeviceRestraints(case.geometry, case.adp, case.atoms.multiplicity)
    factors = _device_factors(case)
    with pytest.raises(StaleWeightsError):
        DeviceObjective([Member(one, _weights(other), case.xray)], factors, restraints)
    members = [Member(p, _weights(p), case.xray) for p in (one, other)]
    with pytest.raises(ValueError, match="same free parameters"):
        DeviceObjective(members, factors, restraints)
    with pytest.raises(ValueError, match="2 models with memory for 1"):
        DeviceObjective([members[0]] * 2, factors, restraints)


@pytest.mark.parametrize("name", ["1aba", "1dur"])
def test_structure_factors_keep_the_accuracy_on_a_real_crystal(name: str, case: Callable[[str], Path]) -> None:
    model = ar.read_model(case(name) / "model.pdb")
    data, _ = ar.read_reflections(case(name) / "norm.mtz", model.crystal)
    atoms, box = model.atoms, data.crystal
    exact = StructureFactors(box, data.hkl, atoms, method="direct", device="cuda")
    single = StructureFactors(box, data.hkl, atoms, device="cuda")
    assert single.sampling.cutoff < StructureFactors(box, data.hkl, atoms).sampling.cutoff
    f_calc = exact(atoms)
    d_f = f_calc * np.random.default_rng(0).normal(1.0, 0.5, len(f_calc))
    assert np.linalg.norm(single(atoms) - f_calc) <= 3e-4 * np.linalg.norm(f_calc)
    found, expected = single.pullback(d_f, atoms), exact.pullback(d_f, atoms)
    for kind in ("xyz", "b_iso", "occupancy"):
        one, two = getattr(found, kind), getattr(expected, kind)
        assert np.linalg.norm(one - two) <= 1e-3 * np.linalg.norm(two)


@pytest.mark.parametrize(("anisotropic", "launches"), [("none", 40), ("auto", 55)])
def test_a_refinement_is_that_of_numpy(case: Callable[[str], Path], anisotropic: str, launches: int) -> None:
    files = case("1dur") / "shaken.pdb", case("1dur") / "norm.mtz"
    said: list[str] = []
    options = ar.Options(cycles=1, targets=("xyz", "b"), tls=("none",), anisotropic=anisotropic)
    host, device = (
        ar.refine(*files, dataclasses.replace(options, device=where), on_message=said.append)  # type: ignore[arg-type]
        for where in ("cpu", "cuda")
    )
    assert host.r_free is not None
    assert device.r_free == pytest.approx(host.r_free, abs=5e-4)
    assert device.r_work == pytest.approx(host.r_work, abs=5e-4)
    assert np.sqrt(np.mean(np.sum((host.atoms.xyz - device.atoms.xyz) ** 2, axis=1))) < 0.01
    assert any("memory on the device" in note for note in said)
    mode = device.report.as_dict()["mode"]
    assert mode["device"] == "cuda"
    assert mode["deterministic"] is mode["graph"] is True
    assert mode["memory"]["needed"] < mode["memory"]["limit"]
    assert [s.launches is None for s in host.history] == [True, True]
    assert all(s.launches is not None and s.launches < launches for s in device.history)
