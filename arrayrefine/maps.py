"""Electron-density map coefficients weighted by sigma_A."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arrayrefine.reflections import positions

Float = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class MapCoefficients:
    """Map coefficients of all M unique reflections to d_min, measured or not, on the scale of f_obs.

    Attributes
    ----------
    hkl : (M, 3) int32
    f_obs, sigma : (M,) float64
        Measured amplitude and its standard uncertainty; nan where not measured.
    free : (M,) bool
        True for measured reflections of the test set.
    fc : (M,) complex128
        Scaled structure factor of the whole model, bulk solvent included.
    fwt : (M,) complex128
        2mFo-DFc (acentric) or mFo (centric); DFc for free, rejected and missing reflections.
    delfwt : (M,) complex128
        mFo-DFc; 0 for free and rejected, nan for missing reflections.
    fwt_nofill : (M,) complex128
        As `fwt`, but nan wherever that holds DFc, so that no term comes from the model alone.
    fom : (M,) float64
        Figure of merit m; nan where not measured.
    anomalous : (M,) complex128 or None
        Of the anomalous difference map; nan for reflections without a measured pair. None where there are no pairs.
    """

    hkl: NDArray[np.int32]
    f_obs: Float
    sigma: Float
    free: NDArray[np.bool_]
    fc: Complex
    fwt: Complex
    delfwt: Complex
    fwt_nofill: Complex
    fom: Float
    anomalous: Complex | None = None

    def __len__(self) -> int:
        return len(self.fom)


def map_coefficients(
    hkl: ArrayLike,
    f_obs: ArrayLike,
    sigma: ArrayLike,
    free: ArrayLike,
    f_model: ArrayLike,
    fom: ArrayLike,
    d: ArrayLike,
    centric: ArrayLike,
    left_out: ArrayLike | None = None,
    best_phase: ArrayLike | None = None,
) -> MapCoefficients:
    """Combine measured amplitudes and model into the coefficients of the best and of the difference map.

    Parameters
    ----------
    hkl : (M, 3) int
    f_obs, sigma : (M,) float
        nan where not measured, same scale as `f_model`.
    free : (M,) bool
        Test set; ignored where `f_obs` is nan.
    f_model : (M,) complex
        Scaled structure factor of the whole model.
    fom : (M,) float
        Figure of merit m, 0..1; ignored where `f_obs` is nan.
    d : (M,) float
        Luzzati factor D on this scale: the expected value of F given the model is D f_model.
    centric : (M,) bool
    left_out : (M,) bool, optional
        Rejected measurements: the maps take the model's expectation for them, as for those of the test set.
    best_phase : (M,) complex, optional
        exp(iφ) of the best phases, where more is known of them than the model says; ignored where `f_obs` is nan.

    Returns
    -------
    MapCoefficients

    Raises
    ------
    ValueError
        If the arrays differ in length.

    Notes
    -----
    Read, R. J. (1986), Acta Cryst. A42, 140-149. The test set must not enter a map that a model is built
    into, or R-free would lose its meaning; it and the missing reflections are filled with their expectation
    D Fc, as REFMAC and Servalcat do, because a zero there would bias the map further away from the truth.
    """
    index = np.ascontiguousarray(hkl, dtype=np.int32).reshape(-1, 3)
    amplitude = np.asarray(f_obs, dtype=float)
    uncertainty = np.asarray(sigma, dtype=float)
    fc = np.asarray(f_model, dtype=complex)
    luzzati = np.asarray(d, dtype=float)
    is_centric = np.asarray(centric, dtype=bool)
    arrays = (index, amplitude, uncertainty, np.asarray(free), fc, np.asarray(fom), luzzati, is_centric)
    lengths = {len(a) for a in arrays}
    if len(lengths) != 1:
        raise ValueError(f"map_coefficients: arrays of one length expected, found lengths {sorted(lengths)}")

    measured = np.isfinite(amplitude)
    test = np.asarray(free, dtype=bool) & measured
    work = measured & ~test
    if left_out is not None:
        work &= ~np.asarray(left_out, dtype=bool)
    merit = np.where(measured, np.asarray(fom, dtype=float), np.nan)

    modulus = np.abs(fc)
    phase = np.divide(fc, modulus, out=np.ones_like(fc), where=modulus > 0)
    expected = luzzati * fc
    best = np.where(work, merit * amplitude, 0.0) * (phase if best_phase is None else np.asarray(best_phase))

    fwt = np.where(work, np.where(is_centric, best, 2.0 * best - expected), expected)
    delfwt = np.where(work, best - expected, 0.0)
    delfwt[~measured] = complex(np.nan, np.nan)
    nofill = fwt.copy()
    nofill[~work] = complex(np.nan, np.nan)
    return MapCoefficients(index, amplitude, uncertainty, test, fc, fwt, delfwt, nofill, merit)


def anomalous_coefficients(
    maps: MapCoefficients, hkl: NDArray[np.int32], difference: Float, weight: Float
) -> Complex:
    """Coefficients (M,) of the anomalous difference map, nan where there is no difference.

    Parameters
    ----------
    maps : MapCoefficients
        Phases and figures of merit.
    hkl : (A, 3) int32
    difference : (A,) float64
        F(h) − F(−h).
    weight : (A,) float64
        Share of each that is signal.

    Notes
    -----
    With an atom whose f″ adds i a to F and −i a to that of the mate, F(h) − F(−h) is −2 Im(a exp(−iφ)), and
    (F(h) − F(−h)) exp(i(φ − π/2)) is a and its image by the phase: a map of f″ at its full height, and noise.
    Kraut, J. (1968), J. Mol. Biol. 35, 511-512.
    """
    row = positions(maps.hkl, hkl)
    value = np.where(row >= 0, (weight * difference)[row], np.nan)
    phase = np.exp(1j * (np.angle(maps.fc) - 0.5 * np.pi))
    return np.asarray(value * maps.fom * phase)
