"""Writing the results: all files complete, or the old ones untouched."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.errors import ArrayRefineError, InputError
from arrayrefine.io.documents import lacks_entities
from arrayrefine.io.files import IN_MEMORY
from arrayrefine.io.models.composition import composition
from arrayrefine.io.models.entities import name_for_nameless
from arrayrefine.io.models.reading import Model, with_atoms
from arrayrefine.io.models.sequence_numbers import number_by_sequence, unlike_sequence
from arrayrefine.io.output.absent import drop_from_structure, lost_ends
from arrayrefine.io.output.cis_peptides import list_cis_peptides
from arrayrefine.io.output.json_text import json_text
from arrayrefine.io.output.other_data import of_other_data
from arrayrefine.io.output.write_cif import cif_text, old_verdicts
from arrayrefine.io.output.write_mtz import Coefficients, history_line, mtz_bytes, test_value
from arrayrefine.io.output.write_pdb import has_remark_500, pdb_obstacle, pdb_text
from arrayrefine.io.pdb_header import not_in_cif, not_in_pdb
from arrayrefine.reflections import Reflections
from arrayrefine.version import version as program_version
from arrayrefine.wording import Caution, counted, listed, parted

Float = NDArray[np.float64]

_OF_FILES = (".pdb", ".ent", ".cif", ".mmcif", ".mtz", ".json", ".html", ".ccp4", ".map", ".gz", ".toml", ".log")
"""How the names of files end that are read or written, and those of folders hardly do."""

NAMES = ("refined.cif", "refined.pdb", "refined.mtz", "report.json")
"""Files that a refinement writes."""
OPTIONAL = (
    "refined.pdb", "refined_2mFo-DFc.ccp4", "refined_mFo-DFc.ccp4", "refined_anomalous.ccp4", "report.html",
)  # fmt: skip
"""Files that it writes only where they are wanted and can be; the last when all others are there."""
_ROOM = "make room on the disk"
_REMEDIES = {
    errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EFBIG: "allow larger files (ulimit -f tells how large they may be)",
}  # fmt: skip


class Account(Protocol):
    """What the files need to know of the report."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        ...


def write_outputs(
    folder: str | Path,
    model: Model,
    atoms: Atoms,
    reflections: Reflections,
    maps: Coefficients,
    report: Account,
    more: Mapping[str, bytes] | None = None,
    uncertainty: Float | None = None,
) -> tuple[Path, ...]:
    """Write `refined.cif`, `refined.pdb` (where the model fits that format), `refined.mtz` and `report.json`.

    Parameters
    ----------
    folder : path
        Made where it does not exist. Files of these names in it are replaced, once all new ones are complete.
        A `refined.pdb`, a map or a page that this run does not replace, or not yet, would belong to another model: it
        is renamed to `refined.pdb.old`, and so on.
    model : Model
        The model as read.
    atoms : Atoms
        Its refined values.
    reflections : Reflections
    maps : MapCoefficients
    report : Report
    more : mapping of file name to content, optional
        Other files that belong to the result, such as maps.
    uncertainty : (N, 3) float64, optional
        Standard uncertainties of the coordinates, Å, nan where there is none.

    Returns
    -------
    tuple of Path
        The files written.

    Raises
    ------
    InputError
        If the folder cannot be made or written to, or if an input of this refinement would be replaced.
    ArrayRefineError
        If writing fails half-way, as on a full disk; older files are then as they were, and the new ones are in a
        temporary folder that the message names, where that has room.
    """
    folder = Path(folder)
    content = account_of(report, model, atoms, reflections, maps)
    check_inputs(folder, _input_paths(content["inputs"]))
    check_folder(folder)
    version = program_version()

    structure = with_atoms(model, atoms)
    drop_from_structure(structure)
    list_cis_peptides(structure)
    files = {"refined.cif": cif_text(model.document, structure, content, version, uncertainty).encode()}
    fits = pdb_obstacle(atoms) is None
    if fits:
        files["refined.pdb"] = pdb_text(structure, content, f"arrayrefine {version}", model.header).encode()
    files["refined.mtz"] = mtz_bytes(reflections, maps, history_line(version, test_value(reflections)))
    files["report.json"] = json_text(content).encode()

    files.update(more or {})
    try:
        written = replace_files(folder, files)
    except ArrayRefineError as error:
        raise ArrayRefineError(f"{error}{_elsewhere(files)}") from error
    set_aside(folder, (name for name in OPTIONAL if name not in files))
    return written


def set_aside(folder: Path, names: Iterable[str]) -> None:
    """Rename files of an older run that this one has not written, to `refined.pdb.old` and so on."""
    for name in names:
        if (folder / name).exists():
            os.replace(folder / name, folder / f"{name}.old")


def account_of(
    report: Account, model: Model, atoms: Atoms, reflections: Reflections, maps: Coefficients
) -> dict[str, Any]:
    """Return the content of `report.json`: the report, with counts and what the files cannot hold."""
    content = report.as_dict()
    counts = _counts(atoms, reflections, maps) | composition(with_atoms(model, atoms))
    content["data"] = {**counts, **content["data"]}
    said = left_out(model, atoms, reflections)
    for name, late in parted(sentence for sentence in said if sentence not in content["warnings"]).items():
        content[name] += late
    return content


def left_out(
    model: Model, atoms: Atoms, reflections: Reflections | None = None, stem: str = "refined"
) -> tuple[str, ...]:
    """Say what `write_outputs` will not write for this model, or otherwise than it was, or though it may be untrue.

    `stem` is what its files are called, such as `refined.cif`.
    """
    obstacle = pdb_obstacle(atoms)
    sentences: list[str] = [Caution(f"refined.pdb is not written: {obstacle}; use refined.cif")] if obstacle else []
    blocks = model.document or ()
    verdicts = [category.strip("_.") for block in blocks for category in old_verdicts(block)]
    if has_remark_500(model.structure):
        verdicts.append("REMARK 500")
    if model.document is None:
        lost = drop_from_structure(model.structure.clone())
    else:
        lost = [ends for block in blocks for ends in lost_ends(block, model.structure)]
    if lost:
        sentences.append(
            f"{counted(len(lost), 'record')} of helices, strands and cis peptides left out of the output, as the model "
            f"lacks the first or last residue: {listed(lost)}"
        )
    if trans := list_cis_peptides(with_atoms(model, atoms)):
        sentences.append(f"cis peptides of the model that are trans now are not listed as cis: {listed(trans)}")
    if lacks_entities(model.document):
        sentences.append(
            "the model has no entities (_entity): refined.cif gets them, and a label_asym_id each for a chain and its "
            "waters"
        )
    if model.document is None or lacks_entities(model.document):
        sentences += number_by_sequence(model.structure.clone())
    else:
        sentences += unlike_sequence(model.structure)
    if model.document is None:
        name = name_for_nameless(model.structure)
        if name is not None:
            sentences.append(
                f"the chain without a name is chain {name} in refined.cif, as mmCIF needs a name; in refined.pdb it "
                "stays blank, and selections name it as chain ''"
            )
    if model.document is None:
        sentences += not_in_pdb(model.structure, model.header)
        sentences += not_in_cif(model.structure, model.header)
    if reflections is not None:
        sentences += of_other_data(model.structure, reflections)
    if verdicts:
        sentences.append(f"left out of the output, as it judges the model as it was: {', '.join(verdicts)}")
    return tuple(type(sentence)(sentence.replace("refined.", f"{stem}.")) for sentence in sentences)


def check_folder(folder: str | Path, instead: str = "give another folder with --out") -> None:
    """Make the output folder, and make sure that files can be written there.

    Called before a refinement starts, so that hours of work do not end at a closed door.

    Raises
    ------
    InputError
        Naming the folder and the reason.
    """
    folder = Path(folder)
    if folder.suffix.lower() in _OF_FILES and not folder.is_dir():
        raise InputError(
            f"output folder '{folder}' has the name of a file; expected that of a folder, such as "
            f"'{folder.with_suffix('')}': several files are written"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        file = next((p for p in (folder, *folder.parents) if p.is_file()), folder)
        raise InputError(
            f"output folder '{folder}' cannot be made: '{file}' is a file; {instead}"
        ) from error
    except OSError as error:
        raise InputError(
            f"output folder '{folder}' cannot be written to: {error.strerror}; "
            f"change its permissions, make room, or {instead}"
        ) from error


def check_inputs(
    folder: str | Path, inputs: Iterable[str | Path], names: Iterable[str] = (*NAMES, *OPTIONAL, "refined.pdb.old")
) -> None:
    """Refuse an output folder in which a file of the input would be replaced by one of the output, of these names.

    Raises
    ------
    InputError
        Naming both files.
    """
    targets = {Path(folder, name).resolve(): Path(folder, name) for name in names}
    for path in inputs:
        target = targets.get(Path(path).resolve())
        if target is not None:
            raise InputError(
                f"the input '{path}' would be replaced by the output '{target}'; give another folder with --out"
            )


def _input_paths(inputs: Mapping[str, Any]) -> list[str]:
    """Paths of the files that a report names as its inputs."""
    single = [inputs.get(kind) for kind in ("model", "data")]
    several = ("restraints", "restraint_tables", "reference")
    found = [*single, *(source for kind in several for source in inputs.get(kind, ()))]
    paths = [str(source["path"]) for source in found if source and source.get("path")]
    return [path for path in paths if not path.startswith(IN_MEMORY)]


def replace_files(folder: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write files under temporary names, and give them their names only when all of them are on the disk.

    Parameters
    ----------
    folder : Path
        An existing folder.
    files : mapping of file name to content

    Raises
    ------
    ArrayRefineError
        If a file cannot be written; the temporary files are then removed and older files are as they were.
    """
    parts = {folder / name: folder / f".{name}.{os.getpid()}.part" for name in files}
    current = folder
    try:
        for (target, part), data in zip(parts.items(), files.values()):
            current = target
            _write(part, data)
        _rename(parts)
    except OSError as error:
        room = _REMEDIES.get(error.errno or 0, "see to the cause")
        raise ArrayRefineError(
            f"'{current}' could not be written: {error.strerror or error}; older files in '{folder}' are as "
            f"they were; {room} or give another folder with --out, and run again"
        ) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return tuple(parts)


def _elsewhere(files: Mapping[str, bytes]) -> str:
    """Write the files into a temporary folder, as a refinement may have taken hours; a sentence that says where."""
    place = None
    try:
        place = Path(tempfile.mkdtemp(prefix="arrayrefine-"))
        replace_files(place, files)
    except (OSError, ArrayRefineError):
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
        return ""
    return f". What was to be written ({', '.join(files)}) is in '{place}': move it where it belongs"


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _rename(parts: Mapping[Path, Path]) -> None:
    """Rename every part to its target; if one refuses, undo those that were renamed before it."""
    saved = {target: part.with_suffix(".old") for target, part in parts.items() if target.exists()}
    done: list[Path] = []
    try:
        for target, copy in saved.items():
            _keep(target, copy)
        for target, part in parts.items():
            done.append(target)  # before it is: an interrupt may come right after
            os.replace(part, target)
    except BaseException:  # a second Ctrl-C, too
        for target in done:
            if target in saved:
                os.replace(saved[target], target)
            else:
                target.unlink(missing_ok=True)
        raise
    finally:
        for copy in saved.values():
            with contextlib.suppress(OSError):
                copy.unlink(missing_ok=True)


def _keep(target: Path, copy: Path) -> None:
    try:
        os.link(target, copy)
    except OSError:  # some file systems have no hard links
        shutil.copy2(target, copy)


def _displacements(atoms: Atoms) -> str:
    """Whether the atoms, hydrogens aside, are written with ANISOU: "isotropic", "anisotropic" or "mixed"."""
    tensor = np.any(atoms.u_aniso[~atoms.is_hydrogen], axis=1)
    return "isotropic" if not tensor.any() else "anisotropic" if tensor.all() else "mixed"


def _counts(atoms: Atoms, reflections: Reflections, maps: Coefficients) -> dict[str, Any]:
    measured = int(np.isfinite(maps.f_obs).sum())
    return {
        "n_atoms": len(atoms),
        "displacements": _displacements(atoms),
        "n_work": int(reflections.work.sum()),
        "n_free": int(reflections.free.sum()),
        "d_min": reflections.d_min,
        "d_max": reflections.d_max,
        "completeness": measured / max(len(maps.f_obs), 1),
    }
