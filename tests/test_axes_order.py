"""Data whose axes are those of the model in another order."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest

from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.io.reflections.same_crystal import require_same

CELL = (30.0, 40.0, 55.0)


@pytest.mark.parametrize(
    ("model", "data", "axes"),
    [
        ("P 21 21 21", "P 21 21 21", "bca"),
        ("P 21 21 21", "P 21 21 21", "bac"),
        ("P 21 21 2", "P 2 21 21", "cab"),
        ("P 21 21 2", "P 21 2 21", "acb"),
        ("C 2 2 21", "C 2 2 21", "bac"),
        ("P 21 21 2", "P 21 21 2", "cab"),
        ("P 21 21 2", "P 21 21 21", "cab"),
    ],
)
def test_the_operator_that_brings_axes_in_order_is_named(model: str, data: str, axes: str) -> None:
    """And none where the screw axes would be elsewhere than in the model. gemmi's reindexing is the judge."""
    cell = gemmi.UnitCell(*(CELL["abc".index(axis)] for axis in axes), 90.0, 90.0, 90.0)
    group = gemmi.SpaceGroup(data)
    own = Crystal((*CELL, 90.0, 90.0, 90.0), model)
    with pytest.raises(InputError) as error:
        require_same(Path("a.mtz"), own, cell, group)
    _, told, after = str(error.value).partition("mtz.reindex(gemmi.Op('")
    assert bool(told) == ((model, data) not in (("P 21 21 2", "P 21 21 2"), ("P 21 21 2", "P 21 21 21")))
    if told:
        mtz = gemmi.Mtz(with_base=True)
        mtz.spacegroup = gemmi.SpaceGroup("P 1")
        mtz.set_cell_for_all(cell)
        mtz.reindex(gemmi.Op(after.partition("'")[0]))
        assert mtz.cell.parameters == pytest.approx((*CELL, 90.0, 90.0, 90.0))
        assert f"SpaceGroup('{model}')" in str(error.value)


@pytest.mark.parametrize(
    ("group", "model", "data", "cell"),
    [
        ("C 1 2 1", (113.1, 53.15, 44.65, 90.0, 102.96, 90.0), "I 1 2 1", (44.54, 53.07, 111.86, 90.0, 99.97, 90.0)),
        ("I 1 2 1", (44.54, 53.07, 111.86, 90.0, 99.97, 90.0), "C 1 2 1", (113.1, 53.15, 44.65, 90.0, 102.96, 90.0)),
        ("P 1 21 1", (40.0, 60.0, 50.0, 90.0, 95.0, 90.0), "P 1 21 1", (40.0, 60.0, 61.26, 90.0, 125.6, 90.0)),
        ("P 1 2 1", (40.0, 60.0, 50.0, 90.0, 95.0, 90.0), "P 1 21 1", (40.0, 60.0, 61.26, 90.0, 125.6, 90.0)),
        ("P 1", (30.0, 40.0, 55.0, 80.0, 85.0, 95.0), "P 1", (30.0, 47.863, 55.0, 78.478, 85.0, 56.361)),
    ],
)
def test_the_operator_between_two_cells_of_an_oblique_lattice_is_named(
    group: str, model: tuple[float, ...], data: str, cell: tuple[float, ...]
) -> None:
    """As of the settings C 2 and I 2, in which programs of data processing and of the PDB differ."""
    with pytest.raises(InputError) as error:
        require_same(Path("a.mtz"), Crystal(model, group), gemmi.UnitCell(*cell), gemmi.SpaceGroup(data))
    _, told, after = str(error.value).partition("mtz.reindex(gemmi.Op('")
    assert bool(told) == (group != "P 1 2 1")
    if told:
        assert "the axes of the data are those of the model added up otherwise" in str(error.value)
        mtz = gemmi.Mtz(with_base=True)
        mtz.spacegroup = gemmi.SpaceGroup(data)
        mtz.set_cell_for_all(gemmi.UnitCell(*cell))
        mtz.reindex(gemmi.Op(after.partition("'")[0]))
        assert mtz.cell.parameters == pytest.approx(model, rel=0.01)
        assert mtz.spacegroup.hm == group
