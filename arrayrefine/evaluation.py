"""Models looked at and not refined: validation, peaks and omit maps from files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.configuration import check_options
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.hydrogens.placing import Hydrogens
from arrayrefine.hydrogens.sources import with_hydrogens
from arrayrefine.hydrogens.turning import turn_hydrogens
from arrayrefine.io.in_memory import DataSource, ModelSource, label_of
from arrayrefine.io.models.model_crystal import Box
from arrayrefine.io.models.reading import Model, read_model
from arrayrefine.kernels.blas import one_blas_thread_throughout
from arrayrefine.maps import MapCoefficients
from arrayrefine.monomers import library_for
from arrayrefine.options import External, Options
from arrayrefine.preparation import prepare
from arrayrefine.problem import Problem
from arrayrefine.real_space.map_grids import MapGrid, map_grid
from arrayrefine.real_space.model_maps import maps_of
from arrayrefine.real_space.omit_maps import RADIUS, OmitMap, omit_map
from arrayrefine.real_space.peaks import LIMIT, Blob, Peak, anomalous_peaks, find_blobs, find_peaks
from arrayrefine.reporting.option_effects import without_data
from arrayrefine.restraints import Restraints
from arrayrefine.scattering.radiation import chosen_radiation, with_hydrogens_for
from arrayrefine.selection import select
from arrayrefine.state import State, evaluate
from arrayrefine.steering.known_phases import with_known_phases
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.links import with_found_links
from arrayrefine.validation import Validation, validate, validate_model


@dataclass(frozen=True)
class Evaluated:
    """A model with its data, nothing of it moved but hydrogens.

    Attributes
    ----------
    problem : Problem
    state : State
    maps : MapCoefficients
    notes : tuple of str
        What was fixed up, left out or assumed.
    """

    problem: Problem
    state: State
    maps: MapCoefficients
    notes: tuple[str, ...] = field(default=())


def as_read(options: Options) -> Options:
    """These options, but for all that would change the displacements of the model, move it, or restrain it further."""
    off = External(secondary_structure="off", ramachandran="off", ncs="off", metals=False, jelly_body="off")
    return dataclasses.replace(
        options, tls=("none",), anisotropic="keep", external=off, perturb=0.0, freeze=(), occupancy_groups=(),
        rigid_groups=(), reference=None, restraint_tables=(), cycles=0,
    )  # fmt: skip


def evaluate_files(model: ModelSource, data: DataSource, options: Options | None = None) -> Evaluated:
    """Read a model and reflections, fit scale, solvent and sigma_A, and make the maps.

    Raises
    ------
    InputError, MonomerError, DeviceError
        The input cannot be used as given; the message says what to do.
    """
    check_options(options := options or Options())
    options = as_read(options)
    with one_blas_thread_throughout():
        _, problem, atoms, notes = prepare(model, data, options)
        state = evaluate(problem, atoms, absorb_b=False)
        problem, of_phases = with_known_phases(problem, state)
        if of_phases:
            state = evaluate(problem, atoms, absorb_b=False)
        return Evaluated(problem, state, maps_of(problem, state), tuple(dict.fromkeys((*notes, *of_phases))))


@dataclass(frozen=True)
class Known:
    """A model without data, and what is known of its geometry.

    Attributes
    ----------
    model : Model
        As read, with the hydrogens that were added or without those stripped.
    hydrogens : Hydrogens
    atoms : Atoms
        Those of `model`, their hydrogens turned.
    restraints : Restraints
        Of the dictionary.
    crystal : Crystal
    notes : tuple of str
        What was fixed up, left out or assumed.
    in_box : bool
        Whether the model names no unit cell, so that `crystal` is one in which atoms meet no mates.
    """

    model: Model
    hydrogens: Hydrogens
    atoms: Atoms
    restraints: Restraints
    crystal: Crystal
    notes: tuple[str, ...]
    in_box: bool


def geometry_of_file(model: ModelSource, options: Options | None = None) -> Known:
    """Read a model without data, give it its hydrogens, and find what the dictionary says of it.

    Raises
    ------
    InputError, MonomerError
        The input cannot be used as given; the message says what to do.
    """
    check_options(options := options or Options())
    options = as_read(options)
    source = read_model(model, where := Box())
    crystal = source.crystal
    radiation, _ = chosen_radiation(options.radiation, source)
    options, radiation_notes = with_hydrogens_for(options, radiation, source.atoms)
    library = library_for(source.structure, options.restraints, options.monomers, options.unknown)
    source, link_notes = with_found_links(source, crystal, library.monlib)
    source, hydrogens, hydrogen_notes = with_hydrogens(source, crystal, library, options)
    restraints = build_restraints(
        source.structure, source.atoms, crystal, library, unknown=options.unknown,
        at_nuclei=options.riding.distance == "nucleus",
    )  # fmt: skip
    restraints = restraints.without(source.atoms.riding.mask(len(source.atoms)))
    atoms = turn_hydrogens(hydrogens, hydrogens.place(source.atoms), restraints.non_bonded, crystal)
    notes = [*source.notes, *radiation_notes, *hydrogen_notes, *library.notes, *link_notes, *restraints.notes]
    return Known(source, hydrogens, atoms, restraints, crystal, tuple(dict.fromkeys(notes)), where.needed)


def validate_files(
    model: ModelSource, data: DataSource | None = None, options: Options | None = None
) -> tuple[Validation, tuple[str, ...]]:
    """Validate a model against its data and the dictionary; without data its geometry alone.

    Returns
    -------
    validation : Validation
    notes : tuple of str
        What was fixed up, left out or assumed.

    Raises
    ------
    InputError, MonomerError, DeviceError
        The input cannot be used as given; the message says what to do.
    """
    if data is not None:
        found = evaluate_files(model, data, options)
        return validate(found.problem, found.state, found.maps), found.notes
    known = geometry_of_file(model, options)
    notes = (*without_data(options or Options()), *known.notes)
    return validate_model(known.atoms, known.restraints, known.crystal), notes


@dataclass(frozen=True)
class Findings:
    """Peaks and holes of the difference map, blobs, what scatters anomalously, and the model that they are next to.

    Attributes
    ----------
    peaks : tuple of Peak
    blobs : tuple of Blob
    atoms : Atoms
        `Peak.atom` and `Blob.atom` are positions in these.
    difference : MapGrid
    notes : tuple of str
    anomalous : tuple of Peak
        See `peaks.anomalous_peaks`; none without Friedel pairs.
    """

    peaks: tuple[Peak, ...]
    blobs: tuple[Blob, ...]
    atoms: Atoms
    difference: MapGrid
    notes: tuple[str, ...]
    anomalous: tuple[Peak, ...] = ()


def peaks_of_files(
    model: ModelSource, data: DataSource, options: Options | None = None, limit: float = LIMIT
) -> Findings:
    """Find peaks and holes of the mFo-DFc map beyond `limit` sigma, density without a model, and anomalous scatterers.

    Raises
    ------
    InputError, MonomerError, DeviceError
        The input cannot be used as given; the message says what to do.
    """
    if not limit > 0.0:
        raise InputError(f"--limit: found {limit:g}, expected a number of sigma above 0, such as {LIMIT:g}")
    found = evaluate_files(model, data, options)
    crystal, atoms = found.problem.reflections.crystal, found.state.atoms
    best, difference = (map_grid(found.maps, crystal, kind) for kind in ("2mFo-DFc", "mFo-DFc"))
    peaks, blobs = find_peaks(difference, atoms, limit), find_blobs(best, difference, atoms)
    anomalous: tuple[Peak, ...] = ()
    if found.maps.anomalous is not None:
        anomalous = anomalous_peaks(map_grid(found.maps, crystal, "anomalous"), atoms)
    return Findings(peaks, blobs, atoms, difference, found.notes, anomalous)


def omit_files(
    model: ModelSource,
    data: DataSource,
    selection: str,
    options: Options | None = None,
    radius: float = RADIUS,
) -> tuple[OmitMap, Evaluated]:
    """Make an omit map for the atoms that a selection names; see `omit_map`.

    Raises
    ------
    InputError, MonomerError, DeviceError
        The input cannot be used as given; the message says what to do.
    """
    if not 0.0 <= radius <= 15.0:
        raise InputError(f"--radius: found {radius:g}, expected 0 to 15 Å")
    found = evaluate_files(model, data, options)
    atoms = found.state.atoms
    chosen = select(atoms, selection, "--selection")
    there = ~atoms.is_hydrogen & (atoms.occupancy > 0.0)
    if not (chosen & there).any():
        raise InputError(
            f"selection '{selection}' names no atom of '{label_of(model)}' that scatters (hydrogens aside); expected "
            "one or more to leave out: check chain, residue and atom names"
        )
    if (chosen | ~there).all():
        name = label_of(model)
        raise InputError(f"selection '{selection}' names all atoms of '{name}'; expected some to be left for phases")
    with one_blas_thread_throughout():
        return omit_map(found.problem, found.state, np.asarray(chosen), radius), found
