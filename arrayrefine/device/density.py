"""Atoms of one or several models on the grids of a CUDA device and back, isotropic and anisotropic ones apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import DeviceError
from arrayrefine.kernels import bricks_cuda, density_aniso_cuda, density_cuda, tensors_cuda, vector_cuda
from arrayrefine.kernels.backend import device_module, to_device
from arrayrefine.scattering.sampling import Sampling

Float = NDArray[np.float64]
Int = NDArray[np.int64]
OnDevice: TypeAlias = Any
"""An array on the device."""
_Gradient: TypeAlias = tuple[OnDevice, OnDevice, OnDevice, OnDevice]
"""By xyz, B, occupancy and u_aniso."""

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
        B + shift + blur of the atoms for which the sampling was chosen, along their longest axis, Å².
    tensor : (N,) bool
        Atoms that may be anisotropic.
    """

    crystal: Crystal
    hkl: NDArray[np.int32]
    sampling: Sampling
    shift: Float
    channel: Float
    factor: Float
    precision: Any
    width: Float
    tensor: NDArray[np.bool_]

    def expected_pairs(self, tensor: bool = False) -> int:
        """Pairs of an isotropic, or anisotropic, atom and a brick of the grid to make room for."""
        width = self.width[self.tensor == tensor]
        radius = np.sqrt(-math.log(self.sampling.cutoff) * width) / (2.0 * np.pi)
        return int(_ROOM * bricks_cuda.expected_pairs(self.sampling.shape, self.crystal.orth, radius)) + 1024


def _channels(how: Gridded, index: Int, n_models: int, per_pass: int) -> list[OnDevice]:
    """What the atoms put on the grids of each pass; the last one is filled up with grids on which no atom is."""
    out, channel = [], how.channel[index]
    for first in range(0, channel.shape[1], per_pass):
        part = channel[:, first : first + per_pass]
        part = np.pad(part, ((0, 0), (0, per_pass - part.shape[1])))
        out.append(to_device(np.tile(part, (n_models, 1)), how.precision))
    return out


def _flat(arrays: Sequence[OnDevice]) -> tuple[Any, ...]:
    """The atoms of all models one after the other."""
    return tuple(a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]) for a in arrays)


class Spheres:
    """Isotropic atoms; they overwrite the grids.

    Parameters
    ----------
    how : Gridded
    n_models : int
    per_pass : int
        Grids of a model that are on the device at a time.
    status : (1,) int32
        Where the kernels say what went wrong.
    """

    def __init__(self, how: Gridded, n_models: int, per_pass: int, status: OnDevice) -> None:
        xp = device_module()
        self._how, self._per_pass, self._n_models, self._status = how, per_pass, n_models, status
        index = np.flatnonzero(~how.tensor)
        n, every = len(index), len(index) == len(how.tensor)
        self._index = to_device(index, np.int32)
        self._channels = _channels(how, index, n_models, per_pass)
        self._model = to_device(np.repeat(np.arange(n_models), n), np.int32)
        self._frac, self._shift = to_device(how.crystal.frac), to_device(how.shift[index], np.float64)
        one, three = (n_models, n), (n_models, n, 3)
        self._gaussians = xp.empty(three), xp.empty(one), xp.empty(one), xp.empty(one)
        several = len(self._channels) > 1
        self._parts = [(xp.empty(one), xp.empty(three), xp.empty(one)) for _ in range(1 + several)]
        self._derivatives = xp.empty(one), xp.empty(one)
        self._taken = None if every else (xp.empty(three), xp.empty(one), xp.empty(one))
        self._occupancy: OnDevice = None
        self.enlarge(n_models * how.expected_pairs())

    @property
    def lists(self) -> bricks_cuda.DensityPlan:
        """The lists of atoms by brick."""
        return self._plan

    def enlarge(self, capacity: int) -> None:
        """Make room for so many pairs of an atom and a brick."""
        how = self._how
        made = bricks_cuda.plan(
            how.sampling.shape, how.crystal.orth, len(self._model), self._per_pass, 0.0, how.precision, self._n_models,
            capacity,
        )  # fmt: skip
        self._plan = dataclasses.replace(made, status=self._status)

    def place(self, xyz: OnDevice, b_iso: OnDevice, occupancy: OnDevice, u_aniso: OnDevice | None) -> None:
        """Take the values (M, N, …) of all atoms."""
        sampling = self._how.sampling
        if self._taken is not None:
            tensors_cuda.take(self._index, (xyz, b_iso, occupancy), self._taken)
            xyz, b_iso, occupancy = self._taken
        self._occupancy = occupancy
        vector_cuda.gaussians(
            xyz, b_iso, occupancy, self._frac, sampling.blur, sampling.cutoff, self._gaussians, self._shift
        )

    def splat(self, number: int, grids: OnDevice) -> None:
        """Put these atoms on the grids of a pass."""
        how = self._how
        x, amplitude, exponent, radius = _flat(self._gaussians)
        density_cuda.splat(
            x, amplitude, exponent, radius, self._channels[number], how.sampling.shape, how.crystal.orth, how.precision,
            self._model, self._n_models, plan=self._plan, out=grids,
        )  # fmt: skip

    def gather(self, number: int, grids: OnDevice) -> None:
        """Find the derivatives by the Gaussians from those by the grids of a pass, the first one first."""
        x, amplitude, exponent, radius = _flat(self._gaussians)
        by_amplitude, by_xyz, by_exponent = _flat(self._parts[min(number, 1)])
        density_cuda.gather(
            grids, x, amplitude, exponent, radius, self._channels[number], self._how.crystal.orth, self._model,
            plan=self._plan, out=(by_amplitude, by_xyz, by_exponent),
        )  # fmt: skip
        _accumulate(self._parts, number)

    def derivatives(self) -> tuple[OnDevice, OnDevice, OnDevice]:
        """By xyz, B and occupancy of these atoms."""
        by_amplitude, by_xyz, by_exponent = self._parts[0]
        vector_cuda.gaussians_pullback(
            self._occupancy, self._gaussians[2], by_amplitude, by_exponent, self._derivatives
        )
        return (by_xyz, *self._derivatives)

    def pullback(self, out: _Gradient) -> None:
        """Write the derivatives where these atoms are among all atoms."""
        tensors_cuda.put(self._index, self.derivatives(), out[:3])


class Ellipsoids:
    """Anisotropic atoms; they add to the grids. For the parameters see `Spheres`."""

    def __init__(self, how: Gridded, n_models: int, per_pass: int, status: OnDevice) -> None:
        xp = device_module()
        self._how, self._per_pass, self._n_models, self._status = how, per_pass, n_models, status
        index = np.flatnonzero(how.tensor)
        n = len(index)
        self._index = to_device(index, np.int32)
        self._channels = _channels(how, index, n_models, per_pass)
        self._model = to_device(np.repeat(np.arange(n_models), n), np.int32)
        self._frac, self._shift = to_device(how.crystal.frac), to_device(how.shift, np.float64)
        one, three, six = (n_models, n), (n_models, n, 3), (n_models, n, 6)
        self._gaussians = xp.empty(three), xp.empty(one), xp.empty(six), xp.empty(one)
        several = len(self._channels) > 1
        self._parts = [(xp.empty(one), xp.empty(three), xp.empty(six)) for _ in range(1 + several)]
        self._occupancy: OnDevice = None
        self.enlarge(n_models * how.expected_pairs(tensor=True))

    @property
    def lists(self) -> bricks_cuda.DensityPlan:
        """See `Spheres`."""
        return self._plan.lists

    def enlarge(self, capacity: int) -> None:
        """See `Spheres`."""
        how = self._how
        made = density_aniso_cuda.plan(
            how.sampling.shape, how.crystal.orth, len(self._model), self._per_pass, 0.0, how.precision, self._n_models,
            capacity,
        )  # fmt: skip
        self._plan = dataclasses.replace(made, lists=dataclasses.replace(made.lists, status=self._status))

    def place(self, xyz: OnDevice, b_iso: OnDevice, occupancy: OnDevice, u_aniso: OnDevice) -> None:
        """See `Spheres`."""
        sampling = self._how.sampling
        self._occupancy = occupancy
        tensors_cuda.ellipsoids(
            self._index, (xyz, b_iso, occupancy, u_aniso), self._frac, self._shift, sampling.blur, sampling.cutoff,
            self._gaussians,
        )  # fmt: skip

    def splat(self, number: int, grids: OnDevice) -> None:
        """See `Spheres`."""
        how = self._how
        x, amplitude, precision, radius = _flat(self._gaussians)
        density_aniso_cuda.splat_aniso(
            x, amplitude, precision, radius, self._channels[number], how.sampling.shape, how.crystal.orth,
            how.precision, self._model, self._n_models, plan=self._plan, out=grids,
        )  # fmt: skip

    def gather(self, number: int, grids: OnDevice) -> None:
        """See `Spheres`."""
        x, amplitude, precision, radius = _flat(self._gaussians)
        by_amplitude, by_xyz, by_precision = _flat(self._parts[min(number, 1)])
        density_aniso_cuda.gather_aniso(
            grids, x, amplitude, precision, radius, self._channels[number], self._how.crystal.orth, self._model,
            plan=self._plan, out=(by_amplitude, by_xyz, by_precision),
        )  # fmt: skip
        _accumulate(self._parts, number)

    def pullback(self, out: _Gradient) -> None:
        """See `Spheres`."""
        tensors_cuda.ellipsoids_pullback(self._index, self._occupancy, self._gaussians[2], self._parts[0], out)


class DeviceDensity:
    """All atoms of M models on the grids, and the way back.

    Parameters
    ----------
    how : Gridded
    n_models : int
    per_pass : int
        Grids of a model that are on the device at a time.

    Attributes
    ----------
    kinds : list
        Of atoms, each with lists of its own.
    status : (1,) int32
        What went wrong since it was last zero.
    """

    def __init__(self, how: Gridded, n_models: int, per_pass: int) -> None:
        xp = device_module()
        self.status = xp.zeros(1, np.int32)
        self._spheres = Spheres(how, n_models, per_pass, self.status)
        self.kinds: list[Spheres | Ellipsoids] = [self._spheres]
        self._gradient: _Gradient | None = None
        if how.tensor.any():
            self.kinds.append(Ellipsoids(how, n_models, per_pass, self.status))
            shape = n_models, len(how.tensor)
            self._gradient = xp.zeros((*shape, 3)), xp.zeros(shape), xp.zeros(shape), xp.zeros((*shape, 6))

    def repair(self, status: int) -> None:
        """Make longer the lists that had no room.

        Raises
        ------
        DeviceError
            What went wrong cannot be mended.
        """
        if not bricks_cuda.full(status):
            raise DeviceError(f"density on the CUDA device: {bricks_cuda.explain(status)}")
        for kind in self.kinds:
            pairs = bricks_cuda.needed(kind.lists)
            if pairs > kind.lists.capacity:
                kind.enlarge(int(_ROOM * pairs))

    def place(self, xyz: OnDevice, b_iso: OnDevice, occupancy: OnDevice, u_aniso: OnDevice | None) -> None:
        """Take the values (M, N, …) of all atoms; `u_aniso`, (N, 6) or (M, N, 6), is needed where some have one."""
        if len(self.kinds) > 1 and u_aniso is None:
            raise ValueError("the plan has anisotropic atoms, and no u_aniso was given")
        for kind in self.kinds:
            kind.place(xyz, b_iso, occupancy, u_aniso)

    def splat(self, number: int, grids: OnDevice) -> None:
        """Put all atoms on the grids of a pass, which are overwritten."""
        for kind in self.kinds:
            kind.splat(number, grids)

    def gather(self, number: int, grids: OnDevice) -> None:
        """Take up the derivatives by the grids of a pass, the first pass first."""
        for kind in self.kinds:
            kind.gather(number, grids)

    def derivatives(self) -> tuple[OnDevice, OnDevice, OnDevice, OnDevice | None]:
        """By xyz (M, N, 3), B (M, N), occupancy (M, N), and by u_aniso (M, N, 6) where atoms are anisotropic."""
        if self._gradient is None:
            return (*self._spheres.derivatives(), None)
        for kind in self.kinds:
            kind.pullback(self._gradient)
        return self._gradient


def _accumulate(parts: list[Any], number: int) -> None:
    """Add a pass after the first one to the sum."""
    if number:
        for whole, part in zip(*parts):
            vector_cuda.add_pass(whole, part)
