"""What -log p gains or loses, to second order, as atoms are taken out of a model and put elsewhere.

By the occupancies q of atoms, -log p changes by Σ g q + ½ Σ Σ h q q': g is the gradient at the place of each atom, and
h the second derivative by the occupancies of two. Its expectation, where phases are random, is that of
`XrayTarget.expected_curvature` times the form factors, their displacements, and sin(2π s r) / (2π s r), the mean of
cos(2π s·r) over all directions of s, r apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.scattering.form_factors import form_factors, scattering
from arrayrefine.targets.xray import XrayTarget

Float = NDArray[np.float64]

_FAR, _STEP = 12.0, 0.1
"""Å; beyond, atoms of one residue do not lie."""
_COLUMNS = round(_FAR / _STEP) + 1
_LEAST_B, _MOST_B, _COUNT = 1.0, 1600.0, 56
"""Å²; of the sums of two B that are tabulated, evenly in the logarithm."""


class Overlaps:
    """Expected second derivative of -log p by the occupancies of two atoms, a function of their distance and B.

    Parameters
    ----------
    xray : XrayTarget
    atoms : Atoms
        The model that scale and σ_A of `xray` belong to.
    """

    def __init__(self, xray: XrayTarget, atoms: Atoms) -> None:
        s_squared, weight = xray.expected_curvature(xray.f_calc(atoms))
        _, _, carbon = form_factors(["C"], xray.structure_factors.radiation)
        shape = scattering(carbon, s_squared)[0] / scattering(carbon, [0.0])[0, 0]
        forward, element = xray.structure_factors.form_factors(np.zeros(1))
        self.electrons: Float = forward[element, 0]
        """f(0) of each atom (N,): what is light falls off with resolution much as carbon does."""
        distance = _STEP * np.arange(_COLUMNS)
        b_sum = np.geomspace(_LEAST_B, _MOST_B, _COUNT)
        decay = np.exp(-0.25 * b_sum[:, None] * s_squared) * (weight * shape**2)
        turns = 2.0 * np.sqrt(s_squared)[:, None] * distance
        wave = np.sinc(turns)
        self._table = decay @ wave
        safe = np.where(distance > 0.0, distance, 1.0)
        self._slopes = decay @ ((np.cos(np.pi * turns) - wave) / safe)
        self._sharpness = decay @ (4.0 * np.pi**2 / 3.0 * s_squared)

    def __call__(self, distance: Float, b_sum: Float) -> Float:
        """Second derivative for f(0) = 1; `distance` (Å) and sum of B (Å²) of one shape."""
        return _at(self._table, *_corners(distance, b_sum))

    def slope(self, distance: Float, b_sum: Float) -> Float:
        """Its derivative by the distance, per Å."""
        return _at(self._slopes, *_corners(distance, b_sum))

    def sharpness(self, b_sum: Float) -> Float:
        """Its curvature where both atoms are at one place, the sign turned, Å⁻²."""
        return np.asarray(np.interp(_place(b_sum), np.arange(_COUNT), self._sharpness))

    def between(self, one: Float, two: Float, b_one: Float, b_two: Float, q_one: Float, q_two: Float) -> Float:
        """Σ Σ h q q' (...) of atoms at `one` (..., m, 3) and at `two` (..., n, 3), with B and q f(0) of each."""
        distance = np.linalg.norm(one[..., :, None, :] - two[..., None, :, :], axis=-1)
        b_sum = np.broadcast_to(b_one[..., :, None] + b_two[..., None, :], distance.shape)
        return np.asarray(np.einsum("...mn,...m,...n->...", self(distance, b_sum), q_one, q_two))

    def between_by_xyz(
        self, one: Float, two: Float, b_one: Float, b_two: Float, q_one: Float, q_two: Float
    ) -> tuple[Float, Float]:
        """The same, and its derivatives (..., m, 3) by the atoms at `one`."""
        apart = one[..., :, None, :] - two[..., None, :, :]
        distance = np.sqrt(np.einsum("...i,...i->...", apart, apart))
        corners = _corners(distance, b_one[..., :, None] + b_two[..., None, :])
        weight = q_one[..., :, None] * q_two[..., None, :]
        pull = _at(self._slopes, *corners) * weight / np.where(distance > 0.0, distance, 1.0)
        value = np.einsum("...mn,...mn->...", _at(self._table, *corners), weight)
        return value, np.einsum("...mn,...mni->...mi", pull, apart)


def _place(b_sum: Float) -> Float:
    """Where sums of B are in the tables."""
    return np.asarray(np.log(np.clip(b_sum, _LEAST_B, _MOST_B) / _LEAST_B) / np.log(_MOST_B / _LEAST_B) * (_COUNT - 1))


def _corners(distance: Float, b_sum: Float) -> tuple[NDArray[np.intp], Float, Float]:
    """Entry of a table at or before each sum of B and distance, and how far beyond it they are, in steps."""
    along = np.minimum(distance, _FAR) / _STEP
    column = np.minimum(along.astype(np.intp), _COLUMNS - 2)
    place = _place(b_sum)
    row = np.minimum(place.astype(np.intp), _COUNT - 2)
    return row * _COLUMNS + column, place - row, along - column


def _at(table: Float, entry: NDArray[np.intp], down: Float, along: Float) -> Float:
    """A table between its entries, linear in both directions."""
    flat = table.reshape(-1)
    above = flat.take(entry)
    above += (flat.take(entry + 1) - above) * along
    below = flat.take(entry + _COLUMNS)
    below += (flat.take(entry + _COLUMNS + 1) - below) * along
    return np.asarray(above + (below - above) * down)
