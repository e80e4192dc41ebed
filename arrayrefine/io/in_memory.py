"""Models and data that are objects already: of gemmi, pandas and reciprocalspaceship, and what was read before.

Neither pandas nor reciprocalspaceship is imported: their objects are known by what they offer.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import space_group_named
from arrayrefine.errors import InputError
from arrayrefine.io.files import IN_MEMORY, InputFile

if TYPE_CHECKING:
    from arrayrefine.io.models.reading import Model
    from arrayrefine.reflections import Reflections

Float = NDArray[np.float64]

PathLike: TypeAlias = Union[str, "os.PathLike[str]"]
ModelSource: TypeAlias = Union[PathLike, gemmi.Structure, gemmi.cif.Document, "Model"]
"""What a model can be read from: a path, an object of gemmi, or a `Model` that was read before."""
DataSource: TypeAlias = Union[PathLike, gemmi.Mtz, gemmi.cif.Document, "Reflections", Any]
"""What reflections can be read from: a path, an object of gemmi, a pandas.DataFrame or reciprocalspaceship.DataSet, or
`Reflections` that were read before."""

_INDICES = ("H", "K", "L")
# MTZ types of columns that have none, by the names that CCP4, phenix and mmCIF give them
_BY_NAME = (
    (re.compile(r"free|flag|test", re.IGNORECASE), "I"),
    (re.compile(r"^(sig|.*_sig)", re.IGNORECASE), "Q"),
    (re.compile(r"^(ph|phi|phase)", re.IGNORECASE), "P"),
    (re.compile(r"^fom$|^w$", re.IGNORECASE), "W"),
    (re.compile(r"^f", re.IGNORECASE), "F"),
    (re.compile(r"^(i|j)([^a-z]|obs|mean|$)|^intensity", re.IGNORECASE), "J"),
)
_OF_PAIRS = {"F": "G", "J": "K"}
"""Types of columns of Friedel mates, by those of their means."""


def is_path(source: object) -> TypeGuard[PathLike]:
    """Whether a source is the path of a file."""
    return isinstance(source, (str, os.PathLike))


def is_frame(source: object) -> bool:
    """Whether a source is a table of pandas, or made on top of one."""
    return hasattr(source, "iloc") and hasattr(source, "columns")


def require_sound(reflections: Reflections) -> None:
    """Refuse `Reflections` of which arrays were put in that do not go with each other, or mean something else.

    Raises
    ------
    InputError
        An array has another shape or type, or not every amplitude is a number with a sigma above 0.
    """
    n = len(reflections.f_obs)
    wanted = {"hkl": ("iu", "int"), "f_obs": ("f", "float"), "sigma": ("f", "float"), "free": ("b", "bool")}
    optional = {name: ("f", "float") for name in ("i_obs", "sigma_i") if getattr(reflections, name) is not None}
    for name, (kinds, kind) in (wanted | optional).items():
        array, shape = getattr(reflections, name), (n, 3) if name == "hkl" else (n,)
        if not isinstance(array, np.ndarray):
            raise InputError(f"{name} of Reflections is a {type(array).__name__}; expected an array, {kind} {shape}")
        if array.shape != shape or array.dtype.kind not in kinds:
            raise InputError(f"{name} of Reflections is {array.dtype} {array.shape}; expected {kind} {shape}")
    if reflections.phases is not None:
        known = np.asarray(reflections.phases.coefficients)
        if known.shape != (n, 4) or known.dtype.kind != "f" or not np.isfinite(known).all():
            raise InputError(
                f"phases of Reflections are {known.dtype} {known.shape}; expected numbers, float {(n, 4)}, 0 where "
                "nothing is known"
            )
    bad = int((~np.isfinite(reflections.f_obs) | ~(np.isfinite(reflections.sigma) & (reflections.sigma > 0.0))).sum())
    if bad:
        raise InputError(
            f"{bad} of {n} amplitudes of Reflections are no numbers, or their sigma is not above 0: take them out with "
            "reflections.select(mask)"
        )


def label_of(source: object) -> str:
    """How a source is named in messages and in the report: its path, or its type."""
    if is_path(source):
        return os.fspath(source)
    kind = type(source)
    return f"{IN_MEMORY} ({kind.__module__.split('.')[0]}.{kind.__qualname__})"


def stand_in(source: object) -> InputFile:
    """What stands for the file of something that was in none."""
    return InputFile(Path(label_of(source)), IN_MEMORY, b"", "binary")


FrameParts: TypeAlias = tuple[
    NDArray[np.int32], dict[str, str], dict[str, Float], "gemmi.UnitCell | None", "gemmi.SpaceGroup | None"
]


def frame_parts(frame: Any) -> FrameParts:
    """Miller indices, MTZ types, values, cell and space group of a table of pandas.

    Columns of a reciprocalspaceship.DataSet know their MTZ type; those of a plain DataFrame get one by their names.
    Cell and space group are those of the DataSet, or of ``frame.attrs["cell"]`` and ``frame.attrs["space_group"]``.

    Raises
    ------
    InputError
        There are no Miller indices, or they are not whole numbers; or measurements are unmerged.
    """
    what = f"data '{label_of(frame)}'"
    if getattr(frame, "merged", None) is False:
        raise InputError(f"{what} hold unmerged observations; expected merged data: merge them first")
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    spelled = {str(label).upper(): label for label in frame.columns if str(label).upper() in _INDICES}
    if len(spelled) < len(_INDICES):
        raise InputError(
            f"{what}: no Miller indices among {', '.join(map(str, frame.columns))}; expected H, K and L as index or "
            "columns"
        )
    miller = np.stack([_numbers(frame[spelled[name]]) for name in _INDICES], axis=1)
    if not (np.isfinite(miller).all() and (miller == np.rint(miller)).all()):
        raise InputError(f"{what}: Miller indices are missing or no whole numbers; correct or drop these rows")
    types, values = {}, {}
    for label in frame.columns:
        column = frame[label]
        if label in spelled.values() or getattr(column, "ndim", 1) != 1:
            continue
        try:
            values[str(label)] = _numbers(column)
        except (TypeError, ValueError):  # text
            continue
        types[str(label)] = getattr(column.dtype, "mtztype", None) or _type_by_name(str(label))
    return miller.astype(np.int32), types, values, _cell(frame), _space_group(frame, what)


def _numbers(column: Any) -> Float:
    return np.asarray(column.to_numpy(dtype=float, na_value=np.nan), dtype=float)


def _type_by_name(label: str) -> str:
    mate = re.search(r"\(?[+-]\)?$", label)
    for pattern, kind in _BY_NAME:
        if pattern.search(label):
            if mate and kind == "Q":
                return "L" if re.search(r"f", label, re.IGNORECASE) else "M"
            return _OF_PAIRS.get(kind, kind) if mate else kind
    return "R"


def _cell(frame: Any) -> gemmi.UnitCell | None:
    cell = getattr(frame, "cell", None)
    if not isinstance(cell, gemmi.UnitCell):
        cell = getattr(frame, "attrs", {}).get("cell")
    if cell is None or isinstance(cell, gemmi.UnitCell):
        return cell
    try:
        return gemmi.UnitCell(*(float(v) for v in cell))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"data '{label_of(frame)}': attrs['cell'] is {cell!r}; expected a, b, c in Å and three angles in degrees"
        ) from error


def _space_group(frame: Any, what: str) -> gemmi.SpaceGroup | None:
    group = getattr(frame, "spacegroup", None)
    if not isinstance(group, gemmi.SpaceGroup):
        group = getattr(frame, "attrs", {}).get("space_group")
    if group is None or isinstance(group, gemmi.SpaceGroup):
        return group
    found = space_group_named(str(group))
    if found is None:
        raise InputError(f"{what}: attrs['space_group'] is {group!r}; expected a symbol such as 'P 21 21 21'")
    return found
