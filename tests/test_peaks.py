"""Peaks, holes and blobs of maps; omit maps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic import atoms_from, crystal

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.evaluation import Evaluated, evaluate_files, omit_files
from arrayrefine.example import DATA, MODEL
from arrayrefine.real_space.map_grids import MapGrid, map_grid
from arrayrefine.real_space.model_maps import maps_of
from arrayrefine.real_space.omit_maps import omit_map
from arrayrefine.real_space.peaks import find_blobs, find_peaks, nearest_copies
from arrayrefine.selection import select
from arrayrefine.state import evaluate


@pytest.fixture(scope="module")
def example() -> Evaluated:
    return evaluate_files(MODEL, DATA)


def bumps(cell: Crystal, shape: tuple[int, int, int], places: list[np.ndarray], heights: list[float]) -> MapGrid:
    """A map with Gaussians of 1 Å around some fractional places and their symmetry copies, lattice ones too."""
    axes = [np.arange(n) / n for n in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = np.zeros(shape)
    for place, height in zip(places, heights):
        copies = {tuple(np.round((r @ place + t) % 1.0, 6) % 1.0) for r, t in zip(cell.rotations, cell.translations)}
        for copy in copies:
            delta = points - np.array(copy)
            delta -= np.rint(delta)
            values += height * np.exp(-0.5 * ((delta @ cell.orth.T) ** 2).sum(axis=-1))
    return MapGrid("mFo-DFc", values.astype(np.float32), cell, 2.0)


def lone_atom(cell: Crystal, fractional: np.ndarray) -> object:
    return atoms_from(cell.cartesian(fractional[None]), ["C"], np.array([10.0]), np.array([1.0]))


@pytest.mark.parametrize("group", ["P 1 21 1", "C 1 2 1", "P 43 21 2", "P 61 2 2"])
def test_peaks_between_grid_points_next_to_the_model(group: str) -> None:
    cell = crystal(group)
    place = np.array([0.137, 0.311, 0.183])
    shape = tuple(int(6 * np.ceil(length / 0.6 / 6)) for length in cell.cell[:3])
    hole = np.array([0.37, 0.05, 0.42])
    grid = bumps(cell, shape, [place, hole], [5.0, -3.0])
    atoms = lone_atom(cell, place - [2, 1, 0])  # a lattice vector away, so that the peak must move
    peaks = find_peaks(grid, atoms, 3.0)
    assert len(peaks) == 2
    np.testing.assert_allclose(peaks[0].xyz, atoms.xyz[0], atol=0.03)
    assert peaks[0].atom == 0
    assert peaks[0].distance < 0.05
    assert peaks[0].height == pytest.approx(5.0 / grid.sigma, rel=0.03)
    assert peaks[1].height == pytest.approx(-3.0 / grid.sigma, rel=0.03)
    back, _, _ = nearest_copies(cell, cell.fractional(np.array([peaks[1].xyz])), lone_atom(cell, hole))
    np.testing.assert_allclose(back[0], cell.cartesian(hole), atol=0.03)


def test_rounding_does_not_choose_between_symmetry_copies() -> None:
    """A paraboloid through points of a hexagonal grid is not the same for all copies of a peak."""
    cell = crystal("P 61 2 2")
    shape = tuple(int(6 * np.ceil(length / 1.0 / 6)) for length in cell.cell[:3])
    rng = np.random.default_rng(0)
    places = [np.array(place) for place in rng.random((8, 3))]
    grid = bumps(cell, shape, places, [5.0 - 0.2 * k for k in range(8)])
    first = find_peaks(grid, lone_atom(cell, places[0]), 3.0)
    assert len(first) >= 4
    noise = 1.0 + 1e-6 * rng.normal(size=shape).astype(np.float32)
    again = find_peaks(dataclasses.replace(grid, values=grid.values * noise), lone_atom(cell, places[0]), 3.0)
    np.testing.assert_allclose([p.height for p in again], [p.height for p in first], rtol=1e-4)
    np.testing.assert_allclose([p.xyz for p in again], [p.xyz for p in first], atol=1e-3)


def test_places_far_from_every_atom_have_their_nearest_too() -> None:
    cell = Crystal((80.0, 80.0, 80.0, 90.0, 90.0, 90.0), "P 1")
    atoms = lone_atom(cell, np.array([0.1, 0.1, 0.1]))
    xyz, atom, distance = nearest_copies(cell, np.array([[0.95, 0.1, 0.1], [0.6, 0.6, 0.6]]), atoms)  # type: ignore[arg-type]
    assert atom.tolist() == [0, 0]
    assert distance.tolist() == pytest.approx([12.0, 40.0 * np.sqrt(3.0)])
    np.testing.assert_allclose(xyz[0], [-4.0, 8.0, 8.0], atol=1e-9)


def test_a_peak_on_a_twofold_axis_is_listed_once() -> None:
    cell = crystal("C 1 2 1")
    place = np.array([0.0, 0.2, 0.0])
    grid = bumps(cell, (37, 22, 27), [place], [5.0])  # odd numbers put the axis at 1/2 between grid points
    peaks = find_peaks(grid, lone_atom(cell, place), 3.0)
    assert [round(peak.distance, 1) for peak in peaks] == [0.0]


def test_blobs_across_the_edge_of_the_cell_are_one() -> None:
    cell = Crystal((20.0, 22.0, 24.0, 90.0, 90.0, 90.0), "P 1")
    grid = bumps(cell, (40, 44, 48), [np.zeros(3), np.array([0.5, 0.5, 0.5])], [5.0, 5.0])
    blobs = find_blobs(grid, grid, lone_atom(cell, np.array([0.5, 0.5, 0.5])))
    level = np.sqrt(-2.0 * np.log(1.2 * grid.sigma / 5.0))
    corner = [blob for blob in blobs if blob.distance > 10.0]
    assert len(corner) == 1
    assert corner[0].volume == pytest.approx(4.0 / 3.0 * np.pi * level**3, rel=0.1)
    # of the modelled one only a shell beyond 1.5 Å is left
    assert all(blob.peak < corner[0].peak for blob in blobs if blob is not corner[0])


@pytest.mark.parametrize("selection", ["element Mn", "resname HOH and 302"])
def test_what_is_removed_is_the_highest_peak(example: Evaluated, selection: str) -> None:
    """The whole way: a manganese or a water is taken out of 1RX2, and the map shows where it was."""
    problem, atoms = example.problem, example.state.atoms
    gone = select(atoms, selection)
    assert gone.sum() == 1
    crystal = problem.reflections.crystal
    short = evaluate(problem, atoms.replace(occupancy=np.where(gone, 0.0, atoms.occupancy)), absorb_b=False)
    best, difference = (map_grid(maps_of(problem, short), crystal, kind) for kind in ("2mFo-DFc", "mFo-DFc"))
    peaks = find_peaks(difference, short.atoms)
    assert peaks[0].height > 10.0
    assert peaks[0].height > 1.3 * peaks[1].height
    place = crystal.fractional(np.array([peaks[0].xyz]))
    _, _, distance = nearest_copies(crystal, place, atoms.taken(np.flatnonzero(gone)))
    assert distance[0] < 0.2
    blobs = find_blobs(best, difference, short.atoms)
    assert abs(blobs[0].peak - peaks[0].height) < 1.5
    # and the whole model has no such peak
    assert find_peaks(map_grid(example.maps, crystal, "mFo-DFc"), atoms)[0].height < 0.75 * peaks[0].height


def test_omit_map_of_a_ligand_that_is_there_and_of_one_that_is_not(example: Evaluated) -> None:
    problem, state = example.problem, example.state
    folate = select(state.atoms, "resname FOL")
    found = omit_map(problem, state, folate)
    assert found.levels.mean() > 6.0
    assert found.cc_present_data > 0.9 > 0.5 > found.cc_absent_data
    assert found.omitted[state.atoms.riding.child].sum() > 10
    assert found.state.statistics.r_work > state.statistics.r_work + 0.02
    # the same folate 8 Å away, in the solvent
    xyz = state.atoms.xyz + np.where(folate[:, None], [0.0, 0.0, 8.0], 0.0)
    moved = dataclasses.replace(problem, hydrogens=type(problem.hydrogens).none(len(xyz)))
    wrong = omit_map(moved, evaluate(moved, state.atoms.replace(xyz=xyz), absorb_b=False), folate)
    assert wrong.cc_present_data < 0.6
    assert wrong.levels.mean() < 2.0


def test_without_solvent_weak_density_shows(example: Evaluated) -> None:
    """A side chain in the solvent, B of 50 Å²: what polder maps are for."""
    problem, state = example.problem, example.state
    side_chain = select(state.atoms, "52 and not backbone")
    polder, plain = (omit_map(problem, state, side_chain, radius) for radius in (5.0, 0.0))
    assert polder.levels.mean() > plain.levels.mean() + 1.0


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("resname XXX", "names no atom of .* that scatters"),
        ("hydrogen", "names no atom of .* that scatters"),
        ("all", "names all atoms"),
        ("chain", "ends too early"),
    ],
)
def test_selections_that_make_no_omit_map(
    selection: str, words: str, example: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arrayrefine.evaluation.evaluate_files", lambda *_: example)
    with pytest.raises(InputError, match=words):
        omit_files(MODEL, DATA, selection)
    with pytest.raises(InputError, match=r"--radius: found -1, expected 0 to 15 Å"):
        omit_files(MODEL, DATA, "resname FOL", radius=-1.0)


@pytest.mark.parametrize("every", [False, True])
def test_an_omit_map_wants_some_atoms_out_and_some_left(example: Evaluated, every: bool) -> None:
    with pytest.raises(ValueError, match="wants some atoms left out, and some left"):
        omit_map(example.problem, example.state, np.full(len(example.state.atoms), every))
