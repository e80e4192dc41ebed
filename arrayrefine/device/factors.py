"""F_calc of one or several models and its adjoint on a CUDA device, in memory that is allocated once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.crystal import Crystal
from arrayrefine.device.density import DeviceDensity, Gridded
from arrayrefine.kernels import bricks_cuda, fft_cuda, lookup_cuda, summation_cuda, vector_cuda
from arrayrefine.kernels.backend import device_module, one_at_a_time, to_device
from arrayrefine.kernels.lookup_cuda import DeviceLookUp

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]
OnDevice: TypeAlias = Any
"""An array on the device."""
_Nine: TypeAlias = tuple[OnDevice, OnDevice, OnDevice, OnDevice, OnDevice, OnDevice, OnDevice, OnDevice, OnDevice]
_Gradient: TypeAlias = "tuple[OnDevice, OnDevice, OnDevice, OnDevice | None]"


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
    anisotropic : bool
        Whether there may be anisotropic atoms.
    """

    crystal: Crystal
    hkl: NDArray[np.int32]
    s_squared: Float
    form_factor: Float
    element: NDArray[np.int64]
    anisotropic: bool


class DeviceFactors(Protocol):
    """F_calc of M models of N atoms, and its adjoint."""

    stream: Any
    n_models: int
    generation: int
    """Counts repairs: what was captured before one must be captured again."""

    def place(self, xyz: OnDevice, b_iso: OnDevice, occupancy: OnDevice, u_aniso: OnDevice | None = None) -> None:
        """Take atoms (M, N, …) for `forward` and `backward`; nothing here waits for the device.

        `u_aniso`, (N, 6) or (M, N, 6), is needed where the plan has anisotropic atoms, and has no effect elsewhere.
        """
        ...

    def forward(self) -> OnDevice:
        """F_calc (M, R) complex128."""
        ...

    def backward(self, d_f: OnDevice) -> _Gradient:
        """Derivatives by xyz, B, occupancy and u_aniso from those by F_calc (M, R).

        The last is None where the plan has no anisotropic atoms.
        """
        ...

    @property
    def anisotropic(self) -> bool:
        """Whether the plan has atoms that may be anisotropic: `place` needs their u_aniso then."""
        ...

    def covers(self, tensors: NDArray[np.bool_]) -> bool:
        """Whether the plan has places for all atoms that are or may be anisotropic (N,)."""
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


_tables: WeakValueDictionary[tuple[int, Crystal, tuple[int, int, int], Any], DeviceLookUp] = WeakValueDictionary()


def _table(how: Gridded, half: tuple[int, int, int], complex_type: Any) -> DeviceLookUp:
    """Where reflections lie in a transform; shared by all plans for the same reflections while one of them is there."""
    crystal, key = how.crystal, (id(how.hkl), how.crystal, half, complex_type)
    table = _tables.get(key)  # a plan that holds it holds these reflections too, so that no others have their id
    if table is None:
        table = _tables[key] = lookup_cuda.plan(
            how.hkl, crystal.primitive_rotations, crystal.primitive_translations, len(crystal.centring), half,
            complex_type,
        )  # fmt: skip
    return table


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
        k = how.channel.shape[1]
        shape, complex_type = how.sampling.shape, np.complex64 if how.precision == np.float32 else np.complex128
        most = bricks_cuda.padded_channels(k)
        per_pass = min(k, most if channels is None else min(channels, most))
        with self.stream:
            self._fft = fft_cuda.plan(shape, n_models * per_pass, how.precision)
            self._table = _table(how, self._fft.half, complex_type)
            self._factors = []
            for first in range(0, k, per_pass):
                part = how.factor[first : first + per_pass]
                self._factors.append(to_device(np.pad(part, ((0, per_pass - len(part)), (0, 0))), how.precision))
            self._grids = xp.empty((n_models, per_pass, *shape), how.precision)
            self._transforms = xp.empty((n_models, per_pass, *self._fft.half), complex_type)
            several = len(self._factors) > 1
            self._f = [xp.empty((n_models, len(how.hkl)), np.complex128) for _ in range(1 + several)]
            self.density = DeviceDensity(how, n_models, per_pass)
        self.stream.synchronize()

    @property
    def anisotropic(self) -> bool:
        """See `DeviceFactors`."""
        return bool(self.how.tensor.any())

    def covers(self, tensors: NDArray[np.bool_]) -> bool:
        """See `DeviceFactors`."""
        return not (tensors & ~self.how.tensor).any()

    @property
    def status(self) -> OnDevice:
        """See `DeviceFactors`."""
        return self.density.status

    def repair(self, status: int) -> None:
        """See `DeviceFactors`."""
        with self.stream:
            self.density.repair(status)
        self.generation += 1

    def place(self, xyz: OnDevice, b_iso: OnDevice, occupancy: OnDevice, u_aniso: OnDevice | None = None) -> None:
        """See `DeviceFactors`."""
        self.density.place(xyz, b_iso, occupancy, u_aniso)

    def forward(self) -> OnDevice:
        """See `DeviceFactors`."""
        self.density.status.fill(0)
        for number, factor in enumerate(self._factors):
            self.density.splat(number, self._grids)
            fft_cuda.rfftn(self._grids, self._transforms, self._fft)
            f = lookup_cuda.look_up(self._transforms, factor, self._table, self._f[min(number, 1)])
            if number:
                vector_cuda.add_pass(self._f[0], f)
        return self._f[0]

    def backward(self, d_f: OnDevice) -> _Gradient:
        """See `DeviceFactors`."""
        for number, factor in enumerate(self._factors):
            lookup_cuda.scatter(d_f, factor, self._table, self._fft.half, self._transforms)
            fft_cuda.irfftn(self._transforms, self.how.sampling.shape, self._grids, self._fft)
            self.density.gather(number, self._grids)
        return self.density.derivatives()


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
            self._buffers = [summation_cuda.buffers(len(how.hkl), n, how.anisotropic) for _ in range(n_models)]
            self._f = xp.empty((n_models, len(how.hkl)), np.complex128)
            flat = n_models, n
            self._gaussians = xp.empty((*flat, 3)), xp.empty(flat), xp.empty(flat), xp.empty(flat)
            self._parts = xp.empty((*flat, 3)), xp.empty(flat), xp.empty(flat)
            self._d_u = xp.empty((*flat, 6)) if how.anisotropic else None
            self._values: tuple[OnDevice, OnDevice] = self._parts[1], self._parts[2]
            self._u_aniso: OnDevice | None = None
        self.stream.synchronize()

    @property
    def anisotropic(self) -> bool:
        """See `DeviceFactors`."""
        return self.how.anisotropic

    def covers(self, tensors: NDArray[np.bool_]) -> bool:
        """See `DeviceFactors`."""
        return self.how.anisotropic or not tensors.any()

    def repair(self, status: int) -> None:
        """See `DeviceFactors`: nothing can go wrong."""

    def _arrays(self, model: int) -> _Nine:
        b_iso, occupancy = self._values
        return (
            self._hkl, self._s_squared, self._gaussians[0][model], b_iso[model], occupancy[model], *self._problem,
        )  # fmt: skip

    def _spread(self, model: int) -> tuple[OnDevice | None, OnDevice | None]:
        """U of a model, and the matrix that comes with it."""
        u = self._u_aniso
        if u is None:
            return None, None
        return (u[model] if u.ndim == 3 else u), self._frac

    def place(self, xyz: OnDevice, b_iso: OnDevice, occupancy: OnDevice, u_aniso: OnDevice | None = None) -> None:
        """See `DeviceFactors`."""
        if self.how.anisotropic and u_aniso is None:
            raise ValueError("the plan has anisotropic atoms, and no u_aniso was given")
        self._values, self._u_aniso = (b_iso, occupancy), u_aniso if self.how.anisotropic else None
        vector_cuda.gaussians(xyz, b_iso, occupancy, self._frac, 0.0, 0.5, self._gaussians)

    def forward(self) -> OnDevice:
        """See `DeviceFactors`."""
        for model, held in enumerate(self._buffers):
            self._f[model] = summation_cuda.structure_factors(*self._arrays(model), *self._spread(model), out=held)
        return self._f

    def backward(self, d_f: OnDevice) -> _Gradient:
        """See `DeviceFactors`."""
        d_xyz, d_b, d_occupancy = self._parts
        for model, held in enumerate(self._buffers):
            by_fractional, by_b, by_q, *by_u = summation_cuda.gradient(
                d_f[model], *self._arrays(model), *self._spread(model), out=held
            )
            vector_cuda.cartesian_pullback(by_fractional, self._frac, d_xyz[model])
            d_b[model], d_occupancy[model] = by_b, by_q
            if self._d_u is not None:
                self._d_u[model] = by_u[0]
        return d_xyz, d_b, d_occupancy, self._d_u


class HostSide:
    """F_calc of one model and its adjoint, with the atoms and the results on the host.

    Parameters
    ----------
    factors : DeviceFactors
        Of one model.
    """

    def __init__(self, factors: DeviceFactors) -> None:
        self.factors = factors

    def _up(self, array: Any, dtype: Any = np.float64) -> OnDevice:
        return to_device(np.ascontiguousarray(array, dtype=dtype)[None])

    def _down(self, arrays: tuple[OnDevice, ...]) -> tuple[Any, ...]:
        values = tuple(a.get(stream=self.factors.stream) for a in arrays)
        self.factors.stream.synchronize()
        return tuple(v[0] for v in values)

    def _place(self, atoms: Atoms) -> None:
        values = [atoms.xyz, atoms.b_iso, atoms.occupancy]
        if self.factors.anisotropic:
            values.append(atoms.u_aniso)
        self.factors.place(*map(self._up, values))

    @one_at_a_time
    def f_calc(self, atoms: Atoms) -> Complex:
        """F_calc (R,)."""
        with self.factors.stream:
            self._place(atoms)
            f = self.factors.forward()
            while self.factors.status is not None and (status := int(self._down((self.factors.status,))[0])):
                self.factors.repair(status)
                f = self.factors.forward()
            return np.asarray(self._down((f,))[0])

    @one_at_a_time
    def gradient(self, d_f: Complex, atoms: Atoms) -> Gradient:
        """Gradient by the atoms from that by F_calc (R,)."""
        with self.factors.stream:
            self._place(atoms)
            found = self.factors.backward(self._up(d_f, np.complex128))
            return Gradient(*self._down(tuple(part for part in found if part is not None)))


@one_at_a_time
def made(how: Gridded | Summed, n_models: int = 1, channels: int | None = None) -> DeviceFactors:
    """The memory on the device for `how`; see `GridFactors` and `SumFactors`."""
    if isinstance(how, Gridded):
        return GridFactors(how, n_models, channels)
    return SumFactors(how, n_models)
