"""Neighbours across symmetry against gemmi and against brute force; repulsion and its derivative."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine.crystal import Crystal
from arrayrefine.io.models.reading import read_model, with_atoms
from arrayrefine.kernels import contacts
from arrayrefine.kernels.contacts import (
    Pairs,
    in_table,
    neighbour_pairs,
    pair_weights,
    pairs_of,
    repulsion_terms,
    separations,
)
from arrayrefine.kernels.geometry import accumulate

SMALL = (
    Crystal((8.0, 8.5, 9.0, 80.0, 95.0, 110.0), "P 1"),
    Crystal((8.0, 9.0, 7.5, 90.0, 90.0, 90.0), "P 21 21 21"),
    Crystal((9.0, 9.0, 11.0, 90.0, 90.0, 120.0), "R 3:H"),
    Crystal((8.0, 12.0, 9.0, 90.0, 102.0, 90.0), "C 1 2 1"),
    Crystal((12.0, 12.0, 12.0, 90.0, 90.0, 90.0), "F 4 3 2"),
)
CUTOFF = 4.0


def _find(crystal: Crystal, xyz: np.ndarray, cutoff: float = CUTOFF):
    return neighbour_pairs(xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, cutoff)


def _operators(crystal: Crystal, pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = np.flatnonzero(pairs.image)
    cartesian = np.einsum("ij,gjk,kl->gil", crystal.orth, crystal.rotations.astype(float), crystal.frac)
    return cartesian[pairs.op[image]], crystal.cartesian(pairs.shift[image]), image


def _distances(crystal: Crystal, xyz: np.ndarray, pairs) -> np.ndarray:
    return np.linalg.norm(separations(xyz, pairs.i, pairs.j, *_operators(crystal, pairs)), axis=1)


def _brute_force(crystal: Crystal, xyz: np.ndarray) -> list[tuple[int, int, float]]:
    """All (i, j, d) with i <= j, every operator and lattice vector within reach tried."""
    fractional = crystal.fractional(xyz)
    found = []
    for op, (rotation, translation) in enumerate(zip(crystal.rotations, crystal.translations)):
        image = fractional @ rotation.T + translation
        for lattice in product(range(-5, 6), repeat=3):
            moved = crystal.cartesian(image + lattice)
            distance = np.linalg.norm(xyz[:, None] - moved[None], axis=2)
            itself = op == 0 and not any(lattice)
            for i, j in np.argwhere(distance < CUTOFF):
                if i < j or (i == j and not itself):
                    found.append((int(i), int(j), round(float(distance[i, j]), 6)))
    return sorted(found)


@pytest.mark.parametrize("crystal", SMALL, ids=lambda c: c.space_group)
def test_small_cells_against_brute_force(crystal: Crystal) -> None:
    """Cells smaller than the model: it meets its own images again and again."""
    rng = np.random.default_rng(1)
    xyz = crystal.cartesian(rng.uniform(-0.6, 0.9, (6, 3)))
    pairs = _find(crystal, xyz)
    distance = _distances(crystal, xyz, pairs)
    assert pairs.image.sum() > 5
    mine = sorted((int(i), int(j), round(float(d), 6)) for i, j, d in zip(pairs.i, pairs.j, distance))
    expected = _brute_force(crystal, xyz)
    assert [m[:2] for m in mine] == [e[:2] for e in expected]
    np.testing.assert_allclose([m[2] for m in mine], [e[2] for e in expected], atol=2e-6)


def test_images_far_from_all_atoms_are_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An L of atoms, whose box is empty for the most part; without cubes as many pairs are found."""
    crystal, rng = Crystal((70.0, 60.0, 80.0, 90.0, 95.0, 90.0), "P 1 21 1"), np.random.default_rng(4)
    xyz = np.concatenate([rng.uniform(0.0, (70.0, 8.0, 8.0), (500, 3)), rng.uniform(0.0, (8.0, 60.0, 8.0), (500, 3))])
    everywhere = rng.uniform(-5.0, (75.0, 65.0, 13.0), (2000, 3))
    close = contacts._in_reach(xyz, everywhere, CUTOFF)
    nearest = np.linalg.norm(everywhere[:, None] - xyz[None], axis=2).min(axis=1)
    assert close[nearest < CUTOFF].all()
    assert close.mean() < 0.5
    found = _listed(_find(crystal, xyz))
    monkeypatch.setattr(contacts, "_MOST_CUBES", 0.0)
    assert found == _listed(_find(crystal, xyz))
    assert sum(row[-1] for row in found) > 50


def _listed(pairs: Pairs) -> list[tuple[float, ...]]:
    shift = np.round(pairs.shift, 6) + 0.0
    rows = zip(pairs.i, pairs.j, pairs.op, shift, pairs.image)
    return sorted((int(i), int(j), int(op), *map(float, t), bool(m)) for i, j, op, t, m in rows)


@pytest.mark.parametrize("count", [0, 1, 3, 12])
@pytest.mark.parametrize("crystal", SMALL, ids=lambda c: c.space_group)
def test_pairs_of_a_few_atoms_are_those_of_the_whole_search(crystal: Crystal, count: int) -> None:
    rng = np.random.default_rng(3)
    xyz = crystal.cartesian(rng.uniform(-1.2, 1.4, (12, 3)))
    chosen = rng.permutation(12)[:count]
    every = _find(crystal, xyz)
    concerned = np.isin(every.i, chosen) | np.isin(every.j, chosen)
    found = pairs_of(
        chosen, xyz, crystal.rotations, crystal.translations, crystal.orth, crystal.frac, CUTOFF
    )
    assert _listed(found) == _listed(Pairs(*(column[concerned] for column in every)))
    assert count == 0 or len(found.i) > 5


@pytest.mark.parametrize("name", ["3sb3", "5uui"])
def test_real_crystals_against_gemmi(name: str, case: Callable[[str], Path]) -> None:
    folder = case(name)
    model = read_model(next(p for p in (folder / "model.pdb", folder / "model.cif") if p.exists()))
    xyz = model.atoms.xyz
    pairs = _find(model.crystal, xyz)
    distance = _distances(model.crystal, xyz, pairs)
    general = model.atoms.multiplicity == 1  # gemmi lists an atom on a special position once, we per operator
    structure = with_atoms(model, model.atoms)
    structure.cell, structure.spacegroup_hm = model.crystal.gemmi_cell, model.crystal.space_group
    structure.setup_cell_images()
    search = gemmi.NeighborSearch(structure[0], structure.cell, 5.0).populate()
    place: dict[tuple[int, int, int], int] = {}
    for c, chain in enumerate(structure[0]):
        for r, residue in enumerate(chain):
            for a in range(len(residue)):
                place[c, r, a] = len(place)
    close_to_the_edge = {(int(i), int(j)) for i, j in zip(pairs.i, pairs.j) if general[i] and general[j]} & {
        (int(i), int(j)) for i, j in np.c_[pairs.i, pairs.j][np.abs(distance - CUTOFF) < 1e-3]
    }
    wanted: Counter[tuple[int, int]] = Counter()
    for i, row in enumerate(xyz):
        for mark in search.find_atoms(gemmi.Position(*row), "\0", min_dist=0.01, radius=CUTOFF):
            j = place[mark.chain_idx, mark.residue_idx, mark.atom_idx]
            if i <= j and general[i] and general[j] and (i, j) not in close_to_the_edge:
                wanted[i, j] += 1
    found = Counter((int(i), int(j)) for i, j in zip(pairs.i, pairs.j) if general[i] and general[j])
    assert pairs.image.sum() > 100
    assert {k: v for k, v in found.items() if k not in close_to_the_edge} == dict(wanted)


def test_energy_of_the_asymmetric_unit_is_that_of_the_cell_over_the_operators() -> None:
    """Special positions included: the weighted sum over the model equals the P1 sum / number of operators."""
    crystal = Crystal((14.0, 15.0, 16.0, 90.0, 90.0, 90.0), "P 2 2 2")
    rng = np.random.default_rng(4)
    general = rng.uniform(0.05, 0.45, (8, 3))
    special = np.array([[0.0, 0.0, 0.13], [0.0, 0.17, 0.0], [0.0, 0.0, 0.0]])
    multiplicity = np.r_[np.ones(8, int), 2, 2, 4]
    fractional = np.vstack([general, special])

    def energy(c: Crystal, xyz: np.ndarray, m: np.ndarray) -> float:
        pairs = _find(c, xyz)
        distance = _distances(c, xyz, pairs)
        fine = distance > 0.01
        weight = pair_weights(pairs.i, pairs.j, m)
        return float((weight * (CUTOFF - distance) ** 2)[fine].sum())

    images = fractional[None] @ crystal.rotations.transpose(0, 2, 1) + crystal.translations[:, None]
    unique: list[np.ndarray] = []
    for x in (images % 1.0).reshape(-1, 3):
        if all(np.abs((x - y + 0.5) % 1.0 - 0.5).max() > 1e-6 for y in unique):
            unique.append(x)
    assert len(unique) == 4 * 8 + 2 + 2 + 1
    p1 = Crystal(crystal.cell, "P 1")
    cell = energy(p1, p1.cartesian(np.array(unique)), np.ones(len(unique), int))
    assert energy(crystal, crystal.cartesian(fractional), multiplicity) == pytest.approx(cell / 4, rel=1e-9)


def repulsion(xyz: np.ndarray, i: np.ndarray, j: np.ndarray, *rest: np.ndarray) -> tuple[float, np.ndarray]:
    """Value and gradient from the terms, as the geometry target makes them."""
    active, z, jacobian = repulsion_terms(xyz, i, j, *rest)
    return accumulate(z, jacobian, np.column_stack([i[active], j[active]]), len(xyz))


@pytest.mark.parametrize("crystal", SMALL, ids=lambda c: c.space_group)
def test_repulsion_gradient(crystal: Crystal) -> None:
    rng = np.random.default_rng(2)
    xyz = crystal.cartesian(rng.uniform(0.0, 1.0, (6, 3)))
    pairs = _find(crystal, xyz)
    rotation, shift, image = _operators(crystal, pairs)
    d0, sigma = np.full(len(pairs.i), 3.5), np.full(len(pairs.i), 0.2)
    weight = pair_weights(pairs.i, pairs.j, np.ones(6, int))

    def total(x: np.ndarray) -> tuple[float, np.ndarray]:
        return repulsion(x, pairs.i, pairs.j, rotation, shift, image, d0, sigma, weight)

    value, gradient = total(xyz)
    assert value > 0.5
    for direction in rng.normal(size=(3, 6, 3)):
        h = 1e-6
        numeric = (total(xyz + h * direction)[0] - total(xyz - h * direction)[0]) / (2 * h)
        assert numeric == pytest.approx(float((gradient * direction).sum()), rel=1e-6)


def test_atoms_on_top_of_each_other_are_finite() -> None:
    xyz = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    no_image = np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(0, int)
    one = np.ones(1)
    value, gradient = repulsion(xyz, np.array([0]), np.array([1]), *no_image, 3.0 * one, 0.2 * one, one)
    assert value == pytest.approx(0.5 * 15.0**2)
    assert np.isfinite(gradient).all()


def test_a_single_atom() -> None:
    crystal = Crystal((30.0, 30.0, 30.0, 90.0, 90.0, 90.0), "P 1")
    assert len(_find(crystal, np.array([[1.0, 1.0, 1.0]])).i) == 0
    close = Crystal((3.5, 30.0, 30.0, 90.0, 90.0, 90.0), "P 1")
    pairs = _find(close, np.array([[1.0, 1.0, 1.0]]))
    assert len(pairs.i) == 2
    assert pair_weights(pairs.i, pairs.j, np.ones(1, int)).sum() == pytest.approx(1.0)


def test_pairs_are_found_in_a_table_in_any_order() -> None:
    table = np.array([[3, 4], [0, 2], [1, 1]])
    i, j = np.array([0, 0, 1, 3, 2, 4]), np.array([2, 3, 1, 4, 3, 4])
    assert in_table(i, j, table, 5).tolist() == [True, False, True, True, False, False]
    assert not in_table(i, j, table[:0], 5).any()
    assert len(in_table(i[:0], j[:0], table, 5)) == 0
