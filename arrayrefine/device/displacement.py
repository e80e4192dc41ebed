"""Displacement tensors of one or several models on a CUDA device, restrained and refined, in memory allocated once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arrayrefine.displacements.displacement import U_LIMITS
from arrayrefine.kernels import adp_aniso_cuda, displaced_cuda, tensors_cuda
from arrayrefine.kernels.backend import device_module, to_device
from arrayrefine.kernels.vector_cuda import Layout
from arrayrefine.parameters import Parameters
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

    Attributes
    ----------
    by_u : (M, N, 6) float64 or None
        Derivative by U, where `keep_tensors` asked for it.
    """

    def __init__(self, adp: AdpTarget, n_atoms: int, n_models: int) -> None:
        xp = device_module()
        self._kl = adp_aniso_cuda.plan(n_atoms, adp.i, adp.j, adp.weight, n_models)
        self._u = xp.zeros((n_models, n_atoms, 6))
        self._result = xp.zeros(n_models), xp.zeros((n_models, n_atoms))
        self._alike: adp_aniso_cuda.AnisoAdpPlan | None = None
        self._rigid: adp_aniso_cuda.AnisoAdpPlan | None = None
        self._round: OnDevice = None
        self._by_xyz: OnDevice = None
        self.by_u: OnDevice = None
        shapes = adp.shapes
        if shapes is not None and len(shapes.i) and shapes.alike > 0.0:
            weight = shapes.alike * shapes.weight
            self._alike = adp_aniso_cuda.plan(n_atoms, shapes.i, shapes.j, weight, n_models, shapes=True)
        if shapes is not None and len(shapes.i) and shapes.rigid > 0.0:
            weight, nowhere = shapes.rigid * shapes.weight, np.zeros((len(shapes.i), 3))
            self._rigid = adp_aniso_cuda.plan(n_atoms, shapes.i, shapes.j, weight, n_models, nowhere)
            self._by_xyz = xp.zeros((n_models, n_atoms, 3))
        if shapes is not None and shapes.round.any():
            self._round = to_device(shapes.round, np.float64)
            self._sphere = adp_aniso_cuda.sphericity_buffers(xp, n_atoms, n_models)

    def keep_tensors(self) -> None:
        """Find the derivative by U, too, from now on."""
        if self.by_u is None:
            self.by_u = device_module().zeros(self._u.shape)

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
        if self._alike is not None:
            terms.append(adp_aniso_cuda.evaluate_kl(self._alike, u))
        if self._rigid is not None:
            adp_aniso_cuda.find_directions(self._rigid, xyz)
            terms.append(adp_aniso_cuda.evaluate_rigid_bond(self._rigid, u))
            adp_aniso_cuda.turn(self._rigid, u, xyz, CLOSE, self._by_xyz)
        return (*tensors_cuda.sum_by_b(terms, self._result, self.by_u), self._by_xyz)


class FreeTensors:
    """Tensors of M models that are refined, each for itself or in TLS groups; launches are on the current stream.

    Parameters
    ----------
    parameters : sequence of M Parameters
        With the same free values and groups.
    table : Layout
        Of their vector.

    Attributes
    ----------
    u_aniso : (M, N, 6) float64
        What U of all atoms has besides its isotropic part, Å²; atoms whose U is not free keep that of the reference.
    """

    def __init__(self, parameters: Sequence[Parameters], table: Layout) -> None:
        xp = device_module()
        first, n_models = parameters[0], len(parameters)
        atoms = [p.reference for p in parameters]
        number = np.append(np.where(first.tls, np.cumsum(first.tls) - 1, -1), -1)
        values = [(a.tls.origin[first.tls], a.tls.values[first.tls], a.u_aniso) for a in atoms]
        own = table.b_iso.ndim == 2
        origin, numbers, u_aniso = (np.stack(kind) for kind in zip(*values)) if own else values[0]
        self._table = table
        self._plan = displaced_cuda.plan(
            table, first.u, number[atoms[0].tls.group], origin, numbers, u_aniso, atoms[0].u_projection, U_LIMITS
        )
        self._sums = displaced_cuda.sums(xp, self._plan, n_models)
        self.u_aniso = xp.zeros((n_models, len(atoms[0]), 6))
        self.u_aniso[...] = self._plan.u_aniso

    def unpack(self, x: OnDevice, b_iso: OnDevice) -> None:
        """Put what the vectors (M, n) say into `u_aniso` and B (M, N), Å²."""
        displaced_cuda.unpack(self._plan, self._table, x, b_iso, self.u_aniso)

    def pullback(
        self, d_b: OnDevice, d_u: OnDevice, restraints: tuple[OnDevice, OnDevice] | None, gradient: OnDevice
    ) -> None:
        """Write the free values' part of the gradient (M, n), see `displaced_cuda.pullback`."""
        displaced_cuda.pullback(self._plan, self._table, d_b, d_u, restraints, gradient, self._sums)
