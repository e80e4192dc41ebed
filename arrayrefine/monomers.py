"""Where restraints of components come from: the user's CIFs, library folders, the embedded library."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import gemmi

from arrayrefine.errors import InputError, MonomerError
from arrayrefine.io.models.dummy_atoms import dummies_among
from arrayrefine.io.models.entities import set_up_entities
from arrayrefine.io.models.padded_names import strip_names_of_component
from arrayrefine.io.restraint_file import read_restraint_file, what_instead
from arrayrefine.topology.atom_names import (
    names_of_other_programs,
    other_compound_message,
    strangers,
    use_dictionary_names,
)
from arrayrefine.topology.component_checks import check_restraints, check_values, doubts, without_modifications
from arrayrefine.topology.component_definitions import Connectivity, use_definitions
from arrayrefine.topology.component_of_model import components_of_model
from arrayrefine.topology.dictionary_contents import contents, rename_modifications, set_groups
from arrayrefine.topology.element_checks import other_elements
from arrayrefine.topology.library_mending import mend_library
from arrayrefine.topology.polymer_groups import set_polymer_groups
from arrayrefine.topology.sugar_groups import set_sugar_groups
from arrayrefine.topology.typical_geometry import typical_geometry
from arrayrefine.wording import Caution, listed

Unknown = Literal["error", "hold", "shape"]
"""What to do with components that nothing describes."""

EMBEDDED = Path(__file__).resolve().parent / "data" / "monomers"
"""Folder of the embedded selection of the CCP4 monomer library (LGPL-3, see its NOTICE.txt)."""

_OF_PDB_FILES = 3
"""Characters that a component's name has in them."""


@dataclass(frozen=True)
class EnergyType:
    """Non-bonded properties of an energy type of the library.

    Attributes
    ----------
    hydrogen_bond : str
        "D" donor, "A" acceptor, "B" both, "H" polar hydrogen, "N" neither.
    radius, radius_with_hydrogens, ion_radius : float
        Van der Waals radius without and with implicit hydrogens, and ionic radius, Å; nan where unknown.
    """

    hydrogen_bond: str
    radius: float
    radius_with_hydrogens: float
    ion_radius: float


@dataclass(frozen=True)
class MonomerLibrary:
    """Restraint dictionaries for the components of a model.

    Attributes
    ----------
    monlib : gemmi.MonLib
        Components, links and modifications.
    energy : mapping of str to EnergyType
    sources : dict
        Component name to the file that it was read from.
    missing : tuple of str
        Components found nowhere.
    notes : tuple of str
    unused, replaced : mapping of str to str
        Components of the user's files that the model does not have, or that a later file describes too, to the files.
    """

    monlib: gemmi.MonLib
    energy: Mapping[str, EnergyType]
    sources: Mapping[str, str]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    unused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    replaced: Mapping[str, str] = dataclasses.field(default_factory=dict)


def load_monomers(
    residue_names: Sequence[str], restraints: Sequence[Path] = (), monomers: Path | None = None
) -> MonomerLibrary:
    """Load the restraints of the named components.

    Search order: the CIFs in `restraints` (they win over every library, the last one over the earlier
    ones), the folder `monomers`, the folder in the environment variable ``CLIBD_MON``, the embedded
    library. Links, modifications and energy types come from the first of the folders that has them.

    Parameters
    ----------
    residue_names : sequence of str
        Components of the model.
    restraints : sequence of Path
        CIF files with components, links or modifications.
    monomers : Path, optional
        A folder laid out like the CCP4 monomer library.

    Returns
    -------
    MonomerLibrary
        Components found nowhere are in its `missing`; whether that is an error is for the caller to say.

    Raises
    ------
    InputError
        A folder or file that is not there, cannot be read, or has no restraints.
    MonomerError
        A user's component that leaves heavy atoms without any bond.
    """
    folders, notes = _library_folders(monomers)
    embedded, energy = _embedded()
    monlib = embedded.clone()
    _read_links(monlib, folders)
    first = next(folder for folder in folders if (folder / "ener_lib.cif").is_file())
    if first != EMBEDDED:
        energy = _read_energy(first / "ener_lib.cif")
    sources: dict[str, str] = {}
    replaced: dict[str, str] = {}
    own_links: dict[str, str] = {}
    for path in restraints:
        own, links = _read_user_file(monlib, Path(path), notes, residue_names, folders, sources)
        own_links |= dict.fromkeys(links, str(path))
        for name in own:
            if name in sources:
                notes.append(f"component {name} is defined in {sources[name]} and in {path}: the latter is used")
                replaced[name] = sources[name]
            sources[name] = str(path)
        if own and not links and not set(own) & set(residue_names):
            notes.append(Caution(f"{path} describes {listed(own)}, which the model does not have: not used"))
    unused = {name: path for name, path in sources.items() if name not in residue_names}
    notes += without_modifications(monlib, own_links)
    notes += doubts(monlib, {name: path for name, path in sources.items() if name in residue_names})
    missing, here = [], []
    for name in dict.fromkeys(residue_names):
        if name in sources:
            continue
        found = _read_component(monlib, name, folders, notes)
        if found is None:
            missing.append(name)
            continue
        if name not in monlib.monomers:
            raise InputError(f"{found}: expected the component {name}, which is not in this file")
        sources[name] = str(found)
        here.append(name)
    known = [name for name in dict.fromkeys(residue_names) if name in monlib.monomers]
    notes += set_polymer_groups(monlib, known)
    notes += mend_library(monlib, here, own_links, EMBEDDED)
    notes += set_sugar_groups(monlib, known)
    return MonomerLibrary(monlib, energy, sources, tuple(missing), tuple(notes), unused, replaced)


def library_for(
    structure: gemmi.Structure, restraints: Sequence[Path], monomers: Path | None, unknown: Unknown
) -> MonomerLibrary:
    """Load the restraints of a model's components, and refuse those that are of another compound than a ligand.

    Parameters
    ----------
    structure : gemmi.Structure
        Its first model is used, and is not changed.
    restraints, monomers
        See `load_monomers`.
    unknown : {"error", "hold", "shape"}
        What to do with a ligand that has heavy atoms beyond its dictionary's: stop, or do as if it had no dictionary.
        With "shape" what has none is described by its coordinates.

    Returns
    -------
    MonomerLibrary

    Raises
    ------
    InputError
        As in `load_monomers`.
    MonomerError
        Such a ligand, and `unknown` is "error".
    """
    library = load_monomers(sorted(set(structure[0].get_all_residue_names())), restraints, monomers)
    copy = structure.clone()
    set_up_entities(copy)
    use_dictionary_names(copy, library.monlib, io.StringIO())
    also = {name: f" (used in place of that in {path})" for name, path in library.replaced.items()}
    unlike = strangers(copy, library.monlib).items()
    found = {name: f"{what} {library.sources[name]}{also.get(name, '')}" for name, what in unlike}
    if found and unknown == "error":
        raise MonomerError(other_compound_message(found) + unused_message(library.unused))
    for name in found:
        del library.monlib.monomers[name]
    fate = "taken for another compound, its restraints are not used."
    notes: list[str] = [
        Caution(f"{what}: {fate}{names_of_other_programs([name])}".rstrip(".")) for name, what in found.items()
    ]
    notes += other_elements(copy, library.monlib)
    missing = (*library.missing, *found)
    sources = {name: source for name, source in library.sources.items() if name not in found}
    if unknown == "shape":
        blocks, said = components_of_model(structure, missing)
        for name, block in blocks.items():
            document = gemmi.cif.Document()
            document.add_copied_block(block)
            _read_document(library.monlib, Path(name), document)
            set_groups(library.monlib, document)
        said += set_sugar_groups(library.monlib, blocks)
        missing, notes = tuple(name for name in missing if name not in blocks), notes + said
        sources |= dict.fromkeys(blocks, "the coordinates of the model")
    return dataclasses.replace(library, missing=missing, notes=(*library.notes, *notes), sources=sources)


def unused_message(unused: Mapping[str, str]) -> str:
    """What to do where the user's files describe components that the model does not have: a sentence, or ""."""
    if not unused:
        return ""
    said = listed([f"{name} ({path})" for name, path in unused.items()])
    long = any(len(name) > _OF_PDB_FILES for name in unused)
    return f" --restraints describes {said}, which the model does not have: one compound needs one name in both" + (
        ", and a name of more than three characters a model in mmCIF." if long else "."
    )


def missing_components_message(missing: Mapping[str, Sequence[str]]) -> str:
    """Say which components lack restraints, where they are, and what to do.

    Parameters
    ----------
    missing : mapping of str to sequence of str
        Component name to the labels of its residues.
    """
    lines = []
    for name, residues in missing.items():
        lines.append(f"component {name} (residue {listed(residues)}) has no restraints in any library")
    return (
        "; ".join(lines)
        + ". Give a restraint CIF with --restraints FILE (made by AceDRG, grade2 or eLBOW, or the "
        "definition that the PDB has of its ligands), a fuller monomer library with --monomers DIR (or $CLIBD_MON), "
        "hold such residues in the shape that the model gives them with --unknown shape, or fixed in place with "
        "--unknown hold."
        + names_of_other_programs(missing)
        + dummies_among(missing)
    )


def _library_folders(monomers: Path | None) -> tuple[list[Path], list[str]]:
    """Library folders in search order, the embedded one last, and notes."""
    folders: list[Path] = []
    notes: list[str] = []
    if monomers is not None:
        if not Path(monomers).is_dir():
            raise InputError(
                f"{monomers}: not a folder; --monomers expects a monomer library laid out as <first letter>/<NAME>.cif"
            )
        if not _has_library(Path(monomers)):
            raise InputError(
                f"{monomers}: no monomer library in this folder; --monomers expects <first letter>/<NAME>.cif, "
                "list/mon_lib_list.cif or ener_lib.cif in it (give single restraint CIFs with --restraints)"
            )
        folders.append(Path(monomers))
    variable = os.environ.get("CLIBD_MON", "")
    if variable:
        if Path(variable).is_dir() and _has_library(Path(variable)):
            folders.append(Path(variable))
        else:
            what = "has no monomer library" if Path(variable).is_dir() else "is not a folder"
            notes.append(Caution(f"CLIBD_MON names '{variable}', which {what}: ignored"))
    if not (EMBEDDED / "ener_lib.cif").is_file():
        raise InputError(f"{EMBEDDED}: the embedded monomer library is missing; install arrayrefine again")
    return [*folders, EMBEDDED], notes


def _has_library(folder: Path) -> bool:
    """Whether a folder has components in folders of one letter, or one of the lists of a library."""
    lists = (folder / "list" / "mon_lib_list.cif", folder / "ener_lib.cif")
    return any(path.is_file() for path in lists) or next(folder.glob("?/*.cif"), None) is not None


def _read_component(monlib: gemmi.MonLib, name: str, folders: Sequence[Path], notes: list[str]) -> Path | None:
    """Read a component from the first folder that has it in a file that can be read, and return that file."""
    there, paths = gemmi.MonLib(), []
    for folder in folders:
        there.monomer_dir = f"{folder}/"
        paths.append(Path(there.path(name)))
    paths = [path for path in paths if path.is_file()]
    for path, other in zip(paths, [*paths[1:], None]):
        try:
            _read_document(monlib, path)
            return path
        except InputError as error:
            if other is None:
                raise
            notes.append(Caution(f"{error}; {other} is used instead"))
    return None


@cache
def _embedded() -> tuple[gemmi.MonLib, Mapping[str, EnergyType]]:
    """Links, modifications and energy types of the embedded library, read once: what is to be changed is a copy."""
    monlib = gemmi.MonLib()
    monlib.read_monomer_lib(f"{EMBEDDED}/", [])
    return monlib, _read_energy(EMBEDDED / "ener_lib.cif")


def _read_links(monlib: gemmi.MonLib, folders: Sequence[Path]) -> None:
    """Replace the embedded links and modifications by those of the first folder that has its own."""
    paths = [folder / "list" / "mon_lib_list.cif" for folder in folders]
    path = next(path for path in paths if path.is_file())
    if path == paths[-1]:
        return
    with contextlib.suppress(OSError):  # a file that cannot be read is reported below
        if path.read_bytes() == paths[-1].read_bytes():
            return
    for table in (monlib.links, monlib.modifications):
        for name in list(table):
            del table[name]
    _read_document(monlib, path)


def _read_document(monlib: gemmi.MonLib, path: Path, document: gemmi.cif.Document | None = None) -> None:
    """Add what a CIF defines; gemmi's errors become ours."""
    try:
        document = gemmi.cif.read(str(path)) if document is None else document
        for block in document:
            strip_names_of_component(block)
        monlib.read_monomer_doc(document)
    except (ValueError, RuntimeError, IndexError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a restraint CIF: {error}") from error


def _read_energy(path: Path) -> dict[str, EnergyType]:
    """Energy types of a library (`ener_lib.cif`)."""
    tags = ["type", "hb_type", "vdw_radius", "vdwh_radius", "ion_radius"]
    table = gemmi.cif.read(str(path)).find_block("energy").find("_lib_atom.", tags)
    energy = {}
    for row in table:
        radius, with_hydrogens, ion = (gemmi.cif.as_number(row[k]) for k in (2, 3, 4))
        if math.isnan(with_hydrogens):
            with_hydrogens = radius
        energy[row.str(0)] = EnergyType(row.str(1), radius, with_hydrogens, ion)
    return energy


def _read_user_file(
    monlib: gemmi.MonLib, path: Path, notes: list[str], wanted: Sequence[str], folders: Sequence[Path],
    earlier: Mapping[str, str],
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Read a user's restraint CIF, replacing what was known; returns the names of its components and of its links.

    `earlier` are the files of components that were read before.
    """

    def known(name: str) -> tuple[str, Connectivity] | None:
        if name in earlier and name in monlib.monomers:
            return earlier[name], Connectivity.of(monlib.monomers[name])
        there = gemmi.MonLib()
        if _read_component(there, name, folders, []) is None or name not in there.monomers:
            return None
        return "the library", Connectivity.of(there.monomers[name])

    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {what} (--restraints expects restraint CIFs, such as LIG.cif)")
    document, unrestrained = read_restraint_file(path)
    made = use_definitions(document, wanted, known, lambda: typical_geometry(EMBEDDED))
    notes += [*unrestrained, *(f"{path}: {note}" for note in made.notes)]
    names, links, modifications = contents(made.document)
    if not (names or links or modifications or made.unused or made.notes):
        raise InputError(
            f"{path}: has {what_instead(document)}, but no component (data_comp_...), link list or modification list; "
            "--restraints expects a restraint CIF, as made by AceDRG, grade2 or eLBOW"
        )
    for name, block in names.items():
        check_values(name, block, path)
        if name in monlib.monomers:
            del monlib.monomers[name]
    for name in links:
        if name in monlib.links:
            notes.append(f"link {name} of the library is replaced by that in {path}")
            del monlib.links[name]
    rename_modifications(made.document, [m for m in modifications if m in monlib.modifications], monlib)
    _read_document(monlib, path, made.document)
    set_groups(monlib, made.document)
    check_restraints(monlib, names, links, path)
    return [*names, *made.unused], links
