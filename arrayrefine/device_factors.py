"""F_calc of one or several models and its adjoint on a CUDA device, in memory that is allocated once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import DeviceError
from arrayrefine.kernels import density_cuda, fft_cuda, lookup_cuda, summation_cuda, vector_cuda
from arrayrefine.kernels.backend import device_module, one_at_a_time, to_device
from arrayrefine.sampling import Sampling

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]
OnDevice: TypeAlias = Any
"""An array on the device."""
_Nine: TypeAlias = tuple[
    OnDevice, OnDevice, OnDevice, OnDevice, OnDevice, OnDevice, OnDevice, OnDevice, OnDevice
]

_ROOM = 1.3
"""Room for pairs of an atom and a brick, over what is expected of atoms at random places; grows where it must."""


@dataclass(frozen=True)
class Gridded:
    """How F_calc is made on grids; see `StructureFactors`.

    Attributes
    ----------
    crystal : Crystal
    hkl : (R, 3) int32
    sampling : Sampling
    shift : (N,) float64
        Added to the B of each atom, Å².
    channel : (N, K) float64
        What each atom puts on each grid.
    factor : (K, R) float64
        Factor of each grid at each reflection.
    precision : float32 or float64
        Of the grids.
    width : (N,) float64
        B + shift + blur of the atoms for which the sampling was chosen, Å².
    """

    crystal: Crystal
    hkl: NDArray[np.int32]
    sampling: Sampling
    shift: Float
    channel: Float
    factor: Float
    precision: Any
    width: Float

    def expected_pairs(self) -> int:
        """Pairs of an atom and a brick of the grid to make room for."""
        radius = np.sqrt(-math.log(self.sampling.cutoff) * self.width) / (2.0 * np.pi)
        return int(_ROOM * density_cuda.expected_pairs(self.sampling.shape, self.crystal.orth, radius)) + 1024


@dataclass(frozen=True)
class Summed:
    """How F_calc is made by direct summation; see `summation.structure_factors` for the arrays.

    Attributes
    ----------
    crystal : Crystal
    hkl : (R, 3) int32
    s_squared : (R,) float64, Å⁻²
    form_factor : (E, R) float64
    element : (N,) int
    """

    crystal: Crystal
    hkl: NDArray[np.int32]
    s_squared: Float
    form_factor: Float
    element: NDArray[np.int64]


class DeviceFactors(Protocol):
    """F_calc of M models of N atoms, and its adjoint."""

    stream: Any
    n_models: int
    generation: int
    """Counts repairs: what was captured before one must be captured again."""

    def place(self, xyz: OnDevice, b_iso: OnDevice, occupancy: OnDevice) -> None:
        """Take atoms (M, N, …) for `forward` and `backward`; nothing here waits for the device."""
        ...

    def forward(self) -> OnDevice:
        """F_calc (M, R) complex128."""
        ...

    def backward(self, d_f: OnDevice) -> tuple[OnDevice, OnDevice, OnDevice]:
        """Derivatives by xyz, B and occupancy from those by F_calc (M, R)."""
        ...

    @property
    def status(self) -> OnDevice | None:
        """(1,) int32 that tells what went wrong in `forward`, for `repair`; None where nothing can."""
        ...

    def repair(self, status: int) -> None:
        """Make room where the last `forward` found none; it must be done again then.

        Raises
        ------
        DeviceError
            What went wrong cannot be mended.
        """
        ...


def _gaussians(xp: Any, n_models: int, n: int) -> tuple[OnDevice, OnDevice, OnDevice, OnDevice]:
    """Memory for fractional coordinates, amplitudes, exponents and radii."""
    flat = n_models, n
    return xp.empty((*flat, 3)), xp.empty(flat), xp.empty(flat), xp.empty(flat)


class GridFactors:
    """F_calc by grids and FFT: all launches are on the current stream.

    Parameters
    ----------
    how : Gridded
    n_models : int
    channels : int, optional
        Grids of a model that are on the device at a time: with fewer than there are, the work is done in passes.
    """

    def __init__(self, how: Gridded, n_models: int = 1, channels: int | None = None) -> None:
        xp = device_module()
        self.how, self.n_models, self.generation = how, n_models, 0
        self.stream = xp.cuda.Stream(non_blocking=True)
        n, k = how.channel.shape
        shape, complex_type = how.sampling.shape, np.complex64 if how.precision == np.float32 else np.complex128
        most = density_cuda.padded_channels(k)
        per_pass = min(k, most if channels is None else min(channels, most))
        crystal = how.crystal
        with self.stream:
            self._fft = fft_cuda.plan(shape, n_models * per_pass, how.precision)
            self._table = lookup_cuda.plan(
                how.hkl, crystal.primitive_rotations, crystal.primitive_translations, len(crystal.centring),
                self._fft.half, complex_type,
            )  # fmt: skip
            self._channels, self._factors = [], []
            for first in range(0, k, per_pass):
                # The last pass is filled up with grids on which no atom is.
                part = slice(first, first + per_pass)
                fill = per_pass - how.channel[:, part].shape[1]
                channel = np.pad(how.channel[:, part], ((0, 0), (0, fill)))
                self._channels.append(to_device(np.tile(channel, (n_models, 1)), how.precision))
                self._factors.append(to_device(np.pad(how.factor[part], ((0, fill), (0, 0))), how.precision))
            self._model = to_device(np.repeat(np.arange(n_models), n), np.int32)
            self._frac, self._shift = to_device(crystal.frac), to_device(how.shift, np.float64)
            self._grids = xp.empty((n_models, per_pass, *shape), how.precision)
            self._transforms = xp.empty((n_models, per_pass, *self._fft.half), complex_type)
            several = len(self._channels) > 1
            self._f = [xp.empty((n_models, len(how.hkl)), np.complex128) for _ in range(1 + several)]
            self._gaussians = _gaussians(xp, n_models, n)
            shapes = ((n_models, n), (n_models, n, 3), (n_models, n))
            self._parts = [tuple(xp.empty(s) for s in shapes) for _ in range(1 + several)]
            self._d_b, self._d_occupancy = xp.empty((n_models, n)), xp.empty((n_models, n))
            self._occupancy: OnDevice = None
            self._plan = self._planned(n_models * how.expected_pairs())
        self.stream.synchronize()

    def _planned(self, capacity: int) -> Any:
        per_pass = self._grids.shape[1]
        return density_cuda.plan(
            self.how.sampling.shape, self.how.crystal.orth, len(self._model), per_pass, 0.0, self.how.precision,
            self.n_models, capacity,
        )  # fmt: skip

    @property
    def status(self) -> OnDevice:
        """See `DeviceFactors`."""
        return self._plan.status

    def repair(self, status: int) -> None:
        """See `DeviceFactors`."""
        if not density_cuda.full(status):
            raise DeviceError(f"density on the CUDA device: {density_cuda.explain(status)}")
        with self.stream:
            self._plan = self._planned(int(_ROOM * density_cuda.needed(self._plan)))
        self.generation += 1

    def _atoms(self) -> tuple[OnDevice, OnDevice, OnDevice, OnDevice]:
        """Fractional coordinates, amplitude, exponent and radius of the atoms of all models, one after the other."""
        x, amplitude, exponent, radius = self._gaussians
        return x.reshape(-1, 3), amplitude.reshape(-1), exponent.reshape(-1), radius.reshape(-1)

    def place(self, xyz: OnDevice, b_iso: OnDevice, occupancy: OnDevice) -> None:
        """See `DeviceFactors`."""
        sampling = self.how.sampling
        self._occupancy = occupancy
        vector_cuda.gaussians(
            xyz, b_iso, occupancy, self._frac, sampling.blur, sampling.cutoff, self._gaussians, self._shift
        )

    def forward(self) -> OnDevice:
        """See `DeviceFactors`."""
        sampling, orth = self.how.sampling, self.how.crystal.orth
        self._plan.status.fill(0)
        for number, (channel, factor) in enumerate(zip(self._channels, self._factors)):
            density_cuda.splat(
                *self._atoms(), channel, sampling.shape, orth, self.how.precision, self._model, self.n_models,
                plan=self._plan, out=self._grids,
            )  # fmt: skip
            fft_cuda.rfftn(self._grids, self._transforms, self._fft)
            f = lookup_cuda.look_up(self._transforms, factor, self._table, self._f[min(number, 1)])
            if number:
                vector_cuda.add_pass(self._f[0], f)
        return self._f[0]

    def backward(self, d_f: OnDevice) -> tuple[OnDevice, OnDevice, OnDevice]:
        """See `DeviceFactors`."""
        total, shape = self._parts[0], self.how.sampling.shape
        for number, (channel, factor) in enumerate(zip(self._channels, self._factors)):
            lookup_cuda.scatter(d_f, factor, self._table, self._fft.half, self._transforms)
            fft_cuda.irfftn(self._transforms, shape, self._grids, self._fft)
            parts = self._parts[min(number, 1)]
            flat = parts[0].reshape(-1), parts[1].reshape(-1, 3), parts[2].reshape(-1)
            density_cuda.gather(
                self._grids, *self._atoms(), channel, self.how.crystal.orth, self._model, plan=self._plan, out=flat
            )
            if number:
                for whole, part in zip(total, parts):
                    vector_cuda.add_pass(whole, part)
        vector_cuda.gaussians_pullback(
            self._occupancy, self._gaussians[2], total[0], total[2], (self._d_b, self._d_occupancy)
        )
        return total[1], self._d_b, self._d_occupancy


class SumFactors:
    """F_calc by direct summation: all launches are on the current stream.

    Parameters
    ----------
    how : Summed
    n_models : int
    """

    status = None

    def __init__(self, how: Summed, n_models: int = 1) -> None:
        xp = device_module()
        self.how, self.n_models, self.generation = how, n_models, 0
        self.stream = xp.cuda.Stream(non_blocking=True)
        n, crystal = len(how.element), how.crystal
        with self.stream:
            self._problem = (
                to_device(how.form_factor, np.float64), to_device(how.element, np.int32),
                to_device(crystal.rotations, np.int32), to_device(crystal.translations, np.float64),
            )  # fmt: skip
            self._hkl, self._s_squared = to_device(how.hkl, np.int32), to_device(how.s_squared, np.float64)
            self._frac = to_device(crystal.frac)
            self._buffers = [summation_cuda.buffers(len(how.hkl), n) for _ in range(n_models)]
            self._gaussians = _gaussians(xp, n_models, n)
            self._f = xp.empty((n_models, len(how.hkl)), np.complex128)
            shapes = ((n_models, n, 3), (n_models, n), (n_models, n))
            self._parts = tuple(xp.empty(s) for s in shapes)
            self._values: tuple[OnDevice, OnDevice] = self._parts[1], self._parts[2]
        self.stream.synchronize()

    def repair(self, status: int) -> None:
        """See `DeviceFactors`: nothing can go wrong."""

    def _arrays(self, model: int) -> _Nine:
        b_iso, occupancy = self._values
        return (
            self._hkl, self._s_squared, self._gaussians[0][model], b_iso[model], occupancy[model], *self._problem,
        )  # fmt: skip

    def place(self, xyz: OnDevice, b_iso: OnDevice, occupancy: OnDevice) -> None:
        """See `DeviceFactors`."""
        self._values = b_iso, occupancy
        vector_cuda.gaussians(xyz, b_iso, occupancy, self._frac, 0.0, 0.5, self._gaussians)

    def forward(self) -> OnDevice:
        """See `DeviceFactors`."""
        for model, held in enumerate(self._buffers):
            self._f[model] = summation_cuda.structure_factors(*self._arrays(model), out=held)
        return self._f

    def backward(self, d_f: OnDevice) -> tuple[OnDevice, OnDevice, OnDevice]:
        """See `DeviceFactors`."""
        d_xyz, d_b, d_occupancy = self._parts
        for model, held in enumerate(self._buffers):
            by_fractional, by_b, by_q = summation_cuda.gradient(d_f[model], *self._arrays(model), out=held)
            vector_cuda.cartesian_pullback(by_fractional, self._frac, d_xyz[model])
            d_b[model], d_occupancy[model] = by_b, by_q
        return d_xyz, d_b, d_occupancy


class HostSide:
    """F_calc of one model and its adjoint, with the atoms and the results on the host.

    Parameters
    ----------
    factors : DeviceFactors
        Of one model.
    """

    def __init__(self, factors: DeviceFactors) -> None:
        self.factors = factors

    def _up(self, arrays: tuple[Any, ...], dtype: Any) -> tuple[OnDevice, ...]:
        return tuple(to_device(np.ascontiguousarray(a, dtype=dtype)[None]) for a in arrays)

    def _down(self, arrays: tuple[OnDevice, ...]) -> tuple[Any, ...]:
        values = tuple(a.get(stream=self.factors.stream) for a in arrays)
        self.factors.stream.synchronize()
        return tuple(v[0] for v in values)

    @one_at_a_time
    def f_calc(self, xyz: Float, b_iso: Float, occupancy: Float) -> Complex:
        """F_calc (R,) of N atoms; Å, Å²."""
        with self.factors.stream:
            self.factors.place(*self._up((xyz, b_iso, occupancy), np.float64))
            f = self.factors.forward()
            while self.factors.status is not None and (status := int(self._down((self.factors.status,))[0])):
                self.factors.repair(status)
                f = self.factors.forward()
            return np.asarray(self._down((f,))[0])

    @one_at_a_time
    def gradient(self, d_f: Complex, xyz: Float, b_iso: Float, occupancy: Float) -> tuple[Float, Float, Float]:
        """Derivatives by xyz (N, 3), B (N,) and occupancy (N,) of N atoms from those by F_calc (R,)."""
        with self.factors.stream:
            self.factors.place(*self._up((xyz, b_iso, occupancy), np.float64))
            d_xyz, d_b, d_occupancy = self._down(self.factors.backward(self._up((d_f,), np.complex128)[0]))
            return d_xyz, d_b, d_occupancy


@one_at_a_time
def made(how: Gridded | Summed, n_models: int = 1, channels: int | None = None) -> DeviceFactors:
    """The memory on the device for `how`; see `GridFactors` and `SumFactors`."""
    if isinstance(how, Gridded):
        return GridFactors(how, n_models, channels)
    return SumFactors(how, n_models)


