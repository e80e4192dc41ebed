"""Structure factors of the model, and their adjoint, by FFT or by direct summation."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.crystal import Crystal
from arrayrefine.device.density import Gridded
from arrayrefine.device.factors import DeviceFactors, HostSide, Summed, made
from arrayrefine.displacements.displacement import has_u, sharpest, widest
from arrayrefine.errors import InputError
from arrayrefine.kernels import fft, lookup, summation
from arrayrefine.kernels.processes import shared, told
from arrayrefine.scattering.form_factors import Basis, Radiation, form_factors, reduced_basis, scattering
from arrayrefine.scattering.grid_density import GridDensity
from arrayrefine.scattering.sampling import BRICK_TAIL, SPHERE_TAIL, Errors, choose_sampling, reach, still_fits

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

_BASIS, _GRID = 0.4, 0.6
"""Parts of the error allowed for the basis of form factors and for the grid; the squares add up to less than one,
because both are estimates."""
_SHARPER = 0.75
"""Where the narrowest Gaussian on the grid falls below this fraction of what it was, the grid is chosen anew."""


def _whole(hkl: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Indices (R, 3) of reflections, or an InputError."""
    given = np.asarray(hkl)
    if given.ndim != 2 or given.shape[1] != 3 or given.dtype.kind not in "iuf":
        raise InputError(f"hkl: found {given.dtype} of shape {given.shape}; expected whole numbers of shape (R, 3)")
    with np.errstate(invalid="ignore"):  # nan, and what is too large
        whole = given.astype(np.int32)
    other = np.flatnonzero((whole != given).any(axis=1))
    if len(other):
        raise InputError(f"hkl: found {given[other[0]].tolist()} in row {other[0]}; expected whole numbers")
    return whole


class StructureFactors:
    """F_calc of a fixed set of reflections as a function of the atoms.

    Parameters
    ----------
    crystal : Crystal
    hkl : (R, 3) int
    atoms : Atoms
        Their elements fix the grids, their B factors the sampling; other coordinates, B and occupancies can be used
        afterwards with the same object.
    method : "fft" or "direct"
    accuracy : float
        Bound on ‖ΔF‖/‖F‖ of the FFT.
    precision : "single" or "double"
    threads : int
        FFT workers.
    timer : dict, optional
        Seconds are added under "splat", "fft" and "lookup" (or "summation"), on a device under "device".
    device : "cpu" or "cuda"
        Where it is computed; atoms and results are on the host all the same.
    channels_at_once : callable, optional
        Tells how many grids a device holds at a time; by default all.
    radiation : "xray", "electron" or "neutron"
        What the atoms scatter.
    wavelength : float, optional
        Å; form factors then have the dispersion of X-rays at it, see `scattering.form_factors.dispersion`.
    """

    def __init__(
        self,
        crystal: Crystal,
        hkl: NDArray[np.integer[Any]],
        atoms: Atoms,
        *,
        method: Literal["fft", "direct"] = "fft",
        accuracy: float = 3e-4,
        precision: Literal["single", "double"] = "single",
        threads: int = 1,
        timer: dict[str, float] | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
        channels_at_once: Callable[[Gridded], int] | None = None,
        radiation: Radiation = "xray",
        wavelength: float | None = None,
    ) -> None:
        self.crystal = crystal
        self.device, self._channels_at_once = device, channels_at_once
        self.hkl = _whole(hkl)
        self.s_squared = crystal.inverse_d_squared(self.hkl)
        self.method, self.precision = method, precision
        self.threads = threads
        self.timer: dict[str, float] = {} if timer is None else timer
        self.radiation: Radiation = radiation
        self.wavelength = wavelength
        self._elements, self._element, coefficients = form_factors(atoms.element, radiation, wavelength)
        self._coefficients = coefficients
        self._form_factor = scattering(coefficients, self.s_squared)
        self._host_side: HostSide | None = None
        self._tensor: NDArray[np.bool_] = np.asarray(atoms.u_aniso.any(axis=1))
        if method == "direct":
            return
        self._whole_accuracy = accuracy
        self._accuracy = _GRID * accuracy
        self._dtype: Any = np.float32 if precision == "single" else np.float64
        self._errors = Errors(crystal, self.hkl, SPHERE_TAIL if device == "cuda" else BRICK_TAIL, radiation)
        self._expand(atoms)
        self._sample(atoms)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process needs; memory on a device is made anew there."""
        return self.__dict__ | {"_host_side": None, "_channels_at_once": None}

    def __copy__(self) -> StructureFactors:
        """A copy in this process, which shares everything."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def _expand(self, atoms: Atoms) -> None:
        """Choose the functions that make up the form factors of these atoms."""
        self.basis = self._basis_of(atoms)
        self._shift = self.basis.shift[self._element]
        self._channel = self.basis.mix[self._element]

    def _strength(self, atoms: Atoms) -> Float:
        """How strongly each atom scatters, f(0)² (N,)."""
        f = scattering(self._coefficients, [0.0])[self._element, 0]
        return np.asarray((atoms.occupancy * f) ** 2)

    def _basis_of(self, atoms: Atoms) -> Basis:
        """Functions that make up the form factors, as they count where these atoms scatter; the same where little
        differs."""
        s_squared, strength = float(self.s_squared.max()), self._strength(atoms)
        weight = strength if strength.any() else np.ones(len(strength))
        # The B of one atom that falls off with resolution as all atoms do together: the sharp ones count, if few.
        sharp = sharpest(atoms)
        least = float(sharp.min())
        together = np.average(np.exp(-0.5 * (sharp - least) * s_squared), weights=weight)
        b = least - 2.0 * float(np.log(together)) / s_squared
        return reduced_basis(
            self._coefficients, np.bincount(self._element, atoms.occupancy).astype(float), float(np.sqrt(s_squared)), b,
            _BASIS * self._whole_accuracy,
        )  # fmt: skip

    def _sample(self, atoms: Atoms, known: lookup.LookUp | None = None) -> None:
        """Choose the sampling for these atoms, and plan what depends on it."""
        crystal = self.crystal
        self.sampling = choose_sampling(
            self._errors, sharpest(atoms) + self._shift, self._strength(atoms), self._channel.shape[1], self._accuracy
        )
        stored = fft.kept(self.sampling.shape, reach(crystal, self._errors.d_min))
        self._host_side = None
        self._divide(atoms)
        if self.device == "cpu" and (known is None or known.stored != stored):
            known = lookup.plan(
                self.hkl, crystal.primitive_rotations, crystal.primitive_translations, len(crystal.centring), stored,
                np.complex64 if self._dtype == np.float32 else np.complex128,
            )  # fmt: skip
        self._table: Any = known
        element_volume = crystal.volume / np.prod(self.sampling.shape)
        unblur = np.exp(0.25 * self.sampling.blur * self.s_squared) * element_volume
        self._factor = self.basis.functions(self.s_squared) * unblur
        self.density = GridDensity(crystal, self.sampling, self._shift, self._channel, self._dtype, self.threads)
        self._sharpest = float((sharpest(atoms) + self._shift).min(initial=np.inf)) + self.sampling.blur

    def _divide(self, atoms: Atoms) -> None:
        """Note which atoms are anisotropic, and how far all of them reach: a device has memory for each kind."""
        self._tensor = np.asarray(atoms.u_aniso.any(axis=1))
        self._width = widest(atoms) + self._shift + self.sampling.blur

    def _divide_anew(self, atoms: Atoms, also: NDArray[np.bool_] | None = None) -> None:
        """Plan anew for a device where other atoms than before are anisotropic, or `also` (N,) says that they may be.

        An atom once taken for anisotropic, such as of a TLS group, stays so until the grid is chosen anew: steps with
        and without its group would plan by turns.
        """
        tensor: NDArray[np.bool_] = np.asarray(atoms.u_aniso.any(axis=1))
        tensor = tensor if also is None else tensor | also
        if not (tensor & ~self._tensor).any():
            return
        known = self._tensor
        if self.method == "fft" or not known.any():
            self._host_side = None
        if self.method == "fft":
            self._divide(atoms)
        self._tensor = tensor | known

    def _keep_up(self, atoms: Atoms) -> None:
        """Sample anew where an atom has become much sharper than all that the sampling was chosen for."""
        if float((sharpest(atoms) + self._shift).min(initial=np.inf)) + self.sampling.blur < _SHARPER * self._sharpest:
            self._sample(atoms, self._table)

    def adapted(self, atoms: Atoms) -> StructureFactors:
        """The same reflections, sampled for other values of the same atoms; itself where its sampling still fits."""
        if self.method == "direct":
            return self
        same = self._basis_of(atoms).is_like(self.basis)
        if same and still_fits(
            self.sampling, self._errors, sharpest(atoms) + self._shift, self._strength(atoms), self._accuracy
        ):
            return self
        self._host_side = None
        other = copy.copy(self)
        if not same:
            other._expand(atoms)
        other._sample(atoms, self._table)
        return other

    def serves(self, other: StructureFactors, atoms: Atoms) -> bool:
        """Whether the plan of `other`, which fits these atoms, could as well be this one."""
        if self.method != other.method or self.precision != other.precision:
            return False
        if self.method == "direct":
            return True
        return self.basis.is_like(other.basis) and still_fits(
            self.sampling, self._errors, sharpest(atoms) + self._shift, self._strength(atoms), self._accuracy
        )

    def like(self, rows: NDArray[np.int64]) -> StructureFactors:
        """The same reflections and sampling for other atoms (K,), each of which scatters as the one in `rows` (K,)."""
        other = copy.copy(self)
        other._element, other._tensor, other._host_side = self._element[rows], self._tensor[rows], None
        if self.method == "fft":
            other._shift, other._channel, other._width = self._shift[rows], self._channel[rows], self._width[rows]
            other.density = self.density.like(rows)
        return other

    def after(self, f_calc: Complex, before: Atoms, atoms: Atoms) -> Complex:
        """F_calc (R,) of atoms of which some coordinates differ from those `before`, whose F_calc is known."""
        moved = np.flatnonzero((atoms.xyz != before.xyz).any(axis=1))
        if self.device == "cuda" or 2 * len(moved) > len(atoms):
            return self(atoms)
        part = self.like(moved)
        return f_calc - part(before.taken(moved)) + part(atoms.taken(moved))

    def forgetful(self) -> StructureFactors:
        """A copy whose results depend on the atoms alone, and on nothing that was computed before, to the last bit."""
        if self.device == "cuda":
            told(lambda: bool(self.on_device))  # memory that copies share; a copy that samples anew makes its own
        other = copy.copy(self)
        if self.method == "fft":
            other.density = self.density.forgetful()
        return other

    def apart(self) -> StructureFactors:
        """A copy with the same results, which changes nothing that is kept here: for one process of a team alone."""
        other = copy.copy(self)
        if self.method == "fft" and self.device == "cpu":
            other.density = self.density.apart()
        return other

    @property
    def how(self) -> Gridded | Summed:
        """What a device needs to know to compute the same."""
        if self.method == "direct":
            tensor = bool(self._tensor.any())
            return Summed(self.crystal, self.hkl, self.s_squared, self._form_factor, self._element, tensor)
        return Gridded(
            self.crystal, self.hkl, self.sampling, self._shift, self._channel, self._factor, self._dtype,
            np.maximum(self._width, 0.1), self._tensor,
        )  # fmt: skip

    @property
    def on_device(self) -> HostSide:
        """Memory on the device, made at first use; in a team of processes only the first may ask for it."""
        if self._host_side is None:
            how, fit = self.how, self._channels_at_once
            channels = fit(how) if fit is not None and isinstance(how, Gridded) else None
            self._host_side = HostSide(made(how, channels=channels))
        return self._host_side

    def how_for(self, atoms: Atoms, tensors: NDArray[np.bool_] | None = None) -> Gridded | Summed:
        """What a device needs to compute the same for these atoms; `tensors` (N,) says which may be anisotropic."""
        self._divide_anew(atoms, tensors)
        return self.how

    def on_device_for(self, atoms: Atoms, tensors: NDArray[np.bool_] | None = None) -> DeviceFactors:
        """Memory on the device with places for these atoms, anisotropic as some are or, by `tensors` (N,), may be."""
        self._divide_anew(atoms, tensors)
        return self.on_device.factors

    def form_factors(self, s_squared: Float) -> tuple[Float, NDArray[np.int64]]:
        """Form factors (E, S) at 1/d² (S,), and the row of every atom (N,)."""
        return scattering(self._coefficients, s_squared), self._element

    def _time(self, part: str, since: float) -> float:
        now = time.perf_counter()
        self.timer[part] = self.timer.get(part, 0.0) + now - since
        return now

    def __call__(self, atoms: Atoms) -> Complex:
        """F_calc (R,) in the unit of the form factors; InputError where the atoms are not those that it was set up
        for."""
        if len(atoms) != len(self._element):
            raise InputError(
                f"structure factors of {len(self._element)} atoms were asked for {len(atoms)} atoms; expected the "
                "same: in a refinement all atoms of the model and the hydrogens that were added"
            )
        start = time.perf_counter()
        if self.method == "fft":
            self._keep_up(atoms)
        if self.device == "cuda":
            self._divide_anew(atoms)
            f_calc = told(lambda: self.on_device.f_calc(atoms))
            self._time("device", start)
            return f_calc
        if self.method == "direct":
            f = summation.structure_factors(
                self.hkl, self.s_squared, self.crystal.fractional(atoms.xyz), atoms.b_iso, atoms.occupancy,
                self._form_factor, self._element, self.crystal.rotations, self.crystal.translations,
                *self._tensors(atoms),
            )  # fmt: skip
            self._time("summation", start)
            return np.asarray(f)
        grids = self.density.splat(atoms)
        now = self._time("splat", start)
        stored = self._table.stored
        transforms = fft.rfftn(
            grids, stored, self.threads, shared("transforms", self._table.phase.dtype, len(grids), *stored)
        )
        now = self._time("fft", now)
        f = lookup.look_up(transforms, self._factor, self._table)
        self._time("lookup", now)
        return np.asarray(f)

    def _tensors(self, atoms: Atoms) -> tuple[Float, ...]:
        """What direct summation needs of anisotropic atoms, if there are any."""
        return (atoms.u_aniso, self.crystal.frac) if len(has_u(atoms)) else ()

    def pullback(self, d_f: Complex, atoms: Atoms) -> Gradient:
        """Gradient by the atoms of a scalar T from its gradient by F_calc.

        Parameters
        ----------
        d_f : (R,) complex128
            ∂T/∂Re F + i ∂T/∂Im F.
        atoms : Atoms
            Where the gradient is wanted.
        """
        start = time.perf_counter()
        if self.method == "fft":
            self._keep_up(atoms)
        if self.device == "cuda":
            self._divide_anew(atoms)
            gradient = told(lambda: self.on_device.gradient(d_f, atoms))
            self._time("device", start)
            return gradient
        if self.method == "direct":
            fractional, d_b, d_q, *d_u = summation.gradient(
                d_f, self.hkl, self.s_squared, self.crystal.fractional(atoms.xyz), atoms.b_iso, atoms.occupancy,
                self._form_factor, self._element, self.crystal.rotations, self.crystal.translations,
                *self._tensors(atoms),
            )  # fmt: skip
            self._time("summation", start)
            return Gradient(fractional @ self.crystal.frac, d_b, d_q, *d_u)
        maps = self._maps(d_f)
        now = time.perf_counter()
        gradient = self.density.gather(maps, atoms)
        self._time("splat", now)
        return gradient

    def _maps(self, d_f: Complex) -> NDArray[Any]:
        """Gradient by the grids (K, nx, ny, nz), in memory that the next evaluation uses again."""
        start = time.perf_counter()
        half = lookup.scatter(d_f, self._factor, self._table, self._table.stored)
        now = self._time("lookup", start)
        shape = self.sampling.shape
        maps = fft.irfftn(half, shape, self.threads, shared("grids", self._dtype, len(half), *shape))
        self._time("fft", now)
        return maps

    def field(self, d_f: Complex) -> Callable[[StructureFactors, Atoms], Gradient]:
        """What tells the same as `pullback` of one gradient again and again, for structure factors `like` these.

        Until the next evaluation of any of them: what is kept is in memory that this uses again.
        """
        if self.device == "cuda" or self.method == "direct":
            return lambda factors, atoms: factors.pullback(d_f, atoms)
        maps = self._maps(d_f)
        return lambda factors, atoms: factors.density.gather(maps, atoms)
