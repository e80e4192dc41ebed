"""What an input file is, found from its content and not from its name."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arrayrefine.errors import InputError

Kind = Literal["mtz", "pdb", "cif", "text", "binary"]

_PDB_RECORD = re.compile(
    rb"^(HEADER|TITLE |CRYST1|REMARK|ATOM  |HETATM|SEQRES|MODEL |SCALE1|COMPND"
    rb"|EXPDTA|HELIX |SHEET |LINK  |SSBOND)",
    re.MULTILINE,
)
_CIF_BLOCK = re.compile(rb"^\s*(data_|_[A-Za-z]\S*[.\s]|loop_)", re.MULTILINE | re.IGNORECASE)

_SHELX = re.compile(rb"^(ZERR|LATT|SFAC|UNIT)\s", re.MULTILINE)
"""Cards of SHELXL."""

_ENCODINGS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
"""What programs of Windows put before text, PowerShell's redirection UTF-16."""

IN_MEMORY = "in memory"
"""How the names of inputs begin that were in no file, and what is said instead of their hash."""

KIND_NAMES: dict[Kind, str] = {
    "mtz": "an MTZ file",
    "pdb": "a PDB coordinate file",
    "cif": "a CIF file",
    "text": "a text file of no known kind",
    "binary": "a binary file of no known kind",
}


@dataclass(frozen=True)
class InputFile:
    """A file that was read.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file as it lies on the disk, compressed or not.
    content : bytes
        Decompressed, text as UTF-8.
    kind : str
        "mtz", "pdb", "cif", "text" or "binary".
    """

    path: Path
    sha256: str
    content: bytes
    kind: Kind

    def text(self) -> str:
        """Content as text; bytes that are not UTF-8 (old headers) become replacement characters."""
        return self.content.decode("utf-8", errors="replace")


def load(path: str | os.PathLike[str], role: str, expected: str) -> InputFile:
    """Read a file and find what it is.

    Parameters
    ----------
    path : str or Path
        May be gzip-compressed, whatever its name.
    role : str
        What the user means it to be, e.g. ``"model"``; used in messages.
    expected : str
        The kinds that would do, e.g. ``"a PDB or mmCIF file"``; used in messages.

    Raises
    ------
    InputError
        If the file is missing, a folder, unreadable, empty, or its compression is broken.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{role} '{path}' is a folder; expected {expected}: name a file inside it")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{role} file '{path}' does not exist (looked in {Path.cwd()}); expected {expected}: check the path"
        ) from None
    except OSError as error:
        raise InputError(f"{role} file '{path}' cannot be read ({error.strerror}); expected {expected}") from error
    content = raw
    if raw[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"{role} file '{path}' is gzip-compressed but damaged or cut short ({error}); fetch or copy it again"
            ) from error
    content = as_utf8(content)
    if not content.strip():
        raise InputError(f"{role} file '{path}' is empty; expected {expected}: fetch or copy it again")
    return InputFile(path, hashlib.sha256(raw).hexdigest(), content, kind_of(content))


def remedy(file: InputFile, role: Literal["model", "data"]) -> str:
    """What to do with a file of another kind, as the end of a sentence; empty where that is not known."""
    if role == "model":
        if file.kind == "mtz":
            return ": give it as the data"
        shelx = _SHELX.search(file.content) is not None
        return ": of SHELXL, WPDB in the .ins file writes a PDB file" if shelx and file.kind == "text" else ""
    if file.content.startswith(b"!FORMAT=XDS_ASCII"):
        return ": of XDS, merge it first with pointless and aimless, or write it with XDSCONV for CCP4 and use f2mtz"
    if file.kind == "pdb":
        return ": give it as the model"
    return (
        ": convert it first: scalepack2mtz and f2mtz of CCP4, or phenix.reflection_file_converter, make MTZ of .sca, "
        ".hkl and .cv files"
    )


def as_utf8(content: bytes) -> bytes:
    """Text that begins with the mark of another encoding, in UTF-8 and without a mark; all else as it is."""
    for mark, encoding in _ENCODINGS:
        if content.startswith(mark):
            try:
                return content.decode(encoding).encode()
            except UnicodeDecodeError:
                return content
    return content


def kind_of(content: bytes) -> Kind:
    """What decompressed content is."""
    if content[:4] == b"MTZ ":
        return "mtz"
    head = content[:65536]
    if b"\x00" in head:
        return "binary"
    if _PDB_RECORD.match(head):
        return "pdb"
    if _CIF_BLOCK.search(head):
        return "cif"
    if _PDB_RECORD.search(head):
        return "pdb"
    return "text"
