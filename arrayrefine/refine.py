"""The main job: a model and data in, a better model and an account of it out."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from arrayrefine import summaries, tls_motion
from arrayrefine.anisotropy import choose_anisotropic
from arrayrefine.atoms import Atoms
from arrayrefine.callbacks import Listeners
from arrayrefine.configuration import check_options
from arrayrefine.conformers import build_occupancy_groups
from arrayrefine.data_checks import check_data, without_outliers
from arrayrefine.device import choose_device, memory_errors_named
from arrayrefine.device_density import Gridded
from arrayrefine.device_memory import Budget
from arrayrefine.errors import InputError
from arrayrefine.external import with_external
from arrayrefine.hydrogen_sources import with_hydrogens
from arrayrefine.hydrogens import output_atoms
from arrayrefine.io import exports
from arrayrefine.io.files import IN_MEMORY
from arrayrefine.io.in_memory import DataSource, ModelSource, is_path, label_of
from arrayrefine.io.model import Model, in_crystal, read_model, with_atoms
from arrayrefine.io.reflections import read_reflections
from arrayrefine.io.write import account_of, write_outputs
from arrayrefine.io.write_mtz import history_line, mtz_of
from arrayrefine.links import with_found_links
from arrayrefine.macrocycle import check_targets, run_cycles, start_path
from arrayrefine.map_grids import SAMPLING, Kind, MapGrid, map_grid, wanted_maps
from arrayrefine.maps import MapCoefficients
from arrayrefine.mask_search import search_mask
from arrayrefine.model_maps import maps_of
from arrayrefine.monomers import load_monomers
from arrayrefine.option_effects import tls_option, without_effect
from arrayrefine.options import Options
from arrayrefine.parameters import B_BOUNDS, Parameters
from arrayrefine.reflections import Reflections
from arrayrefine.rendezvous import Evaluated, Place
from arrayrefine.report import Report, Step
from arrayrefine.restraint_tables import TableSource, as_tables, with_tables
from arrayrefine.restraints import Restraints
from arrayrefine.riding import follow
from arrayrefine.rigid_body import find_groups, move_groups
from arrayrefine.state import Problem, State, evaluate
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.extra import ExtraTarget, check_extra
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.tls_groups import choose_tls, wants_groups
from arrayrefine.topology import build_restraints
from arrayrefine.turning import turn_hydrogens
from arrayrefine.validation import Validation, validate_model
from arrayrefine.version import version
from arrayrefine.wording import counted

_R_FREE_RISE = 0.01
"""R-free may end this much above its lowest value before that is worth a warning."""
_PERTURB_B = 5.0
"""Å²; half width of the change of B that goes with --perturb."""


@dataclass(frozen=True)
class Result:
    """A finished (or interrupted) refinement.

    Attributes
    ----------
    model : Model
        As read.
    atoms : Atoms
        Refined.
    reflections : Reflections
    maps : MapCoefficients
    report : Report
    every_atom : Atoms
        As `atoms`, with the riding hydrogens that are not written.
    restraints : Restraints
        On these.
    """

    model: Model
    atoms: Atoms
    reflections: Reflections
    maps: MapCoefficients
    report: Report
    every_atom: Atoms
    restraints: Restraints

    @property
    def r_work(self) -> float:
        """Final R-work."""
        return self.report.final.r_work

    @property
    def r_free(self) -> float | None:
        """Final R-free; None without a test set."""
        return self.report.final.r_free

    def map_grid(self, kind: Kind = "2mFo-DFc", sampling: float = SAMPLING) -> MapGrid:
        """A map of the refined model on a grid over the unit cell; `gemmi_grid` of it is gemmi's object.

        Parameters
        ----------
        kind : "2mFo-DFc", "mFo-DFc" or "Fc"
        sampling : float
            Grid points per d_min at least.
        """
        return map_grid(self.maps, self.reflections.crystal, kind, sampling)

    @property
    def history(self) -> tuple[Step, ...]:
        """One record per step."""
        return self.report.steps

    def to_gemmi(self) -> exports.Structure:
        """The refined model as a gemmi.Structure, with all that the input says besides."""
        return with_atoms(self.model, self.atoms)

    def to_mtz(self) -> exports.Mtz:
        """What `refined.mtz` holds, as a gemmi.Mtz."""
        return mtz_of(self.reflections, self.maps, history_line(version()))

    def to_dataset(self) -> exports.DataSet:
        """The same as a reciprocalspaceship.DataSet, where that is installed."""
        return exports.dataset(self.to_mtz())

    def to_pandas(
        self, what: Literal["history", "atoms", "reflections", "shells", "restraints"] = "history"
    ) -> exports.DataFrame:
        """A pandas.DataFrame, where pandas is installed.

        Parameters
        ----------
        what : str
            "history": a row per step; "atoms"; "reflections": the columns of `refined.mtz`; "shells" of resolution;
            "restraints": classes of restraints with their RMSD and RMSZ.

        Raises
        ------
        InputError
            There is no such table, or no pandas.
        """
        tables: dict[str, Callable[[], Any]] = {
            "history": lambda: exports.history_frame(self.history),
            "atoms": lambda: exports.atoms_frame(self.atoms),
            "reflections": lambda: exports.reflections_frame(self.to_mtz()),
            "shells": lambda: exports.frame(self.report.shells),
            "restraints": lambda: exports.frame(self.report.restraints),
        }
        if what not in tables:
            raise InputError(f"to_pandas('{what}'): expected one of {', '.join(tables)}")
        return tables[what]()

    def __repr__(self) -> str:
        free = "none" if self.r_free is None else f"{self.r_free:.4f}"
        return f"Result({len(self.atoms)} atoms, r_work={self.r_work:.4f}, r_free={free}, {len(self.history)} steps)"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write refined.cif, refined.pdb, refined.mtz, report.json, and the maps asked for; returns their paths."""
        more = {}
        for row in self.report.maps:
            around = self.atoms.xyz if row["extent"] == "model" else None
            more[row["file"]] = self.map_grid(row["map"]).ccp4_bytes(around)
        return write_outputs(Path(folder), self.model, self.atoms, self.reflections, self.maps, self.report, more)

    def validate(self) -> Validation:
        """Look at the refined model from all sides: fit to the map, geometry, torsions, clashes, peaks, blobs."""
        at_nuclei = self.report.options.get("riding", {}).get("distance") == "nucleus"
        crystal = self.reflections.crystal
        return validate_model(self.every_atom, self.restraints, crystal, self.maps, at_nuclei=at_nuclei)

    def write_report(self, folder: str | Path) -> Path:
        """Write report.html, one self-contained page with all that is known of this refinement; returns its path."""
        from arrayrefine.page.write import write_page

        account = account_of(self.report, self.model, self.atoms, self.reflections, self.maps)
        crystal = self.reflections.crystal
        return write_page(Path(folder), account, self.validate(), self.atoms, self.maps, crystal)


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


@_no_collections()
def prepare(
    source: ModelSource,
    data: DataSource,
    options: Options,
    *,
    extra: Sequence[ExtraTarget] = (),
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
    extra : sequence of ExtraTarget
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
    device = choose_device(options)
    model = read_model(source)
    reflections, data_notes = read_reflections(
        data, model.crystal, columns=options.columns, free=options.free, d_min=options.d_min, seed=options.seed
    )
    crystal = reflections.crystal
    model = in_crystal(model, crystal)
    reflections, outlier_notes = without_outliers(reflections, options.xray.outliers == "keep")
    names = sorted({str(name) for name in model.atoms.identity.residue_name})
    library = load_monomers(names, options.restraints, options.monomers)
    n_work = int(reflections.work.sum())
    by_group = options.anisotropic == "auto" and wants_groups(options.tls)
    atoms, aniso_notes = choose_anisotropic(
        model.atoms, "none" if by_group else options.anisotropic, reflections.d_min, n_work
    )
    still = Parameters.frozen_atoms(atoms, "b", options.freeze)
    atoms, tls_notes = choose_tls(atoms, tls_option(options, model.atoms), n_work, model.atoms.u_aniso, still)
    aniso_notes += tls_notes
    model = dataclasses.replace(model, atoms=atoms)
    model, link_notes = with_found_links(model, crystal, library.monlib)
    model, hydrogens, hydrogen_notes = with_hydrogens(model, crystal, library, options)
    riding = model.atoms.riding.mask(len(model.atoms))
    restraints = build_restraints(model.structure, model.atoms, crystal, library, unknown=options.unknown)
    restraints = with_external(
        restraints.without(riding), model.atoms, reflections.d_min, options.external, options.reference
    )
    restraints = with_tables(
        restraints, model.atoms, (*options.restraint_tables, *as_tables(restraint_tables)), options.external.loss
    )
    timer: dict[str, float] = {}
    groups, group_notes = build_occupancy_groups(model.atoms, options.occupancy_groups)
    problem = Problem(
        reflections,
        restraints,
        GeometryTarget.build(restraints, crystal, model.atoms, options.geometry, timer=timer),
        AdpTarget.build(restraints, crystal, model.atoms, options.adp, options.geometry, timer=timer, skip=riding),
        options,
        hydrogens,
        timer,
        groups,
        device=device,
        extra=check_extra(extra),
    )
    notes = [*model.notes, *without_effect(options, model.atoms)]
    notes += [*aniso_notes, *hydrogen_notes, *data_notes, *outlier_notes, *check_data(reflections)]
    if any("occupancy" in target.split("+") for target in options.targets):
        notes += group_notes
    notes += [*library.notes, *link_notes, *restraints.notes]
    atoms = model.atoms
    find_groups(atoms, options.rigid_groups)  # says what is wrong with selections before anything is refined
    if options.perturb > 0:
        moved = perturb(hydrogens.without(atoms), options.perturb, options.seed, options.start)
        xyz, b_iso, u_aniso = atoms.xyz.copy(), atoms.b_iso.copy(), atoms.u_aniso.copy()
        xyz[hydrogens.own], b_iso[hydrogens.own], u_aniso[hydrogens.own] = moved.xyz, moved.b_iso, moved.u_aniso
        atoms = follow(atoms, atoms.replace(xyz=xyz, b_iso=b_iso, u_aniso=u_aniso))
        notes.append(
            f"the start was displaced by {options.perturb:g} Å rms and B by up to {_PERTURB_B:g} Å² "
            f"(seed {options.seed}{f', start {options.start}' if options.start else ''})"
        )
    atoms = turn_hydrogens(hydrogens, atoms, restraints.non_bonded, crystal)
    return model, problem, atoms, notes


def _named(files: Iterable[Path]) -> list[dict[str, str]]:
    """Paths and hashes of input files."""
    return [{"path": str(path), "sha256": sha256(path.read_bytes()).hexdigest()} for path in files]


def _tables(options: Options, given: Sequence[TableSource]) -> dict[str, list[dict[str, str]]]:
    """Tables of restraints for the report; no entry where there are none."""
    every = _named(options.restraint_tables)
    for table in as_tables(given):
        every += _named([Path(table)]) if is_path(table) else [{"path": label_of(table), "sha256": IN_MEMORY}]
    return {"restraint_tables": every} if every else {}


def _memory(problem: Problem, atoms: Atoms) -> Budget | None:
    """What the refinement will take on a device; None where it is not reckoned."""
    how = problem.structure_factors(problem.hydrogens.place(atoms)).how if problem.device.kind == "cuda" else None
    if not isinstance(how, Gridded):
        return None
    # Atoms that are round so far may not stay so.
    return problem.budget(dataclasses.replace(how, tensor=how.tensor | atoms.anisotropic | (atoms.tls.group >= 0)))


def _limits(problem: Problem, state: State) -> list[str]:
    """Sentences about B factors that ended on their bounds."""
    atoms = problem.hydrogens.without(state.atoms)
    b = atoms.b_iso
    out = []
    for bound, chosen in zip(B_BOUNDS, (b <= B_BOUNDS[0], b >= B_BOUNDS[1])):
        if chosen.any():
            first = atoms.identity.label(int(np.flatnonzero(chosen)[0]))
            number = counted(int(chosen.sum()), "atom")
            out.append(f"{number} ended at the limit of B, {bound:g} Å²; the first is {first}")
    return out


def _chosen(problem: Problem, steps: tuple[Step, ...]) -> list[str]:
    """What --weights search did, or why it did nothing."""
    if problem.options.weights != "search":
        return []
    if any("search" in step.weights for step in steps):
        return ["the test set chose the weights (--weights search): R-free flatters the model a little"]
    why = "there is no test set" if not problem.reflections.free.any() else "there was no second cycle"
    return [f"--weights search chose nothing, as {why}: the weights are those of --weights robust"]


def _hindsight(steps: tuple[Step, ...]) -> list[str]:
    """Say so where R-free was lower on the way than at the end; it has no part in the course of the refinement."""
    values = [(s.r_free, f"after cycle {s.cycle}, {s.target}") for s in steps if s.r_free is not None]
    if not values or values[-1][0] <= min(values)[0] + _R_FREE_RISE:
        return []
    best, where = min(values)
    return [
        f"R-free ended at {values[-1][0]:.4f}; it was {best:.4f} {where}: the model may fit noise, "
        "try fewer cycles or tighter weights"
    ]


def refine(
    model: ModelSource,
    data: DataSource,
    options: Options | None = None,
    *,
    extra: Sequence[ExtraTarget] = (),
    restraint_tables: Sequence[TableSource] = (),
    on_step: Callable[[Step], object] | None = None,
    on_state: Callable[[Step, State], object] | None = None,
    on_message: Callable[[str], object] | None = None,
    stop: Callable[[], int | None] | None = None,
) -> Result:
    """Refine a model against measured reflections.

    Parameters
    ----------
    model : path, gemmi.Structure, gemmi.cif.Document or Model
        PDB or mmCIF, .gz too; or what was made of one.
    data : path, gemmi.Mtz, pandas.DataFrame, reciprocalspaceship.DataSet or Reflections
        MTZ or sf-mmCIF; or a table in memory, see `read_reflections`.
    options : Options, optional
    extra : sequence of ExtraTarget
        Further terms of the objective: any callables on atoms, each with a weight.
    restraint_tables : sequence of paths, pandas.DataFrame or lists of mappings
        Further restraints, beside those that the options name; see `with_tables`.
    on_step : callable, optional
        Called with the `Step` that is on record, whenever a step has ended.
    on_state : callable, optional
        Called after it with the `Step` and the `State` at its end: atoms (added hydrogens included), statistics,
        structure factors.
    on_message : callable, optional
        Called with every note (what was fixed up, skipped, assumed).

        Any of the three ends the run with the best model so far by returning True or raising `StopRefinement`; other
        values mean nothing, and other exceptions are passed on to the caller.
    stop : callable, optional
        Polled before every evaluation; anything but None ends the run with the best model so far.

    Returns
    -------
    Result

    Raises
    ------
    InputError, MonomerError, DeviceError
        The input cannot be used as given; the message says what to do.
    """
    # Threads share the blocks of a kernel; a BLAS that starts its own inside each would only get in their way.
    with threadpool_limits(limits=1, user_api="blas"):
        return run(
            model, data, options or Options(), on_step, on_message, stop, None, on_state, extra, restraint_tables
        )


@memory_errors_named()
def run(
    model: ModelSource,
    data: DataSource,
    options: Options,
    on_step: Callable[[Step], object] | None = None,
    on_message: Callable[[str], object] | None = None,
    stop: Callable[[], int | None] | None = None,
    meet: Callable[[Evaluated], Place] | None = None,
    on_state: Callable[[Step, State], object] | None = None,
    extra: Sequence[ExtraTarget] = (),
    restraint_tables: Sequence[TableSource] = (),
) -> Result:
    """The work of `refine`; `meet` gives a minimisation its place among those of other runs, see `Rendezvous.join`."""
    began = time.perf_counter()
    source, problem, atoms, notes = prepare(model, data, options, extra=extra, restraint_tables=restraint_tables)
    problem = dataclasses.replace(problem, meet=meet)
    listeners = Listeners(on_step, on_state, on_message, stop)
    say, interrupted = listeners.say, listeners.interrupted
    memory = _memory(problem, atoms)
    if problem.device.kind == "cuda":
        notes += [f"computes on {problem.device}", *([memory.sentence()] if memory else [])]
    for note in notes:
        say(note)
    first = evaluate(problem, atoms, absorb_b=False)
    if options.solvent.search:
        problem, found = search_mask(problem, first)
        first = evaluate(problem, atoms, absorb_b=False)
        notes.append(found)
        say(found)
    path = start_path(problem, first)
    moves: tuple[Step, ...] = ()
    if not interrupted() and options.cycles:
        state, moved = move_groups(problem, evaluate(problem, atoms, before=first), interrupted)
        path = dataclasses.replace(path, state=state)
        if moved:
            moves = (moved,)
            listeners.step(moved, state)
    path, steps, stopped = run_cycles(problem, path, interrupted, listeners.step)
    steps = moves + steps
    # On the way, mask and scale are kept where the model hardly moved: what is reported is what others will find.
    state = first if path.state is first else evaluate(problem, path.state.atoms, absorb_b=False)
    refined = tls_motion.settled(state.atoms)
    motion = tls_motion.describe(refined)
    late = summaries.external_classes(problem, first, state)
    own_targets = summaries.extra_targets(problem, first, state)
    late += summaries.extra_sentences(own_targets)
    late += [*state.scale.notes, *state.sigma_a.notes, *state.outliers.sentence(problem.reflections)]
    late += [*_limits(problem, state), *_chosen(problem, steps), *_hindsight(steps)]
    late += summaries.worse_than_start(problem, first, state)
    late += tls_motion.sentences(motion)
    for note in late:
        say(note)
    notes += late
    report = Report(
        inputs={
            "model": {"path": label_of(model), "sha256": source.sha256},
            "data": {"path": label_of(data), **problem.reflections.source},
            "restraints": _named(options.restraints),
            **_tables(options, restraint_tables),
            **({"reference": _named([options.reference])} if options.reference is not None else {}),
        },
        options=dataclasses.asdict(options),
        start=first.statistics,
        final=state.statistics,
        steps=steps,
        warnings=tuple(dict.fromkeys(notes)),
        seconds=time.perf_counter() - began,
        data=summaries.data(problem, state),
        scaling=summaries.scaling(problem, state),
        shells=summaries.shells(problem, state),
        restraints=summaries.restraint_classes(problem, state),
        tls=motion,
        occupancies=summaries.occupancies(problem, atoms, state),
        device=str(problem.device),
        mode=problem.device.mode(options) | ({"memory": memory.as_dict()} if memory else {}),
        stopped=listeners.reason(stopped),
        extra=own_targets,
        maps=wanted_maps(options.maps),
    )
    written, output = output_atoms(source, problem.hydrogens, refined, options.write_hydrogens)
    maps = maps_of(problem, state)
    return Result(written, output, problem.reflections, maps, report, refined, problem.restraints)
