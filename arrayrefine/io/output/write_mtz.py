"""Reflections and map coefficients as an MTZ file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.reflections import Reflections, positions

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]


class Coefficients(Protocol):
    """What the MTZ file needs to know of the maps; all arrays have length M."""

    @property
    def hkl(self) -> NDArray[np.int32]: ...
    @property
    def f_obs(self) -> Float: ...
    @property
    def sigma(self) -> Float: ...
    @property
    def free(self) -> NDArray[np.bool_]: ...
    @property
    def fc(self) -> Complex: ...
    @property
    def fwt(self) -> Complex: ...
    @property
    def delfwt(self) -> Complex: ...
    @property
    def fwt_nofill(self) -> Complex: ...
    @property
    def fom(self) -> Float: ...
    @property
    def anomalous(self) -> Complex | None: ...


def test_value(reflections: Reflections) -> float:
    """Value of the test set in FREE."""
    return 0.0 if reflections.flags is None else reflections.flags.test


def history_line(version: str, test: float = 0.0) -> str:
    """What `refined.mtz` says about its columns."""
    return f"arrayrefine {version}: FREE {test:g} is the test set, FWT 2mFo-DFc, DELFWT mFo-DFc"


def mtz_bytes(reflections: Reflections, maps: Coefficients, history: str) -> bytes:
    """Return the content of `refined.mtz`; see `mtz_of`."""
    return bytes(mtz_of(reflections, maps, history).write_to_bytes())


def mtz_of(reflections: Reflections, maps: Coefficients, history: str) -> gemmi.Mtz:
    """Return what `refined.mtz` holds.

    Columns: H K L, FP SIGFP, I SIGI (where the amplitudes came from intensities), FREE, DANO SIGDANO (where the
    data have Friedel pairs), FC PHIC, FWT PHWT, FWT_nofill PHWT_nofill, DELFWT PHDELWT, FAN PHAN (of anomalous
    differences, where there are any), FOM. Amplitudes are on the scale of the input, phases in degrees, missing
    values nan. Coot opens FWT and DELFWT by their names. FREE holds the values of the input, where that has flags,
    in rows of their own for reflections that are in no map; else 0 for the test set and 1 for the work set.

    Parameters
    ----------
    reflections : Reflections
        Gives cell, space group and the intensities.
    maps : MapCoefficients
    history : str
        One line about the origin of the file, at most 80 characters.
    """
    mtz = _empty(reflections.crystal, history)
    unseen, flags = _flags(reflections, maps)
    columns: list[tuple[str, str, Float]] = [("FP", "F", maps.f_obs), ("SIGFP", "Q", maps.sigma)]
    every = reflections.measured
    if every.i_obs is not None and every.sigma_i is not None:
        row = positions(maps.hkl, every.hkl)
        columns += [("I", "J", _pick(every.i_obs, row)), ("SIGI", "Q", _pick(every.sigma_i, row))]
    columns.append(("FREE", "I", flags[: len(maps.hkl)]))
    if (pairs := reflections.anomalous) is not None:
        row = positions(maps.hkl, pairs.hkl)
        columns += [("DANO", "D", _pick(pairs.difference, row)), ("SIGDANO", "Q", _pick(pairs.sigma, row))]
    coefficients = [
        ("FC", "PHIC", maps.fc),
        ("FWT", "PHWT", maps.fwt),
        ("FWT_nofill", "PHWT_nofill", maps.fwt_nofill),
        ("DELFWT", "PHDELWT", maps.delfwt),
    ]
    coefficients += [("FAN", "PHAN", maps.anomalous)] if maps.anomalous is not None else []
    for f_name, phase_name, value in coefficients:
        columns += [(f_name, "F", np.abs(value)), (phase_name, "P", np.degrees(np.angle(value)))]
    columns.append(("FOM", "W", maps.fom))

    for label, kind, _ in columns:
        mtz.add_column(label, kind)
    table = np.column_stack([maps.hkl.astype(float), *(values for _, _, values in columns)])
    below = np.full((len(unseen), table.shape[1]), np.nan)
    below[:, :3] = unseen
    below[:, 3 + [label for label, _, _ in columns].index("FREE")] = flags[len(maps.hkl) :]
    mtz.set_data(np.concatenate([table, below]).astype(np.float32))
    mtz.ensure_asu()
    mtz.sort()
    return mtz


def columns_bytes(
    reflections: Reflections, columns: Sequence[tuple[str, str, NDArray[np.floating]]], history: str
) -> bytes:
    """Return the content of an MTZ with columns (label, type, values (R,)) of all reflections, nan where missing."""
    mtz = _empty(reflections.crystal, history)
    for label, kind, _ in columns:
        mtz.add_column(label, kind)
    values = [np.asarray(value, dtype=float) for _, _, value in columns]
    mtz.set_data(np.column_stack([reflections.hkl.astype(float), *values]).astype(np.float32))
    return bytes(mtz.write_to_bytes())


def _empty(crystal: Crystal, history: str) -> gemmi.Mtz:
    """An MTZ that has indices only."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = crystal.gemmi_space_group
    mtz.set_cell_for_all(crystal.gemmi_cell)
    mtz.title = "refined by arrayrefine"
    mtz.history = [history[:80]]
    mtz.add_dataset("arrayrefine")
    mtz.set_cell_for_all(crystal.gemmi_cell)
    return mtz


def _flags(reflections: Reflections, maps: Coefficients) -> tuple[NDArray[np.int32], Float]:
    """Indices (U, 3) of the input that no map has, and flags (M + U,) of those of the maps and of these.

    What the refinement took a measured reflection for wins over the flag that it came with: one that was free in some
    copies is free.
    """
    own = reflections.flags
    measured = np.isfinite(maps.f_obs)
    if own is None:
        return maps.hkl[:0], np.where(measured, np.where(maps.free, 0.0, 1.0), np.nan)
    value = _pick(own.value, positions(maps.hkl, own.hkl))
    value[measured & maps.free] = own.test
    value[measured & ~maps.free & ((value == own.test) | np.isnan(value))] = own.work
    others = positions(own.hkl, maps.hkl) < 0
    return own.hkl[others], np.concatenate([value, own.value[others]])


def _pick(values: Float, row: NDArray[np.int64]) -> Float:
    return np.where(row >= 0, values[np.maximum(row, 0)], np.nan)
