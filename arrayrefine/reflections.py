"""Measured reflections as arrays."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.measurements.anomalous import AnomalousDifferences
from arrayrefine.measurements.phases import KnownPhases
from arrayrefine.scattering.form_factors import Radiation

RANDOM = "random"
"""How `source` names the convention of flags that were chosen at random because the file had none."""

Float = NDArray[np.float64]


def positions(hkl: NDArray[np.integer], among: NDArray[np.integer]) -> NDArray[np.int64]:
    """For each of the indices `hkl` (M, 3) its row in `among` (R, 3), all different, or -1 (M,)."""
    if not len(among):
        return np.full(len(hkl), -1, dtype=np.int64)
    sides = 2 * np.maximum(np.abs(hkl).max(axis=0, initial=0), np.abs(among).max(axis=0)).astype(np.int64) + 1
    weight = np.array([sides[1] * sides[2], sides[2], 1])
    wanted, key = hkl.astype(np.int64) @ weight, among.astype(np.int64) @ weight
    order = np.argsort(key)
    place = order[np.minimum(np.searchsorted(key, wanted, sorter=order), len(key) - 1)]
    return np.where(key[place] == wanted, place, -1)


@dataclass(frozen=True)
class FreeFlags:
    """Free flags as the input has them, of all its reflections, measured or not.

    Attributes
    ----------
    hkl : (M, 3) int32
        Unique, in the asymmetric unit of reciprocal space.
    value : (M,) float64
        nan where there is none.
    test, work : float
        Values of the test set, and of most of the others.
    note : str
        What is not as everybody expects it.
    """

    hkl: NDArray[np.int32]
    value: Float
    test: float
    work: float
    note: str = ""


@dataclass(frozen=True)
class Reflections:
    """R unique reflections with a measured amplitude, in the asymmetric unit of reciprocal space.

    Attributes
    ----------
    crystal : Crystal
    hkl : (R, 3) int32
    f_obs, sigma : (R,) float64
        Amplitude and its standard uncertainty (> 0), on the scale of the file.
    free : (R,) bool
        True for the test set.
    source : dict
        Where the values came from (column names, conversion); goes into the report.
    i_obs, sigma_i : (R,) float64 or None
        Intensities, where the amplitudes were derived from them.
    flags : FreeFlags or None
        As they are written to `refined.mtz`. None: 0 for the test set, 1 for the work set.
    set_aside : Reflections or None
        Others that were measured but have no part in anything; they are written to `refined.mtz`.
    radiation : "xray", "electron" or "neutron"
        What was scattered.
    wavelength : float or None
        Å; form factors of X-rays then have the dispersion at it.
    phases : KnownPhases or None
        What is known of their phases beside the model.
    anomalous : AnomalousDifferences or None
        Of the Friedel mates whose means these are; also of reflections that were left out since.
    """

    crystal: Crystal
    hkl: NDArray[np.int32]
    f_obs: Float
    sigma: Float
    free: NDArray[np.bool_]
    source: dict[str, object] = field(default_factory=dict)
    i_obs: Float | None = None
    sigma_i: Float | None = None
    flags: FreeFlags | None = None
    set_aside: Reflections | None = None
    radiation: Radiation = "xray"
    wavelength: float | None = None
    phases: KnownPhases | None = None
    anomalous: AnomalousDifferences | None = None

    def __len__(self) -> int:
        return len(self.f_obs)

    def __repr__(self) -> str:
        span = f" from {self.d_max:.1f} to {self.d_min:.2f} Å" if len(self) else ""
        return f"Reflections({len(self)}{span}, {int(self.free.sum())} of them free)"

    @property
    def measured(self) -> Reflections:
        """These, followed by those that were set aside."""
        more = self.set_aside
        if more is None:
            return self
        names = ("hkl", "f_obs", "sigma", "free", "i_obs", "sigma_i")
        both: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(more, name)])
            for name in names if getattr(self, name) is not None
        }
        if self.phases is not None:
            own = self.phases.coefficients
            both["phases"] = dataclasses.replace(self.phases, coefficients=np.pad(own, ((0, len(more)), (0, 0))))
        return dataclasses.replace(self, set_aside=None, **both)

    @property
    def has_new_test_set(self) -> bool:
        """Whether the test set was chosen at random when the data were read, as the file had none."""
        return str(self.source.get("free_convention", "")).startswith(RANDOM)

    @cached_property
    def s_squared(self) -> Float:
        """1/d² (R,), Å⁻²."""
        return self.crystal.inverse_d_squared(self.hkl)

    @cached_property
    def epsilon(self) -> Float:
        """Epsilon factors (R,), centring not counted."""
        return self.crystal.epsilon(self.hkl)

    @cached_property
    def centric(self) -> NDArray[np.bool_]:
        """Centric flags (R,)."""
        return self.crystal.centric(self.hkl)

    @cached_property
    def by_resolution(self) -> NDArray[np.int64]:
        """The reflections (R,) by index, lowest resolution first."""
        return np.argsort(self.s_squared, kind="stable")

    @cached_property
    def possible(self) -> NDArray[np.int32]:
        """All unique reflections (M, 3) between the resolution limits of these."""
        return self.crystal.unique_reflections(self.d_min, self.d_max)

    @property
    def completeness(self) -> float:
        """Share of the unique reflections between the resolution limits of these that are there."""
        return min(1.0, len(self) / max(1, len(self.possible)))

    @property
    def work(self) -> NDArray[np.bool_]:
        """True for the work set (R,)."""
        return ~self.free

    @property
    def d_min(self) -> float:
        """High-resolution limit, Å."""
        return float(1.0 / np.sqrt(self.s_squared.max()))

    @property
    def d_max(self) -> float:
        """Low-resolution limit, Å."""
        return float(1.0 / np.sqrt(self.s_squared.min()))

    def select(self, mask: NDArray[np.bool_]) -> Reflections:
        """The reflections where `mask` (R,) is True."""
        return dataclasses.replace(
            self,
            hkl=self.hkl[mask],
            f_obs=self.f_obs[mask],
            sigma=self.sigma[mask],
            free=self.free[mask],
            i_obs=None if self.i_obs is None else self.i_obs[mask],
            sigma_i=None if self.sigma_i is None else self.sigma_i[mask],
            phases=None if self.phases is None else self.phases.select(mask),
        )
