"""MTZ and sf-mmCIF as one table of typed columns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import space_group_named
from arrayrefine.errors import InputError
from arrayrefine.io.files import KIND_NAMES, InputFile, load, remedy
from arrayrefine.io.in_memory import DataSource, frame_parts, is_frame, is_path, label_of, stand_in
from arrayrefine.wording import Caution, counted

Float = NDArray[np.float64]
Fits: TypeAlias = Callable[["gemmi.UnitCell | None", "gemmi.SpaceGroup | None"], bool]
"""Whether data of a cell and a space group, each None where it is not named, are of the crystal that is refined."""

_EXPECTED = "merged reflection data as MTZ or sf-mmCIF (.gz too)"

# MTZ column types for items of the mmCIF category _refln; what is not listed is "R" (any real number)
_CIF_TYPES = {
    "F_meas_au": "F", "F_meas": "F", "F_meas_sigma_au": "Q", "F_meas_sigma": "Q",
    "intensity_meas": "J", "intensity_sigma": "Q", "F_squared_meas": "J", "F_squared_sigma": "Q",
    "pdbx_F_plus": "G", "pdbx_F_plus_sigma": "L", "pdbx_F_minus": "G", "pdbx_F_minus_sigma": "L",
    "pdbx_I_plus": "K", "pdbx_I_plus_sigma": "M", "pdbx_I_minus": "K", "pdbx_I_minus_sigma": "M",
    "pdbx_anom_difference": "D", "pdbx_anom_difference_sigma": "Q",
    "F_calc": "F", "F_calc_au": "F", "pdbx_FWT": "F", "pdbx_DELFWT": "F", "pdbx_F_calc_with_solvent": "F",
    "phase_calc": "P", "phase_meas": "P", "pdbx_PHWT": "P", "pdbx_DELPHWT": "P", "fom": "W",
    "pdbx_r_free_flag": "I",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Columns of a reflection file, as they are in the file.

    Attributes
    ----------
    file : InputFile
    hkl : (R, 3) int32
    types : dict
        MTZ column type by label, in the order of the file.
    values : dict
        Values (R,) float64 by label, nan where missing.
    status : (R,) str or None
        mmCIF ``_refln.status``.
    cell : gemmi.UnitCell or None
    space_group : gemmi.SpaceGroup or None
    blocks : tuple of str
        Names of the blocks of a CIF file that have data, where there are several; the one that was read first.
    cells : dict
        Cell of the data set of each column, by its label, where a file has several data sets.
    data_sets : dict
        Number of the data set of each column, by its label, in MTZ files.
    wavelengths : dict
        Å, of the data set of each column, by its label, where the file names one; often a wrong one.
    """

    file: InputFile
    hkl: NDArray[np.int32]
    types: dict[str, str]
    values: dict[str, Float]
    status: NDArray[np.str_] | None
    cell: gemmi.UnitCell | None
    space_group: gemmi.SpaceGroup | None
    blocks: tuple[str, ...] = ()
    cells: dict[str, gemmi.UnitCell] = field(default_factory=dict)
    data_sets: dict[str, int] = field(default_factory=dict)
    wavelengths: dict[str, float] = field(default_factory=dict)

    def with_cell_of(self, label: str) -> Table:
        """The same with the cell of the data set that a column belongs to, where that is known."""
        return dataclasses.replace(self, cell=self.cells[label]) if label in self.cells else self

    def listing(self) -> str:
        """What is there: labels with their types."""
        shown = [f"{label} ({kind})" for label, kind in self.types.items() if kind != "H"]
        if self.status is not None:
            shown.append("status (text)")
        return ", ".join(shown) if shown else "none"


def read_table(source: DataSource, notes: list[str], fits: Fits | None = None) -> Table:
    """Read a reflection file, or take its columns from an object in memory.

    Parameters
    ----------
    source : path or object in memory
    notes : list of str
        What was chosen is added.
    fits : callable, optional
        Decides between blocks of one file: the first with data that fits is read, or, where that names no test set, the
        first of these that does; where none fits, the same of all with data.

    Raises
    ------
    InputError
        If the file is missing, empty, truncated, unmerged or holds no reflections.
    """
    if not is_path(source):
        return _filled(_from_memory(source, notes, fits))
    file = load(source, "data", _EXPECTED)
    if file.kind == "mtz":
        table = _read_mtz(file)
    elif file.kind == "cif":
        table = _read_cif(file, notes, fits)
    else:
        hint = remedy(file, "data")
        raise InputError(f"data '{file.path}' is {KIND_NAMES[file.kind]}; expected {_EXPECTED}{hint}")
    return _filled(table)


def _filled(table: Table) -> Table:
    if not len(table.hkl):
        raise InputError(f"data '{table.file.path}' holds no reflections; expected {_EXPECTED}")
    # Headers of batches may be lost, as where columns are changed and written anew; merged data have no such types.
    marks = [label for label, kind in table.types.items() if kind in "BY"]
    if {table.types[label] for label in marks} == {"B", "Y"}:
        raise _unmerged(table.file, f"columns {' and '.join(marks)}")
    return table


def _unmerged(file: InputFile, mark: str) -> InputError:
    return InputError(
        f"data '{file.path}' holds unmerged observations ({mark}); expected {_EXPECTED}: scale and merge first "
        "(AIMLESS, dials.scale, or gemmi merge)"
    )


def _from_memory(source: object, notes: list[str], fits: Fits | None) -> Table:
    """Columns of an object of gemmi, pandas or reciprocalspaceship."""
    file = stand_in(source)
    if isinstance(source, gemmi.Mtz):
        return _mtz_table(file, source)
    if isinstance(source, gemmi.cif.Document):
        return _table_of_document(file, source, notes, fits)
    if is_frame(source):
        hkl, types, values, cell, group = frame_parts(source)
        return Table(file, hkl, types, values, None, cell if cell and usable_cell(cell) else None, group)
    raise InputError(
        f"data are {label_of(source)}; expected a path, a gemmi.Mtz, a gemmi.cif.Document, a pandas.DataFrame or a "
        "reciprocalspaceship.DataSet"
    )


def _read_mtz(file: InputFile) -> Table:
    try:
        # gemmi reads on without a word where only the end of the headers is missing
        if b"MTZENDOFHEADERS" not in file.content:
            raise ValueError("the end of the headers is missing")
        mtz = gemmi.read_mtz_file(str(file.path))
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"data '{file.path}' is a damaged MTZ file of {len(file.content)} bytes ({error}); it may be cut "
            "short: fetch or copy it again"
        ) from error
    return _mtz_table(file, mtz)


def _mtz_table(file: InputFile, mtz: gemmi.Mtz) -> Table:
    if mtz.batches:
        raise _unmerged(file, f"{len(mtz.batches)} batches")
    labels = mtz.column_labels()
    if labels[:3] != ["H", "K", "L"] or [c.type for c in mtz.columns[:3]] != ["H", "H", "H"]:
        raise InputError(f"data '{file.path}': the first columns are {labels[:3]}; expected H, K, L: write it again")
    data = np.array(mtz.array, dtype=float).reshape(-1, len(labels))
    if odd := int((data[:, :3] != np.rint(data[:, :3])).any(axis=1).sum()):
        raise InputError(
            f"data '{file.path}': the indices of {counted(odd, 'reflection')} are not whole numbers; expected those of "
            "one lattice in columns H, K, L: write it again, without satellites or what else has a fourth index"
        )
    types, values, own, data_sets, wavelengths = {}, {}, {}, {}, {}
    for i, column in enumerate(mtz.columns):
        if column.label not in types:
            types[column.label] = column.type
            values[column.label] = data[:, i]
            data_sets[column.label] = column.dataset_id
            if column.dataset.wavelength > 0.0:
                wavelengths[column.label] = round(column.dataset.wavelength, 5)  # of single precision
            if usable_cell(column.dataset.cell):
                own[column.label] = column.dataset.cell
    cells = [mtz.cell, *(dataset.cell for dataset in mtz.datasets)]
    return Table(
        file,
        data[:, :3].astype(np.int32),
        types,
        values,
        None,
        next((c for c in cells if usable_cell(c)), None),
        mtz.spacegroup or space_group_named(mtz.spacegroup_name) or _space_group_of_records(file.content),
        cells=own,
        data_sets=data_sets,
        wavelengths=wavelengths,
    )


def _space_group_of_records(content: bytes) -> gemmi.SpaceGroup | None:
    """Of an MTZ file whose symbol nobody knows: by the operators in its header."""
    operators = re.findall(rb"SYMM ([^\0]{75})", content[content.rfind(b"SYMINF") :])
    return _with_operators([one.decode("ascii").strip() for one in operators])


def _with_operators(operators: Sequence[str]) -> gemmi.SpaceGroup | None:
    return gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(one) for one in operators])) if operators else None


def usable_cell(cell: gemmi.UnitCell) -> bool:
    """Whether a cell is that of a crystal, and not what stands for none."""
    return bool(cell.is_crystal() and np.isfinite(cell.parameters).all() and cell.volume > 1.0)


def _read_cif(file: InputFile, notes: list[str], fits: Fits | None) -> Table:
    try:
        document = gemmi.cif.read_string(file.text())
        return _table_of_document(file, document, notes, fits)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"data '{file.path}' looks like a CIF file but cannot be parsed: {error}; it may be cut short: "
            "fetch or copy it again"
        ) from error


def _table_of_document(
    file: InputFile, document: gemmi.cif.Document, notes: list[str], fits: Fits | None
) -> Table:
    blocks = list(gemmi.as_refln_blocks(document))
    filled = [b for b in blocks if b.default_loop is not None and b.is_merged()]
    if not filled:
        coordinates = any(b.block.find_mmcif_category("_atom_site.") for b in blocks)
        unmerged = any(b.is_unmerged() for b in blocks)
        hint = ""
        if coordinates:
            hint = "; it holds a model: give it as the model"
        elif unmerged:
            hint = "; it holds unmerged observations: scale and merge first"
        raise InputError(f"data '{file.path}' is a CIF file without a _refln category; expected {_EXPECTED}{hint}")
    measured = [b for b in filled if _has_observations(b)] or filled
    fitting = [b for b in measured if fits is None or fits(_cell(b), _space_group(b))]
    among = fitting or measured
    chosen = next((b for b in among if _has_flags(b)), among[0])
    if len(filled) > 1:
        whose = " of the model's cell and space group" if fitting and fitting[0] is not measured[0] else ""
        whose += " and free flags" if chosen is not among[0] else ""
        notes.append(Caution(
            f"'{file.path}' has {len(filled)} blocks of reflections; block '{chosen.block.name}' is used, as "
            f"the first with data{whose}"
        ))
    table = _cif_table(file, chosen)
    others = [b.block.name for b in measured if b is not chosen]
    return dataclasses.replace(table, blocks=(chosen.block.name, *others)) if others else table


def _space_group(block: gemmi.ReflnBlock) -> gemmi.SpaceGroup | None:
    """Of a block: by its symbol, or else by its number, or by its operators."""
    named: gemmi.SpaceGroup | None = block.spacegroup
    for tag in ("_symmetry.space_group_name_H-M", "_space_group.name_H-M_alt"):
        named = named or space_group_named(gemmi.cif.as_string(block.block.find_value(tag) or ""))
    if named is not None:
        return named
    for tag in ("_symmetry.Int_Tables_number", "_space_group.IT_number"):
        number = block.block.find_value(tag)
        if number and number.isdigit() and (found := gemmi.find_spacegroup_by_number(int(number))):
            return found
    return _with_operators([gemmi.cif.as_string(x) for x in block.block.find_values("_symmetry_equiv.pos_as_xyz")])


def _cell(block: gemmi.ReflnBlock) -> gemmi.UnitCell | None:
    return block.cell if usable_cell(block.cell) else None


def _has_observations(block: gemmi.ReflnBlock) -> bool:
    labels = block.column_labels()
    return any(label.startswith("F_meas") or _CIF_TYPES.get(label) in ("J", "G", "K") for label in labels)


def _has_flags(block: gemmi.ReflnBlock) -> bool:
    """Whether a block names a test set."""
    return "pdbx_r_free_flag" in block.column_labels() or "f" in block.block.find_values("_refln.status")


def _cif_table(file: InputFile, block: gemmi.ReflnBlock) -> Table:
    labels = block.column_labels()
    indices = ("index_h", "index_k", "index_l")
    if any(label not in labels for label in indices):
        raise InputError(
            f"data '{file.path}': the _refln category has no Miller indices (found {', '.join(labels)}); "
            "expected index_h, index_k, index_l: write the file again"
        )
    miller = np.stack([block.make_float_array(label, np.nan) for label in indices], axis=1)
    if not np.isfinite(miller).all():
        raise InputError(f"data '{file.path}': Miller indices are missing in _refln; the file may be cut short")
    types, values = {}, {}
    for label in labels:
        if label in indices or label == "status" or label.endswith(("_id", "_code")):
            continue
        types[label] = _CIF_TYPES.get(label, "R")
        values[label] = np.array(block.make_float_array(label, np.nan), dtype=float)
    status = None
    if "status" in labels:
        column = block.block.find_values("_refln.status")
        status = np.array([gemmi.cif.as_string(v).strip() for v in column], dtype=np.str_)
    named = [gemmi.cif.as_number(v) for v in block.block.find_values("_diffrn_radiation_wavelength.wavelength")]
    wavelengths = dict.fromkeys(types, named[0]) if len(named) == 1 and named[0] > 0.0 else {}
    return Table(
        file, miller.astype(np.int32), types, values, status, _cell(block), _space_group(block), wavelengths=wavelengths
    )
