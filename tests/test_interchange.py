"""Arrays of other libraries in and out, and what is refused."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from arrayrefine.errors import InputError
from arrayrefine.interchange import received

VALUES = np.arange(6.0).reshape(2, 3)


class Producer:
    """An array of a library of its own, which is not NumPy's and has a `from_dlpack`."""

    def __init__(self, values: Any, device: int = 1) -> None:
        self._values, self._device = np.from_dlpack(values), device

    def __dlpack__(self, **how: Any) -> Any:
        return self._values.__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device, 0

    @classmethod
    def from_dlpack(cls, other: Any) -> Producer:
        return cls(other)


class Mute(Producer):
    """The same without a way back."""

    from_dlpack = None  # type: ignore[assignment]


class Broken(Producer):
    """An array that says no when it is asked where it is, or for its values."""

    def __init__(self, values: Any, at: str) -> None:
        super().__init__(values)
        self._at = at

    def __dlpack__(self, **how: Any) -> Any:
        raise BufferError("it is sparse")

    def __dlpack_device__(self) -> tuple[int, int]:
        if self._at == "device":
            raise RuntimeError("it is sparse")
        return super().__dlpack_device__()


@pytest.mark.parametrize("at", ["device", "values"])
def test_arrays_that_do_not_give_their_values_are_named(at: str) -> None:
    words = "^xyz, a Broken, cannot be read through DLPack: it is sparse; expected a dense array of float32 or float64"
    with pytest.raises(InputError, match=words):
        received(Broken(VALUES, at), "xyz", (2, 3))


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_numpy_comes_back_in_its_precision(precision: type) -> None:
    given = VALUES.astype(precision)
    values, back = received(given, "xyz", (2, 3))
    assert values.dtype == np.float64
    assert np.array_equal(values, VALUES)
    assert not np.shares_memory(values, given)
    assert back(values).dtype == precision


def test_anything_with_dlpack_comes_back_as_its_kind() -> None:
    values, back = received(Producer(VALUES.astype(np.float32)), "xyz", (2, 3))
    assert np.array_equal(values, VALUES)
    out = back(2.0 * values)
    assert isinstance(out, Producer)
    assert np.from_dlpack(out).dtype == np.float32
    assert np.array_equal(np.from_dlpack(out), 2.0 * VALUES)


def test_without_a_way_back_numpy_comes_out() -> None:
    values, back = received(Mute(VALUES), "xyz", (2, 3))
    assert isinstance(back(values), np.ndarray)


def test_arrays_with_strides() -> None:
    values, _ = received(np.asfortranarray(VALUES)[:, ::-1], "xyz", (2, 3))
    assert np.array_equal(values, VALUES[:, ::-1])


def test_cupy_comes_back_to_the_device(emulated_cuda: ModuleType) -> None:
    values, back = received(emulated_cuda.asarray(VALUES.astype(np.float32)), "xyz", (2, 3))
    assert np.array_equal(values, VALUES)
    assert isinstance(back(values), emulated_cuda.ndarray)
    assert back(values).dtype == np.float32


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (VALUES.tolist(), "xyz is a list; expected an array of NumPy or CuPy, or one that offers __dlpack__"),
        (VALUES.T, r"shape \(3, 2\); expected \(2, 3\)"),
        (VALUES.astype(int), "of type int64; expected float32 or float64"),
        (VALUES.astype(np.float16), "of type float16"),
        (np.where(VALUES == 4.0, np.nan, VALUES), "nan or infinity, first in row 1"),
        (Producer(VALUES, device=10), "device of DLPack type 10; expected the CPU or CUDA"),
        (Producer(VALUES, device=2), "on a CUDA device, and .*; move it to the CPU"),
    ],
)
def test_what_cannot_be_used_is_named(array: Any, words: str, pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--device") == "cuda" and getattr(array, "_device", 1) == 2:
        pytest.skip("needs a machine without CUDA")
    with pytest.raises(InputError, match=words):
        received(array, "xyz", (2, 3))


@pytest.mark.parametrize(("library", "make"), [("torch", "tensor"), ("jax.numpy", "asarray")])
def test_torch_and_jax(library: str, make: str) -> None:
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    given = getattr(module, make)(VALUES.astype(np.float32))
    values, back = received(given, "xyz", (2, 3))
    assert np.array_equal(values, VALUES)
    out = back(values)
    assert type(out) is type(given)
    assert out.dtype == given.dtype


def test_torch_tensors_without_values() -> None:
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else pytest.skip("no torch")
    for array in (torch.empty((2, 3), device="meta"), torch.tensor(VALUES).to_sparse()):
        with pytest.raises(InputError, match=r"a Tensor, cannot be read through DLPack: .*; expected a dense"):
            received(array, "xyz", (2, 3))


def test_torch_exports_what_it_records_gradients_of() -> None:
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else pytest.skip("no torch")
    values, _ = received(torch.tensor(VALUES, requires_grad=True), "xyz", (2, 3))
    assert np.array_equal(values, VALUES)
