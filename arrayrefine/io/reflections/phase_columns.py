"""Phases that are known beside the model, from the columns of a file, for the reflections of the asymmetric unit."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.arguments import file_and_names
from arrayrefine.errors import InputError
from arrayrefine.io.in_memory import DataSource, label_of
from arrayrefine.io.reflections.phs_files import LABELS, read_phs
from arrayrefine.io.reflections.same_crystal import fits
from arrayrefine.io.reflections.tables import Table, read_table
from arrayrefine.measurements.phases import KnownPhases
from arrayrefine.reflections import Reflections, positions
from arrayrefine.wording import counted, listed

Float = NDArray[np.float64]

_NAMES = "HLA,HLB,HLC,HLD, or PHIB,FOM"
_CIF = ("pdbx_HL_A_iso", "pdbx_HL_B_iso", "pdbx_HL_C_iso", "pdbx_HL_D_iso")
_SUREST = 0.99
"""Figure of merit beyond which none is believed."""
_OFF = 0.01
"""By which figures of merit may be out of their range, as programs round."""


def with_phases(
    reflections: Reflections, asked: str | None, source: DataSource
) -> tuple[Reflections, tuple[str, ...]]:
    """The reflections with what is known of their phases.

    Parameters
    ----------
    reflections : Reflections
    asked : str or None
        ``"A,B,C,D"``, names of columns with Hendrickson-Lattman coefficients, or ``"PHI,FOM"``, of a phase in degrees
        and its figure of merit; of the data, or ``"FILE:..."`` of another file; or ``"FILE.phs"``.
    source
        The data.

    Raises
    ------
    InputError
        There are no such columns, they hold nothing for these reflections, or no figures of merit.
    """
    if asked is None:
        return reflections, _not_asked_for(reflections, source)
    path, labels = file_and_names(asked)
    if path is None and isinstance(source, Reflections):
        raise InputError(
            f"--phases {asked}: the data are reflections in memory, which have no columns: put the phases into them "
            "(dataclasses.replace(reflections, phases=KnownPhases(...))), or name a file, FILE:" + ",".join(labels)
        )
    notes: list[str] = []
    fitting = partial(fits, reflections.crystal)
    if path is None and len(labels) == 1 and Path(asked).is_file():
        table = read_table(Path(asked), notes, fitting)
        names = named_phases(table) or [_NAMES]
        raise InputError(
            f"--phases {asked}: which columns? Expected their names behind the file, such as "
            f"{asked}:{','.join(names)}; it has {table.listing()}"
        )
    if path is not None and path.suffix.lower() == ".phs":
        table, labels = read_phs(path), LABELS
    else:
        table = read_table(source if path is None else path, notes, fitting)
    absent = [label for label in labels if label not in table.types]
    if len(labels) not in (2, 4) or absent:
        found = f"no column {listed(absent)}" if absent else counted(len(labels), "name")
        raise InputError(
            f"--phases {asked}: {found} in '{table.file.path}', whose columns are {table.listing()}; expected names of "
            f"columns such as {_NAMES}"
        )
    values = np.stack([table.values[label] for label in labels], axis=1)
    rows = np.flatnonzero(np.isfinite(values).all(axis=1) & table.hkl.any(axis=1))
    if len(labels) == 2 and len(rows):
        least, most = float(values[rows, 1].min()), float(values[rows, 1].max())
        if least < -_OFF or most > 1.0 + _OFF:
            raise InputError(
                f"--phases {asked}: column {labels[1]} of '{table.file.path}' has values from {least:g} to {most:g}; "
                "expected figures of merit, 0 to 1, in the second column and phases, in degrees, in the first"
            )
    hkl, coefficients = _in_asu(table, rows, values[rows], reflections)
    row = positions(reflections.hkl, hkl)
    own = np.where(row[:, None] >= 0, coefficients[row], 0.0) if len(hkl) else np.zeros((len(reflections), 4))
    own[reflections.centric, 2:] = 0.0
    phases = KnownPhases(own, labels)
    count = int(phases.known.sum())
    if not count:
        raise InputError(
            f"--phases {asked}: '{table.file.path}' has no phases for any of the {len(reflections)} reflections that "
            "are refined against; expected those of the same crystal"
        )
    fom = float(np.abs(phases.expected(reflections.centric))[phases.known].mean())
    where = "" if path is None else f" of '{path}'"
    known: dict[str, object] = {"phases_file": str(path), "phases_file_sha256": table.file.sha256} if path else {}
    said = f"phases of {listed(list(labels))}{where} enter the likelihood of {counted(count, 'reflection')}"
    rest = len(reflections) - count
    more = f"; {counted(rest, 'reflection')} without" if rest else ""
    reflections = dataclasses.replace(reflections, phases=phases, source=reflections.source | known)
    return reflections, (*notes, f"{said}, mean figure of merit {fom:.2f}{more}")


def named_phases(table: Table) -> list[str]:
    """Labels of the first Hendrickson-Lattman coefficients of a file, or none."""
    labels = [label for label, kind in table.types.items() if kind == "A" or label in _CIF][:4]
    return labels if len(labels) == 4 and np.isfinite(table.values[labels[0]]).any() else []


def _not_asked_for(reflections: Reflections, source: DataSource) -> tuple[str, ...]:
    """What to say of coefficients that the data have and nobody asked for."""
    labels = reflections.source.get("phase_columns")
    if isinstance(source, Reflections) or not isinstance(labels, list):
        return ()
    return ((
        f"the phases of {listed(labels)} in {label_of(source)} are not used; where they are experimental, a refinement "
        f"with --phases {','.join(labels)} takes them into the likelihood"
    ),)


def _in_asu(
    table: Table, rows: NDArray[np.int64], values: Float, reflections: Reflections
) -> tuple[NDArray[np.int32], Float]:
    """Unique indices (M, 3) in the asymmetric unit, and coefficients (M, 4) there.

    Operators with a translation shift phases, and the mate of a reflection has that with the other sign.
    """
    crystal = reflections.crystal
    if values.shape[1] == 2:
        values = _of_phase(values, crystal.centric(table.hkl[rows]))
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = crystal.gemmi_space_group
    mtz.set_cell_for_all(crystal.gemmi_cell)
    for name in "ABCD":
        mtz.add_column(f"HL{name}", "A")
    mtz.set_data(np.column_stack([table.hkl[rows], values]).astype(np.float32))
    mtz.ensure_asu()
    moved = np.array(mtz.array, dtype=float)
    hkl, first = np.unique(moved[:, :3].astype(np.int32), axis=0, return_index=True)
    return hkl, moved[first, 3:]


def _of_phase(values: Float, centric: NDArray[np.bool_]) -> Float:
    """Coefficients (M, 4) of phases in degrees and figures of merit (M, 2)."""
    angle, fom = np.radians(values[:, 0]), np.clip(values[:, 1], 0.0, _SUREST)
    # I1/I0 (X) = m to 0.4 %: D. J. Best & N. I. Fisher (1981), Commun. Stat. B10, 493-502
    size = np.where(
        fom < 0.53, 2.0 * fom + fom**3 + 5.0 / 6.0 * fom**5,
        np.where(fom < 0.85, -0.4 + 1.39 * fom + 0.43 / (1.0 - fom), 1.0 / (fom**3 - 4.0 * fom**2 + 3.0 * fom)),
    )  # fmt: skip
    size = np.where(centric, np.arctanh(fom), size)
    none = np.zeros(len(fom))
    return np.column_stack([size * np.cos(angle), size * np.sin(angle), none, none])
