"""The blurred atoms on grids, one for each function of the form factors, and the adjoint; what lasts is kept."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.crystal import Crystal
from arrayrefine.displacements.displacement import EIGHT_PI_SQUARED, has_u
from arrayrefine.kernels import density, density_aniso, symmetric
from arrayrefine.kernels.bricks import Bricks, assign, renew
from arrayrefine.kernels.exponentials import Exponentials
from arrayrefine.kernels.processes import shared
from arrayrefine.scattering.gaussians import Anisotropic, Isotropic
from arrayrefine.scattering.sampling import Sampling

Float = NDArray[np.float64]

_SLACK = 0.45
"""Å; bricks are assigned to spheres this much larger, and last until an atom has moved as far."""


class _Blurred(NamedTuple):
    """Gaussians, and what they were made for."""

    b_iso: Float
    u_aniso: Float
    round: Isotropic
    other: Anisotropic | None

    def holds(self, atoms: Atoms) -> bool:
        """Whether they are those of these atoms, wherever these are now."""
        return np.array_equal(self.b_iso, atoms.b_iso) and np.array_equal(self.u_aniso, atoms.u_aniso)


def _nothing_kept() -> tuple[Exponentials, Exponentials]:
    """Room for the Gaussians of isotropic and of anisotropic atoms."""
    return Exponentials("round"), Exponentials("tensors")


class GridDensity:
    """Density of the atoms on grids of one sampling, and the gradient by the atoms from that by the grids.

    Parameters
    ----------
    crystal : Crystal
    sampling : Sampling
    shift : (N, K) or (N,) float64
        What the functions of the form factors add to the B of each atom, Å².
    channel : (N, K) float64
        How much of each function an atom has.
    dtype : float32 or float64
    threads : int
    """

    def __init__(
        self, crystal: Crystal, sampling: Sampling, shift: Float, channel: Float, dtype: Any, threads: int
    ) -> None:
        self.crystal, self.sampling, self.dtype, self.threads = crystal, sampling, dtype, threads
        self.shift, self.channel = shift, channel
        self._blurred: _Blurred | None = None
        self._bricks: dict[bool, Bricks] = {}
        self._kept = _nothing_kept()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process needs."""
        return self.__dict__ | {"_blurred": None}

    def like(self, rows: NDArray[np.int64]) -> GridDensity:
        """The same for other atoms (K,), each of which scatters as the one in `rows` (K,)."""
        return GridDensity(self.crystal, self.sampling, self.shift[rows], self.channel[rows], self.dtype, self.threads)

    def forgetful(self) -> GridDensity:
        """A copy whose results depend on the atoms alone, and on nothing that was computed before, to the last bit."""
        return self._copied({})

    def apart(self) -> GridDensity:
        """A copy with the same results, which changes nothing that is kept here."""
        return self._copied(dict(self._bricks))

    def _copied(self, bricks: dict[bool, Bricks]) -> GridDensity:
        other = copy.copy(self)
        other._blurred = self._blurred
        other._bricks, other._kept = bricks, _nothing_kept()
        return other

    def gaussians(self, atoms: Atoms) -> tuple[Isotropic, Anisotropic | None]:
        """The blurred atoms, the anisotropic ones apart from the others; kept from F_calc to its adjoint."""
        known = self._blurred
        if known is None or not known.holds(atoms):
            known = self._blurred = _Blurred(atoms.b_iso.copy(), atoms.u_aniso.copy(), *self._blur(atoms))
        return known.round, known.other

    def _blur(self, atoms: Atoms) -> tuple[Isotropic, Anisotropic | None]:
        some = has_u(atoms)
        more, cutoff = self.shift + self.sampling.blur, self.sampling.cutoff
        if not len(some):
            return Isotropic.of(atoms, slice(None), more, cutoff), None
        others = np.delete(np.arange(len(atoms)), some)
        return Isotropic.of(atoms, others, more, cutoff), Anisotropic.of(atoms, some, more, cutoff)

    def assigned(self, fractional: Float, of: Isotropic | Anisotropic) -> Bricks:
        """Bricks of these atoms, those of an earlier call where they still hold."""
        joint = isinstance(of, Anisotropic)
        known, shape, orth = self._bricks.get(joint), self.sampling.shape, self.crystal.orth
        if known is None or len(known.fractional) != len(fractional):
            found = assign(fractional, of.radius, shape, orth, self.dtype, joint=joint)
        else:
            found = renew(known, fractional, of.radius, shape, orth, slack=_SLACK, joint=joint)
        self._bricks[joint] = found
        return found

    def splat(self, atoms: Atoms) -> NDArray[Any]:
        """Grids (K, nx, ny, nz) of the blurred atoms, one for each function of the basis."""
        fractional, occupancy = self.crystal.fractional(atoms.xyz), atoms.occupancy
        shape, orth, dtype = self.sampling.shape, self.crystal.orth, self.dtype
        round_, other = self.gaussians(atoms)
        at = round_.index
        grids = density.splat(
            fractional[at], round_.unit * occupancy[at], round_.exponent, round_.radius, self.channel[at], shape, orth,
            dtype, bricks=self.assigned(fractional[at], round_), threads=self.threads,
            out=shared("grids", dtype, 1, self.channel.shape[1], *shape), keep=self._kept[0],
        )  # fmt: skip
        if other is not None:
            at = other.index
            density_aniso.splat_aniso(
                fractional[at], other.unit * occupancy[at], other.precision, other.radius, self.channel[at], shape,
                orth, dtype, bricks=self.assigned(fractional[at], other), threads=self.threads, out=grids,
                keep=self._kept[1],
            )  # fmt: skip
        return np.asarray(grids[0])

    def gather(self, maps: NDArray[Any], atoms: Atoms) -> Gradient:
        """Gradient by the atoms from that by the grids (K, nx, ny, nz): the adjoint of `splat`."""
        fractional, occupancy, orth = self.crystal.fractional(atoms.xyz), atoms.occupancy, self.crystal.orth
        round_, other = self.gaussians(atoms)
        at = round_.index
        by_amplitude, by_xyz, by_exponent = density.gather(
            maps[None], fractional[at], round_.unit * occupancy[at], round_.exponent, round_.radius, self.channel[at],
            orth, bricks=self.assigned(fractional[at], round_), threads=self.threads, kept=self._kept[0],
        )  # fmt: skip
        by_b = round_.by_b(by_amplitude, by_exponent, occupancy[at])
        if other is None:
            return Gradient(by_xyz, by_b, by_amplitude * round_.unit)
        gradient = Gradient(*(np.zeros_like(a) for a in (atoms.xyz, atoms.b_iso, occupancy, atoms.u_aniso)))
        gradient.xyz[at], gradient.b_iso[at], gradient.occupancy[at] = by_xyz, by_b, by_amplitude * round_.unit
        at = other.index
        by_amplitude, by_xyz, by_precision = density_aniso.gather_aniso(
            maps[None], fractional[at], other.unit * occupancy[at], other.precision, other.radius, self.channel[at],
            orth, bricks=self.assigned(fractional[at], other), threads=self.threads, kept=self._kept[1],
        )  # fmt: skip
        by_u = other.by_u(by_amplitude, by_precision, occupancy[at])
        gradient.xyz[at], gradient.occupancy[at] = by_xyz, by_amplitude * other.unit
        assert gradient.u_aniso is not None
        gradient.u_aniso[at], gradient.b_iso[at] = by_u, symmetric.trace(by_u) / EIGHT_PI_SQUARED
        return gradient
