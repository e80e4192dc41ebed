"""Restraints on displacement tensors of one or several models on a CUDA device, in memory that is allocated once."""

from __future__ import annotations

from typing import Any

import numpy as np

from arrayrefine.kernels import adp_aniso_cuda, tensors_cuda
from arrayrefine.kernels.backend import device_module, to_device
from arrayrefine.targets.adp import CLOSE, AdpTarget

OnDevice = Any
"""An array on the device."""


class DeviceTensors:
    """The target `AdpTarget` of kind "kl" for M models with anisotropic atoms; launches are on the current stream.

    All pairs compare tensors, those of isotropic atoms too: for them that is the comparison of their B.

    Parameters
    ----------
    adp : AdpTarget
    n_atoms, n_models : int
    """

    def __init__(self, adp: AdpTarget, n_atoms: int, n_models: int) -> None:
        xp = device_module()
        self._kl = adp_aniso_cuda.plan(n_atoms, adp.i, adp.j, adp.weight, n_models)
        self._u = xp.zeros((n_models, n_atoms, 6))
        self._result = xp.zeros(n_models), xp.zeros((n_models, n_atoms))
        self._rigid: adp_aniso_cuda.AnisoAdpPlan | None = None
        self._round: OnDevice = None
        self._by_xyz: OnDevice = None
        shapes = adp.shapes
        if shapes is not None and len(shapes.i):
            weight, nowhere = np.full(len(shapes.i), shapes.rigid), np.zeros((len(shapes.i), 3))
            self._rigid = adp_aniso_cuda.plan(n_atoms, shapes.i, shapes.j, weight, n_models, nowhere)
            self._by_xyz = xp.zeros((n_models, n_atoms, 3))
        if shapes is not None and shapes.round.any():
            self._round = to_device(shapes.round, np.float64)
            self._sphere = adp_aniso_cuda.sphericity_buffers(xp, n_atoms, n_models)

    def __call__(self, b_iso: OnDevice, u_aniso: OnDevice, xyz: OnDevice) -> tuple[OnDevice, OnDevice, OnDevice | None]:
        """Value (M,), and gradients by B (M, N) and by coordinates (M, N, 3), None where nothing depends on them.

        Parameters
        ----------
        b_iso : (M, N) float64, Å²
        u_aniso : (N, 6) or (M, N, 6) float64, Å²
        xyz : (M, N, 3) float64, Å
        """
        u = tensors_cuda.total_u(b_iso, u_aniso, self._u)
        terms = [adp_aniso_cuda.evaluate_kl(self._kl, u)]
        if self._round is not None:
            terms.append(adp_aniso_cuda.sphericity(u, self._round, self._sphere))
        if self._rigid is not None:
            adp_aniso_cuda.find_directions(self._rigid, xyz)
            terms.append(adp_aniso_cuda.evaluate_rigid_bond(self._rigid, u))
            adp_aniso_cuda.turn(self._rigid, u, xyz, CLOSE, self._by_xyz)
        return (*tensors_cuda.sum_by_b(terms, self._result), self._by_xyz)
