"""Reading a model from PDB or mmCIF, and putting refined values back into its structure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Identity
from arrayrefine.crystal import Crystal
from arrayrefine.displacements.displacement import total_u
from arrayrefine.errors import InputError
from arrayrefine.io.documents import duplicate, lacks_entities
from arrayrefine.io.files import KIND_NAMES, InputFile, load, remedy
from arrayrefine.io.in_memory import ModelSource, is_path, label_of, stand_in
from arrayrefine.io.models import checks
from arrayrefine.io.models.atom_block import EXPECTED_MODEL, structure_of
from arrayrefine.io.models.dummy_atoms import take_dummies_for_oxygen, with_unknown_as_oxygen
from arrayrefine.io.models.far_parts import bring_back
from arrayrefine.io.models.inner_end import read_through
from arrayrefine.io.models.model_crystal import crystal_named, take_crystal, without_unit_scale
from arrayrefine.io.models.ncs_copies import with_copies
from arrayrefine.io.models.padded_names import without_padding
from arrayrefine.io.models.record_columns import in_columns
from arrayrefine.io.models.refmac_links import name_disulfides
from arrayrefine.io.models.renamed import follow_renamed
from arrayrefine.io.models.residue_order import take_polymers_together
from arrayrefine.io.models.segments import split_by_segments
from arrayrefine.io.models.sequence_coverage import little_of_sequence
from arrayrefine.io.models.site_values import put_displacements, values_of
from arrayrefine.io.models.special_positions import Sites, find_sites, follow_sites
from arrayrefine.io.models.states_of_charge import use_pdb_names_of_amino_acids
from arrayrefine.io.models.tls_header import complete_groups, is_ours
from arrayrefine.io.models.tls_residual import with_header_tls, write_motion
from arrayrefine.io.models.water_names import use_pdb_names_of_waters
from arrayrefine.io.pdb_header import header_records
from arrayrefine.io.regular_cell import SLIGHT, cell_change, format_cell
from arrayrefine.wording import Caution, are, counted, were

Float = NDArray[np.float64]

_SEQUENCE_NUMBER = re.compile(r"\s*-?\d+\s*|[A-Za-z][0-9A-Za-z]{3}")  # plain or hybrid-36
_INDENTED = re.compile(r"\s+(?:ATOM  |HETATM)(?:[ \d]{4}\d|\*{5}) ")
"""A record of an atom that the format would not know, as an indented paste or a shifted column has it."""


@dataclass(frozen=True)
class Model:
    """A model as it was read.

    Attributes
    ----------
    path : Path
        Where it was in no file: "in memory", and the type of the object.
    sha256 : str
        Of the file.
    crystal : Crystal
        Cell and space group: those of the model file, until `in_crystal` puts others.
    atoms : Atoms
        Values in range, special positions exact; see `notes` for what was changed.
    structure : gemmi.Structure
        As read, first model only; its atoms are in the order of `atoms`. Parts of one chain that are
        scattered over the file (protein, then waters) stand together, and so do the residues of a polymer.
    document : gemmi.cif.Document or None
        The mmCIF input, for writing its categories back; None for PDB.
    notes : tuple of str
        Everything that was changed, assumed or is unusual.
    file_notes : tuple of str
        Those of the notes that concern the file, not its atoms.
    header : tuple of str
        Records of a PDB file besides atoms and REMARKs.
    """

    path: Path
    sha256: str
    crystal: Crystal
    atoms: Atoms
    structure: gemmi.Structure
    document: gemmi.cif.Document | None
    notes: tuple[str, ...]
    file_notes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Model('{self.path}', {len(self.atoms)} atoms, {self.crystal.space_group})"


def read_model(source: ModelSource, otherwise: Callable[[gemmi.Structure], Crystal | None] | None = None) -> Model:
    """Read a model.

    Parameters
    ----------
    source : path, gemmi.Structure or gemmi.cif.Document
        A file, PDB or mmCIF, .gz too; or what gemmi made of one, which is copied. A `Model` is returned as it is.
    otherwise : callable, optional
        Asked, with the structure, for the crystal of a model that names none, as predicted ones do: that of its data,
        or a `box`. None where it does not know either.

    Raises
    ------
    InputError
        If the file is missing, empty or no model; has no cell or space group, nor is there one otherwise; or has atoms
        without coordinates, of unknown element, or given twice.
    """
    if isinstance(source, Model):
        return source
    notes: list[str] = []
    header: tuple[str, ...] = ()
    if is_path(source):
        file = load(source, "model", EXPECTED_MODEL)
        structure, document, header = _parse(file, notes)
    else:
        file = stand_in(source)
        structure, document = _from_memory(file, source, notes)
    _keep_first_model(file, structure, notes)
    notes += split_by_segments(structure) if document is None else []
    structure.assign_serial_numbers()  # those of files that were joined, or stars, name several atoms
    without_padding(structure)
    if any(not operator.given for operator in structure.ncs):
        notes += write_motion(structure, document, identity_of(structure))  # before the copies, which turn it
    document = with_copies(structure, document, notes)
    notes += follow_renamed(structure) if document is None else []
    name_disulfides(structure)
    complete_groups(structure)
    notes += little_of_sequence(structure)
    notes += use_pdb_names_of_waters(structure)
    if document is None or lacks_entities(document):  # others name residues in many categories
        notes += use_pdb_names_of_amino_acids(structure)
    notes += take_dummies_for_oxygen(structure)
    without_unit_scale(file, structure, notes)
    notes += take_polymers_together(structure)
    take_crystal(file, structure, otherwise, notes)
    crystal = crystal_named(file, structure, notes, asked=otherwise is not None)
    notes += bring_back(structure)
    atoms, atom_notes = _atoms(file.path, structure, document, crystal)
    every = (*notes, *atom_notes)
    return Model(file.path, file.sha256, crystal, atoms, structure, document, every, tuple(notes), header)


def _from_memory(
    file: InputFile, source: object, notes: list[str]
) -> tuple[gemmi.Structure, gemmi.cif.Document | None]:
    """A structure that is ours to change, and the document it came from, mended as that of a file."""
    if isinstance(source, gemmi.Structure):
        structure, document = source.clone(), None
    elif isinstance(source, gemmi.cif.Document):
        document = duplicate(source)
        structure = structure_of(file, document, notes)
        if document.as_string() == source.as_string():  # nothing to mend
            document = source
    else:
        expected = "a path, a gemmi.Structure or a gemmi.cif.Document"
        raise InputError(f"the model is {label_of(source)}; expected {expected}")
    structure.merge_chain_parts()
    return structure, document


def in_crystal(model: Model, crystal: Crystal) -> Model:
    """The model as read, in the cell of its data: structure, special positions and arrays alike.

    Cartesian coordinates are kept, as REFMAC and Servalcat do. Only atoms on special positions follow their
    symmetry elements, which are at fixed fractional coordinates.

    Parameters
    ----------
    model : Model
        As read; changes made to its atoms since are lost.
    crystal : Crystal
        Nearly the same cell, in the same space group.

    Returns
    -------
    Model
        `model` itself where it has this crystal already.
    """
    if crystal == model.crystal:
        return model
    structure = model.structure.clone()
    structure.cell = gemmi.UnitCell(*crystal.cell)
    structure.setup_cell_images()
    atoms, notes = _atoms(model.path, structure, model.document, crystal, model.crystal)
    file_notes = model.file_notes
    if cell_change(model.crystal.gemmi_cell, crystal.gemmi_cell) > SLIGHT:
        file_notes = (
            *file_notes,
            f"the model is put into the cell of the data ({format_cell(crystal.gemmi_cell)}): Cartesian coordinates "
            "are kept, atoms on special positions follow their symmetry elements",
        )
    return dataclasses.replace(
        model, crystal=crystal, atoms=atoms, structure=structure, notes=(*file_notes, *notes), file_notes=file_notes
    )


def _atoms(
    path: Path, structure: gemmi.Structure, document: gemmi.cif.Document | None, crystal: Crystal,
    before: Crystal | None = None,
) -> tuple[Atoms, tuple[str, ...]]:
    """Atoms of a structure, checked and on their sites; with `before`, the sites that they had in another cell."""
    identity = identity_of(structure)
    xyz, b_iso, occupancy, element, u_aniso, anisotropic = values_of(structure)
    checks.check_coordinates(path, identity, xyz, element)
    element, notes = with_unknown_as_oxygen(identity, element)
    checks.check_elements(path, identity, element)
    checks.check_duplicates(path, identity)
    b_iso, u_aniso, anisotropic, tls_notes = with_header_tls(
        structure, document, identity, xyz, b_iso, u_aniso, anisotropic
    )
    b_iso, b_notes = checks.fix_b(identity, element, b_iso)
    u_aniso, u_notes = checks.fix_u(identity, b_iso, u_aniso)
    occupancy, occupancy_notes = checks.fix_occupancy(path, identity, element, occupancy, ours=is_ours(structure))
    start = xyz if before is None else follow_sites(before, crystal, xyz, identity.residue)
    sites = find_sites(crystal, start, identity.residue)
    if before is not None:
        sites = dataclasses.replace(sites, moved=np.linalg.norm(sites.xyz - xyz, axis=1))
    occupancy, site_notes = _site_occupancy(identity, occupancy, sites)
    notes += [*tls_notes, *b_notes, *u_notes, *occupancy_notes, *site_notes, *checks.overlap_notes(identity, sites.xyz)]
    atoms = Atoms(
        sites.xyz, b_iso, occupancy, element, identity, sites.projection, sites.multiplicity,
        u_aniso=_on_sites(u_aniso, sites), anisotropic=anisotropic, u_projection=sites.u_projection,
    )  # fmt: skip
    return atoms, tuple(notes)


def _on_sites(u_aniso: Float, sites: Sites) -> Float:
    """Anisotropic parts (N, 6) as the site symmetry allows them."""
    projection = sites.u_projection
    return u_aniso if projection is None else np.einsum("nij,nj->ni", projection, u_aniso)


def with_atoms(model: Model, atoms: Atoms) -> gemmi.Structure:
    """Copy the structure of a model, with coordinates, B, U and occupancy of `atoms`; ANISOU where U is anisotropic.

    Raises
    ------
    InputError
        If `atoms` are not as many as those of the model.
    """
    structure = model.structure.clone()
    sites = [atom for chain in structure[0] for residue in chain for atom in residue]
    if len(sites) != len(atoms):
        raise InputError(
            f"{len(atoms)} atoms cannot be put into '{model.path}' with {len(sites)} atoms; expected as "
            "many: start from the atoms of this model"
        )
    for site, position, occupancy in zip(sites, atoms.xyz.tolist(), atoms.occupancy.tolist()):
        site.pos = gemmi.Position(*position)
        site.occ = occupancy
    put_displacements(sites, atoms.b_iso, np.where(np.any(atoms.u_aniso, axis=1, keepdims=True), total_u(atoms), 0.0))
    return structure


def _parse(
    source: InputFile, notes: list[str]
) -> tuple[gemmi.Structure, gemmi.cif.Document | None, tuple[str, ...]]:
    """The structure, the document of an mmCIF file, and the records of the header of a PDB file."""
    found = KIND_NAMES[source.kind]
    if source.kind not in ("pdb", "cif"):
        raise InputError(f"model '{source.path}' is {found}; expected {EXPECTED_MODEL}{remedy(source, 'model')}")
    document, header = None, tuple[str, ...]()
    try:
        if source.kind == "pdb":
            whole = read_through(in_columns(source.text(), notes), source.path)
            notes += whole.notes
            header = header_records(whole.text)
            structure = gemmi.read_pdb_string(_checked_pdb(source, whole.text, notes))
            structure.input_format = gemmi.CoorFormat.Pdb
        else:
            document = gemmi.cif.read_string(source.text())
            structure = structure_of(source, document, notes)
        structure.merge_chain_parts()
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"model '{source.path}' looks like {found} but cannot be parsed: {error}; expected {EXPECTED_MODEL}: "
            "correct that line or fetch the file again"
        ) from error
    return structure, document, header


def _checked_pdb(source: InputFile, text: str, notes: list[str]) -> str:
    """Text of a PDB file whose atom records have numbers where the format wants them.

    gemmi takes blanks and words for zero: an atom would be put to the origin, or vanish, without a word; and lines that
    end before occupancy and B for atoms that have some.
    """
    lines = text.splitlines()
    blank = 0

    def where(i: int) -> str:
        return f"model '{source.path}', line {i + 1} ('{lines[i][:30].strip()}')"

    if indented := [i for i, line in enumerate(lines) if _INDENTED.match(line)]:
        raise InputError(
            f"{where(indented[0])}: found {counted(len(indented), 'record')} of atoms with blanks before ATOM or "
            "HETATM, which would not be read; expected them to begin in column 1: take the blanks out"
        )
    for i, line in enumerate(lines):
        if line.startswith("ENDMDL"):
            break
        if not line.startswith(("ATOM", "HETATM")):
            continue
        try:
            _ = float(line[30:38]), float(line[38:46]), float(line[46:54])
        except ValueError:
            raise InputError(
                f"{where(i)}: found '{line[30:54]}' for the coordinates; expected three numbers in columns "
                "31-54: complete or remove this atom"
            ) from None
        if not _SEQUENCE_NUMBER.fullmatch(line, 22, 26):
            raise InputError(
                f"{where(i)}: found '{line[22:26]}' for the residue number (columns 23-26); expected an "
                "integer. PDB has room for two letters of chain name (columns 21-22): use mmCIF for longer "
                "ones"
            )
        if len(line) < 54:
            continue  # cut within z, which gemmi refuses
        if not line[54:60].strip():
            lines[i] = line = f"{line[:54]}  1.00{line[60:]}"
            blank += 1
        if not line[60:66].strip():
            lines[i] = f"{line[:60]}  0.00{line[66:]}"  # no B, which is filled in below; gemmi's of short lines is 20
    if blank:
        notes.append(f"occupancy was blank and is set to 1 for {counted(blank, 'atom')}")
    return "\n".join(lines) + "\n"


def _keep_first_model(source: InputFile, structure: gemmi.Structure, notes: list[str]) -> None:
    count = len(structure)
    while len(structure) > 1:
        del structure[-1]
    if count > 1:
        notes.append(Caution(f"only the first of {count} models in '{source.path}' is taken"))
    if not count or not structure[0].count_atom_sites():
        raise InputError(
            f"model '{source.path}' has no atoms that can be read; expected {EXPECTED_MODEL}, mmCIF with "
            "_atom_site.type_symbol, label_atom_id, label_comp_id, label_asym_id and Cartn_x, y and z"
        )


def identity_of(structure: gemmi.Structure) -> Identity:
    """Who the atoms of the first model are, in its order."""
    residues = [(chain.name, residue) for chain in structure[0] for residue in chain]
    sites = [atom for _, residue in residues for atom in residue]
    size = np.array([len(residue) for _, residue in residues], dtype=np.int64)
    altloc = np.array([atom.altloc for atom in sites], dtype=np.str_)  # NumPy takes "\0" for ""
    return Identity(
        np.repeat(np.array([name for name, _ in residues], dtype=np.str_), size),
        np.repeat(np.array([residue.name for _, residue in residues], dtype=np.str_), size),
        np.array([atom.name for atom in sites], dtype=np.str_),
        np.where(altloc == " ", "", altloc),
        np.repeat(np.array([residue.seqid.icode.strip() for _, residue in residues], dtype=np.str_), size),
        np.repeat(np.array([residue.seqid.num or 0 for _, residue in residues], dtype=np.int64), size),
        np.repeat(np.arange(len(residues)), size),
    )


def _site_occupancy(identity: Identity, occupancy: Float, sites: Sites) -> tuple[Float, tuple[str, ...]]:
    """Limit occupancies on special positions to 1/multiplicity, and say what lies there."""
    special = np.flatnonzero(sites.multiplicity > 1)
    if not len(special):
        return occupancy, ()
    n = len(special)
    notes = [f"{counted(n, 'atom')} on special positions {are(n)} kept on them: {checks.named(identity, special)}"]
    moved = special[sites.moved[special] > 0.01]
    if len(moved):
        notes.append(
            f"{len(moved)} of them {were(len(moved))} moved onto the site by up to {sites.moved.max():.2f} Å: "
            f"{checks.named(identity, moved)}"
        )
    full = 1.0 / sites.multiplicity
    over = np.flatnonzero((occupancy > full + 0.01) & (sites.multiplicity > 1))
    if len(over):
        notes.append(
            "every symmetry operator is counted, so an atom on an n-fold position has an occupancy of at "
            f"most 1/n: lowered for {counted(len(over), 'atom')}: {checks.named(identity, over)}"
        )
        occupancy = occupancy.copy()
        occupancy[over] = full[over]
    return occupancy, tuple(notes)
