"""Everything is read and set up: model, data, restraints, hydrogens, parametrisation."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.configuration import check_options
from arrayrefine.device.choice import choose_device
from arrayrefine.displacements import predicted
from arrayrefine.displacements.anisotropy import choose_anisotropic
from arrayrefine.displacements.displacement import B_BOUNDS
from arrayrefine.displacements.tensors import undecided
from arrayrefine.displacements.tls_groups import choose_tls, wants_groups
from arrayrefine.errors import InputError
from arrayrefine.further_restraints.choice import with_external
from arrayrefine.further_restraints.tables import TableSource, as_tables, with_tables
from arrayrefine.hydrogens.placing import Hydrogens
from arrayrefine.hydrogens.riding import follow
from arrayrefine.hydrogens.sources import with_hydrogens
from arrayrefine.hydrogens.turning import turn_hydrogens
from arrayrefine.io.in_memory import DataSource, ModelSource
from arrayrefine.io.models.reading import Model, in_crystal, read_model
from arrayrefine.io.models.tls_header import header_groups, is_ours, why_no_groups
from arrayrefine.io.models.twin_header import header_laws
from arrayrefine.io.reflections.phase_columns import with_phases
from arrayrefine.io.reflections.reading import crystal_of, read_reflections
from arrayrefine.kernels.blas import one_blas_thread
from arrayrefine.macrocycle import check_targets
from arrayrefine.measurements.data_checks import check_data, few_for_model
from arrayrefine.measurements.wilson_outliers import without_outliers
from arrayrefine.monomers import MonomerLibrary, library_for
from arrayrefine.occupancies.conformers import build_occupancy_groups, overfull, partial, uneven
from arrayrefine.options import Options
from arrayrefine.parameters import Parameters
from arrayrefine.problem import Problem, targets_of
from arrayrefine.reflections import Reflections
from arrayrefine.reporting.option_effects import frozen_groups, refines, tls_option, without_effect
from arrayrefine.restraints import Restraints
from arrayrefine.scattering.dispersion import with_dispersion
from arrayrefine.scattering.radiation import with_hydrogens_for, with_method, with_radiation
from arrayrefine.selection import select
from arrayrefine.steering.rigid_body import find_groups
from arrayrefine.strict_ncs.consensus import agreed
from arrayrefine.strict_ncs.copies import Copies
from arrayrefine.strict_ncs.finding import strict_copies
from arrayrefine.targets.extra import ExtraTarget, check_extra
from arrayrefine.topology.build import build_restraints
from arrayrefine.topology.links import with_found_links
from arrayrefine.topology.unmodelled import truncated
from arrayrefine.twins.choice import as_twin, chosen_laws, of_test_set
from arrayrefine.wording import counted

_PERTURB_B = 5.0
"""Å²; half width of the change of B that goes with --perturb."""


def perturb(atoms: Atoms, rms: float, seed: int, start: int = 0) -> Atoms:
    """Displace atoms by `rms` Å (root mean square of the displacement lengths) and B by up to ± 5 Å²."""
    rng = np.random.default_rng((seed, start) if start else seed)
    shift = rng.normal(0.0, rms / np.sqrt(3.0), atoms.xyz.shape)
    shift = np.einsum("nij,nj->ni", atoms.site_projection, shift)
    b_iso = np.clip(atoms.b_iso + rng.uniform(-_PERTURB_B, _PERTURB_B, len(atoms)), 2.0, B_BOUNDS[1])
    u_aniso = atoms.u_aniso * (b_iso / atoms.b_iso)[:, None]
    return atoms.replace(xyz=atoms.xyz + shift, b_iso=b_iso, u_aniso=u_aniso)


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Keep Python from going again and again through hundreds of thousands of gemmi's atoms in search of cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Inputs(NamedTuple):
    """A model and its data as they were read.

    Attributes
    ----------
    model : Model
        In the crystal of the data.
    reflections : Reflections
    options : Options
        With what their kind of radiation asks of hydrogens.
    laws : tuple of str
        Twin laws, see `chosen_laws`.
    of_data, of_radiation, of_hydrogens, of_twin : list of str
        Notes.
    """

    model: Model
    reflections: Reflections
    options: Options
    laws: tuple[str, ...]
    of_data: list[str]
    of_radiation: list[str]
    of_hydrogens: list[str]
    of_twin: list[str]


def read_inputs(source: ModelSource, data: DataSource, options: Options) -> Inputs:
    """Read a model and its data, each in the light of the other; see `prepare`."""
    model = read_model(source, lambda _: crystal_of(data))
    reflections, of_data = read_reflections(
        data, model.crystal, columns=options.columns, free=options.free, d_min=options.d_min, d_max=options.d_max,
        seed=options.seed,
    )
    reflections, of_radiation = with_radiation(reflections, options.radiation, model)
    reflections, of_phases = with_phases(reflections, options.phases, data)
    of_data = (*of_data, *of_phases)
    reflections, of_dispersion = with_dispersion(reflections, options.wavelength, model)
    model = with_method(model, reflections.radiation)
    options, of_hydrogens = with_hydrogens_for(options, reflections.radiation, model.atoms)
    laws, of_twin = chosen_laws(reflections, options.twin, header_laws(model.structure, model.document))
    of_twin += of_test_set(reflections, laws)
    if reflections.phases is not None and (laws or options.xray.target != "ml"):
        what = "of a twin are those of no one of its domains" if laws else "are of no use to --xray.target gaussian"
        raise InputError(f"--phases {','.join(reflections.phases.columns)}: phases {what}: leave one of them out")
    model = in_crystal(model, reflections.crystal)
    return Inputs(
        model, reflections, options, laws, [*of_data], [*of_radiation, *of_dispersion], [*of_hydrogens], [*of_twin]
    )


def restraints_of(
    model: Model, reflections: Reflections, library: MonomerLibrary, options: Options,
    tables: Sequence[TableSource] = (),
) -> Restraints:  # fmt: skip
    """All that is known about the geometry of a model: of the dictionary, other sources, and tables."""
    crystal, atoms = reflections.crystal, model.atoms
    nuclei = options.riding.distance == "nucleus"
    found = build_restraints(model.structure, atoms, crystal, library, unknown=options.unknown, at_nuclei=nuclei)
    found = with_external(
        found.without(atoms.riding.mask(len(atoms))), atoms, reflections.d_min, options.external, options.reference,
        int(reflections.work.sum()), crystal,
    )  # fmt: skip
    return with_tables(found, atoms, (*options.restraint_tables, *as_tables(tables)), options.external.loss, crystal)


def _targets(
    model: Model, reflections: Reflections, library: MonomerLibrary, options: Options, tables: Sequence[TableSource]
) -> tuple[dict[str, Any], list[str]]:
    """What a `Problem` has of the atoms and their order, by the names of its attributes; and notes on occupancies."""
    crystal, atoms = reflections.crystal, model.atoms
    restraints = restraints_of(model, reflections, library, options, tables)
    timer: dict[str, float] = {}
    groups, notes = build_occupancy_groups(atoms, options.occupancy_groups)
    made = targets_of(restraints, crystal, atoms, options, timer)
    return {**made, "timer": timer, "occupancy": groups}, [*notes]


def prepare_changed(
    problem: Problem, model: Model, hydrogens: Hydrogens, tables: Sequence[TableSource] = ()
) -> Problem:
    """The problem of a model that was changed on the way, with the same data and options.

    Parameters
    ----------
    problem : Problem
        Of the model as it was.
    model : Model
        Changed, with its riding hydrogens.
    hydrogens : Hydrogens
        Of it.
    tables : sequence
        Restraint tables in memory, as in `prepare`.
    """
    options = problem.options
    library = library_for(model.structure, options.restraints, options.monomers, options.unknown)
    made, _ = _targets(model, problem.reflections, library, options, tables)
    changed = dataclasses.replace(problem, hydrogens=hydrogens, undecided=None, _on_device=[], _plans={}, **made)
    changed = dataclasses.replace(changed, copies=_copies(model.atoms, options, changed.restraints)[0])
    if problem.undecided is not None:
        changed = dataclasses.replace(changed, undecided=undecided(changed, model.atoms))
    return changed


def _copies(atoms: Atoms, options: Options, restraints: Restraints) -> tuple[Copies, list[str]]:
    """Atoms that stay the same as others, where that is asked for, and what is refined of them."""
    held = restraints.held | Parameters.frozen_atoms(atoms, "xyz", options.freeze)
    given_b = Parameters.frozen_atoms(atoms, "b", options.freeze) | (not refines(options, "b", "tls"))
    return strict_copies(atoms, options.external, held | (not refines(options, "xyz")), given_b)


def _with_displacements(model: Model, reflections: Reflections, options: Options) -> tuple[Model, list[str]]:
    """The model with those atoms anisotropic and those groups moving that the options and the data ask for."""
    n_work = int(reflections.work.sum())
    header = header_groups(model.structure, model.atoms, select)
    shapes = "none" if options.anisotropic == "auto" and wants_groups(options.tls) else options.anisotropic
    frozen = Parameters.frozen_atoms(model.atoms, "b", options.freeze)
    atoms, notes = choose_anisotropic(
        model.atoms, shapes, reflections.d_min, n_work,
        by_group=bool(header), ours=is_ours(model.structure), frozen=frozen, refined=refines(options, "b"),
    )  # fmt: skip
    atoms, tls_notes = choose_tls(
        atoms, tls_option(options, model.atoms), n_work, model.atoms.u_aniso, frozen, header,
        why_no_groups(model.structure),
    )  # fmt: skip
    return dataclasses.replace(model, atoms=atoms), [*notes, *tls_notes]


def _displaced(atoms: Atoms, hydrogens: Hydrogens, options: Options) -> Atoms:
    """The start with `perturb`: those of its atoms that ride follow the others."""
    moved = perturb(hydrogens.without(atoms), options.perturb, options.seed, options.start)
    xyz, b_iso, u_aniso = atoms.xyz.copy(), atoms.b_iso.copy(), atoms.u_aniso.copy()
    xyz[hydrogens.own], b_iso[hydrogens.own], u_aniso[hydrogens.own] = moved.xyz, moved.b_iso, moved.u_aniso
    return follow(atoms, atoms.replace(xyz=xyz, b_iso=b_iso, u_aniso=u_aniso))


@one_blas_thread
@_no_collections()
def prepare(
    source: ModelSource,
    data: DataSource,
    options: Options,
    *,
    extra: ExtraTarget | Sequence[ExtraTarget] = (),
    restraint_tables: Sequence[TableSource] = (),
) -> tuple[Model, Problem, Atoms, list[str]]:
    """Read everything and set up the targets.

    Parameters
    ----------
    source : path, gemmi.Structure, gemmi.cif.Document or Model
        As for `read_model`.
    data : path, gemmi.Mtz, pandas.DataFrame, reciprocalspaceship.DataSet or Reflections
        As for `read_reflections`.
    options : Options
    extra : ExtraTarget or sequence of them
        Further terms of the objective.
    restraint_tables : sequence of paths, pandas.DataFrame or lists of mappings
        Further restraints, beside those that the options name; see `with_tables`.

    Returns
    -------
    model : Model
        As read, in the crystal of the data, with the hydrogens that were added or without those stripped.
    problem : Problem
        Reflections, restraints and targets.
    atoms : Atoms
        The start: those of `model`, displaced where the options say so.
    notes : list of str
        What was fixed up, left out or assumed.

    Raises
    ------
    InputError, MonomerError, DeviceError
        The input cannot be used as given, or the device that was asked for.
    """
    check_options(options)
    check_targets(options.targets)
    terms = check_extra(extra)
    if terms and options.waters != "keep":
        raise InputError(
            f"--waters {options.waters}: found {counted(len(terms), 'extra target')}, which may know atoms by their "
            "number, and waters that come and go change these; expected --waters keep: refine with the targets and "
            "with waters one after the other"
        )
    device = choose_device(options)
    asked, found = options, read_inputs(source, data, options)
    model, reflections, options, laws = found.model, found.reflections, found.options, found.laws
    crystal = reflections.crystal
    library = library_for(model.structure, options.restraints, options.monomers, options.unknown)
    model, shape_notes = _with_displacements(model, reflections, options)
    model, link_notes = with_found_links(model, crystal, library.monlib)
    model, hydrogens, hydrogen_notes = with_hydrogens(model, crystal, library, options)
    if reflections.radiation == "neutron":  # they are part of the model: which are H or D, nobody finds again
        hydrogens = dataclasses.replace(hydrogens, had=True)
    made, group_notes = _targets(model, reflections, library, options, restraint_tables)
    restraints, groups = made["restraints"], made["occupancy"]
    problem = Problem(
        reflections, options=options, hydrogens=hydrogens, device=device, extra=terms, **made
    )
    problem, outlier_notes = without_outliers(problem, model.atoms)
    problem = dataclasses.replace(
        problem, undecided=undecided(problem, model.atoms), twin=as_twin(problem.reflections, laws)
    )
    notes = [*model.notes, *found.of_radiation, *found.of_hydrogens]
    notes += [*without_effect(asked, model.atoms, on_cpu=device.kind == "cpu")]
    notes += [*shape_notes, *frozen_groups(options, model.atoms), *hydrogen_notes, *found.of_data, *outlier_notes]
    notes += [*check_data(problem.reflections, laws), *found.of_twin, *few_for_model(problem.reflections, model.atoms)]
    if "occupancy" in options.kinds:
        notes += group_notes
    else:
        notes += [*overfull(model.atoms, groups), *partial(model.atoms)]
    notes += [*uneven(model.atoms), *truncated(model.atoms, library)]
    notes += predicted.sentences(model.atoms, refines(options, "b", "tls"))
    notes += [*library.notes, *link_notes, *restraints.notes]
    atoms = model.atoms
    find_groups(atoms, options.rigid_groups)  # says what is wrong with selections before anything is refined
    if options.perturb > 0:
        atoms = _displaced(atoms, hydrogens, options)
        notes.append(
            f"the start was displaced by {options.perturb:g} Å rms and B by up to {_PERTURB_B:g} Å² "
            f"(seed {options.seed}{f', start {options.start}' if options.start else ''})"
        )
    copies, copy_notes = _copies(model.atoms, options, restraints)
    problem, notes = dataclasses.replace(problem, copies=copies), [*notes, *copy_notes]
    atoms = hydrogens.place(agreed(copies, atoms)) if len(copies) else atoms
    atoms = turn_hydrogens(hydrogens, atoms, restraints.non_bonded, crystal)
    return model, problem, atoms, notes
