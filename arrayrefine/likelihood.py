"""The likelihood of the data as a plain function of arrays: a layer for models that are not ours."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.configuration import check_options
from arrayrefine.device.choice import choose_device
from arrayrefine.displacements.displacement import least_b
from arrayrefine.errors import InputError
from arrayrefine.hydrogens.placing import Hydrogens, strip_hydrogens
from arrayrefine.hydrogens.riding import fold, follow
from arrayrefine.hydrogens.sources import add_hydrogens
from arrayrefine.interchange import Back, received
from arrayrefine.io.in_memory import DataSource, ModelSource
from arrayrefine.io.models.reading import Model
from arrayrefine.kernels.blas import one_blas_thread
from arrayrefine.measurements.wilson_outliers import without_outliers
from arrayrefine.monomers import library_for
from arrayrefine.options import Options
from arrayrefine.preparation import Inputs, read_inputs, restraints_of
from arrayrefine.problem import Problem
from arrayrefine.report import Statistics
from arrayrefine.reporting.notebook import table
from arrayrefine.restraints import Restraints
from arrayrefine.state import State, evaluate
from arrayrefine.steering.known_phases import with_known_phases
from arrayrefine.targets import Target
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.topology.links import with_found_links
from arrayrefine.twins.choice import as_twin
from arrayrefine.twins.signs import twinning
from arrayrefine.weights import geometry_prior

Float = NDArray[np.float64]
Array: TypeAlias = Any
"""An array of NumPy or CuPy, or anything with `__dlpack__`."""
_SLACK = 0.25
"""Å²; a B may lie this much below where refinements stop it: who differentiates at the bound steps across it."""
_MOST_B = 3000.0
"""Å²; ten times what refinements allow. Such an atom is all but flat, and its grid points grow with B to 3/2."""
_HYDROGENS = ("file", "strip", "riding")
TermWeight: TypeAlias = "float | Literal['prior'] | None"
"""A number; what the resolution leads one to expect; or no such term."""


class Gradients(NamedTuple):
    """Derivatives of a value, each of the kind, device and precision of the array that it belongs to.

    Attributes
    ----------
    xyz : (N, 3), per Å
    b : (N,), per Å²
    occupancy : (N,)
    """

    xyz: Array
    b: Array
    occupancy: Array


@dataclass(frozen=True)
class LikelihoodTarget:
    """−Σ log p(F_obs | model) as a function of coordinates, B and occupancies, with restraints where they are wanted.

    Scale, bulk solvent, σ_A, the choice of outliers, and of a twin its first domain's share of the data are numbers,
    fitted to `atoms` when this was made; `updated` fits them anew. Nothing is kept from one call to the next: the same
    input gives the same output, to the last bit on one machine, whichever threads call. Make it with
    `arrayrefine.target`.

    Attributes
    ----------
    atoms : Atoms
        Who the N atoms are and in which order; their values are those that scale and σ_A were fitted to. They are
        read-only: copy them to change them in place.
    problem : Problem
        Reflections, restraints and options.
    state : State
        What was fitted, with its statistics.
    geometry, adp : float or None
        Weights of the restraint terms; None where there is none.
    notes : tuple of str
        What was fixed up, left out or assumed.
    """

    atoms: Atoms
    problem: Problem
    state: State
    geometry: float | None = None
    adp: float | None = None
    notes: tuple[str, ...] = ()

    @one_blas_thread
    def __call__(
        self, xyz: Array, b: Array | None = None, occupancy: Array | None = None
    ) -> tuple[float, Gradients]:
        """Value and gradients.

        Parameters
        ----------
        xyz : (N, 3), Å
            Cartesian, in the frame of the data's cell.
        b : (N,), Å², optional
            Isotropic, or the equivalent of atoms with ANISOU, whose anisotropic part stays as it is. By default those
            of `atoms`.
        occupancy : (N,), optional
            By default those of `atoms`. Every symmetry operator is counted: an atom on an n-fold position has 1/n.

        Returns
        -------
        value : float
            −log p, and the weighted restraints; dimensionless.
        gradients : Gradients

        Raises
        ------
        InputError
            An array has not the shape, the precision or the values that are needed.
        """
        complete, back = self._taken(xyz, b, occupancy)
        total, gradient = 0.0, Gradient.zeros(len(complete))
        for weight, term in self._terms().values():
            value, slope = term(complete)
            total, gradient = total + weight * value, gradient + weight * slope
        own = self.problem.hydrogens.own
        gradient = fold(self.state.atoms, gradient)
        parts = (gradient.xyz[own], gradient.b_iso[own], gradient.occupancy[own])
        return total, Gradients(*(make(part) for make, part in zip(back, parts)))

    @one_blas_thread
    def terms(self, xyz: Array, b: Array | None = None, occupancy: Array | None = None) -> dict[str, float]:
        """The value by its parts, "xray", "geometry" and "adp", each with its weight; arrays as in a call."""
        complete, _ = self._taken(xyz, b, occupancy)
        return {name: weight * term(complete)[0] for name, (weight, term) in self._terms().items()}

    def updated(self, xyz: Array, b: Array | None = None, occupancy: Array | None = None) -> LikelihoodTarget:
        """A target of the same data with scale, solvent and σ_A fitted to other values; arrays as in a call."""
        complete, _ = self._taken(xyz, b, occupancy)
        return _at(self, complete)

    @property
    def statistics(self) -> Statistics:
        """R-work, R-free and geometry of the atoms that scale and σ_A were fitted to."""
        return self.state.statistics

    def __repr__(self) -> str:
        now, data = self.statistics, self.problem.reflections
        free = "none" if now.r_free is None else f"{now.r_free:.4f}"
        return (
            f"LikelihoodTarget({len(self.atoms)} atoms, {int(self.state.xray.work.sum())} work reflections to "
            f"{data.d_min:.2f} Å, geometry={self.geometry}, adp={self.adp}, r_work={now.r_work:.4f}, r_free={free})"
        )

    def _repr_html_(self) -> str:
        now, data = self.statistics, self.problem.reflections
        rows = [
            ("atoms", len(self.atoms)), ("work reflections", int(self.state.xray.work.sum())),
            ("resolution, Å", f"{data.d_min:.2f}"), ("weight of geometry", self.geometry), ("weight of B", self.adp),
            ("R-work", now.r_work), ("R-free", now.r_free),
        ]  # fmt: skip
        return table("likelihood of the data", ("", ""), rows)

    def _terms(self) -> dict[str, tuple[float, Target]]:
        """Weight and target of every term, none of which remembers anything."""
        xray = dataclasses.replace(
            self.state.xray, structure_factors=self.state.xray.structure_factors.forgetful(), known=None, timer={}
        )
        found: dict[str, tuple[float, Target]] = {"xray": (1.0, xray)}
        if self.geometry is not None:
            found["geometry"] = self.geometry, self.problem.geometry.forgetful()
        if self.adp is not None:
            found["adp"] = self.adp, dataclasses.replace(self.problem.adp, timer={})
        return found

    def _taken(self, xyz: Array, b: Array | None, occupancy: Array | None) -> tuple[Atoms, tuple[Back, Back, Back]]:
        """All atoms with the values given, and how to make gradients of their kind."""
        n = len(self.atoms)
        places, back = received(xyz, "xyz", (n, 3))
        b_iso, back_b = (self.atoms.b_iso, back) if b is None else received(b, "b", (n,))
        full, back_q = (self.atoms.occupancy, back) if occupancy is None else received(occupancy, "occupancy", (n,))
        least = least_b(self.atoms) - _SLACK
        low = np.flatnonzero(b_iso < least)
        if len(low):
            i = int(low[0])
            raise InputError(
                f"b of {self.atoms.identity.label(i)} is {b_iso[i]:.3g} Å²; expected at least {least[i]:.3g} Å²: keep "
                "it above, for example as 2 + softplus(x)"
            )
        high = np.flatnonzero(b_iso > _MOST_B)
        if len(high):
            i = int(high[0])
            raise InputError(
                f"b of {self.atoms.identity.label(i)} is {b_iso[i]:.3g} Å²; expected at most {_MOST_B:g} Å²: keep it "
                "below, or leave the atom out by an occupancy of 0"
            )
        reference, own = self.state.atoms, self.problem.hydrogens.own
        values = [reference.xyz.copy(), reference.b_iso.copy(), reference.occupancy.copy()]
        for value, new in zip(values, (places, b_iso, full)):
            value[own] = new
        moved = reference.replace(xyz=values[0], b_iso=values[1], occupancy=values[2])
        return follow(reference, moved), (back, back_b, back_q)


def _at(target: LikelihoodTarget, atoms: Atoms) -> LikelihoodTarget:
    """The target with all that is fitted, fitted to `atoms` (hydrogens included)."""
    problem = dataclasses.replace(target.problem, timer={}, counts={}, _plans={})
    state = evaluate(problem, atoms, absorb_b=False)
    return dataclasses.replace(target, atoms=_sealed(problem.hydrogens.without(state.atoms)), state=state)


def _isotropic(model: Model) -> Model:
    """The model without its anisotropic tensors."""
    n = len(model.atoms)
    return dataclasses.replace(
        model, atoms=dataclasses.replace(model.atoms, u_aniso=np.zeros((n, 6)), anisotropic=np.zeros(n, dtype=bool))
    )


def _described(
    model: Model, found: Inputs, riding: bool, restrained: bool
) -> tuple[Model, Hydrogens, Restraints, list[str]]:
    """The model as the monomer library knows it: with links, and with riding hydrogens and restraints if wanted."""
    options, reflections = found.options, found.reflections
    library = library_for(model.structure, options.restraints, options.monomers, options.unknown)
    model, link_notes = with_found_links(model, reflections.crystal, library.monlib)
    placed, notes = Hydrogens.none(len(model.atoms)), [*library.notes, *link_notes]
    if riding:
        model, placed, more = add_hydrogens(model, reflections.crystal, library, options.riding)
        notes += [*found.of_hydrogens, *more]
    restraints = Restraints.none(len(model.atoms))
    if restrained:
        restraints = restraints_of(model, reflections, library, options)
        notes += restraints.notes
    return model, placed, restraints, notes


def _sealed(atoms: Atoms) -> Atoms:
    """A copy whose values cannot be written to: who moves them in place would change the target behind its back."""
    copy = atoms.replace(xyz=atoms.xyz.copy(), b_iso=atoms.b_iso.copy(), occupancy=atoms.occupancy.copy())
    for array in (copy.xyz, copy.b_iso, copy.occupancy):
        array.setflags(write=False)
    return copy


@one_blas_thread
def target(
    model: ModelSource,
    data: DataSource,
    options: Options | None = None,
    *,
    geometry: TermWeight = None,
    adp: TermWeight = None,
    hydrogens: Literal["file", "strip", "riding"] = "file",
) -> LikelihoodTarget:
    """The likelihood of the data as a stateless function `(xyz, b, occupancy) -> (value, gradients)`.

    Parameters
    ----------
    model : path, gemmi.Structure, gemmi.cif.Document or Model
        Says which atoms there are, and is what scale, solvent and σ_A are fitted to.
    data : path, gemmi.Mtz, pandas.DataFrame, reciprocalspaceship.DataSet or Reflections
    options : Options, optional
        What they say of data, X-ray term, solvent, restraints, device and threads is used; all that concerns the course
        of a refinement is not. ``Options(xray=Xray(precision="double"))`` computes in float64 throughout.
    geometry, adp : float, "prior" or None
        Weights of the restraints on coordinates and on B: a number, or "prior" for what the resolution leads one to
        expect. None leaves the term out, and with both left out no monomer library is needed.
    hydrogens : "file", "strip" or "riding"
        "file": those of the model are atoms like the others. "strip": they are left out. "riding": the dictionary's are
        added, and move with their parents; they are not in `atoms`.

    Returns
    -------
    LikelihoodTarget

    Raises
    ------
    InputError, MonomerError, DeviceError
        The input cannot be used as given.
    """
    options = Options() if options is None else options
    check_options(options)
    for name, weight in (("geometry", geometry), ("adp", adp)):
        _require_weight(name, weight)
    if hydrogens not in _HYDROGENS:
        raise InputError(f"target(hydrogens={hydrogens!r}): expected one of {', '.join(map(repr, _HYDROGENS))}")
    device = choose_device(options)
    found = read_inputs(model, data, options)
    source, reflections, options = found.model, found.reflections, found.options
    notes = [*found.of_data, *found.of_radiation, *found.of_twin]
    if options.anisotropic == "none":
        source = _isotropic(source)
    if hydrogens == "strip":
        source, more = strip_hydrogens(source)
        notes += more
    restrained = geometry is not None or adp is not None
    placed, restraints = Hydrogens.none(len(source.atoms)), Restraints.none(len(source.atoms))
    if restrained or hydrogens == "riding":
        source, placed, restraints, described = _described(source, found, hydrogens == "riding", restrained)
        notes += described
    terms = dataclasses.replace(options.geometry, contacts=options.geometry.contacts and geometry is not None)
    crystal, atoms = reflections.crystal, source.atoms
    problem = Problem(
        reflections, restraints, GeometryTarget.build(restraints, crystal, terms),
        AdpTarget.build(
            restraints, crystal, atoms, options.adp if adp is not None else "none", options.geometry,
            skip=atoms.riding.mask(len(atoms)),
        ),
        options, placed, device=device,
    )  # fmt: skip
    problem, more = without_outliers(problem, atoms)
    problem = dataclasses.replace(problem, twin=as_twin(problem.reflections, found.laws))
    notes += [*more, *twinning(problem.reflections, found.laws)]
    prior = geometry_prior(reflections.d_min)
    state = evaluate(problem, atoms, absorb_b=False)
    problem, more = with_known_phases(problem, state)
    if more:
        state, notes = evaluate(problem, atoms, absorb_b=False), [*notes, *more]
    return LikelihoodTarget(
        _sealed(placed.without(state.atoms)), problem, state,
        prior if geometry == "prior" else geometry,
        options.weighting.adp_prior if adp == "prior" else adp,
        tuple(dict.fromkeys((*source.notes, *notes))),
    )  # fmt: skip


def _require_weight(name: str, given: object) -> None:
    number = isinstance(given, (int, float, np.number)) and not isinstance(given, bool)
    if not (given is None or given == "prior" or (number and 0.0 <= float(given) < np.inf)):  # type: ignore[arg-type]
        raise InputError(f"target({name}={given!r}): expected a weight of 0 or more, 'prior', or None for no such term")
