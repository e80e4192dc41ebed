"""Weights of targets that the user brought, for what a step refines and for nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.hydrogens.riding import fold
from arrayrefine.options import Weighting
from arrayrefine.parameters import Parameters
from arrayrefine.targets import Target
from arrayrefine.targets.extra import ExtraTarget
from arrayrefine.weighting.gradient_norms import perturbed, robust_norm
from arrayrefine.weights import Weights

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
Slopes: TypeAlias = dict[str, tuple[Gradient, Gradient]]
"""By kind of value: the change of a gradient on a copy displaced in that kind, and the gradient; hydrogens with their
parents."""


def with_extra(
    found: Weights, extra: Sequence[ExtraTarget], atoms: Atoms, parameters: Parameters, xray: Target,
    options: Weighting, seed: int,
) -> Weights:  # fmt: skip
    """The weights with those of extra targets: their own numbers, or balanced for these free parameters."""
    numbers: dict[str, float | None] = {t.name: float(t.weight) for t in extra if not isinstance(t.weight, str)}
    automatic = [term for term in extra if isinstance(term.weight, str)]
    if automatic:
        # Noise of one kind of value changes gradients by the others too, and says nothing about those.
        copies = {
            name: perturbed(atoms, parameters, options, seed, kind)
            for name, kind, mask in _kinds(parameters)
            if mask.any()
        }

        def slopes(target: Target) -> Slopes:
            here = fold(atoms, target(atoms)[1])
            return {name: (fold(atoms, target(copy)[1]) + -1.0 * here, here) for name, copy in copies.items()}

        by_xray = slopes(xray)
        numbers |= {term.name: _balanced(by_xray, slopes(term), parameters, term.ratio) for term in automatic}
    return dataclasses.replace(found, extra={term.name: numbers[term.name] for term in extra})


def _kinds(parameters: Parameters) -> tuple[tuple[str, str, Mask], ...]:
    """Of each kind of value: its name in a gradient and to `perturbed`, and the atoms of which it is free."""
    return (
        ("xyz", "xyz", parameters.xyz), ("b_iso", "b", parameters.displaced), ("occupancy", "xyz", parameters.occupancy)
    )  # fmt: skip


def _balanced(by_xray: Slopes, by_term: Slopes, parameters: Parameters, ratio: float) -> float | None:
    """Ratio of two gradients over the free values of the atoms that the term acts on, the mean over the kinds of value.

    Where noise changes a gradient not at all, as that of a linear term, the gradients themselves are compared. None
    where the term acts on nothing that is free.
    """
    logarithms = []
    for name, _, mask in _kinds(parameters):
        if name not in by_term:
            continue
        parts = [[_per_atom(getattr(g, name)) for g in pair] for pair in zip(by_xray[name], by_term[name])]
        acts = mask & ((parts[0][1] > 0.0) | (parts[1][1] > 0.0))
        norms = [[robust_norm(part[acts]) for part in pair] for pair in parts] if acts.any() else []
        usable = [np.log(xray / term) for xray, term in norms if xray > 0.0 and term > 0.0]
        logarithms += usable[:1]
    return float(np.exp(np.mean(logarithms))) / ratio if logarithms else None


def _per_atom(gradient: Float) -> Float:
    """Norms (N,) of a gradient (N,) or (N, 3)."""
    return np.asarray(np.linalg.norm(gradient.reshape(len(gradient), -1), axis=1))
