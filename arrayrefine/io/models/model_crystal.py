"""The crystal that a model names, and what to do where it names none."""

from __future__ import annotations

from collections.abc import Callable

import gemmi
import numpy as np

from arrayrefine.crystal import Crystal, space_group_named
from arrayrefine.errors import InputError
from arrayrefine.io.files import InputFile
from arrayrefine.io.reflections.tables import usable_cell
from arrayrefine.io.regular_cell import format_cell, made_regular, regular_cell
from arrayrefine.wording import Caution

_CRYST1_COLUMNS = 11
"""Of a symbol in a PDB file: one that fills them may go on, as "P 2(1)2(1)2" of P 21 21 21 does."""
_BOX_MARGIN = 20.0
"""Å; further than anything that is looked for about an atom."""


def box(structure: gemmi.Structure) -> Crystal:
    """A cell in P 1 so large that no atom of the first model sees one of its symmetry mates."""
    xyz = np.array([atom.pos.tolist() for chain in structure[0] for residue in chain for atom in residue])
    xyz = xyz[np.isfinite(xyz).all(axis=1)]  # what is wrong with the others is said elsewhere
    sides = np.ptp(xyz, axis=0) if len(xyz) else np.zeros(3)
    a, b, c = (float(np.ceil(side)) + _BOX_MARGIN for side in sides)
    return Crystal((a, b, c, 90.0, 90.0, 90.0), "P 1")


class Box:
    """Makes a `box` for a model that names no crystal.

    Attributes
    ----------
    needed : bool
        Whether one was asked for that had no unit cell of its own.
    """

    def __init__(self) -> None:
        self.needed = False

    def __call__(self, structure: gemmi.Structure) -> Crystal:
        """The box of a structure."""
        self.needed = not has_cell(structure)
        return box(structure)


def has_cell(structure: gemmi.Structure) -> bool:
    """Whether a structure names a unit cell."""
    return usable_cell(structure.cell)


def without_unit_scale(source: InputFile, structure: gemmi.Structure, notes: list[str]) -> None:
    """Leave SCALE records aside that are the unit matrix, as programs write them that know of no crystal."""
    cell = structure.cell
    whole = gemmi.UnitCell(*cell.parameters)
    if cell.explicit_matrices and cell.frac.mat.approx(gemmi.Mat33(), 1e-4) and usable_cell(whole):
        structure.cell = whole
        notes.append(Caution(
            f"model '{source.path}': its SCALE records are a unit matrix, which is not that of its cell "
            f"{format_cell(cell)}: they are left aside, and the coordinates taken for those of the standard frame"
        ))


def take_crystal(
    source: InputFile, structure: gemmi.Structure, otherwise: Callable[[gemmi.Structure], Crystal | None] | None,
    notes: list[str],
) -> None:  # fmt: skip
    """Put a model without a cell into a crystal, if `otherwise` knows one; and give one without a space group that.

    A space group that the model does name stays, for the data to be held against; but P 1 goes with a missing cell.
    """
    cut = structure.input_format == gemmi.CoorFormat.Pdb and len(structure.spacegroup_hm) >= _CRYST1_COLUMNS
    named_oddly = None if structure.find_spacegroup() or cut else space_group_named(structure.spacegroup_hm)
    if named_oddly is not None:
        structure.spacegroup_hm = named_oddly.xhm()
    crystal = None
    if otherwise is not None and not (has_cell(structure) and structure.find_spacegroup()):
        crystal = otherwise(structure)
    if crystal is None:
        return
    group, whole = gemmi.find_spacegroup_by_name(structure.spacegroup_hm), not has_cell(structure)
    if whole:
        structure.cell = gemmi.UnitCell(*crystal.cell)
    unknown = structure.spacegroup_hm.strip() if group is None else ""
    named = group is not None and group.number > 1 and crystal.space_group != "P 1"
    if not named:
        structure.spacegroup_hm = crystal.space_group
    if "_cell.Z_PDB" in structure.info:
        del structure.info["_cell.Z_PDB"]
    lacks = "crystal" if whole and not named else "unit cell" if whole else "space group"
    if unknown:
        lacks += f" that is known (found '{unknown}')"
    notes.append(Caution(
        f"model '{source.path}' names no {lacks}: it is put into {format_cell(structure.cell)}, "
        f"{structure.spacegroup_hm}"
    ))


def crystal_named(source: InputFile, structure: gemmi.Structure, notes: list[str], asked: bool) -> Crystal:
    """The crystal that a model names; `asked` says that its data were asked, and name none."""
    cell = structure.cell
    neither = ", and its data do not name both a cell and a space group" if asked else ""
    if not has_cell(structure):
        found = "none" if cell.parameters == gemmi.UnitCell().parameters else format_cell(cell)
        raise InputError(
            f"model '{source.path}' has no unit cell (found {found}){neither}; expected the cell of the "
            "crystal: add a CRYST1 record (PDB) or _cell and _symmetry.space_group_name_H-M (mmCIF)"
        )
    group = structure.find_spacegroup()
    if group is None:
        raise InputError(
            f"model '{source.path}' has no known space group (found '{structure.spacegroup_hm}'){neither}; expected a "
            "Hermann-Mauguin symbol such as 'P 21 21 21': correct CRYST1 columns 56-66 or "
            "_symmetry.space_group_name_H-M"
        )
    if cell.explicit_matrices:
        structure.standardize_crystal_frame()
        notes.append("SCALE records of a non-standard frame: coordinates are moved to the standard frame (a along x)")
    regular = regular_cell(structure.cell, group)
    if regular is None:
        raise InputError(
            f"model '{source.path}': cell {format_cell(cell)} does not fit space group {group.xhm()}; "
            "correct one of them"
        )
    if regular is not structure.cell:
        notes.append(made_regular(f"model '{source.path}'", structure.cell, regular, group))
        structure.cell = regular
    structure.setup_cell_images()
    return Crystal.from_gemmi(structure.cell, group)
