"""Reading measured reflections: columns, test set, asymmetric unit, and amplitudes from intensities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arrayrefine.arguments import check_types
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io.files import IN_MEMORY
from arrayrefine.io.in_memory import DataSource, label_of, require_sound
from arrayrefine.io.reflections.account import Account
from arrayrefine.io.reflections.beyond_data import rows_beyond
from arrayrefine.io.reflections.carried_flags import carried_flags
from arrayrefine.io.reflections.columns import Columns, choose_columns
from arrayrefine.io.reflections.extended_flags import extended, without_extension
from arrayrefine.io.reflections.flag_file import flags_of_another_file
from arrayrefine.io.reflections.free_flags import FreeColumn, find_free_column, possible_flags, resolve
from arrayrefine.io.reflections.free_sets import check_test_set, flagged_test_set, random_test_set
from arrayrefine.io.reflections.french_wilson import REJECT_BELOW, french_wilson
from arrayrefine.io.reflections.friedel_pairs import anomalous_differences
from arrayrefine.io.reflections.merging import Observations, merge, own_rows_of_mates, to_asu
from arrayrefine.io.reflections.phase_columns import named_phases
from arrayrefine.io.reflections.resolution_limits import Limits
from arrayrefine.io.reflections.same_crystal import (
    absent_note,
    common_crystal,
    fits,
    require_same,
    screws_note,
    without_screws,
)
from arrayrefine.io.reflections.status import observed_rows
from arrayrefine.io.reflections.tables import Table, read_table
from arrayrefine.measurements.intensity_statistics import anisotropy
from arrayrefine.reflections import FreeFlags, Reflections, positions
from arrayrefine.wording import Caution, are, counted, were

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

def read_reflections(
    source: DataSource,
    crystal: Crystal,
    *,
    columns: str | None = None,
    free: str | None = None,
    d_min: float | None = None,
    d_max: float | None = None,
    seed: int = 0,
    free_fraction: float = 0.05,
) -> tuple[Reflections, tuple[str, ...]]:
    """Read reflections from MTZ or sf-mmCIF, or from an object in memory.

    Parameters
    ----------
    source : path, gemmi.Mtz, gemmi.cif.Document, pandas.DataFrame or reciprocalspaceship.DataSet
        A DataFrame has H, K, L as index or columns; `attrs["cell"]` and `attrs["space_group"]` where they are not the
        model's. `Reflections` that were read before are only cut at `d_min` and `d_max`: what else was chosen then
        stays.
    crystal : Crystal
        The model's. The cell of the data wins where the file gives one (`source["cell"]` says which); the space group
        is the model's, also where the data name their point group only.
    columns : str, optional
        ``"F,SIGF"``, or ``"F,5%"`` where there are no sigmas; found by type and name otherwise.
    free : str, optional
        ``"NAME"`` or ``"NAME=VALUE"`` of the test set, or ``"random"`` to choose a new one; found otherwise. Flags of
        another file are ``"FILE"``, ``"FILE:NAME"`` or ``"FILE:NAME=VALUE"``. With ``"+random"`` behind it, reflections
        without a flag get the same share of test reflections.
    d_min, d_max : float, optional
        Limits of high and low resolution, Å.
    seed, free_fraction : int, float
        Of a test set chosen at random; a share of 0 chooses none.

    Returns
    -------
    Reflections, and notes

    Raises
    ------
    InputError
        If the file cannot be used; the message says what was found and expected, and the remedy.
    """
    check_types("read_reflections", source=(source, object), crystal=(crystal, Crystal))
    account, limits = Account(), Limits(d_min, d_max)
    if isinstance(source, Reflections):
        require_sound(source)
        account.notes += _without_effect(columns=columns, free=free)
        return _as_read(source, crystal, limits, account), account.all_notes()
    table = read_table(source, account.notes, partial(fits, crystal))
    chosen, notes = choose_columns(table, columns)
    table = table.with_cell_of(chosen.labels[0])
    common, cell_source = common_crystal(table, crystal, account.notes)
    free, extend = without_extension(free)
    elsewhere = flags_of_another_file(table, free, common)
    table, column = elsewhere.table, elsewhere.column
    account.notes += (*notes, *elsewhere.notes)
    observed = _usable_observations(table, chosen, common, account)
    _require_different(table, chosen, observed, account.dropped)
    if column is None:
        column, notes = find_free_column(table, free, observed)
        account.notes += notes
    observed, flag_source = _resolved(table, column, observed)
    observed = _merged(table, observed, chosen, account, common)
    observed = _cut(table, common, observed, limits, account)
    s_squared = common.inverse_d_squared(observed.hkl)
    if column is None:
        overlooked = possible_flags(table) if free is None else []
        test_set, flag_source = random_test_set(table, common, observed.hkl, free_fraction, seed, account, overlooked)
    else:
        if extend:
            flag, note = extended(column.label, observed.flag, common, observed.hkl, seed)
            observed = dataclasses.replace(observed, flag=flag)
            account.notes.append(note)
        test_set = flagged_test_set(table, column, flag_source, observed.flag, s_squared, account)
    origin: dict[str, object] = {"file": label_of(source), "sha256": table.file.sha256, "cell": cell_source}
    origin |= {"columns": chosen.labels, "kind": chosen.kind, "merged": account.merged}
    origin |= {**flag_source, **elsewhere.source}
    if chosen.labels[0] in table.wavelengths:
        origin["wavelength"] = table.wavelengths[chosen.labels[0]]
    if phases := named_phases(table):
        origin["phase_columns"] = phases
    reflections = Reflections(common, observed.hkl, observed.value, observed.sigma, test_set, origin)
    if chosen.kind == "intensity":
        reflections = _to_amplitudes(reflections, account)
    origin["dropped"] = account.dropped
    origin["completeness"] = reflections.completeness
    if column is not None or free_fraction > 0.0:
        check_test_set(table, column, reflections, account)
    if column is not None:
        reflections = dataclasses.replace(reflections, flags=carried_flags(table, column, reflections))
    reflections = dataclasses.replace(reflections, anomalous=anomalous_differences(table, chosen, reflections))
    return reflections, account.all_notes()


def crystal_of(source: DataSource) -> Crystal | None:
    """Cell and space group that data name, as for `read_reflections`; None where one of them is missing."""
    if isinstance(source, Reflections):
        return source.crystal
    table = read_table(source, [])
    if table.cell is None or table.space_group is None:
        return None
    return Crystal.from_gemmi(table.cell, table.space_group)


def _without_effect(**chosen: str | None) -> list[str]:
    """What to say of columns that were chosen for reflections that were read before."""
    given = [f"--{name} {value}" for name, value in chosen.items() if value is not None]
    if not given:
        return []
    return [
        f"{' and '.join(given)}: without effect, as the reflections were read before; for another test set put "
        "`free` into them with dataclasses.replace, or read the file anew"
    ]


def _as_read(reflections: Reflections, model: Crystal, limits: Limits, account: Account) -> Reflections:
    """Reflections that were read before, within limits of resolution."""
    own = reflections.crystal
    origin = {"file": label_of(reflections), "sha256": IN_MEMORY} | reflections.source
    require_same(Path(str(origin["file"])), model, own.gemmi_cell, own.gemmi_space_group)
    if without_screws(own.gemmi_space_group, model.gemmi_space_group):
        crystal = Crystal(own.cell, model.space_group)
        absent = crystal.absent(reflections.hkl)
        account.notes.append(screws_note(str(origin["file"]), own.gemmi_space_group, model.gemmi_space_group))
        account.drop("systematically absent", int(absent.sum()))
        reflections = dataclasses.replace(reflections, crystal=crystal).select(~absent)
    if reflections.flags is not None and (others := _other_than_flags(reflections, reflections.flags)):
        account.notes.append(
            f"{counted(others, 'reflection')} {are(others)} free as given and not by {origin.get('free_column')}, or "
            "the other way round: the test set is the one given, and FREE in refined.mtz is 0 for it"
        )
        origin |= {"free_column": None, "free_convention": "as given", "free_file_value": None}
        reflections = dataclasses.replace(reflections, flags=None)
    kept = np.ones(len(reflections), dtype=bool)
    if limits.given:
        kept = limits.inside(Path(str(origin["file"])), reflections.s_squared, account)
    return dataclasses.replace(reflections.select(kept), source=origin)


def _other_than_flags(reflections: Reflections, flags: FreeFlags) -> int:
    """How many reflections are in the test set and not by the flags that they came with, or the other way round."""
    row = positions(reflections.hkl, flags.hkl)
    value = np.where(row >= 0, flags.value[row], np.nan)
    return int(((value == flags.test) != reflections.free)[np.isfinite(value)].sum())


def _usable_observations(table: Table, chosen: Columns, crystal: Crystal, account: Account) -> Observations:
    """Measurements that can be used, in the asymmetric unit; their flags are missing."""
    rows = np.arange(len(table.hkl))
    flag = np.full(len(rows), np.nan)
    active, others = observed_rows(table)
    for reason, count in others.items():
        account.drop(reason, count)
    values = np.stack([table.values[label] for label in chosen.value])
    # a pair adds two measurements per row; a row is missing only where both are
    unmeasured = active & ~np.isfinite(values).any(axis=0)
    account.drop("without a measured value", int(unmeasured.sum()))
    parts = []
    for value, sigma in zip(values, chosen.sigmas(table)):
        here = active & np.isfinite(value)
        parts.append(
            Observations(table.hkl[here], value[here], sigma[here], flag[here], rows[here])
        )
    observed = Observations.joined(parts)
    good_sigma = np.isfinite(observed.sigma) & (observed.sigma > 0.0)
    negative = observed.value < 0.0 if chosen.kind == "amplitude" else np.zeros(len(observed.value), dtype=bool)
    absent = crystal.absent(observed.hkl) if len(observed.hkl) else negative
    without = table.space_group is not None and without_screws(table.space_group, crystal.gemmi_space_group)
    ratio = observed.value / np.where(good_sigma, observed.sigma, np.nan)
    # where the data know of the space group, a few of them are no news unless they are strong
    account.notes += (note for note in absent_note(crystal, ratio, absent) if without or isinstance(note, Caution))
    tests = (
        ("with the index 0 0 0", (observed.hkl == 0).all(axis=1)),
        ("with a sigma that is zero, negative or missing", ~good_sigma),
        ("with a negative amplitude", negative),
        ("systematically absent", absent),
    )
    keep = ~np.any([bad for _, bad in tests], axis=0)
    used = np.zeros(len(rows), dtype=bool)
    used[observed.row[keep]] = True
    told = used.copy()
    for reason, bad in tests:
        lost = np.unique(observed.row[bad])
        account.drop(reason, int((~told[lost]).sum()))
        told[lost] = True
        if n := int(used[lost].sum()):
            account.notes.append(f"{counted(n, 'reflection')} with one mate {reason}: the other mate alone is used")
    if not keep.any():
        listed = ", ".join(f"{n} {reason}" for reason, n in account.dropped.items())
        raise InputError(
            f"data '{table.file.path}', columns {','.join(chosen.labels)}: no usable reflection is left of "
            f"{len(rows)} ({listed}); expected positive sigmas and measured values: choose other columns "
            "with --columns F,SIGF"
        )
    account.notes += rows_beyond(table.file.path, crystal, table.hkl[unmeasured], observed.hkl[keep])
    return to_asu(observed.select(keep), crystal)


def _require_different(table: Table, chosen: Columns, observed: Observations, dropped: Mapping[str, int]) -> None:
    """Refuse values that are all the same: nothing was measured."""
    if len(observed.value) > 1 and np.ptp(observed.value) == 0.0:
        lost = f" but {', '.join(f'{n} {reason}' for reason, n in dropped.items())}" if dropped else ""
        raise InputError(
            f"data '{table.file.path}', columns {','.join(chosen.labels)}: all {len(observed.value)} values{lost} are "
            f"{observed.value[0] + 0.0:g}; expected measured ones, which differ: choose other columns with --columns "
            "F,SIGF"
        )


def _resolved(
    table: Table, column: FreeColumn | None, observed: Observations
) -> tuple[Observations, dict[str, object]]:
    """Measurements with flags that mean the same whatever the convention of the file, and that convention."""
    if column is None:
        return observed, {}
    flag, value, convention = resolve(table.file.path, column, column.flags[observed.row])
    source = {"free_column": column.label, "free_convention": convention, "free_file_value": value}
    return dataclasses.replace(observed, flag=flag), source


def _merged(
    table: Table, observed: Observations, chosen: Columns, account: Account, crystal: Crystal
) -> Observations:
    """Merge equivalent measurements, and say what was merged."""
    every = observed
    observed, merging = merge(every)
    mates = own_rows_of_mates(every, table.hkl[every.row], crystal) if merging.duplicates else 0
    account.merged = {"pairs": merging.pairs, "duplicates": merging.duplicates}
    if len(chosen.value) == 2:
        account.notes.append(
            f"{' and '.join(chosen.value)} are merged to their mean ({merging.pairs} reflections have both)"
        )
    if merging.duplicates:
        one = merging.duplicates == 1
        account.notes.append(
            f"{counted(merging.duplicates, 'duplicate measurement')} {were(merging.duplicates)} merged into "
            f"{'its reflection' if one else 'their reflections'}{_as_mates(merging.duplicates, mates)}"
        )
    if merging.conflicts:
        account.notes.append(
            f"{counted(merging.conflicts, 'reflection')} {are(merging.conflicts)} free in some copies only: "
            f"{'it counts' if merging.conflicts == 1 else 'they count'} as free"
        )
    return observed


def _as_mates(duplicates: int, mates: int) -> str:
    """How many of the duplicates are no second measurements, at the end of a sentence."""
    if not mates:
        return ""
    if duplicates == 1:
        return ", a Friedel mate in a row of its own"
    return f", {'all' if mates == duplicates else mates} of them Friedel mates in rows of their own"


def _cut(
    table: Table, crystal: Crystal, observed: Observations, limits: Limits, account: Account
) -> Observations:
    """Those within limits of resolution."""
    if not limits.given:
        return observed
    kept = observed.select(limits.inside(table.file.path, crystal.inverse_d_squared(observed.hkl), account))
    if (observed.flag == 0.0).any() and not (kept.flag == 0.0).any():
        raise InputError(
            f"{limits.given} leaves {counted(len(kept.value), 'reflection')} of '{table.file.path}', none of them "
            "of the test set; expected a limit that leaves some: give a wider one, or leave it out"
        )
    return kept


def _to_amplitudes(reflections: Reflections, account: Account) -> Reflections:
    """Convert intensities by French & Wilson."""
    i_obs, sigma_i = reflections.f_obs, reflections.sigma
    measured = dataclasses.replace(reflections, i_obs=i_obs, sigma_i=sigma_i)
    b_aniso = anisotropy(measured)
    by_direction = reflections.crystal.anisotropic_factor(reflections.hkl, b_aniso) ** 2
    f, sigma_f, keep = french_wilson(
        i_obs, sigma_i, reflections.s_squared, reflections.epsilon, reflections.centric, by_direction
    )
    rejected = int((~keep).sum())
    account.drop(f"strongly negative (I/sigma < {REJECT_BELOW:g})", rejected)
    negative = int((keep & (i_obs < 0.0)).sum())
    account.notes.append(
        f"intensities are converted to amplitudes by French & Wilson: {int(keep.sum())} reflections, of "
        f"which {negative} negative; {rejected} strong negatives rejected"
    )
    if not keep.any():
        raise InputError(
            f"all {len(keep)} intensities of {reflections.source['file']} are below {REJECT_BELOW:g} sigma; "
            "expected measured intensities: choose other columns with --columns I,SIGI"
        )
    source = reflections.source
    principal = np.linalg.eigvalsh(b_aniso).round(2).tolist()
    source["french_wilson"] = {"negative": negative, "rejected": rejected, "b_aniso": principal}
    converted = Reflections(
        reflections.crystal,
        reflections.hkl,
        f,
        sigma_f,
        reflections.free,
        source,
        i_obs=i_obs,
        sigma_i=sigma_i,
    )
    return converted if keep.all() else converted.select(keep)
