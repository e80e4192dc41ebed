"""A model that has little of its sequence, as a file that was cut short."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

from arrayrefine import example
from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.wording import Caution


def said(model: Model) -> list[str]:
    return [note for note in model.notes if "in the sequences of its chains" in note]


def cut(folder: Path, share: float) -> Path:
    """The example up to a part of its chain."""
    lines = gzip.decompress(example.MODEL.read_bytes()).decode().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("ATOM"))
    last = next(i for i, line in enumerate(lines) if line.startswith("TER"))
    path = folder / "cut.pdb"
    path.write_text("\n".join([*lines[: first + int(share * (last - first))], ""]))
    return path


def test_a_file_that_was_cut_short_is_named(tmp_path: Path) -> None:
    (note,) = said(read_model(cut(tmp_path, 0.3)))
    assert isinstance(note, Caution)
    assert "of the 159 residues in the sequences of its chains (SEQRES, _entity_poly_seq): A " in note
    assert "If the file was cut short" in note


def test_what_lacks_less_is_not(tmp_path: Path, case: Callable[[str], Path]) -> None:
    """Two fifths of the receptor of 2R4R were not seen, its Fab was; the model of hewl_ssad has no sequence to lack."""
    assert said(read_model(example.MODEL)) == []
    assert said(read_model(cut(tmp_path, 0.7))) == []
    assert said(read_model(case("2r4r") / "model.pdb")) == []
    assert said(read_model(case("hewl_ssad") / "model.pdb")) == []
