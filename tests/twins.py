"""Twins made up: a model, the truth that it is nearly, and what a twin of it would be measured to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from arrayrefine.crystal import Crystal
from arrayrefine.reflections import Reflections
from arrayrefine.sigma_a import SigmaA
from arrayrefine.twins.twin import Twin

TETRAGONAL = Crystal((60.0, 60.0, 80.0, 90.0, 90.0, 90.0), "P 43")
TRIGONAL = Crystal((60.0, 60.0, 80.0, 90.0, 90.0, 120.0), "P 31")
D, RATIO = 0.9, 0.25
"""D, and the share S/Σ_N of the intensity that the model leaves open, at any resolution."""


class MadeUp(NamedTuple):
    """Measured reflections, their twin, and structure factors of model and truth: theirs, then those of the mates."""

    reflections: Reflections
    twin: Twin
    f_model: np.ndarray
    truth: np.ndarray
    sigma_a: SigmaA


def made_up(
    crystal: Crystal, laws: Sequence[str], fractions: Sequence[float], d_min: float = 3.0, noise: float = 0.03,
    missing: float = 0.0, seed: int = 0, free: float = 0.1,
) -> MadeUp:  # fmt: skip
    """A twin with intensities that do not depend on resolution, mean 100; `missing` of them were not measured."""
    rng = np.random.default_rng(seed)
    hkl = crystal.unique_reflections(d_min, 100.0)
    hkl = hkl[rng.random(len(hkl)) >= missing]
    n = len(hkl)
    blank = Reflections(crystal, hkl, np.ones(n), np.ones(n), rng.random(n) < free)
    twin = Twin.of(blank, laws, fractions)
    every = np.concatenate([hkl, twin.unmeasured.hkl])
    epsilon, centric = crystal.epsilon(every), crystal.centric(every)

    def draw(variance: float) -> np.ndarray:
        real, imaginary = rng.standard_normal((2, len(every)))
        scale = np.sqrt(epsilon * variance)
        return np.where(centric, real + 0j, np.sqrt(0.5) * (real + 1j * imaginary)) * scale

    f_model = draw(100.0 * (1.0 - RATIO) / D**2)
    truth = D * f_model + draw(100.0 * RATIO)
    intensity = twin.amplitude(twin.components(np.abs(truth))) ** 2
    sigma_i = np.full(n, noise * 100.0)
    i_obs = intensity + sigma_i * rng.standard_normal(n)
    f_obs = np.sqrt(np.maximum(i_obs, 0.1 * sigma_i))
    sigma = np.minimum(0.5 * sigma_i / f_obs, np.sqrt(sigma_i))
    reflections = Reflections(crystal, hkl, f_obs, sigma, blank.free, i_obs=i_obs, sigma_i=sigma_i)
    ends = np.array([0.0, 1.0 / d_min**2])
    sigma_a = SigmaA(
        ends, np.full(2, D), np.full(2, np.log(RATIO)), ends, np.full(2, np.log(100.0)), np.array([1, 1]), 0.0
    )
    return MadeUp(reflections, twin, f_model, truth, sigma_a)
