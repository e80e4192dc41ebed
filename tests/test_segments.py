"""Chains that only their segments tell apart."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest
from test_io_model import CRYST, atom

from arrayrefine.errors import InputError
from arrayrefine.example import MODEL
from arrayrefine.io.models.reading import Model, read_model


def _copies(tmp_path: Path, *segments: str, shift: float = 40.0) -> Model:
    """The embedded crystal as often as there are segments, in chains without a name."""
    lines = [line for line in gemmi.read_structure(str(MODEL)).make_pdb_string().splitlines()
             if line.startswith(("ATOM", "HETATM"))]  # fmt: skip
    written = []
    for k, segment in enumerate(segments):
        for line in lines:
            x = f"{float(line[30:38]) + k * shift:8.3f}"
            written.append(f"{line[:21]} {line[22:30]}{x}{line[38:72]}{segment:4}{line[76:]}")
    path = tmp_path / "model.pdb"
    path.write_text("\n".join([CRYST, *written, "END", ""]))
    return read_model(path)


@pytest.mark.parametrize(
    ("segments", "names"), [(("PROA", "PROB"), ["A", "B"]), (("P1A", "WA"), ["A", "WA"]), (("MOL", "COL"), ["A", "B"])]
)
def test_segments_with_the_same_residues_are_chains(
    tmp_path: Path, segments: tuple[str, str], names: list[str]
) -> None:
    model = _copies(tmp_path, *segments)
    assert [chain.name for chain in model.structure[0]] == names
    assert len(model.atoms) == 2 * len(read_model(MODEL).atoms)
    (note,) = [note for note in model.notes if "segments" in note]
    assert note.endswith(f"is taken for a chain: {names[0]} ({segments[0]}), {names[1]} ({segments[1]})")


def test_conformers_in_segments_are_no_chains(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="given twice"):
        _copies(tmp_path, "AC1", "AC2", shift=0.5)


def test_segments_of_other_numbers_are_one_chain(tmp_path: Path) -> None:
    lines = (f"{atom(residue='HOH', number=f'{k:4d} ', xyz=(k, 5, 5), element=' O')[:72]}W{k}   O" for k in (1, 8))
    path = tmp_path / "model.pdb"
    path.write_text("\n".join([CRYST, *(f"{line[:12]} O  {line[16:]}" for line in lines), "END", ""]))
    model = read_model(path)
    assert [chain.name for chain in model.structure[0]] == ["A"]
    assert not [note for note in model.notes if "segments" in note]


def test_every_chain_with_such_segments_is_cut(tmp_path: Path) -> None:
    lines = [
        f"{atom(residue='ALA', chain=chain, number=f'{k:4d} ', xyz=(20 * copy, 4 * k, z))[:72]:72}{segment:4} C"
        for z, chain, segments in ((5, " Y", ("PROE",)), (25, " A", ("PROA", "PROB")), (45, " X", ("PROC", "PROD")))
        for copy, segment in enumerate(segments)
        for k in (1, 2)
    ]
    path = tmp_path / "model.pdb"
    path.write_text("\n".join([CRYST, *lines, "END", ""]))
    model = read_model(path)
    assert [(chain.name, len(chain)) for chain in model.structure[0]] == [(name, 2) for name in "YABCD"]
    assert len([note for note in model.notes if "segments" in note]) == 2
