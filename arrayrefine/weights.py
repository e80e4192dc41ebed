"""Weights of the restraint terms, each bound to the freeze state that it was computed for.

T = T_xray + w_geometry T_geometry + w_adp T_adp, with w = (‖∇T_xray‖ / ‖∇T_term‖) / ratio and both norms taken over
only the unmasked slice of the parameter vector.

Four schemes:

robust
    The norms are those of the change of each gradient on a perturbed copy, which reflects curvature and nothing of
    convergence (at the copy alone, the KL gradient of B factors that have spread out takes over, and the weight drifts
    down by a third in twenty cycles); over per-atom norms, without hydrogens, metals and outliers; clamped around a
    resolution prior; then steered by the RMSZ. Where the same freeze state was measured before, and the curvature of
    the data has hardly changed since, its change stands for another measurement of the X-ray term. Once displacements
    have been refined, the weight of their restraints is that of `adp_evidence` instead.
literal
    The same ratio at the current atoms with plain norms. At a minimum of T_x + w T_g the two gradients are equal and
    opposite, so each round returns the old w / ratio: it drifts.
stale
    Literal norms measured once with coordinates and B both free, used ever after: the B step inherits a weight that
    the coordinates' gradient made, and B collapses.
fixed
    Given numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.errors import StaleWeightsError
from arrayrefine.options import Weighting
from arrayrefine.parameters import Parameters
from arrayrefine.targets import Target
from arrayrefine.targets.extra import ExtraTarget
from arrayrefine.weighting.adp_evidence import Evidence
from arrayrefine.weighting.gradient_norms import Norms, expected_norm, measured_norms

Float = NDArray[np.float64]

_SAME_CURVATURE = 1.25
"""A measurement of the X-ray term holds while its curvature is within this factor of what it was. The ratio of the two
then stays within 5 % (1aba, 1rx2, 4xof, 3g70; 12 % of 5kzb at 3.2 Å), while over the first pass, in which the
curvature grows threefold, it changes by up to a third."""


@dataclass(frozen=True)
class Weights:
    """Numbers, plus the mask they were computed for.

    Attributes
    ----------
    geometry, adp : float or None
        Weight of the term; None where the step frees nothing that the term acts on.
    fingerprint : str
        Of the `Parameters` that the weights were computed for.
    explanation : dict
        How each number came about (norms, ratio, prior, clamp, steering); JSON-ready.
    extra : dict
        Weights of extra targets by their names; None where a step frees nothing that the target acts on.
    """

    geometry: float | None
    adp: float | None
    fingerprint: str
    explanation: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, float | None] = field(default_factory=dict)

    def require(self, parameters: Parameters) -> None:
        """Raise StaleWeightsError unless the weights were computed for these masks."""
        if self.fingerprint != parameters.fingerprint:
            raise StaleWeightsError(
                f"these weights were computed for the freeze state {self.fingerprint}, but the objective refines "
                f"{parameters.describe()} (freeze state {parameters.fingerprint}); compute weights for this state, "
                "or transfer them on purpose with Weights.rebound"
            )

    def rebound(self, parameters: Parameters) -> Weights:
        """The same numbers declared valid for other masks: what the scheme 'stale' does, on purpose."""
        explanation = self.explanation | {"rebound_from": self.fingerprint}
        geometry = self.geometry if parameters.xyz.any() else None
        adp = self.adp if parameters.displaced.any() else None
        explanation |= {"geometry": geometry, "adp": adp}
        return Weights(geometry, adp, parameters.fingerprint, explanation, self.extra)

    def of(self, term: ExtraTarget) -> float | None:
        """Weight of an extra target: the number found for it, or its own.

        Raises
        ------
        StaleWeightsError
            It is automatic, and was not among the targets that these weights were found for.
        """
        if term.name in self.extra:
            return self.extra[term.name]
        if isinstance(term.weight, str):
            raise StaleWeightsError(
                f"{term} has an automatic weight, which these weights were not found for (freeze state "
                f"{self.fingerprint}); find weights for a problem that has this target"
            )
        return float(term.weight)

    @property
    def evidence(self) -> Evidence | None:
        """What the ADP weight was made of, where it was by `adp_evidence`."""
        detail = self.explanation.get("adp_detail", {})
        return Evidence(detail["evidence"], detail["determined"]) if "evidence" in detail else None

    def sentence(self) -> str:
        """How the numbers came about, for the log."""
        parts = []
        for name in ("geometry", "adp"):
            value, detail = getattr(self, name), self.explanation.get(f"{name}_detail")
            if value is None:
                continue
            text = f"w({name}) {value:.3g}"
            if detail and "evidence" in detail:
                text += (
                    f" = {detail['evidence']:.3g} from how much they differ, {100 * detail['determined']:.0f} % "
                    f"of them determined by the data, steering x {detail['steering']:.2f}"
                )
            elif detail:
                text += (
                    f" = |g_xray| {detail['norm_xray']:.3g} / |g_{name}| {detail['norm_term']:.3g} / ratio "
                    f"{detail['ratio']:g} = {detail['measured']:.3g}, prior {detail['prior']:.3g}, "
                    f"clamp {detail['clamp']}, steering x {detail['steering']:.2f}"
                )
            parts.append(text)
        parts += [f"w({name}) {value:.3g}" for name, value in self.extra.items() if value is not None]
        return f"{self.explanation.get('scheme', 'given')}: " + "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        numbers = {"geometry": self.geometry, "adp": self.adp, "fingerprint": self.fingerprint}
        extra = {"extra": dict(self.extra)} if self.extra else {}
        return {**numbers, **self.explanation, **extra, "sentence": self.sentence()}


@dataclass(frozen=True)
class Steering:
    """Factors learned from the RMSZ of earlier steps, applied after the clamp."""

    geometry: float = 1.0
    adp: float = 1.0


def geometry_prior(d_min: float) -> float:
    """Weight of the geometry term expected at a resolution (Å), on -log p: 0.12, times (2/d)³ below 2 Å.

    The weights that bring the bond RMSZ into 0.5-1.0 were 0.05 to 0.14 on ten crystals between 1.8 and 3.4 Å, without
    a trend, and 0.6 at 1.15 Å, where the measured ones rise as the curvature of the data does. (Servalcat's starting
    weight, 1/(2 e^{0.9104 d + 0.2162}) in these terms, falls to 0.02 at 3.2 Å, and lets bonds go to RMSZ 1.8 there.)
    """
    return 0.12 * max(1.0, 2.0 / d_min) ** 3


def _plain_norm(gradient: Float) -> float:
    return float(np.linalg.norm(gradient))


def _clamped(weight: float, prior: float, factor: float) -> tuple[float, str]:
    if weight > prior * factor:
        return prior * factor, "upper"
    if weight < prior / factor:
        return prior / factor, "lower"
    return weight, "none"


def robust_weights(
    atoms: Atoms, parameters: Parameters, xray: Target, geometry: Target, adp: Target, *,
    d_min: float, options: Weighting, steering: Steering, seed: int, clamp: bool = True,
    metal: NDArray[np.bool_] | None = None, curvature: Gradient | None = None,
    last: Weights | None = None, ask: Callable[[], Evidence | None] | None = None,
    apart: Callable[[], Target] | None = None, together: bool = False,
) -> Weights:  # fmt: skip
    """Weights for the default scheme.

    Parameters
    ----------
    atoms : Atoms
    parameters : Parameters
        The freeze state; only its slice enters the norms.
    xray, geometry, adp : Target
    d_min : float
        High-resolution limit, Å; sets the prior.
    options : Weighting
    steering : Steering
    seed : int
        Of the perturbed copy.
    clamp : bool
        False where the prior does not apply (a target that is not -log p of the ML kind).
    metal : (N,) bool, optional
        Atoms left out of the norms, as hydrogens are: a few heavy scatterers would decide for all.
    curvature : Gradient, optional
        Of the X-ray term at `atoms`; needed to make use of `last`.
    last : Weights, optional
        Found earlier in the same refinement. Where they are of the same freeze state, and the curvature has hardly
        changed since they were measured, the norm of the X-ray term follows it instead of being measured anew.
    ask : callable, optional
        What it returns takes the place of norms for the ADP term, unless that is None; see `adp_evidence`.
    apart : callable, optional
        Gives the X-ray term as one process of a team may evaluate it without the others; by default it is the same.
    together : bool
        Whether all processes of a team evaluate the X-ray term.
    """
    parameters = parameters.at(atoms)
    counted = ~atoms.is_hydrogen if metal is None else ~(atoms.is_hydrogen | metal)
    prior = geometry_prior(d_min)
    out: dict[str, Any] = {"scheme": "robust", "prior": prior}
    found: dict[str, float | None] = {"geometry": None, "adp": None}
    terms = (
        ("geometry", parameters.xyz, geometry, options.ratio, prior, steering.geometry, Weighting.ratio),
        ("adp", parameters.displaced, adp, options.ratio_adp, options.adp_prior, steering.adp, Weighting.ratio_adp),
    )
    needed = [term for term in terms if term[1].any()]
    chosen = {name: some if (some := mask & counted).any() else mask for name, mask, *_ in needed}
    expected = {
        name: None if curvature is None else expected_norm(name, curvature, atoms, some, options)
        for name, some in chosen.items()
    }
    earlier = {name: _held(name, now, last, parameters) for name, now in expected.items()}
    targets = {name: target for name, _, target, *_ in needed}
    anew = {name for name, held in earlier.items() if held is None}
    norms = Norms(atoms, parameters, options, seed, chosen)
    measured = measured_norms(norms, xray, apart or (lambda: xray), targets, anew, ask, together)
    for name, _, _, ratio, default_prior, steer, default_ratio in needed:
        answer = measured[name]
        if isinstance(answer, Evidence):  # for which ratios do not matter
            found[name] = answer.weight * steer
            out[f"{name}_detail"] = {
                "determined": answer.determined, "evidence": answer.weight, "prior": default_prior, "steering": steer,
            }  # fmt: skip
            continue
        # Priors are those of the default ratios; the clamp would swallow another ratio otherwise.
        term_prior = default_prior * (default_ratio / ratio)
        now, held, (by_xray, by_term) = expected[name], earlier[name], answer
        norm = by_xray if held is None or now is None else held["norm_xray"] * now / held["expected"]
        weight = norm / by_term / ratio if by_term > 0 else term_prior
        bounded, side = _clamped(weight, term_prior, options.clamp) if clamp else (weight, "off")
        found[name] = bounded * steer
        out[f"{name}_detail"] = {
            "norm_xray": norm, "norm_term": by_term, "ratio": ratio, "measured": weight, "prior": term_prior,
            "clamp": side, "steering": steer, "expected": now,
            "measured_at": now if held is None else held["measured_at"],
        }  # fmt: skip
    return Weights(found["geometry"], found["adp"], parameters.fingerprint, out)


def _held(name: str, expected: float | None, last: Weights | None, parameters: Parameters) -> dict[str, float] | None:
    """Details of an earlier measurement of the X-ray term that will do, or None."""
    if expected is None or last is None or last.fingerprint != parameters.fingerprint:
        return None
    detail = last.explanation.get(f"{name}_detail", {})
    then = detail.get("measured_at")
    if then is None or abs(math.log(expected / then)) > math.log(_SAME_CURVATURE):
        return None
    return dict(detail)


def literal_weights(
    atoms: Atoms, parameters: Parameters, xray: Target, geometry: Target, adp: Target, *, ratio: float = 1.0
) -> Weights:
    """‖∇T_xray‖ / ‖∇T_term‖ / ratio at the current atoms, plain norms over the unmasked slice."""
    norm = _plain_norm(parameters.pullback(xray(atoms)[1]))
    out: dict[str, Any] = {"scheme": "literal", "ratio": ratio, "norm_xray": norm}
    found: dict[str, float | None] = {"geometry": None, "adp": None}
    for name, mask, target in (("geometry", parameters.xyz, geometry), ("adp", parameters.displaced, adp)):
        if not mask.any():
            continue
        term = _plain_norm(parameters.pullback(target(atoms)[1]))
        out[f"norm_{name}"] = term
        found[name] = norm / term / ratio if term > 0 else 0.0
    return Weights(found["geometry"], found["adp"], parameters.fingerprint, out)


def fixed_weights(parameters: Parameters, *, d_min: float, options: Weighting) -> Weights:
    """Given numbers; zero means the resolution prior."""
    prior = geometry_prior(d_min)
    geometry = options.geometry or prior
    adp = options.adp or options.adp_prior
    return Weights(
        geometry if parameters.xyz.any() else None,
        adp if parameters.displaced.any() else None,
        parameters.fingerprint,
        {"scheme": "fixed", "prior": prior},
    )


def steer(bond: float | None, angle: float | None, factor: float, options: Weighting) -> float:
    """New steering factor of the geometry weight from the RMSZ of bonds and angles after a step.

    Inside the band nothing changes (hysteresis); outside, the weight is moved as if RMSZ went with its inverse, towards
    the nearer quarter of the band, by at most a factor of two. Angles only ever tighten.
    """
    if bond is None:
        return factor
    width = options.rmsz_high - options.rmsz_low
    strain = max(bond, (angle or 0.0) * options.rmsz_high / options.angle_rmsz_high)
    if options.rmsz_low <= bond and strain <= options.rmsz_high:
        return factor
    high = strain > options.rmsz_high
    aim = options.rmsz_high - 0.25 * width if high else options.rmsz_low + 0.25 * width
    return float(np.clip(factor * np.clip((strain if high else bond) / aim, 0.5, 2.0), 0.02, 50.0))
