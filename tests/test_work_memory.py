"""What is let go of, so that the largest things of a refinement are made in the place of others."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse

from arrayrefine import preconditioner, sparse_factor
from arrayrefine.kernels import exponentials, fft, mask, processes, work_memory
from arrayrefine.kernels.processes import shared
from arrayrefine.options import Options
from arrayrefine.periodic_regions import without_islands
from arrayrefine.preparation import prepare
from arrayrefine.refinement_step import minimise_step
from arrayrefine.sparse_factor import Cholesky, symmetric_factor
from arrayrefine.state import evaluate
from arrayrefine.targets import adp_curvature
from arrayrefine.targets.geometry_curvature import normal_matrix
from arrayrefine.weighting.schemes import find_weights


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    processes.release()


def chain(n: int = 6) -> Any:
    return sparse.diags_array([-1.0, 4.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsr()


@pytest.mark.parametrize("made", [Cholesky, symmetric_factor])
def test_what_a_factor_is_made_of_is_gone_with_it(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the matrix by rows before that: one copy of the matrix is there while SuperLU works, and none after."""
    alive: list[weakref.ref[Any]] = []
    during: list[bool] = []
    real = sparse_factor.splu

    def matrix() -> Any:
        found = chain()
        alive.append(weakref.ref(found))
        return found

    def splu(columns: Any, **options: Any) -> Any:
        during.append(alive[0]() is not None)
        alive.append(weakref.ref(columns))
        return real(columns, **options)

    monkeypatch.setattr(sparse_factor, "splu", splu)
    gc.disable()
    try:
        factor = made(matrix)
        assert not any(during)
        assert all(one() is None for one in alive)
    finally:
        gc.enable()
    p = np.arange(6.0)
    back = factor.adjoint(chain() @ factor.forward(p)) if made is Cholesky else factor.solve(chain() @ p)
    np.testing.assert_allclose(back, p, atol=1e-12)


def test_the_mask_keeps_no_work_arrays() -> None:
    atoms = np.random.default_rng(0).random((5, 3))
    one = np.eye(3)[None], np.zeros((1, 3))
    found = mask.solvent_mask(atoms, np.full(5, 2.0), *one, 10.0 * np.eye(3), (20, 20, 20), 0.9)
    without_islands(found, 12.0)
    assert not processes.idle()


def test_a_mask_is_transformed_as_ones_and_zeros_are() -> None:
    """A layer at a time: as numbers it would be four times as large."""
    points = np.random.default_rng(1).random((1, 12, 10, 8)) < 0.4
    stored = fft.kept((12, 10, 8), (3, 3, 2))
    found = fft.rfftn(points, stored)
    assert found.dtype == np.complex64
    assert np.array_equal(found, fft.rfftn(points.astype(np.float32), stored))


def test_work_arrays_that_are_large_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    shared("large", np.uint8, work_memory._WORTH // 4)
    work_memory.give_back()
    assert processes.idle()
    shared("larger", np.uint8, work_memory._WORTH)
    work_memory.give_back()
    assert not processes.idle()
    monkeypatch.setattr(work_memory, "_trim", None)  # as where there is no GNU C library
    shared("larger", np.uint8, work_memory._WORTH)
    work_memory.give_back()
    assert not processes.idle()


@pytest.mark.skipif(work_memory._trim is None, reason="there is no GNU C library")
def test_what_is_free_within_the_heap_is_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    many = [np.ones(8000) for _ in range(2000)]  # of a size that comes from the heap
    kept = many[::100]
    del many
    before = resident()
    shared("large", np.uint8, work_memory._WORTH)
    work_memory.give_back()
    assert before - resident() > 90e6
    assert sum(map(np.sum, kept)) == 160_000.0


class _Bricks:
    width, atom, dtype = (4, 4, 4), np.zeros(10), np.dtype(np.float32)


def test_gaussians_that_somebody_has_stay() -> None:
    """The gather that follows wants them, and the next evaluation as much memory."""
    owner, bricks, at = exponentials.Exponentials("tensors"), _Bricks(), np.zeros((1, 3))
    assert owner.make_room(bricks, at, at)  # type: ignore[arg-type]
    shared("large", np.uint8, work_memory._WORTH)
    work_memory.give_back()
    assert [*processes.idle()] == ["tensors"]
    assert owner.hold(bricks, at, at)  # type: ignore[arg-type]
    del owner
    shared("large", np.uint8, work_memory._WORTH)
    work_memory.give_back()
    assert not processes.idle()


def test_gaussians_in_memory_that_is_too_small_for_others_are_gone() -> None:
    one, two = exponentials.Exponentials("tensors"), exponentials.Exponentials("tensors")
    bricks, at = _Bricks(), np.zeros((1, 3))
    assert one.make_room(bricks, at, at)  # type: ignore[arg-type]
    assert one.hold(bricks, at, at)  # type: ignore[arg-type]
    one.of(4, slice(0, 2))[:] = 1.0
    memory = weakref.ref(one.of(4, slice(0, 2)).base)
    assert memory() is not None
    many = _Bricks()
    many.atom = np.zeros(40)
    assert two.make_room(many, at, at)  # type: ignore[arg-type]
    assert memory() is None
    assert not one.hold(bricks, at, at)  # type: ignore[arg-type]
    copied = pickle.loads(pickle.dumps(two))
    assert not copied.hold(many, at, at)


def test_a_minimisation_keeps_factors_but_no_matrices(case: Callable[[str], Path]) -> None:
    """Indices of matrices have 32 bits, as SuperLU's do: with 64 it would work on a copy."""
    folder = case("1aba")
    _, problem, atoms, _ = prepare(folder / "shaken.pdb", folder / "norm.mtz", Options(anisotropic="not water"))
    state = evaluate(problem, atoms)
    parameters = problem.parameters(atoms, "xyz+b")
    assert parameters.b.any()
    assert parameters.u.any()
    matrix = adp_curvature.strain_matrix(
        problem.adp, atoms, np.flatnonzero(parameters.b), np.flatnonzero(parameters.u)
    )
    normal = normal_matrix(problem.geometry, atoms, parameters.xyz)
    data = preconditioner.displacement_curvature(parameters, state.xray.curvature(atoms)).matrix()
    for one in (matrix, normal, sparse.csr_array(data), 0.5 * matrix + data):
        assert one.indices.dtype == one.indptr.dtype == np.int32
    assert not [name for name in processes.idle() if name in adp_curvature._STRAIN_BLOCKS]
    found = find_weights(problem, state, parameters)
    minimise_step(problem, state, parameters, found, stop=lambda: True)
    assert not problem.adp.curvatures
