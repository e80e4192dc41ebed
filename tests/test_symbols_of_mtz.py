"""Space groups of MTZ files whose symbol nobody knows."""

from __future__ import annotations

from pathlib import Path

import gemmi
from test_io_reflections import CRYSTAL, said, simple

from arrayrefine.io.reflections.reading import read_reflections
from arrayrefine.io.reflections.tables import read_table


def _renamed(path: Path) -> bytes:
    content = simple(path).read_bytes()
    start = content.rfind(b"SYMINF")
    record = content[start : start + 80]
    assert b"P 21 21 21" in record
    path.write_bytes(content[:start] + record.replace(b"P 21 21 21", b"P FOO BAR1") + content[start + 80 :])
    assert gemmi.read_mtz_file(str(path)).spacegroup is None
    return path.read_bytes()


def test_the_operators_tell_it(tmp_path: Path) -> None:
    path = tmp_path / "data.mtz"
    _renamed(path)
    group = read_table(path, []).space_group
    assert group is not None
    assert group.xhm() == "P 21 21 21"
    assert not said(read_reflections(path, CRYSTAL)[1], "gives no space group")


def test_operators_of_no_group_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "data.mtz"
    content = _renamed(path)
    start = content.rfind(b"SYMM") + 5
    path.write_bytes(content[:start] + b"X,  Y,  Z+1/8".ljust(75) + content[start + 75 :])
    assert read_table(path, []).space_group is None
    assert said(read_reflections(path, CRYSTAL)[1], "gives no space group")
