"""A model with everything that is fitted to it but not refined with it: scale, solvent, sigma_A, statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.common_anisotropy import common_anisotropy, without_common
from arrayrefine.crystal import Crystal
from arrayrefine.device import CPU, Device
from arrayrefine.device_density import Gridded
from arrayrefine.device_memory import Budget, Sizes, fitted
from arrayrefine.device_restraints import DeviceRestraints
from arrayrefine.displacement import EIGHT_PI_SQUARED, least_b, sharpest
from arrayrefine.errors import InputError
from arrayrefine.hydrogens import Hydrogens
from arrayrefine.intensity_statistics import anisotropy
from arrayrefine.kernels import symmetric
from arrayrefine.occupancy_groups import OccupancyGroups
from arrayrefine.options import Options
from arrayrefine.outliers import Outliers, find_outliers
from arrayrefine.parameters import B_BOUNDS, Parameters, frozen_kinds
from arrayrefine.reflections import Reflections
from arrayrefine.rendezvous import Evaluated, Place
from arrayrefine.report import Statistics
from arrayrefine.restraints import Restraints
from arrayrefine.scaling import Scale, fit_scale, r_factor
from arrayrefine.sigma_a import SigmaA, estimate_sigma_a
from arrayrefine.solvent import KeptOut, MaskShape, SolventModel
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.extra import ExtraTarget
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.targets.xray import XrayTarget

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

_FEW = 2.0
"""Percent of the atoms that a common shift of B may take to a bound."""
_CLEAR = (B_BOUNDS[0] + 1.0, B_BOUNDS[1] - 10.0)
_LEAST_D_MIN = 5.0
"""Å; data that end before hardly tell an overall B from the solvent."""
_JELLY_NEIGHBOURS = 20
"""Pairs of a jelly body for each atom, to reckon memory by; they are counted anew in every step."""
_NEGLIGIBLE_B = 0.2
"""Å²; a smaller overall B stays in the scale: to take it out costs another F_calc."""
_NEGLIGIBLE_ANISOTROPY = 1.0
"""Å²; nor is less of a common anisotropy taken out."""
_MASK_HOLDS = 0.05
"""Å; a solvent mask is kept while the rms distance of the atoms from where it was drawn is less: its step is 0.6 Å."""


@dataclass(frozen=True)
class Problem:
    """What stays the same during a refinement, but for `adp` and `undecided` where atoms become anisotropic.

    Attributes
    ----------
    reflections : Reflections
    restraints : Restraints
    geometry : GeometryTarget
    adp : AdpTarget
    options : Options
    hydrogens : Hydrogens
    timer : dict
        Seconds per part of the evaluations since it was last emptied.
    occupancy : OccupancyGroups or None
        Atoms that share an occupancy; None: those below 1 each for itself.
    meet : callable, optional
        Gives a minimisation its place among those of other runs, with which it is evaluated.
    device : Device
    counts : dict
        What else was counted since it was last emptied: "launches" of kernels per evaluation on a device.
    extra : tuple of ExtraTarget
        Further terms of the objective, which the user brought.
    kept_out : KeptOut or None
        Where there is no bulk solvent, for polder maps.
    undecided : (N,) bool or None
        Atoms that become anisotropic once the model is near its data.
    """

    reflections: Reflections
    restraints: Restraints
    geometry: GeometryTarget
    adp: AdpTarget
    options: Options
    hydrogens: Hydrogens
    timer: dict[str, float] = field(default_factory=dict)
    occupancy: OccupancyGroups | None = None
    meet: Callable[[Evaluated], Place] | None = None
    device: Device = CPU
    counts: dict[str, int] = field(default_factory=dict)
    extra: tuple[ExtraTarget, ...] = ()
    kept_out: KeptOut | None = None
    undecided: NDArray[np.bool_] | None = None
    _on_device: list[DeviceRestraints] = field(default_factory=list, compare=False, repr=False)
    _plans: dict[str, StructureFactors] = field(default_factory=dict, compare=False, repr=False)

    def __repr__(self) -> str:
        return f"Problem({self.reflections}, {len(self.restraints.held)} atoms, {len(self.extra)} extra targets)"

    @property
    def processes(self) -> int:
        """Processes that share the work of a refinement, of which the first alone uses a device. One where other runs
        are beside, trials of weights on a device among them; and for direct summation, which is not shared."""
        trials = self.device.kind == "cuda" and self.options.weights == "search"
        alone = self.meet is not None or self.options.xray.method == "direct" or trials
        return 1 if alone else self.options.threads

    def parameters(self, atoms: Atoms, target: str) -> Parameters:
        """What a step named `target` refines, such as "xyz" or "tls+b": all atoms but those that are held or frozen."""
        return Parameters.of(atoms, target, self.restraints.held, self.occupancy).without(self.options.freeze)

    def structure_factors(self, atoms: Atoms) -> StructureFactors:
        """Plan for the measured reflections, sampled for the B factors of `atoms`; the last one while it fits."""
        options, known = self.options, self._plans.get("measured")
        if known is not None:
            plan = known.adapted(atoms)
        else:
            plan = StructureFactors(
                self.reflections.crystal, self.reflections.hkl, atoms, method=options.xray.method,
                accuracy=options.xray.accuracy, precision=options.xray.precision, threads=options.threads,
                timer=self.timer, device=self.device.kind,
                channels_at_once=lambda how: self.budget(how).sizes.channels_at_once,
            )  # fmt: skip
        self._plans["measured"] = plan
        return plan

    def budget(self, how: Gridded, models: int = 1) -> Budget:
        """Memory that evaluations of `models` models at a time take on the device, made to fit.

        Raises
        ------
        DeviceError
            Not even one model fits.
        """
        r, crystal, contacts = self.restraints, self.reflections.crystal, self.geometry.contacts
        widths = ((r.bonds, 2), (r.angles, 3), (r.every_torsion, 4), (r.chiralities, 4), (r.planes, 1))
        distances = sum(d.index.size for d in self.geometry.distances)
        if len(r.across):  # their coordinates and gradient, beside a few restraints
            distances += 2 * (len(how.shift) + len(r.across)) + sum(d.index.size for d in r.across.distances)
        if r.jelly_body is not None:
            distances += int(2 * len(how.shift) * _JELLY_NEIGHBOURS)
        sizes = Sizes(
            len(how.shift), len(how.hkl), len(crystal.primitive_rotations), how.sampling.shape, how.channel.shape[1],
            how.expected_pairs(), sum(width * len(kind.index) for kind, width in widths) + distances, len(self.adp.i),
            None if contacts is None else contacts.symmetry, 0.0 if contacts is None else contacts.reach, models,
            single=self.options.xray.precision == "single",
            tensors=int(how.tensor.sum()), tensor_pairs=how.expected_pairs(tensor=True) if how.tensor.any() else 0,
            shape_pairs=len(self.adp.i) if how.tensor.any() else 0,
        )  # fmt: skip
        return fitted(sizes, self.device.memory)

    def restraints_on_device(self, atoms: Atoms) -> DeviceRestraints:
        """Restraints of one model on the device, made once; of `atoms` only the multiplicities matter."""
        if not self._on_device:
            self._on_device.append(DeviceRestraints(self.geometry, self.adp, atoms.multiplicity))
        self._on_device[0].hold([self.geometry])
        return self._on_device[0]

    @cached_property
    def data_anisotropy(self) -> NDArray[np.float64]:
        """Anisotropic part of the B of the data (3, 3), Å², whatever the model makes of it."""
        return anisotropy(self.reflections)

    @cached_property
    def solvent(self) -> SolventModel:
        """Bulk solvent of the model."""
        data, options = self.reflections, self.options
        shape = MaskShape.of(options.solvent)
        return SolventModel(data.crystal, data.d_min, shape, options.threads, self.device.kind, self.kept_out)


@dataclass(frozen=True)
class State:
    """Atoms, and what was fitted to them.

    Attributes
    ----------
    xray : XrayTarget
        With scale, solvent and sigma_A of these atoms.
    f_calc, f_mask, f_model : (R,) complex128
    statistics : Statistics
    nll_work : float
        Mean -log p per reflection that the target sees.
    core_rmsz : tuple of two floats or None
        Bond and angle RMSZ without components that hold a metal, and without what the user froze: what the weights are
        steered by. The dictionary's distances in clusters are often far from the truth, and no weight can mend either.
    b_shift : float
        What was added to every B, out of the scale, Å².
    outliers : Outliers
        Reflections that the model and sigma_A hold improbable.
    masked : Atoms
        Those that the solvent mask was drawn for.
    shared : float
        Largest entry of the anisotropic B that all atoms had in common and the scale took over, Å².
    """

    atoms: Atoms
    xray: XrayTarget
    scale: Scale
    sigma_a: SigmaA
    f_calc: Complex
    f_mask: Complex
    f_model: Complex
    statistics: Statistics
    nll_work: float
    core_rmsz: tuple[float | None, float | None]
    b_shift: float
    outliers: Outliers
    masked: Atoms
    shared: float = 0.0

    def __repr__(self) -> str:
        now = self.statistics
        free = "none" if now.r_free is None else f"{now.r_free:.4f}"
        return f"State({len(self.atoms)} atoms, r_work={now.r_work:.4f}, r_free={free})"

    @cached_property
    def free_values(self) -> Float:
        """-log p of the test set (F,), with D of sigma_A: the target's is that of the work set."""
        data = self.xray.reflections
        return dataclasses.replace(self.xray, d=self.sigma_a.d(data.s_squared)).values(self.f_calc)[data.free]

    @property
    def nll_free(self) -> float:
        """Mean -log p per reflection of the test set; nan where there is none."""
        return float(self.free_values.mean()) if len(self.free_values) else float("nan")


def work_nll(one: State, two: State) -> tuple[float, float]:
    """Mean -log p of two states over the work reflections that the targets of both see: outliers come and go."""
    both = one.xray.work & two.xray.work
    first, second = (float(state.xray.values(state.f_calc)[both].mean()) for state in (one, two))
    return first, second


def geometry_statistics(geometry: GeometryTarget, atoms: Atoms) -> Mapping[str, float | None]:
    """Bond and angle RMSD and RMSZ; None where the model has no such restraint."""
    out: dict[str, float | None] = {}
    for name, term in geometry.terms(atoms, ("bond", "angle")).items():
        out[f"{name}_rmsd"], out[f"{name}_rmsz"] = term.rmsd, term.rmsz
    return out


def _takers(problem: Problem, atoms: Atoms) -> NDArray[np.bool_]:
    """Atoms (N,) that take over the isotropic part of the scale.

    All where B are refined, those of the groups where only TLS is; none where the user froze B, or no step names them.
    """
    options = problem.options
    kinds = {kind for target in options.targets for kind in target.split("+")}
    if "b" in kinds or "tls" not in kinds or "b" in frozen_kinds(options.freeze):
        return np.full(len(atoms), "b" in kinds and "b" not in frozen_kinds(options.freeze))
    return problem.parameters(atoms, "tls").displaced


def _absorbable(atoms: Atoms, takers: NDArray[np.bool_], shift: float) -> float:
    """As much of a common shift as leaves all but a few atoms clear of the bounds: what differs there must survive."""
    low, high = np.percentile(sharpest(atoms)[takers], _FEW), np.percentile(atoms.b_iso[takers], 100.0 - _FEW)
    return float(np.clip(shift, min(0.0, _CLEAR[0] - low), max(0.0, _CLEAR[1] - high)))


def _shared(atoms: Atoms, scale: Scale, crystal: Crystal) -> tuple[Float, float]:
    """Common anisotropy (6,), Å², that the scale should take over, and the largest entry of its B, 0 for nothing.

    Only where atoms and scale pull against each other, and as much as leaves the scale the least anisotropic.
    """
    common = common_anisotropy(atoms, crystal)
    b_aniso = EIGHT_PI_SQUARED * symmetric.matrices(common)
    size = float(np.sum(b_aniso**2))
    part = min(max(-float(np.sum(b_aniso * scale.b_aniso)) / size, 0.0), 1.0) if size > 0.0 else 0.0
    largest = part * float(np.abs(b_aniso).max())
    return part * common, largest if largest > _NEGLIGIBLE_ANISOTROPY else 0.0


def _mask_holds(before: State, atoms: Atoms) -> bool:
    """Whether the solvent mask of an earlier state will do for these atoms."""
    was = before.masked
    if len(was) != len(atoms) or not np.array_equal(was.occupancy, atoms.occupancy):
        return False
    heavy = ~atoms.is_hydrogen
    return float(np.mean(np.sum((atoms.xyz - was.xyz)[heavy] ** 2, axis=1))) < _MASK_HOLDS**2


def _require_atoms(problem: Problem, atoms: Atoms) -> None:
    """Refuse atoms that are not those of the problem, or that are nowhere."""
    frames = problem.hydrogens.frames
    n = len(problem.hydrogens.own) + (0 if frames is None else len(frames.child))
    if not len(atoms.xyz) == len(atoms.b_iso) == len(atoms) == n:
        raise InputError(
            f"evaluate: found {len(atoms.xyz)} coordinates and {len(atoms.b_iso)} B of {len(atoms)} atoms; expected "
            f"the {n} atoms that prepare returned, hydrogens included: change their values with atoms.replace"
        )
    bad = ~(np.isfinite(atoms.xyz).all(axis=1) & np.isfinite(atoms.b_iso) & np.isfinite(atoms.occupancy))
    if bad.any():
        first = atoms.identity.label(int(np.flatnonzero(bad)[0]))
        raise InputError(f"evaluate: nan or infinity in xyz, B or occupancy of {first}; expected finite numbers")


def evaluate(
    problem: Problem, atoms: Atoms, *, absorb_b: bool = True, before: State | None = None, refit: bool = True
) -> State:
    """Fit solvent, scale and sigma_A to `atoms` and measure the result.

    Parameters
    ----------
    problem : Problem
    atoms : Atoms
    absorb_b : bool
        Move the isotropic part of the scale into the atoms' B: scale and B are two names for one thing, and without
        this B drifts while the scale makes up for it. B that no step refines, or that the user froze, stays.
    before : State, optional
        Of nearly the same model: the scale is fitted from its scale on, and its solvent mask is kept while the atoms
        have hardly moved; where the model is the same, its scale is kept too.
    refit : bool
        False: solvent, scale and sigma_A of `before` are kept, for coordinates of which few differ, so little that
        they cannot notice.

    Returns
    -------
    State
        Its atoms are those given, but for the common shift of B, and of U.

    Raises
    ------
    InputError
        The atoms are others than those of `problem`, or have values that are none.
    """
    _require_atoms(problem, atoms)
    data, options = problem.reflections, problem.options
    atoms = problem.hydrogens.place(atoms)
    if before is not None and before.xray.knows(atoms):
        structure_factors, scale = before.xray.structure_factors, before.scale
        f_calc, f_mask, masked = before.f_calc, before.f_mask, before.masked
    else:
        structure_factors = problem.structure_factors(atoms)
        if before is not None and not refit:
            f_calc = structure_factors.after(before.f_calc, before.atoms, atoms)
            f_mask, masked = before.f_mask, before.masked
        elif before is not None and _mask_holds(before, atoms):
            f_calc, f_mask, masked = structure_factors(atoms), before.f_mask, before.masked
        else:
            f_calc, f_mask = structure_factors(atoms), problem.solvent(atoms, data.hkl)
            masked = atoms
        if before is not None and not refit:
            scale = before.scale
        else:
            scale = fit_scale(data, f_calc, f_mask, start=None if before is None else before.scale)
    shift, common, shared = 0.0, np.zeros(6), 0.0
    takers = _takers(problem, atoms) if absorb_b and refit else np.zeros(len(atoms), dtype=bool)
    if takers.any() and data.d_min < _LEAST_D_MIN:
        shift = _absorbable(atoms, takers, scale.overall_b(data.s_squared, data.f_obs))
    shift = shift if abs(shift) > _NEGLIGIBLE_B else 0.0
    if takers.all():
        common, shared = _shared(atoms, scale, data.crystal)
    if shift or shared:
        b_aniso = scale.b_aniso
        if shared:
            atoms, b_aniso = without_common(atoms, common), b_aniso + EIGHT_PI_SQUARED * symmetric.matrices(common)
        b_iso = np.clip(atoms.b_iso + shift, np.minimum(least_b(atoms), B_BOUNDS[1]), B_BOUNDS[1])
        atoms = problem.hydrogens.place(atoms.replace(b_iso=np.where(takers, b_iso, atoms.b_iso)))
        structure_factors = problem.structure_factors(atoms)
        f_calc = structure_factors(atoms)
        start = dataclasses.replace(scale, b_overall=scale.b_overall - shift, b_aniso=b_aniso)
        scale = fit_scale(data, f_calc, f_mask, start=start)
    factor = scale.amplitude_factor(data.hkl)
    solvent = scale.k_mask(data.s_squared) * f_mask
    f_model = scale.apply(f_calc, f_mask, data.hkl)
    improbable = 0.0 if options.xray.outliers == "keep" else options.xray.outlier_probability
    if before is not None and not refit:
        sigma_a = before.sigma_a
    else:
        sigma_a = estimate_sigma_a(
            data, f_model, options.xray.sigma_a_bins, improbable, None if before is None else before.sigma_a,
            problem.data_anisotropy,
        )  # fmt: skip
    outliers = find_outliers(data, f_model, sigma_a, options.xray)
    xray = XrayTarget(
        data, structure_factors, factor, solvent, sigma_a.d(data.s_squared),
        outliers.variance_factor * sigma_a.sigma_total(data), options.xray.target, problem.timer, (atoms, f_calc),
        outliers.left_out,
    )  # fmt: skip
    xray = dataclasses.replace(xray, d=before.xray.d) if before is not None and not refit else xray.at_own_scale(f_calc)
    frozen = Parameters.frozen_atoms(atoms, "xyz", options.freeze) if options.freeze else None
    amplitude, work, free = np.abs(f_model), data.work, data.free
    statistics = Statistics(
        r_work=r_factor(data.f_obs[work], amplitude[work]),
        r_free=r_factor(data.f_obs[free], amplitude[free]) if free.any() else None,
        b_mean=float(atoms.b_iso[problem.hydrogens.own].mean()),
        **geometry_statistics(problem.geometry, atoms),
    )
    return State(
        atoms, xray, scale, sigma_a, f_calc, f_mask, f_model, statistics,
        float(xray.values(f_calc)[xray.work].mean()), problem.geometry.core_rmsz(atoms, frozen), shift, outliers,
        masked, shared,
    )  # fmt: skip
