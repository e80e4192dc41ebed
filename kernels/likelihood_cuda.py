"""CUDA side of `likelihood`: the same functions on device arrays, and the whole X-ray target in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from arrayrefine.kernels.backend import array_module, blocks_for, launch

Array: TypeAlias = Any

_BLOCK = 256


def _same_shape(*arrays: Array) -> list[Array]:
    """Contiguous float64 (or bool) arrays, all of the shape of the first."""
    xp = array_module(arrays[0])
    for a in arrays:
        if a.shape != arrays[0].shape:
            raise ValueError(f"arrays of one shape are needed, found {arrays[0].shape} and {a.shape}")
    return [xp.ascontiguousarray(a, dtype=bool if a.dtype == bool else np.float64) for a in arrays]


def _elementwise(kernel: str, arrays: list[Array], n_results: int) -> tuple[Array, ...]:
    xp = array_module(arrays[0])
    results = tuple(xp.empty(arrays[0].shape) for _ in range(n_results))
    n = arrays[0].size
    launch("likelihood", kernel, (blocks_for(n, _BLOCK),), (_BLOCK,), (np.int64(n), *arrays, *results))
    return results


def scaled_bessel(argument: Array) -> tuple[Array, Array]:
    """e^-X I0(X) and e^-X I1(X) as the likelihoods use them.

    Parameters
    ----------
    argument : (R,) float64
        X >= 0.
    """
    i0, i1 = _elementwise("scaled_bessel", _same_shape(argument), 2)
    return i0, i1


def rice_ml(f_obs: Array, x: Array, sigma_total: Array, centric: Array) -> tuple[Array, Array, Array, Array]:
    """See `likelihood.rice_ml`."""
    value, derivative, curvature, fom = _elementwise("rice_ml", _same_shape(f_obs, x, sigma_total, centric), 4)
    return value, derivative, curvature, fom


def rice_ml_by_variance(f_obs: Array, x: Array, sigma_total: Array, centric: Array, fom: Array) -> Array:
    """See `likelihood.rice_ml_by_variance`."""
    return _elementwise("rice_ml_by_variance", _same_shape(f_obs, x, sigma_total, centric, fom), 1)[0]


def gaussian(f_obs: Array, f_model: Array, sigma: Array) -> tuple[Array, Array, Array]:
    """See `likelihood.gaussian`."""
    value, derivative, curvature = _elementwise("gaussian", _same_shape(f_obs, f_model, sigma), 3)
    return value, derivative, curvature


@dataclass(frozen=True)
class XrayBuffers:
    """Memory of `xray_target`, for calls without allocation.

    Attributes
    ----------
    value : (M,) float64
    d_f : (M, R) complex128
    partial : (M, blocks) float64
        Sums of the blocks.
    """

    value: Array
    d_f: Array
    partial: Array


def xray_buffers(xp: Any, n_models: int, n_reflections: int) -> XrayBuffers:
    """Allocate the memory of `xray_target` for M models and R reflections; `xp` is the cupy module."""
    return XrayBuffers(
        xp.zeros(n_models),
        xp.zeros((n_models, n_reflections), dtype=np.complex128),
        xp.zeros((n_models, blocks_for(n_reflections, _BLOCK))),
    )


def xray_target(
    f_calc: Array,
    solvent: Array,
    factor: Array,
    d: Array | None,
    f_obs: Array,
    spread: Array,
    centric: Array,
    work: Array,
    kind: Literal["ml", "gaussian"] = "ml",
    out: XrayBuffers | None = None,
    known: Array | None = None,
) -> tuple[Array, Array]:
    """-Σ log p(F_obs | factor |F_calc + solvent|) over the work set, and its derivative by F_calc.

    All but `f_calc` are either shared by the models, (R,), or have a row for each, (M, R). Two launches, no host
    synchronisation.

    Parameters
    ----------
    f_calc : (R,) or (M, R) complex128
    solvent : complex128
        k_mask F_mask.
    factor : float64
        k_iso k_aniso.
    d : float64
        D of σ_A; not used by "gaussian", where it may be None.
    f_obs : float64
    spread : float64
        For "ml" the variance Σ of `rice_ml`, for "gaussian" the standard uncertainty σ of `f_obs`.
    centric, work : bool
        Reflections outside `work` add nothing, whatever their values are.
    kind : "ml" or "gaussian"
    out : XrayBuffers, optional
        Memory to use; the results are overwritten by the next call with the same.
    known : (R, 5) or (M, R, 5) float64, optional
        What is known of phases: A, B, C, D, and the logarithm of their norm, see `phased_likelihood.phased_ml`; with
        "ml" alone.

    Returns
    -------
    value : () or (M,) float64
    d_f : (R,) or (M, R) complex128
        ∂/∂Re F + i ∂/∂Im F.
    """
    n_models, n = (1, *f_calc.shape)[-2:]
    if kind not in ("ml", "gaussian"):
        raise ValueError(f"kind of likelihood is '{kind}', expected 'ml' or 'gaussian'")
    buffers = xray_buffers(array_module(f_calc), n_models, n) if out is None else out
    if buffers.d_f.shape != (n_models, n):
        raise ValueError(f"buffers for {buffers.d_f.shape} (models, reflections), f_calc has {(n_models, n)}")
    shared = (solvent, factor, factor if d is None else d, f_obs, spread, centric, work)
    if d is None and kind == "ml":
        raise ValueError("the likelihood 'ml' needs d, found None")
    per_model = 0
    for bit, a in enumerate(shared):
        if a.shape not in ((n,), (n_models, n)):
            raise ValueError(f"argument {bit + 2} has the shape {a.shape}, expected {(n,)} or {(n_models, n)}")
        per_model |= (a.ndim == 2) << bit
    if known is not None and known.shape not in ((n, 5), (n_models, n, 5)):
        raise ValueError(f"known phases have the shape {known.shape}, expected {(n, 5)} or {(n_models, n, 5)}")
    if known is not None and kind != "ml":
        raise ValueError(f"known phases are of the likelihood 'ml', found '{kind}'")
    per_model |= (known is not None and known.ndim == 3) << len(shared)
    blocks, number = buffers.partial.shape[1], 0 if kind == "gaussian" else 1 if known is None else 2
    scalars = np.int32(n), np.int32(number), np.int32(per_model)
    launch(
        "likelihood", "xray_target", (blocks, n_models), (_BLOCK,),
        (*scalars, f_calc, *shared, factor if known is None else known, buffers.d_f, buffers.partial),
    )  # fmt: skip
    launch("likelihood", "sum_blocks", (n_models,), (_BLOCK,), (np.int32(blocks), buffers.partial, buffers.value))
    return (buffers.value, buffers.d_f) if f_calc.ndim == 2 else (buffers.value[0], buffers.d_f[0])
