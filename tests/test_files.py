"""Tests of arrayrefine.io.files."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Literal

import gemmi
import numpy as np
import pytest

from arrayrefine.errors import InputError
from arrayrefine.io.files import load, remedy
from arrayrefine.io.output.read_maps import read_maps
from arrayrefine.monomers import EMBEDDED, load_monomers


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_in_the_encodings_of_windows_is_read(tmp_path: Path, encoding: str) -> None:
    text = (EMBEDDED / "a" / "ACT.cif").read_text().replace("\n", "\r\n") + "# Å\r\n"
    path = tmp_path / "ACT.cif"
    path.write_bytes(text.encode(encoding))
    found = load(path, "model", "a CIF file")
    assert (found.kind, found.text()) == ("cif", text)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_monomers(["ACT"], [path]).sources == {"ACT": str(path)}


@pytest.mark.parametrize(
    ("content", "what"), [(b"ATOM      1\n", "a PDB coordinate file"), (b"\xff\xfe\x00", "a binary file")]
)
def test_what_is_no_restraint_cif_is_said(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "LIG.cif"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"LIG.cif: cannot be read .*it is {what}.*AceDRG"):
        load_monomers(["LIG"], [path])


@pytest.mark.parametrize(
    ("content", "role", "said"),
    [
        ("TITL x\nCELL 0.9 30 40 50 90 90 90\nZERR 4 0 0 0 0 0 0\nSFAC C H\n", "model", "WPDB"),
        ("some notes\n", "model", ""),
        ("!FORMAT=XDS_ASCII    MERGE=FALSE\n", "data", "of XDS, merge it first"),
        ("   1   0   0  100.00    2.00\n", "data", "convert it first"),
        ("ATOM      1  CA  ALA A   1\n", "data", "give it as the model"),
    ],
)
def test_files_of_other_programs_have_a_remedy(
    tmp_path: Path, content: str, role: Literal["model", "data"], said: str
) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    told = remedy(load(path, role, ""), role)
    assert said in told
    assert bool(told) == bool(said)


def test_compressed_files_that_are_cut_short_and_files_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pdb.gz"
    whole = gzip.compress(b"CRYST1" * 99)
    path.write_bytes(whole)
    assert load(path, "model", "a model").content.startswith(b"CRYST1")
    path.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"^model file '.*' is gzip-compressed but damaged or cut short \(.*fetch"):
        load(path, "model", "a model")

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"^model file '.*' cannot be read \(Permission denied\); expected a model$"):
        load(path, "model", "a model")


def test_what_is_no_output_of_a_refinement_has_no_maps(tmp_path: Path) -> None:
    path = tmp_path / "other.mtz"
    path.write_text("no mtz")
    with pytest.raises(InputError, match=r"other.mtz' cannot be read as MTZ: .*; expected the output of a refinement$"):
        read_maps(path)
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.SpaceGroup("P 1")
    mtz.set_cell_for_all(gemmi.UnitCell(10, 10, 10, 90, 90, 90))
    mtz.add_column("FP", "F")
    mtz.set_data(np.array([[1, 0, 0, 5.0]], dtype=np.float32))
    mtz.write_to_file(str(path))
    with pytest.raises(InputError, match=r"has no column SIGFP, FREE, FC, .*expected the refined.mtz that"):
        read_maps(path)
