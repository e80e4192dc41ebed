"""Bulk-solvent mask and its structure factors."""

from __future__ import annotations

import time

import gemmi
import numpy as np
import pytest
from scipy.spatial import cKDTree
from synthetic import CELLS, atoms_from, random_atoms, random_hkl
from synthetic import crystal as synthetic_crystal

from arrayrefine.crystal import Crystal
from arrayrefine.io import read_model
from arrayrefine.kernels.mask import all_mates, dilate, solvent_mask
from arrayrefine.options import Solvent
from arrayrefine.periodic_regions import without_islands
from arrayrefine.solvent import (
    CCTBX_RADII,
    PROBE,
    SHRINK,
    KeptOut,
    MaskShape,
    atom_radii,
    grid_shape,
    mask_of,
    solvent_structure_factors,
)


def gemmi_mask(crystal, structure, shape, radii, island=None):
    grid = gemmi.FloatGrid(*shape)
    grid.set_unit_cell(crystal.gemmi_cell)
    grid.spacegroup = crystal.gemmi_space_group
    masker = gemmi.SolventMasker({"cctbx": gemmi.AtomicRadiiSet.Cctbx, "refmac": gemmi.AtomicRadiiSet.Refmac}[radii])
    if island is not None:
        masker.island_min_volume = island
    masker.put_mask_on_float_grid(grid, structure[0])
    return grid


def distance_mask(atoms, crystal, shape, radii):
    """The mask by its definition, from distances to all images of all atoms."""
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    mates = all_mates(crystal.fractional(atoms.xyz), crystal.rotations, crystal.translations)
    radius = np.tile(atom_radii(atoms, radii) + PROBE[radii], len(crystal.rotations))
    cells = np.array(list(np.ndindex(5, 5, 5))) - 2
    images = (mates[:, None] + cells).reshape(-1, 3) @ crystal.orth.T
    reach = np.repeat(radius, len(cells))
    xyz = points @ crystal.orth.T
    free = np.ones(len(xyz), dtype=bool)
    for r in np.unique(reach):
        free &= cKDTree(images[reach == r]).query(xyz)[0] > r
    solvent = (xyz[free][:, None] + cells @ crystal.orth.T).reshape(-1, 3)
    return (free | (cKDTree(solvent).query(xyz)[0] <= SHRINK[radii])).reshape(shape)


@pytest.mark.parametrize("group", ["P 1", "P 1 21 1", "R 3:H"])
def test_mask_is_its_definition(group: str):
    crystal = synthetic_crystal(group)
    atoms = random_atoms(crystal, 3, seed=4)
    shape = grid_shape(crystal, 0.8)
    mask = solvent_mask(
        crystal.fractional(atoms.xyz), atom_radii(atoms, "cctbx") + PROBE["cctbx"], crystal.rotations,
        crystal.translations, crystal.orth, shape, SHRINK["cctbx"],
    )  # fmt: skip
    expected = distance_mask(atoms, crystal, shape, "cctbx")
    assert 0.02 < expected.mean() < 0.98
    assert (mask != expected).sum() <= 2  # points on a sphere may fall either way


@pytest.mark.parametrize("group", sorted(CELLS))
def test_mask_has_the_symmetry_of_the_crystal(group: str):
    crystal = synthetic_crystal(group)
    mask = mask_of(random_atoms(crystal, 4, seed=1), crystal, 2.4, MaskShape(smallest_island=0.0))
    shape = np.array(mask.shape)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    every = np.random.default_rng(0).permutation(len(crystal.rotations))[:8]
    for rotation, translation in zip(crystal.rotations[every], crystal.translations[every]):
        moved = (points / shape) @ rotation.T + translation
        index = moved * shape
        assert np.allclose(index, np.rint(index), atol=1e-6), "the operator does not map the grid onto itself"
        u, v, w = (np.rint(index).astype(int) % shape).T
        differing = mask[u, v, w] != mask.reshape(-1)
        assert differing.mean() < 1e-3


@pytest.mark.parametrize("name", ["1aba", "5orl", "5uui", "2r4r"])
@pytest.mark.parametrize("radii", ["cctbx", "refmac"])
def test_mask_agrees_with_gemmi(case, name: str, radii):
    model = read_model(case(name) / "model.pdb" if name != "5uui" else case(name) / "model.cif")
    crystal = model.crystal
    d_min = 2.4
    shape = MaskShape.of(Solvent(radii=radii, smallest_island=0.0))
    mask = mask_of(model.atoms, crystal, d_min, shape)
    grid = gemmi_mask(crystal, model.structure, mask.shape, radii, island=0.0)
    assert (mask == (np.array(grid) > 0.5)).mean() > 0.995
    hkl = random_hkl(crystal, d_min, 2000)
    island = 50.0 if radii == "refmac" else 0.0
    map_f = gemmi.transform_map_to_f_phi(gemmi_mask(crystal, model.structure, mask.shape, radii, island), half_l=True)
    expected = np.asarray(map_f.get_value_by_hkl(np.ascontiguousarray(hkl)), dtype=complex)
    f_mask = solvent_structure_factors(model.atoms, crystal, hkl, d_min, MaskShape.of(Solvent(radii=radii)))
    assert np.real(np.vdot(expected, f_mask)) > 0.99 * np.linalg.norm(expected) * np.linalg.norm(f_mask)
    assert np.linalg.norm(f_mask) == pytest.approx(np.linalg.norm(expected), rel=0.03)


def test_structure_factors_are_a_direct_sum_over_the_mask():
    crystal = synthetic_crystal("P 1 21 1")
    atoms = random_atoms(crystal, 3, seed=7)
    hkl = np.array([[0, 0, 0], [1, 0, 0], [-2, 1, 3], [2, -3, -1], [0, 2, 0]])
    mask = mask_of(atoms, crystal, 2.0)
    u, v, w = np.nonzero(mask)
    points = np.stack([u, v, w], axis=1) / mask.shape
    expected = np.exp(2j * np.pi * hkl @ points.T).sum(axis=1) * crystal.volume / mask.size
    f_mask = solvent_structure_factors(atoms, crystal, hkl, 2.0)
    np.testing.assert_allclose(f_mask, expected, atol=1e-4 * abs(expected[0]))
    assert f_mask[0].real == pytest.approx(mask.mean() * crystal.volume, rel=1e-5)


def test_hydrogen_and_absent_atoms_are_not_in_the_mask():
    crystal = synthetic_crystal("P 21 21 21")
    xyz = np.array([[3.0, 4.0, 5.0], [9.0, 9.0, 9.0], [2.0, 12.0, 15.0]])
    both = atoms_from(xyz, ["C", "H", "C"], np.full(3, 10.0), np.array([1.0, 1.0, 0.0]))
    alone = atoms_from(xyz[:1], ["C"], np.full(1, 10.0), np.ones(1))
    assert (mask_of(both, crystal, 2.0) == mask_of(alone, crystal, 2.0)).all()


def test_places_kept_free_of_solvent_are_spheres_around_all_copies():
    crystal = synthetic_crystal("P 43 21 2")
    atoms = random_atoms(crystal, 3, seed=2)
    place = crystal.cartesian(np.array([[0.2, 0.3, 0.1]]))
    plain = mask_of(atoms, crystal, 2.0)
    kept = mask_of(atoms, crystal, 2.0, kept_out=KeptOut(place, 3.0))
    lost = np.argwhere(plain & ~kept) / plain.shape
    assert len(lost)
    mates = all_mates(crystal.fractional(place), crystal.rotations, crystal.translations)
    delta = np.argwhere(plain)[:, None] / plain.shape - mates[None]
    delta -= np.rint(delta)
    near = (((delta @ crystal.orth.T) ** 2).sum(axis=-1) < 3.0**2).any(axis=1)
    assert near.sum() == len(lost)
    assert not (kept & ~plain).any()


def test_no_atoms_leave_the_whole_cell_to_the_solvent():
    crystal = synthetic_crystal("P 1")
    nothing = atoms_from(np.zeros((1, 3)), ["C"], np.full(1, 10.0), np.zeros(1))
    assert mask_of(nothing, crystal, 2.0).all()


def test_spheres_wider_than_the_cell_fill_it():
    crystal = Crystal((3.0, 3.5, 4.0, 80.0, 95.0, 105.0), "P 1")
    atoms = atoms_from(np.zeros((1, 3)), ["K"], np.full(1, 10.0), np.ones(1))
    assert not mask_of(atoms, crystal, 1.0).any()


def test_many_atoms_on_one_spot_count_once():
    crystal = synthetic_crystal("P 1")
    one = atoms_from(np.ones((1, 3)), ["C"], np.full(1, 10.0), np.ones(1))
    many = atoms_from(np.ones((500, 3)), ["C"] * 500, np.full(500, 10.0), np.ones(500))
    assert (mask_of(many, crystal, 2.0) == mask_of(one, crystal, 2.0)).all()


def test_islands_are_joined_across_the_cell_borders():
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[0, 5, 5] = mask[9, 5, 5] = mask[8, 5, 5] = True
    mask[3, 3, 3] = True
    kept = without_islands(mask, 3)
    assert kept.sum() == 3
    assert not kept[3, 3, 3]
    assert not without_islands(mask, 4).any()
    assert (without_islands(np.ones((4, 4, 4), dtype=bool), 10)).all()


def test_dilation_is_periodic_and_a_ball():
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[0, 0, 0] = True
    grown = dilate(mask, np.eye(3), 1.5)
    assert grown.sum() == 1 + 6 + 12
    assert grown[11, 0, 0]
    assert grown[1, 11, 0]
    assert not grown[1, 1, 1]


@pytest.mark.parametrize("group", sorted(CELLS))
def test_grid_is_fast_and_fine_enough(group: str):
    crystal = synthetic_crystal(group)
    shape = grid_shape(crystal, 0.6)
    for n, length in zip(shape, crystal.cell[:3]):
        assert length / n <= 0.6
        assert n <= 2.5 * length / 0.6 + 24


def test_axes_that_no_rotation_mixes_are_divided_on_their_own():
    """The smallest fast grid; where a screw axis moves by a quarter, steps are a multiple of four."""
    cell = (17.5, 22.1, 29.2, 90.0, 104.0, 90.0)
    assert grid_shape(Crystal(cell, "P 1 21 1"), 1.0) == (18, 24, 30)
    assert grid_shape(Crystal((17.5, 17.5, 29.2, 90.0, 90.0, 90.0), "P 43"), 1.0) == (18, 18, 32)


def test_radii_cover_the_elements():
    for z in range(1, 104):
        assert 0.5 < CCTBX_RADII[gemmi.Element(z).name] < 3.5
    crystal = synthetic_crystal("P 1")
    atoms = atoms_from(np.zeros((3, 3)), ["C", "D", "Fe"], np.full(3, 10.0), np.ones(3))
    np.testing.assert_allclose(atom_radii(atoms, "cctbx"), [1.775, 1.2, 1.26])
    np.testing.assert_allclose(atom_radii(atoms, "refmac"), [2.0, 1.4, 1.6])
    assert crystal.volume > 0


def test_large_cell_takes_at_most_a_few_seconds(case):
    model = read_model(case("4iid") / "model.pdb")
    hkl = random_hkl(model.crystal, 4.0, 100)
    start = time.process_time()
    solvent_structure_factors(model.atoms, model.crystal, hkl, 2.3)
    assert time.process_time() - start < 4.0  # about 0.6 s on an idle core


def test_shape_follows_the_options() -> None:
    assert MaskShape.of(Solvent()) == MaskShape()
    assert MaskShape.of(Solvent(radii="cctbx", shrink=0.5)) == MaskShape("cctbx", PROBE["cctbx"], 0.5)
    assert MaskShape.of(Solvent(model="none", smallest_island=0.0)) == MaskShape(smallest_island=0.0, empty=True)
    assert MaskShape.of(Solvent(step=0.4)).step == 0.4
