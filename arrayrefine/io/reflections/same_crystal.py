"""Whether model and data are of one crystal, and which cell and space group they have in common."""

from __future__ import annotations

import re
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io.reflections.other_axes import new_indices
from arrayrefine.io.reflections.tables import Table
from arrayrefine.io.regular_cell import (
    CELL_TOLERANCE,
    SLIGHT,
    cell_change,
    format_cell,
    made_regular,
    regular_cell,
)
from arrayrefine.wording import Caution, are, counted, reindexed_by

_SAME_FORM = 0.05
"""Difference of cells up to which crystals may be of one form."""
_PRESENT = 3.0
"""Mean of value over sigma above which reflections that should be absent are there."""


def common_crystal(table: Table, model: Crystal, notes: list[str]) -> tuple[Crystal, str]:
    """Crystal of the data, with what the file does not say taken from the model.

    Parameters
    ----------
    table : Table
    model : Crystal
    notes : list of str
        What was assumed is added.

    Returns
    -------
    crystal : Crystal
    source : str
        Where its cell is from, "model" or "data".

    Raises
    ------
    InputError
        If model and data are not of one crystal.
    """
    path = table.file.path
    group = table.space_group or model.gemmi_space_group
    cell = table.cell or model.gemmi_cell
    difference = require_same(path, model, cell, group, table.blocks)
    missing = [what for what, value in (("cell", table.cell), ("space group", table.space_group)) if value is None]
    if missing:
        notes.append(f"'{path}' gives no {' and no '.join(missing)}: the model's is used")
    if without_screws(group, model.gemmi_space_group):
        notes.append(screws_note(path, group, model.gemmi_space_group))
    if difference > SLIGHT:
        notes.append(Caution(
            f"cells of model ({format_cell(model.gemmi_cell)}) and data ({format_cell(cell)}) differ by "
            f"{100 * difference:.2f} %: the data's is used"
        ))
    if table.cell is None:
        return model, "model"
    regular = regular_cell(cell, model.gemmi_space_group)
    if regular is None:
        notes.append(Caution(
            f"cell of '{path}' ({format_cell(cell)}) does not fit {model.space_group}: the model's is used"
        ))
        return model, "model"
    if regular is not cell:
        notes.append(made_regular(f"'{path}'", cell, regular, model.gemmi_space_group))
    return Crystal.from_gemmi(regular, model.gemmi_space_group), "data"


def fits(model: Crystal, cell: gemmi.UnitCell | None, group: gemmi.SpaceGroup | None) -> bool:
    """Whether data are of the crystal of a model, as far as they name cell and space group."""
    difference, same_group = _compared(model, cell or model.gemmi_cell, group or model.gemmi_space_group)
    return difference <= CELL_TOLERANCE and same_group


def _compared(model: Crystal, cell: gemmi.UnitCell, group: gemmi.SpaceGroup) -> tuple[float, bool]:
    """Largest relative difference of the cells, and whether the space group is the model's, or that without screws."""
    own = model.gemmi_space_group
    same_group = group.operations() == own.operations() or without_screws(group, own)
    return cell_change(model.gemmi_cell, cell), same_group


def require_same(
    path: Path, model: Crystal, cell: gemmi.UnitCell, group: gemmi.SpaceGroup, blocks: tuple[str, ...] = ()
) -> float:
    """Largest relative difference of the cells of model and data, which must be of one crystal.

    `blocks` names the block of the file that was read, and others with data.

    Raises
    ------
    InputError
        If the cells differ by more than `CELL_TOLERANCE`, or `group` is neither the model's nor that without screws.
    """
    difference, same_group = _compared(model, cell, group)
    own = model.gemmi_space_group
    if difference > CELL_TOLERANCE or not same_group:
        wrong = [
            *(["cells"] if difference > CELL_TOLERANCE else []),
            *([] if same_group else ["space groups"]),
        ]
        remedy = (
            "reindex the data, correct the header of the model, or solve the structure anew if this is another crystal "
            "form"
        )
        if wrong == ["cells"] and difference <= _SAME_FORM:
            remedy = (
                "where this is another crystal of the same form, remove the cell of the model (CRYST1, _cell), which "
                "then takes that of the data, and move it there as a rigid body (--rigid-body yes); else "
            ) + remedy
        if wrong == ["space groups"] and without_translations(group) == without_translations(own):
            remedy = (
                "they have the same rotations and differ in screw axes or glide planes only; give the data the space "
                "group of the model if it was solved in that, or reindex the data, or solve the structure anew in "
                "theirs"
            )
        order = new_indices(model, cell, group)
        if order:
            how = reindexed_by(order, model.space_group)
            which = "in another order" if not re.search(r"\w[-+]", order) else "added up otherwise"
            remedy = f"the axes of the data are those of the model {which}: {how}"
        several = f" in block '{blocks[0]}', and no other block fits ({', '.join(blocks[1:])})" if blocks else ""
        raise InputError(
            f"{' and '.join(wrong)} of model and data differ: the model has {format_cell(model.gemmi_cell)} "
            f"{model.space_group}, data '{path}' have {format_cell(cell)} {group.xhm()}{several}; expected the same "
            f"space group in the same setting and cells within {100 * CELL_TOLERANCE:g} %: {remedy}"
        )
    return difference


def without_translations(group: gemmi.SpaceGroup) -> gemmi.GroupOps:
    """The operators of a space group less their screws and glides."""
    return group.operations().derive_symmorphic()


def without_screws(group: gemmi.SpaceGroup, model: gemmi.SpaceGroup) -> bool:
    """Whether the group of data is that of the model less its screw axes, as programs name it that know no more.

    Intensities are merged by the rotations alone, and these are the same.
    """
    return group.operations() != model.operations() and group.operations() == without_translations(model)


def screws_note(path: Path | str, group: gemmi.SpaceGroup, model: gemmi.SpaceGroup) -> str:
    """A sentence about data that name the point group only."""
    return (
        f"data '{path}' name the space group {group.xhm()}, which is that of the model, {model.xhm()}, without its "
        "screw axes or glide planes: the model's is used"
    )


def absent_note(crystal: Crystal, ratio: NDArray[np.float64], absent: NDArray[np.bool_]) -> tuple[str, ...]:
    """A sentence about reflections that the space group of the model forbids; a warning where they seem to be there.

    Parameters
    ----------
    crystal : Crystal
    ratio : (M,) float64
        Measured value over sigma; nan where there is none.
    absent : (M,) bool

    Returns
    -------
    tuple of str
        Empty where none of them was measured.
    """
    forbidden, others = ratio[absent & np.isfinite(ratio)], ratio[~absent & np.isfinite(ratio)]
    if not len(forbidden) or not len(others):
        return ()
    n = len(forbidden)
    found, usual = float(forbidden.mean()), float(others.mean())
    verdict = ""
    if found > _PRESENT and found > 0.3 * usual:
        verdict = f": they seem to be there, and {crystal.space_group} may be the wrong space group"
    said = (
        f"{counted(n, 'measured reflection')} {are(n)} systematically absent in {crystal.space_group} and dropped; the "
        f"mean value/sigma is {found:.1f} of these and {usual:.1f} of all others{verdict}"
    )
    return (Caution(said) if verdict else said,)
