"""By how much cells differ, and those of which the last digits do not obey their space group."""

from __future__ import annotations

import gemmi
import numpy as np

from arrayrefine.wording import Caution

CELL_TOLERANCE = 0.01
"""Relative change of a length or an angle beyond which cell and space group do not belong together: that between the
cells of model and data."""
SLIGHT = 1e-3
"""Relative change up to which nothing is said of another cell, and no warning of one that does not obey its group."""
_ROUNDING = 1e-5
"""Relative change that is none."""


def cell_change(before: gemmi.UnitCell, after: gemmi.UnitCell) -> float:
    """Largest relative change of a length or an angle from one cell to another."""
    return float(np.max(np.abs(np.array(after.parameters) / np.array(before.parameters) - 1.0)))


def regular_cell(cell: gemmi.UnitCell, group: gemmi.SpaceGroup) -> gemmi.UnitCell | None:
    """The cell nearest to one that obeys a space group: its metric, averaged over the rotations.

    Parameters
    ----------
    cell : gemmi.UnitCell
    group : gemmi.SpaceGroup

    Returns
    -------
    gemmi.UnitCell or None
        `cell` itself where it obeys; None where it is off by more than `CELL_TOLERANCE`.
    """
    a, b, c, *angles = cell.parameters
    bc, ca, ab = np.cos(np.radians(angles))
    length = np.array([a, b, c])
    metric = np.outer(length, length) * np.array([[1.0, ab, ca], [ab, 1.0, bc], [ca, bc, 1.0]])
    turns = [np.array(op.rot) / gemmi.Op.DEN for op in group.operations().sym_ops]
    mean = np.mean([turn.T @ metric @ turn for turn in turns], axis=0)
    length = np.sqrt(np.diag(mean))
    cosine = mean / np.outer(length, length)
    angle = np.degrees(np.arccos(np.clip([cosine[1, 2], cosine[0, 2], cosine[0, 1]], -1.0, 1.0)))
    regular = gemmi.UnitCell(*length, *angle)
    change = cell_change(cell, regular)
    if change <= _ROUNDING:
        return cell
    return regular if change <= CELL_TOLERANCE else None


def made_regular(whose: str, cell: gemmi.UnitCell, regular: gemmi.UnitCell, group: gemmi.SpaceGroup) -> str:
    """A note on a cell that was replaced; a warning where it is off by more than its last digits."""
    off = cell_change(cell, regular)
    how = "in its last digits" if off < SLIGHT else f"by {100.0 * off:.2f} %"
    taken = f"does not obey {group.xhm()} {how} and is taken for {format_cell(regular)}"
    said = f"{whose}: cell {format_cell(cell)} {taken}"
    return said if off < SLIGHT else Caution(said)


def format_cell(cell: gemmi.UnitCell) -> str:
    """Å and degrees, with spaces between."""
    return " ".join(f"{v:g}" for v in cell.parameters)
