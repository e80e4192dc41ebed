"""CUDA kernels of the non-bonded contacts against their NumPy twin, on the emulated device."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import emulator
import numpy as np
import pytest
from synthetic import CELLS, atoms_from, crystal

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.io.models.reading import read_model
from arrayrefine.kernels import contacts_cuda
from arrayrefine.kernels.backend import launch_counts, reset_launch_counts, to_device, to_host
from arrayrefine.kernels.contacts_tables import Rules, Symmetry, symmetry_tables
from arrayrefine.kernels.geometry import accumulate
from arrayrefine.monomers import load_monomers
from arrayrefine.restraints import NonBonded
from arrayrefine.targets.contacts import SKIN, Contacts, distance_kinds, pair_distances
from arrayrefine.topology.build import build_restraints

SIGMA = 0.2
BOX = Crystal((30.0, 31.0, 32.0, 90.0, 90.0, 90.0), "P 1")


def _pairs(rng: np.random.Generator, n: int, count: int, equal: bool = False) -> np.ndarray:
    i, j = np.sort(rng.integers(0, n, (2, count)), axis=0)
    return np.column_stack([i, j])[(i < j) | equal]


def _non_bonded(n: int, seed: int = 0) -> NonBonded:
    """A bit of everything: each rule concerns some atoms, and some pairs are in several tables."""
    rng = np.random.default_rng(seed)
    hydrogen = rng.random(n) < 0.15
    excluded = _pairs(rng, n, 4 * n)
    return NonBonded(
        radius=rng.choice([1.2, 1.5, 1.7, 1.75, 2.0], n),
        ion_radius=rng.choice([np.nan, 0.7, 1.1], n),
        radius_one_four=rng.choice([1.3, 1.4, 1.55], n),
        donor=~hydrogen & (rng.random(n) < 0.3),
        acceptor=~hydrogen & (rng.random(n) < 0.3),
        hydrogen=hydrogen,
        metal=~hydrogen & (rng.random(n) < 0.1),
        excluded=excluded,
        excluded_images=_pairs(rng, n, n, equal=True),
        one_four=np.vstack([_pairs(rng, n, 5 * n), excluded[:3]]),
        conformer=rng.choice([0, 0, 0, 1, 2], n),
    )


def _plain(n: int, radius: float = 1.6, **changes: Any) -> NonBonded:
    """Atoms of one kind to which no rule applies."""
    no, none = np.zeros(n, bool), np.zeros((0, 2), np.int64)
    made = NonBonded(
        np.full(n, radius), np.full(n, np.nan), np.full(n, radius - 0.15), no, no, no, no, none, none, none,
        np.zeros(n, np.int64),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def _atoms(xyz: np.ndarray, occupancy: float | np.ndarray = 1.0, multiplicity: Any = 1) -> Atoms:
    n = len(xyz)
    made = atoms_from(xyz, ["C"] * n, np.full(n, 20.0), np.broadcast_to(occupancy, n).astype(float))
    return dataclasses.replace(made, multiplicity=np.broadcast_to(multiplicity, n).astype(np.int64))


def _case(cell: Crystal, n: int = 60, seed: int = 0) -> tuple[Contacts, Atoms]:
    """Atoms in and around the unit cell, some without occupancy, some held."""
    rng = np.random.default_rng(seed)
    occupancy = rng.choice([0.0, 0.3, 0.5, 0.6, 1.0, 1.0, 1.0], n)
    atoms = _atoms(cell.cartesian(rng.uniform(-0.7, 1.6, (n, 3))), occupancy)
    return Contacts(_non_bonded(n, seed), rng.random(n) < 0.3, cell, SIGMA), atoms


def _fresh(contacts: Contacts) -> Contacts:
    """The same rules without lists."""
    return Contacts(contacts.non_bonded, contacts.held, contacts.crystal, contacts.sigma)


def _expected(contacts: Contacts, atoms: Atoms) -> tuple[float, np.ndarray]:
    z, jacobian, index, _ = contacts.evaluate(atoms)
    return accumulate(z, jacobian, index, len(atoms))


def _evaluate(plan: contacts_cuda.ContactPlan, atoms: Atoms) -> tuple[Any, np.ndarray]:
    value, gradient = contacts_cuda.evaluate(plan, to_device(atoms.xyz), to_device(atoms.occupancy))
    return to_host(value), to_host(gradient)


def _same(found: tuple[Any, np.ndarray], expected: tuple[float, np.ndarray], tolerance: float = 1e-12) -> None:
    assert float(found[0]) == pytest.approx(expected[0], rel=tolerance, abs=1e-25)
    assert found[1].shape == expected[1].shape
    assert np.isfinite(found[1]).all()
    assert np.linalg.norm(found[1] - expected[1]) <= tolerance * np.linalg.norm(expected[1]) + 1e-20


def _listed(plan: contacts_cuda.ContactPlan, model: int = 0) -> Counter[tuple[int, int]]:
    """How often each atom lists each other one."""
    first, length, entries = (to_host(a)[model] for a in (plan.first, plan.length, plan.entries))
    return Counter((i, int(entries[k, 0])) for i in range(len(first)) for k in range(first[i], first[i] + length[i]))


def _check(contacts: Contacts, atoms: Atoms, capacity: int | None = None) -> tuple[float, np.ndarray]:
    """The same numbers, the same pairs, and the same bits whatever the order of the threads."""
    expected = _expected(contacts, atoms)
    plan = contacts.device_plan(atoms.multiplicity, capacity=capacity)
    found = _evaluate(plan, atoms)
    contacts_cuda.check(plan)
    _same(found, expected)
    known = contacts._list[0]
    both = Counter(zip(known.i.tolist(), known.j.tolist())) + Counter(
        (int(j), int(i)) for i, j in zip(known.i, known.j) if i != j
    )
    assert _listed(plan) == both
    with emulator.reversed_order():
        again = _evaluate(contacts.device_plan(atoms.multiplicity, capacity=capacity), atoms)
    assert found[0] == again[0]
    assert np.array_equal(found[1], again[1])
    return expected


@pytest.mark.parametrize("name", CELLS)
def test_all_rules_in_all_kinds_of_cells(emulated_cuda: ModuleType, name: str) -> None:
    contacts, atoms = _case(crystal(name))
    value, _ = _check(contacts, atoms, capacity=200 * len(atoms))
    assert value > 1.0


@pytest.mark.parametrize("edge", [1.5, 3.1, 3.7])
def test_cells_smaller_than_the_reach(emulated_cuda: ModuleType, edge: float) -> None:
    """Atoms meet many images of themselves and of each other."""
    for cell in (Crystal((edge, 1.2 * edge, 7.0, 75.0, 100.0, 115.0), "P 1"),
                 Crystal((edge, 9.0, 6.0, 90.0, 97.0, 90.0), "P 1 21 1")):  # fmt: skip
        rng = np.random.default_rng(3)
        atoms = _atoms(cell.cartesian(rng.uniform(-2.0, 3.0, (5, 3))))
        contacts = Contacts(_plain(5), np.zeros(5, bool), cell, SIGMA)
        assert _check(contacts, atoms, capacity=5000)[0] > 1.0
        assert any((contacts._list[0].i == contacts._list[0].j).tolist())


def test_a_long_cell(emulated_cuda: ModuleType) -> None:
    """More bins along the last axis than a warp has lanes."""
    contacts, atoms = _case(Crystal((12.0, 13.0, 300.0, 90.0, 90.0, 90.0), "P 21 21 21"), n=300)
    assert contacts.device_plan(atoms.multiplicity).bins[2] > 33
    assert _check(contacts, atoms)[0] > 1.0


@pytest.mark.parametrize("name", ["P 43 21 2", "R 3:H", "P 21 3"])
def test_a_cell_that_does_not_fit_its_space_group(emulated_cuda: ModuleType, name: str) -> None:
    """Rotations then change lengths, and which atom of a pair is moved makes a difference."""
    a, b, c, *angles = CELLS[name]
    cell = Crystal((a, 1.02 * b, 0.99 * c, angles[0], angles[1] + 0.5, angles[2]), name)
    contacts, atoms = _case(cell)
    plan = contacts.device_plan(atoms.multiplicity, capacity=10000)
    _same(_evaluate(plan, atoms), _expected(contacts, atoms))


def test_atoms_on_the_faces_of_the_cell(emulated_cuda: ModuleType) -> None:
    tiny = 2.0**-60
    steps = [0.0, -0.0, 1.0, -1.0, tiny, -tiny, 1.0 - 2.0**-53, 2.0 - 2.0**-52, 1.0 / 3.0, 0.5, 2.0 / 3.0]
    for name in ("P 1", "P 21 21 21", "P 61 2 2", "F 4 3 2"):
        rng = np.random.default_rng(1)
        fractional = np.where(np.eye(3)[np.arange(40) % 3] > 0, rng.choice(steps, (40, 1)), rng.uniform(-1, 2, (40, 3)))
        contacts = Contacts(_plain(40), np.zeros(40, bool), crystal(name), SIGMA)
        assert _check(contacts, _atoms(crystal(name).cartesian(fractional)), capacity=40 * 500)[0] > 1.0


def test_special_positions(emulated_cuda: ModuleType) -> None:
    """Images on the atom itself are no contacts, and the others are listed by every operator."""
    cell = Crystal((9.0, 8.0, 7.0, 90.0, 90.0, 90.0), "P 2 2 2")
    general = np.random.default_rng(4).uniform(0.05, 0.45, (8, 3))
    special = np.array([[0.0, 0.0, 0.13], [0.0, 0.17, 0.0], [0.0, 0.0, 0.5], [0.02, 0.01, 0.3]])
    atoms = _atoms(cell.cartesian(np.vstack([general, special])), multiplicity=[1] * 8 + [2, 2, 4, 2])
    contacts = Contacts(_plain(12, radius=1.9), np.zeros(12, bool), cell, SIGMA)
    assert _check(contacts, atoms, capacity=5000)[0] > 1.0


@pytest.mark.parametrize("n", [0, 1, 2, 33])
def test_atoms_without_contacts(emulated_cuda: ModuleType, n: int) -> None:
    atoms = _atoms(np.arange(n)[:, None] * np.array([10.0, 11.0, 12.0]) + 1.0)
    large = Crystal((400.0, 400.0, 400.0, 90.0, 90.0, 90.0), "P 1")
    contacts = Contacts(_plain(n), np.zeros(n, bool), large, SIGMA)
    value, gradient = _evaluate(contacts.device_plan(atoms.multiplicity), atoms)
    assert value.shape == ()
    assert float(value) == 0.0
    assert np.array_equal(gradient, np.zeros((n, 3)))


def test_atoms_in_one_place_are_finite(emulated_cuda: ModuleType) -> None:
    contacts = Contacts(_plain(3), np.zeros(3, bool), BOX, SIGMA)
    value, gradient = _check(contacts, _atoms(np.array([[1.0, 2.0, 3.0]] * 3)))
    assert value == pytest.approx(3 * 0.5 * (3.2 / SIGMA) ** 2)
    assert not gradient.any()


TWO = {
    "plain": ({}, 3.2),
    "1-4": ({"one_four": [[0, 1]]}, 2.9),
    "excluded": ({"excluded": [[0, 1]]}, 0.0),
    "excluded rather than 1-4": ({"excluded": [[0, 1]], "one_four": [[0, 1]]}, 0.0),
    "excluded for images only": ({"excluded_images": [[0, 1]]}, 3.2),
    "hydrogen bond": ({"donor": [True, False], "acceptor": [False, True]}, 2.9),
    "polar hydrogen": ({"hydrogen": [False, True], "acceptor": [True, False]}, 1.7),
    "metal": ({"metal": [True, False], "ion_radius": [0.8, 1.3]}, 2.1),
    "metal without ionic radius": ({"metal": [True, False], "ion_radius": [np.nan, 1.3]}, 3.2),
    "two conformers": ({"conformer": [1, 2]}, 0.0),
    "one conformer": ({"conformer": [2, 2]}, 3.2),
    "conformer and the rest": ({"conformer": [0, 2]}, 3.2),
}


@pytest.mark.parametrize("rule", TWO)
def test_rules_one_by_one(emulated_cuda: ModuleType, rule: str) -> None:
    changes, limit = TWO[rule]
    contacts = Contacts(_plain(2, **{k: np.array(v) for k, v in changes.items()}), np.zeros(2, bool), BOX, SIGMA)
    atoms = _atoms(np.array([[0.0, 0.0, 0.0], [1.2, 0.3, -0.1]]))
    short = max(0.0, limit - float(np.linalg.norm(atoms.xyz[1])))
    assert _check(contacts, atoms)[0] == pytest.approx(0.5 * (short / SIGMA) ** 2)


@pytest.mark.parametrize(
    ("occupancy", "held", "across", "meets"),
    [
        ((0.5, 0.5), (False, False), False, True), ((0.5, 0.5), (False, False), True, False),
        ((0.5, 0.6), (False, False), True, True), ((0.0, 1.0), (False, False), False, False),
        ((1.0, 1.0), (True, False), False, True), ((1.0, 1.0), (True, True), False, False),
    ],
)  # fmt: skip
def test_occupancy_and_held_atoms(
    emulated_cuda: ModuleType, occupancy: tuple[float, float], held: tuple[bool, bool], across: bool, meets: bool
) -> None:
    xyz = np.array([[0.5, 5.0, 5.0], [-0.6, 5.0, 5.0]]) + np.array([[0.0, 0.0, 0.0], [30.0 * across, 0.0, 0.0]])
    value, _ = _check(Contacts(_plain(2), np.array(held), BOX, SIGMA), _atoms(xyz, np.array(occupancy)))
    assert value == pytest.approx(0.5 * (2.1 / SIGMA) ** 2 if meets else 0.0)


def test_images_of_linked_atoms(emulated_cuda: ModuleType) -> None:
    xyz = np.array([[0.5, 5.0, 5.0], [29.4, 5.0, 5.0]])
    linked = _plain(2, excluded_images=np.array([[0, 1]]))
    assert _check(Contacts(linked, np.zeros(2, bool), BOX, SIGMA), _atoms(xyz))[0] == 0.0


def test_kinds_give_the_distance_of_every_pair() -> None:
    nb = _non_bonded(50)
    kind, limit = distance_kinds(nb)
    i, j = np.divmod(np.arange(2500), 50)
    for row, soft in zip(limit, (np.zeros(2500, bool), np.ones(2500, bool))):
        assert np.array_equal(row[kind[i], kind[j]], pair_distances(nb, i, j, soft))


def test_lists_last_until_an_atom_has_moved_far(emulated_cuda: ModuleType) -> None:
    contacts, atoms = _case(crystal("P 21 21 21"), n=120)
    plan = contacts.device_plan(atoms.multiplicity, capacity=100 * len(atoms))
    _same(_evaluate(plan, atoms), _expected(contacts, atoms))
    rng = np.random.default_rng(5)
    step = rng.normal(size=atoms.xyz.shape)
    step *= 0.49 * SKIN / np.linalg.norm(step, axis=1)[:, None]
    near = atoms.replace(xyz=atoms.xyz + step)
    _same(_evaluate(plan, near), _expected(contacts, near))
    assert np.array_equal(to_host(plan.listed)[0], atoms.xyz)
    one = near.xyz.copy()
    one[77] = atoms.xyz[77] + np.array([0.0, 0.5 * SKIN + 1e-9, 0.0])
    far = atoms.replace(xyz=one)
    _same(_evaluate(plan, far), _expected(contacts, far))
    assert np.array_equal(to_host(plan.listed)[0], far.xyz)


def test_a_walk_gives_what_new_lists_would_give(emulated_cuda: ModuleType) -> None:
    contacts, atoms = _case(crystal("R 3:H"))
    plan = contacts.device_plan(atoms.multiplicity, capacity=100 * len(atoms))
    rng = np.random.default_rng(6)
    made = []
    for _ in range(12):
        atoms = atoms.replace(xyz=atoms.xyz + rng.normal(0.0, 0.06, atoms.xyz.shape))
        _same(_evaluate(plan, atoms), _expected(_fresh(contacts), atoms))
        made.append(np.array_equal(to_host(plan.listed)[0], atoms.xyz))
    assert 2 < sum(made) < 10


def test_models_have_lists_of_their_own(emulated_cuda: ModuleType) -> None:
    contacts, atoms = _case(crystal("P 61 2 2"))
    rng = np.random.default_rng(7)
    models = [atoms.replace(xyz=atoms.xyz + rng.normal(0.0, 0.5, atoms.xyz.shape),
                            occupancy=rng.permutation(atoms.occupancy)) for _ in range(3)]  # fmt: skip
    plan = contacts.device_plan(atoms.multiplicity, 3, capacity=100 * len(atoms))
    occupancy = to_device(np.array([m.occupancy for m in models]))
    for moved in (0.0, 1.0):
        models[1] = models[1].replace(xyz=models[1].xyz + moved)
        models[2] = models[2].replace(xyz=models[2].xyz + 0.1 * moved)
        xyz = np.array([m.xyz for m in models])
        before = to_host(plan.listed).copy()
        reset_launch_counts()
        value, gradient = (to_host(a) for a in contacts_cuda.evaluate(plan, to_device(xyz), occupancy))
        assert sum(launch_counts().values()) <= 8
        for m, model in enumerate(models):
            _same((value[m], gradient[m]), _expected(_fresh(contacts), model))
    assert [np.array_equal(a, b) for a, b in zip(before, to_host(plan.listed))] == [True, False, True]


def test_lists_grow(emulated_cuda: ModuleType) -> None:
    """A model without room gives no numbers, whatever the others do, until the plan has grown."""
    contacts, atoms = _case(crystal("P 63"))
    sparse = atoms.replace(occupancy=np.where(np.arange(len(atoms)) < 20, atoms.occupancy, 0.0))
    few = _fresh(contacts)
    expected = _expected(few, sparse)
    plan = contacts.device_plan(atoms.multiplicity, 2, capacity=2 * len(few._list[0].i))
    xyz, occupancy = to_device(np.array([atoms.xyz] * 2)), to_device(np.array([sparse.occupancy, atoms.occupancy]))
    for _ in range(2):  # the second time the atoms have not moved
        value, gradient = (to_host(a) for a in contacts_cuda.evaluate(plan, xyz, occupancy))
        _same((value[0], gradient[0]), expected)
        assert np.isnan(value[1])
        assert np.isnan(gradient[1]).all()
    with pytest.raises(RuntimeError, match=r"model 1 .*no room .* \(\d+ entries, \d+ expected\)"):
        contacts_cuda.check(plan)
    larger = contacts_cuda.grown(plan)
    assert larger.capacity > plan.capacity
    value, gradient = (to_host(a) for a in contacts_cuda.evaluate(larger, xyz, occupancy))
    contacts_cuda.check(larger)
    assert contacts_cuda.grown(larger) is larger
    _same((value[1], gradient[1]), _expected(contacts, atoms))


def test_new_occupancies_count_when_lists_are_forgotten(emulated_cuda: ModuleType) -> None:
    contacts, atoms = _case(crystal("P 1"))
    plan = contacts.device_plan(atoms.multiplicity)
    before = _evaluate(plan, atoms)
    full = atoms.replace(occupancy=np.ones(len(atoms)))
    assert _evaluate(plan, full)[0] == before[0]
    contacts_cuda.forget(plan)
    _same(_evaluate(plan, full), _expected(contacts, full))


@pytest.mark.parametrize(
    ("wrong", "message"), [(np.nan, "not finite"), (np.inf, "not finite"), (1e5, "127 cells"), (1e300, "127 cells")]
)
def test_coordinates_that_are_none(emulated_cuda: ModuleType, wrong: float, message: str) -> None:
    contacts, atoms = _case(crystal("C 1 2 1"))
    plan = contacts.device_plan(atoms.multiplicity, capacity=10000)
    bad = atoms.xyz.copy()
    bad[7, 1] = wrong
    for _ in range(2):
        value, gradient = _evaluate(plan, atoms.replace(xyz=bad))
        assert np.isnan(value)
        assert np.isnan(gradient).all()
        with pytest.raises(RuntimeError, match=message):
            contacts_cuda.check(plan)
    _same(_evaluate(plan, atoms), _expected(contacts, atoms))
    contacts_cuda.check(plan)


def test_the_evaluation_can_be_captured(emulated_cuda: ModuleType) -> None:
    contacts, atoms = _case(crystal("I 2 3"))
    plan = contacts.device_plan(atoms.multiplicity, capacity=100 * len(atoms))
    xyz, occupancy = to_device(atoms.xyz), to_device(atoms.occupancy)
    stream = emulated_cuda.cuda.Stream()
    with stream:
        stream.begin_capture()
        value, gradient = contacts_cuda.evaluate(plan, xyz, occupancy)
        graph = stream.end_capture()
        for shift in (0.0, 0.05, 2.0):
            moved = atoms.replace(xyz=atoms.xyz + np.random.default_rng(8).normal(0.0, shift, atoms.xyz.shape))
            xyz[...] = to_device(moved.xyz)
            graph.launch(stream)
            _same((to_host(value), to_host(gradient)), _expected(contacts, moved))


@pytest.mark.parametrize("name", ["1aba", "5uui", "4xof", "6mw0"])
def test_real_crystals(emulated_cuda: ModuleType, name: str, case: Callable[[str], Path]) -> None:
    """Special positions (5uui), riding hydrogens and conformers (4xof), a cell narrower than the reach (6mw0)."""
    folder = case(name)
    model = read_model(next(p for p in (folder / f for f in ("shaken.pdb", "model.pdb", "model.cif")) if p.exists()))
    library = load_monomers(model.structure[0].get_all_residue_names())
    restraints = build_restraints(model.structure, model.atoms, model.crystal, library)
    contacts = Contacts(restraints.non_bonded, restraints.held, model.crystal, SIGMA)
    value, _ = _check(contacts, model.atoms)
    assert value > 50.0


@pytest.mark.emulator  # a device's pool rounds up
def test_memory_is_counted(emulated_cuda: ModuleType) -> None:
    contacts, atoms = _case(crystal("P 43 21 2"))
    pool = emulated_cuda.get_default_memory_pool()
    before = pool.used_bytes()
    plans = [contacts.device_plan(atoms.multiplicity, models) for models in (1, 4)]
    assert pool.used_bytes() - before == sum(p.nbytes for p in plans)
    cell = contacts.crystal
    symmetry = Symmetry(cell.rotations, cell.translations, cell.orth, cell.frac)
    needed = [contacts_cuda.bytes_needed(symmetry, len(atoms), plans[0].scalars["reach"], m) for m in (1, 4)]
    assert needed[1] - needed[0] == plans[1].nbytes - plans[0].nbytes
    assert 0 < plans[0].nbytes - needed[0] < 60000


def test_wrong_input_is_refused(emulated_cuda: ModuleType) -> None:
    contacts, atoms = _case(crystal("P 1 21 1"), n=9)
    plan = contacts.device_plan(atoms.multiplicity, 2)
    xyz, occupancy = to_device(atoms.xyz), to_device(atoms.occupancy)
    with pytest.raises(ValueError, match="2 models of 9 atoms"):
        contacts_cuda.evaluate(plan, xyz, occupancy)
    with pytest.raises(ValueError, match=r"occupancies \(8,\)"):
        contacts_cuda.evaluate(contacts.device_plan(atoms.multiplicity), xyz, occupancy[:8])
    with pytest.raises(ValueError, match=r"rules for .*\(8,\) atoms, expected 9"):
        contacts.device_plan(atoms.multiplicity[:8])
    wrong = dataclasses.replace(contacts.non_bonded, excluded=np.array([[3, 9]]))
    with pytest.raises(ValueError, match="name the atoms 3 to 9 of 9 atoms"):
        dataclasses.replace(contacts, non_bonded=wrong).device_plan(atoms.multiplicity)
    none, zeros = np.zeros((0, 2), np.int64), np.zeros(9, np.int64)
    rules = Rules(np.arange(9), np.zeros((2, 1, 1)), zeros, zeros > 0, zeros + 1, none, none, none, 0.2, 4, 0.8, 0.8, 1)
    p1 = Symmetry(np.eye(3, dtype=np.int64)[None], np.zeros((1, 3)), 20.0 * np.eye(3), np.eye(3) / 20.0)
    with pytest.raises(ValueError, match=r"limits of shape \(2, 1, 1\), expected \(2, 9, 9\)"):
        contacts_cuda.plan(p1, rules, 9)
    rotations, translations = crystal("P 63").rotations[:2], crystal("P 63").translations[:2]
    with pytest.raises(ValueError, match="inverse of operator 1"):
        symmetry_tables(Symmetry(rotations, translations, np.eye(3), np.eye(3)), np.ones(3))
