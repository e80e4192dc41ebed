"""cuFFT plans and the transforms of cupy.fft and cupyx.scipy.fft, by SciPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import scipy.fft

from . import arrays, capture

CUFFT: dict[str, Any] = {
    "CUFFT_FORWARD": -1, "CUFFT_INVERSE": 1,
    "CUFFT_R2C": 0x2A, "CUFFT_C2R": 0x2C, "CUFFT_C2C": 0x29, "CUFFT_D2Z": 0x6A, "CUFFT_Z2D": 0x6C, "CUFFT_Z2Z": 0x69,
}  # fmt: skip
_TYPES = {
    ("C2C", 8): 0x29, ("C2C", 16): 0x69, ("R2C", 4): 0x2A, ("R2C", 8): 0x6A, ("C2R", 8): 0x2C, ("C2R", 16): 0x6C,
}  # fmt: skip


class PlanNd:
    """Plan of batched transforms over `axes` of arrays of one shape and dtype."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, axes: tuple[int, ...], last: int, value_type: str) -> None:
        self.shape, self.dtype, self.axes, self.value_type = shape, np.dtype(dtype), axes, value_type
        self.last_size = last  # points along the last axis of the real side
        self.fft_type = _TYPES[value_type, self.dtype.itemsize]

    def __enter__(self) -> PlanNd:
        _plans.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _plans.pop()

    def _transformed(self) -> list[int]:
        lengths = [self.shape[i] for i in self.axes]
        if self.value_type != "C2C":
            lengths[-1] = self.last_size
        return lengths

    def check(self, a: arrays.ndarray, kind: str, lengths: list[int], axes: tuple[int, ...]) -> None:
        mine = (self.value_type, self.shape, self.dtype, self._transformed(), self.axes)
        given = (kind, a.shape, a.dtype, lengths, axes)
        if mine != given:
            raise ValueError(f"the plan is for {mine}, and the transform asked for is {given}")

    def get_output_array(self, a: arrays.ndarray, order: str = "C") -> arrays.ndarray:
        shape, dtype = list(a.shape), a.dtype
        if self.value_type == "R2C":
            shape[self.axes[-1]] = self.last_size // 2 + 1
            dtype = np.dtype(f"c{2 * dtype.itemsize}")
        elif self.value_type == "C2R":
            shape[self.axes[-1]] = self.last_size
            dtype = np.dtype(f"f{dtype.itemsize // 2}")
        return arrays.empty(tuple(shape), dtype)

    def fft(self, a: arrays.ndarray, out: arrays.ndarray, direction: int) -> None:
        """Transform without normalisation, into `out`; a transform to real numbers destroys its input."""
        wanted = self.get_output_array(a)
        if (a.shape, a.dtype) != (self.shape, self.dtype) or (out.shape, out.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(f"the plan is for {self.shape} {self.dtype}, not {a.shape} {a.dtype} to {out.shape}")
        if not (a.flags.c_contiguous and out.flags.c_contiguous):
            raise ValueError("arrays of a plan are C-contiguous")

        def go(given: np.ndarray, result: np.ndarray) -> None:
            if self.value_type == "R2C":
                result[...] = scipy.fft.rfftn(given, axes=self.axes)
            elif self.value_type == "C2R":
                result[...] = scipy.fft.irfftn(given, self._transformed(), axes=self.axes, norm="forward")
                given[...] = np.nan
            elif direction == CUFFT["CUFFT_FORWARD"]:
                result[...] = scipy.fft.fftn(given, axes=self.axes)
            else:
                result[...] = scipy.fft.ifftn(given, axes=self.axes, norm="forward")

        arrays.call(go, (a, out), changes=True)


_plans: list[PlanNd] = []


def get_fft_plan(a: arrays.ndarray, shape: Any = None, axes: Any = None, value_type: str = "C2C") -> PlanNd:
    """Plan of transforms over the last axes, or over the first or last up to three adjacent ones."""
    capture.forbid_synchronisation("making a cuFFT plan")
    if not isinstance(a, arrays.ndarray) or not a.flags.c_contiguous:
        raise ValueError("a plan is made for a C-contiguous device array")
    if axes is None:
        axes = range(a.ndim) if shape is None else range(-len(shape), 0)
    axes = tuple(sorted(i % a.ndim for i in ([axes] if np.isscalar(axes) else axes)))
    if any(j != i + 1 for i, j in itertools.pairwise(axes)) or not (axes[0] == 0 or axes[-1] == a.ndim - 1):
        raise ValueError("cuFFT plans are for adjacent axes, the first or the last ones")
    if len(axes) > 3:
        raise ValueError("cuFFT plans are for up to three axes")
    if value_type != "C2C" and axes[-1] != a.ndim - 1:
        raise ValueError("the last transformed axis of a real transform is the last axis")
    if (value_type, a.dtype.itemsize) not in _TYPES or (a.dtype.kind == "c") != (value_type != "R2C"):
        raise ValueError(f"{value_type} plans are not for {a.dtype}")
    last = a.shape[axes[-1]] if value_type != "C2R" else 2 * (a.shape[axes[-1]] - 1)
    if shape is not None:
        last = shape[-1]
        expected = [a.shape[i] for i in axes]
        if value_type == "C2R":
            expected[-1] = last
            if last // 2 + 1 != a.shape[axes[-1]]:
                raise ValueError("padding and cropping of planned transforms is not emulated")
        if list(shape) != expected:
            raise ValueError("padding and cropping of planned transforms is not emulated")
    return PlanNd(a.shape, a.dtype, axes, last, value_type)


def _transform(name: str, kind: str) -> Any:
    function = getattr(scipy.fft, name)
    many = name.endswith("n")

    def transform(
        a: arrays.ndarray, s: Any = None, axes: Any = None, norm: Any = None, overwrite_x: bool = False, *,
        plan: PlanNd | None = None,
    ) -> arrays.ndarray:  # fmt: skip
        if not isinstance(a, arrays.ndarray):
            raise TypeError(f"{name} takes a device array, not {type(a).__name__}")
        if not many:
            axes = -1 if axes is None else axes
        plan = plan or (_plans[-1] if _plans else None)
        if plan is not None:
            ranks = range(a.ndim) if axes is None else [axes] if np.isscalar(axes) else axes
            used = tuple(sorted(i % a.ndim for i in ranks))
            lengths = [a.shape[i] for i in used]
            if kind == "C2R":
                lengths[-1] = 2 * (lengths[-1] - 1)
            if s is not None:
                lengths = [s] if np.isscalar(s) else list(s)
            plan.check(a, kind, lengths, used)
        elif capture.recording() and (a.shape, a.dtype, name) not in _cached:
            raise RuntimeError("a cuFFT plan cannot be made while a stream is captured: give one, or transform before")
        _cached.add((a.shape, a.dtype, name))
        return arrays.call(lambda x: function(x, s, axes, norm), (a,))

    transform.__name__ = name
    return transform


_cached: set[Any] = set()


def forget() -> None:
    """Drop the plans that earlier transforms made."""
    _plans.clear()
    _cached.clear()


_TRANSFORMS = {
    name: _transform(name, kind)
    for name, kind in (
        ("fft", "C2C"), ("ifft", "C2C"), ("rfft", "R2C"), ("irfft", "C2R"),
        ("fftn", "C2C"), ("ifftn", "C2C"), ("rfftn", "R2C"), ("irfftn", "C2R"),
    )
}  # fmt: skip
SCIPY_LIKE: dict[str, Any] = {**_TRANSFORMS, "get_fft_plan": get_fft_plan, "next_fast_len": scipy.fft.next_fast_len}
NUMPY_LIKE: dict[str, Any] = dict(_TRANSFORMS)
