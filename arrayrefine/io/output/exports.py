"""Results as objects of gemmi, reciprocalspaceship and pandas; the latter two are imported when they are asked for."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import gemmi
import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import total_u
from arrayrefine.errors import InputError

Structure: TypeAlias = gemmi.Structure
Mtz: TypeAlias = gemmi.Mtz
DataFrame: TypeAlias = Any
DataSet: TypeAlias = Any

_INDICES = ["H", "K", "L"]
_U = ("u11", "u22", "u33", "u12", "u13", "u23")


def _needed(library: str, what: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise InputError(
            f"{what} needs {library}, which cannot be imported ({error}); install it: pip install {library}"
        ) from error


def dataset(mtz: gemmi.Mtz) -> DataSet:
    """A reciprocalspaceship.DataSet of an MTZ.

    Raises
    ------
    InputError
        reciprocalspaceship is not installed.
    """
    return _needed("reciprocalspaceship", "to_dataset").DataSet.from_gemmi(mtz)


def frame(rows: Sequence[Any]) -> DataFrame:
    """A pandas.DataFrame of mappings, one row each; raises InputError where pandas is not installed."""
    return _needed("pandas", "to_pandas").DataFrame(list(rows))


def reflections_frame(mtz: gemmi.Mtz) -> DataFrame:
    """Columns of an MTZ, with H, K and L as the index, and cell and space group in `attrs`."""
    pandas = _needed("pandas", "to_pandas")
    found = pandas.DataFrame(np.array(mtz.array), columns=mtz.column_labels())
    found = found.astype(dict.fromkeys(_INDICES, np.int32)).set_index(_INDICES)
    found.attrs["cell"] = tuple(mtz.cell.parameters)
    found.attrs["space_group"] = mtz.spacegroup.xhm()
    return found


def history_frame(steps: Sequence[Any]) -> DataFrame:
    """One row for each `Step`; what its weights were is in columns of their own."""
    rows = []
    for step in steps:
        row = {f.name: getattr(step, f.name) for f in dataclasses.fields(step) if f.name not in ("weights", "timings")}
        row |= {f"weight_{name}": step.weights.get(name) for name in ("geometry", "adp")}
        row |= {f"weight_{name}": value for name, value in step.weights.get("extra", {}).items()}
        row |= {f"value_{name}": value for name, value in step.weights.get("extra_values", {}).items()}
        rows.append(row)
    return frame(rows)


def atoms_frame(atoms: Atoms) -> DataFrame:
    """One row for each atom: who it is, coordinates (Å), B (Å²), occupancy, and U (Å²) where any is anisotropic."""
    who = atoms.identity
    columns: dict[str, Any] = {
        "chain": who.chain, "residue_name": who.residue_name, "sequence_number": who.sequence_number,
        "insertion_code": who.insertion_code, "atom_name": who.atom_name, "altloc": who.altloc,
        "element": atoms.element, "x": atoms.xyz[:, 0], "y": atoms.xyz[:, 1], "z": atoms.xyz[:, 2],
        "b_iso": atoms.b_iso, "occupancy": atoms.occupancy,
    }  # fmt: skip
    if atoms.u_aniso.any():
        columns |= dict(zip(_U, total_u(atoms).T))
    return _needed("pandas", "to_pandas").DataFrame(columns)
