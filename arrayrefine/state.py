"""A model with everything that is fitted to it but not refined with it: scale, solvent, sigma_A, statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.arguments import check_types
from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.displacements.common_anisotropy import common_anisotropy, without_common
from arrayrefine.displacements.displacement import B_BOUNDS, EIGHT_PI_SQUARED, least_b, sharpest
from arrayrefine.errors import InputError
from arrayrefine.kernels import symmetric
from arrayrefine.kernels.blas import one_blas_thread
from arrayrefine.measurements.outliers import Outliers, find_outliers
from arrayrefine.parameters import Parameters, frozen_kinds
from arrayrefine.problem import Problem
from arrayrefine.report import Statistics
from arrayrefine.scaling import Scale, r_factor
from arrayrefine.sigma_a import SigmaA, estimate_sigma_a
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.targets.xray import XrayTarget
from arrayrefine.twins.fit import Parts, TwinFit, fit_twin, same_twin, scale_of, unmeasured
from arrayrefine.twins.twin import Twin

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]

_FEW = 2.0
"""Percent of the atoms that a common shift of B may take to a bound."""
_CLEAR = (B_BOUNDS[0] + 1.0, B_BOUNDS[1] - 10.0)
_LEAST_D_MIN = 5.0
"""Å; data that end before hardly tell an overall B from the solvent."""
_NEGLIGIBLE_B = 0.2
"""Å²; a smaller overall B stays in the scale: to take it out costs another F_calc."""
_NEGLIGIBLE_ANISOTROPY = 1.0
"""Å²; nor is less of a common anisotropy taken out."""
_MASK_HOLDS = 0.05
"""Å; a solvent mask is kept while the rms distance of the atoms from where it was drawn is less: its step is 0.6 Å."""


@dataclass(frozen=True)
class State:
    """Atoms, and what was fitted to them.

    Attributes
    ----------
    atoms : Atoms
    xray : XrayTarget
        With scale, solvent and sigma_A of these atoms.
    scale : Scale
    sigma_a : SigmaA
    f_calc, f_mask, f_model : (R,) complex128
        Of the atoms and of the mask, electrons; of both, on the scale of the data. In the order of the reflections.
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
    twin : TwinFit or None
        Where the data are those of a twin; `xray` then has one domain's share of them.
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
    twin: TwinFit | None = None

    def __repr__(self) -> str:
        now = self.statistics
        free = "none" if now.r_free is None else f"{now.r_free:.4f}"
        return f"State({len(self.atoms)} atoms, r_work={now.r_work:.4f}, r_free={free})"

    @property
    def amplitude(self) -> Float:
        """What the model has for the measured amplitudes (R,)."""
        return np.abs(self.f_model) if self.twin is None else self.twin.amplitude

    @property
    def fom(self) -> Float:
        """Expected cosine (R,) of the error of the model's phases; of the best ones, where more is known of them."""
        if self.twin is not None:
            return self.twin.detwinned.fom
        data, variance_factor = self.xray.reflections, self.outliers.variance_factor
        if data.phases is not None:
            return np.abs(self.sigma_a.merit(data, self.f_model, variance_factor))
        return self.sigma_a.fom(data, self.f_model, variance_factor)

    @cached_property
    def values(self) -> Float:
        """-log p of all reflections (R,)."""
        return self.xray.values(self.f_calc) if self.twin is None else self.twin.values

    @cached_property
    def free_values(self) -> Float:
        """-log p of the test set (F,), with D of sigma_A: the target's is that of the work set."""
        data = self.xray.reflections
        if self.twin is not None:
            return self.twin.values[data.free]
        return dataclasses.replace(self.xray, d=self.sigma_a.d(data.s_squared)).values(self.f_calc)[data.free]

    @property
    def nll_free(self) -> float:
        """Mean -log p per reflection of the test set; nan where there is none."""
        return float(self.free_values.mean()) if len(self.free_values) else float("nan")


def work_nll(one: State, two: State) -> tuple[float, float]:
    """Mean -log p of two states over the work reflections that the targets of both see: outliers come and go."""
    both = one.xray.work & two.xray.work
    first, second = (float(state.values[both].mean()) for state in (one, two))
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
    kinds = options.kinds
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


class _Fit(NamedTuple):
    """Atoms, and scale and solvent that were fitted to them; `beyond` is of what a twin's mates are not measured, and
    the three before it as in `State`."""

    atoms: Atoms
    structure_factors: StructureFactors
    f_calc: Complex
    f_mask: Complex
    scale: Scale
    masked: Atoms
    b_shift: float = 0.0
    shared: float = 0.0
    beyond: Parts | None = None


def _fitted(problem: Problem, atoms: Atoms, before: State | None, refit: bool) -> _Fit:
    """Solvent and scale of atoms, as far as those of an earlier state will not do; see `evaluate`."""
    if before is not None and before.xray.knows(atoms):
        return _Fit(
            atoms, before.xray.structure_factors, before.f_calc, before.f_mask, before.scale, before.masked
        )
    data, plan = problem.reflections, problem.structure_factors(atoms)
    if before is not None and not refit:
        f_calc = plan.after(before.f_calc, before.atoms, atoms)
        return _Fit(atoms, plan, f_calc, before.f_mask, before.scale, before.masked)
    if before is not None and _mask_holds(before, atoms):
        f_calc, f_mask, masked = plan(atoms), before.f_mask, before.masked
    else:
        f_calc, f_mask, masked = plan(atoms), problem.solvent(atoms, data.hkl), atoms
    twin = _twin(problem, before)
    beyond = None if twin is None else unmeasured(problem, twin, atoms)
    scale = scale_of(data, twin, f_calc, f_mask, None if before is None else before.scale, beyond)
    return _Fit(atoms, plan, f_calc, f_mask, scale, masked, beyond=beyond)


def _twin(problem: Problem, before: State | None) -> Twin | None:
    """The twin with the fractions known best."""
    return problem.twin if before is None or before.twin is None else before.twin.twin


def _with_mates(problem: Problem, twin: Twin, fit: _Fit, f_model: Complex) -> Complex:
    """Scaled model of the reflections, and of mates that were not measured (R + E,)."""
    beyond = unmeasured(problem, twin, fit.atoms) if fit.beyond is None else fit.beyond
    return np.concatenate([f_model, fit.scale.apply(*beyond, twin.unmeasured.hkl)])


def _absorbed(problem: Problem, fit: _Fit, before: State | None) -> _Fit:
    """The same with the isotropic part of the scale in the atoms' B, and what U have in common in the scale."""
    data, atoms, scale = problem.reflections, fit.atoms, fit.scale
    takers = _takers(problem, atoms)
    shift, common, shared = 0.0, np.zeros(6), 0.0
    if takers.any() and data.d_min < _LEAST_D_MIN:
        shift = _absorbable(atoms, takers, scale.overall_b(data.s_squared, data.f_obs))
    shift = shift if abs(shift) > _NEGLIGIBLE_B else 0.0
    if takers.all() and not len(problem.copies):  # of which U turn with the operators
        common, shared = _shared(atoms, scale, data.crystal)
    if not (shift or shared):
        return fit
    b_aniso = scale.b_aniso
    if shared:
        atoms, b_aniso = without_common(atoms, common), b_aniso + EIGHT_PI_SQUARED * symmetric.matrices(common)
    b_iso = np.clip(atoms.b_iso + shift, np.minimum(least_b(atoms), B_BOUNDS[1]), B_BOUNDS[1])
    atoms = problem.hydrogens.place(atoms.replace(b_iso=np.where(takers, b_iso, atoms.b_iso)))
    plan = problem.structure_factors(atoms)
    f_calc = plan(atoms)
    start = dataclasses.replace(scale, b_overall=scale.b_overall - shift, b_aniso=b_aniso)
    twin = _twin(problem, before)
    beyond = None if twin is None else unmeasured(problem, twin, atoms)
    scale = scale_of(data, twin, f_calc, fit.f_mask, start, beyond)
    return _Fit(atoms, plan, f_calc, fit.f_mask, scale, fit.masked, shift, shared, beyond)


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


@one_blas_thread
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
        The atoms are others than those of `problem`, or have values that are none, or are no `Atoms`.
    """
    check_types("evaluate", problem=(problem, Problem), atoms=(atoms, Atoms))
    _require_atoms(problem, atoms)
    if before is None and problem.twin is not None:
        # the scale rests on fractions, of which the data alone have told something only
        first = _evaluated(problem, atoms, absorb_b, None, True)
        assert first.twin is not None
        problem = dataclasses.replace(problem, twin=first.twin.twin)
    return _evaluated(problem, atoms, absorb_b, before, refit)


def _model_errors(
    problem: Problem, fit: _Fit, f_model: Complex, before: State | None, refit: bool
) -> tuple[SigmaA, TwinFit | None]:
    """Sigma_A of a scaled model, and what was fitted of a twin; those of `before` where nothing is to be refitted."""
    data, options, twin = problem.reflections, problem.options.xray, _twin(problem, before)
    improbable = 0.0 if options.outliers == "keep" else options.outlier_probability
    start = None if before is None else before.sigma_a
    if before is not None and not refit:
        if twin is None or before.twin is None:
            return before.sigma_a, None
        every = _with_mates(problem, twin, fit, f_model)
        return before.sigma_a, same_twin(problem, before.twin, every, before.sigma_a)
    if twin is not None:
        return fit_twin(problem, twin, _with_mates(problem, twin, fit, f_model), start, improbable)
    found = estimate_sigma_a(data, f_model, options.sigma_a_bins, improbable, start, problem.data_anisotropy)
    return found, None


def _statistics(problem: Problem, atoms: Atoms, amplitude: Float) -> Statistics:
    """R factors of the amplitudes (R,) of a model over work and test reflections, mean B, and geometry."""
    data = problem.reflections
    measured, work, free = data.f_obs, data.work, data.free
    return Statistics(
        r_work=r_factor(measured[work], amplitude[work]),
        r_free=r_factor(measured[free], amplitude[free]) if free.any() else None,
        b_mean=float(atoms.b_iso[problem.hydrogens.own].mean()),
        **geometry_statistics(problem.geometry, atoms),
    )


def _evaluated(problem: Problem, atoms: Atoms, absorb_b: bool, before: State | None, refit: bool) -> State:
    """See `evaluate`."""
    data, options = problem.reflections, problem.options
    kept = before if before is not None and not refit else None
    fit = _fitted(problem, problem.hydrogens.place(atoms), before, refit)
    if absorb_b and refit:
        fit = _absorbed(problem, fit, before)
    atoms, f_calc, f_mask, scale = fit.atoms, fit.f_calc, fit.f_mask, fit.scale
    factor = scale.amplitude_factor(data.hkl)
    solvent = scale.k_mask(data.s_squared) * f_mask
    f_model = scale.apply(f_calc, f_mask, data.hkl)
    sigma_a, twinned = _model_errors(problem, fit, f_model, before, refit)
    if twinned is not None:
        data = twinned.detwinned.reflections
    amplitude = np.abs(f_model) if twinned is None else twinned.amplitude
    outliers = find_outliers(
        problem.reflections, amplitude, sigma_a, options.xray, None if twinned is None else twinned.variance
    )
    xray = XrayTarget(
        data, fit.structure_factors, factor, solvent, sigma_a.d(data.s_squared),
        outliers.variance_factor * sigma_a.sigma_total(data), options.xray.target, problem.timer, (atoms, f_calc),
        outliers.left_out,
    )  # fmt: skip
    xray = xray.at_own_scale(f_calc) if kept is None else dataclasses.replace(xray, d=kept.xray.d)
    frozen = Parameters.frozen_atoms(atoms, "xyz", options.freeze) if options.freeze else None
    values = xray.values(f_calc) if twinned is None else twinned.values
    return State(
        atoms, xray, scale, sigma_a, f_calc, f_mask, f_model,
        _statistics(problem, atoms, amplitude), float(values[xray.work].mean()),
        problem.geometry.core_rmsz(atoms, frozen), fit.b_shift, outliers, fit.masked, fit.shared, twinned,
    )  # fmt: skip
