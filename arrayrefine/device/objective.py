"""T = T_xray + w_geometry T_geometry + w_adp T_adp of one or several models, and its gradient, on a CUDA device.

Only the vector goes to the device, and only value and gradient come back. The launches of an evaluation are captured in
a graph at the second one, when every kernel has been compiled; restraints run beside the structure factors on a
stream of their own. All sums have one order, so the same vector gives the same bits.

All kinds of values are refined here; tensors that are not free are constants, to which B adds the isotropic part.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.device.displacement import FreeTensors
from arrayrefine.device.factors import DeviceFactors
from arrayrefine.device.occupancy import SharedOccupancies
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.errors import DeviceError
from arrayrefine.kernels import likelihood_cuda, vector_cuda
from arrayrefine.kernels.backend import device_module, launch_counts, one_at_a_time, pinned, to_device
from arrayrefine.parameters import Parameters
from arrayrefine.targets.xray import XrayTarget
from arrayrefine.weights import Weights

Float = NDArray[np.float64]
OnDevice = Any
"""An array on the device."""

_CONTACTS, _DENSITY = 5, 6
"""Columns of the summary with what went wrong."""
_REPAIRS = 8


@dataclass(frozen=True)
class Member:
    """One of the models that are evaluated together.

    Attributes
    ----------
    parameters : Parameters
        What is free must be the same in all of them.
    weights : Weights
        For these parameters.
    xray : XrayTarget
        Its scale, solvent and σ_A numbers are used; reflections must be the same in all models, but for the values.
    """

    parameters: Parameters
    weights: Weights
    xray: XrayTarget


class DeviceObjective:
    """Value and gradient of the objective of M models by their free parameters.

    Parameters
    ----------
    members : sequence of M Member
    factors : DeviceFactors
        For M models.
    restraints : DeviceRestraints
        For M models.
    timer : dict, optional
        Seconds are added to its entry "objective".

    Attributes
    ----------
    parameters : Parameters
        Of the first model.
    launches : int
        Kernels of one evaluation; FFTs, copies and fills come on top.
    terms : (M, 5) float64
        Sum, X-ray term, geometry, contacts and ADP (without weights) of the last evaluation.

    Raises
    ------
    StaleWeightsError
        Weights were computed for another freeze state.
    """

    @one_at_a_time
    def __init__(
        self,
        members: Sequence[Member],
        factors: DeviceFactors,
        restraints: DeviceRestraints,
        timer: dict[str, float] | None = None,
    ) -> None:
        for member in members:
            member.weights.require(member.parameters)
        first = members[0]
        if any(m.parameters.fingerprint != first.parameters.fingerprint for m in members):
            raise ValueError("models that are evaluated together must have the same free parameters")
        if len(first.parameters.copies):
            raise ValueError("copies that are the same are moved by the host: expected `minimize.Objective` for them")
        if not factors.n_models == restraints.n_models == len(members):
            raise ValueError(
                f"{len(members)} models with memory for {factors.n_models} (X-ray) and {restraints.n_models} "
                "(restraints)"
            )
        self.parameters, self.launches = first.parameters, 0
        self.timer: dict[str, float] = {} if timer is None else timer
        self._factors, self._restraints = factors, restraints
        self._kind = first.xray.kind
        self._graph: Any = None
        self._captured_for: tuple[int, int] | None = None
        if not all(factors.covers(m.parameters.tensors) for m in members):
            raise ValueError("memory for structure factors was made where other atoms were anisotropic")
        with factors.stream:
            self._allocate(members)
            self._allocate_tensors(members)
            restraints.forget()
        factors.stream.synchronize()

    def _allocate(self, members: Sequence[Member]) -> None:
        xp = device_module()
        first, m, n = members[0], len(members), len(self.parameters.reference)
        self._layout = _layout(members)
        weights = [(x.weights.geometry, x.weights.adp) for x in members]
        self._with_geometry, self._with_adp = (any(w[k] is not None for w in weights) for k in (0, 1))
        self._weight = to_device(np.array([[w or 0.0 for w in pair] for pair in weights]))
        data = [x.xray.reflections for x in members]
        targets = [x.xray for x in members]
        gaussian = self._kind == "gaussian"
        spread = [d.sigma for d in data] if gaussian else [t.variance for t in targets]
        self._numbers = (
            _together([t.solvent for t in targets], np.complex128), _together([t.factor for t in targets]),
            None if gaussian else _together([t.d for t in targets]), _together([d.f_obs for d in data]),
            _together(spread), _together([d.centric for d in data], bool), _together([t.work for t in targets], bool),
        )  # fmt: skip
        phases = [d.phases for d in data]
        self._phases = None if None in phases else _together([p.table for p in phases if p is not None])
        size = self.parameters.size
        # The vector has occupancies of full sites, the device those of the atoms.
        self._unit = np.ones(size)
        p = self.parameters
        self._shares = SharedOccupancies(p, self._layout) if p.shares else None
        if not p.shares:
            self._unit[p.slices["occupancy"]] /= p.reference.multiplicity[p.occupancy]
        self._likelihood = likelihood_cuda.xray_buffers(xp, m, len(first.xray.factor))
        self._x = xp.zeros((m, size))
        self._atoms = xp.zeros((m, n, 3)), xp.zeros((m, n)), xp.zeros((m, n))
        # Summary and gradient lie in one array, so that one copy fetches both.
        self._result = xp.zeros(m * (len(vector_cuda.SUMMARY) + size))
        self._summary = self._result[: m * len(vector_cuda.SUMMARY)].reshape(m, len(vector_cuda.SUMMARY))
        self._gradient = self._result[m * len(vector_cuda.SUMMARY) :].reshape(m, size)
        self._given: Float = pinned((m, size))
        self._found: Float = pinned(self._result.shape)
        self._side = xp.cuda.Stream(non_blocking=True)
        self._ready, self._joined = (xp.cuda.Event(disable_timing=True) for _ in range(2))
        self.terms: Float = np.zeros((m, 5))

    def _allocate_tensors(self, members: Sequence[Member]) -> None:
        """U of all atoms, free or constant; `_restrained_u` is None where no restraint is on tensors."""
        self._free: FreeTensors | None = None
        self._u_aniso = self._restrained_u = None
        if self.parameters.sizes.u or self.parameters.sizes.tls:
            self._free = FreeTensors([m.parameters for m in members], self._layout)
            self._u_aniso = self._free.u_aniso
        elif self._factors.anisotropic:
            self._u_aniso = _together([m.parameters.reference.u_aniso for m in members])
        if any(m.parameters.tensors.any() for m in members):
            self._restrained_u = self._u_aniso
            if self._with_adp:
                self._restraints.expect_tensors(self._free is not None)

    def at(self, x: Float) -> tuple[float, Float]:
        """Value, and gradient by the free parameters (n,), of one model at the vector `x` (n,)."""
        value, gradient = self.at_all(x[None])
        return float(value[0]), gradient[0]

    @one_at_a_time
    def at_all(self, x: Float) -> tuple[Float, Float]:
        """Values (M,) and gradients (M, n) of all models at their vectors `x` (M, n).

        Raises
        ------
        DeviceError
            Something went wrong that more memory for lists cannot mend.
        """
        if x.shape != self._x.shape:
            raise ValueError(f"vectors of shape {x.shape}, expected {self._x.shape}")
        start = perf_counter()
        for _ in range(_REPAIRS):
            result = self._evaluated(x)
            summary = result[: self._summary.size].reshape(self._summary.shape)
            if not summary[:, _CONTACTS:].any():
                self.terms = summary[:, :_CONTACTS].copy()
                self.timer["objective"] = self.timer.get("objective", 0.0) + perf_counter() - start
                return summary[:, 0].copy(), result[self._summary.size :].reshape(self._gradient.shape) * self._unit
            self._repair(summary)
        raise DeviceError("the lists of atoms on the CUDA device keep growing: coordinates coincide; correct them")

    def _repair(self, summary: Float) -> None:
        """Make room in the lists that had none."""
        with self._factors.stream:
            if summary[0, _DENSITY]:
                self._factors.repair(int(summary[0, _DENSITY]))
            if summary[:, _CONTACTS].any():
                self._restraints.repair()

    def _evaluated(self, x: Float) -> Float:
        """Summary and gradient, on the host, until the next evaluation."""
        stream = self._factors.stream
        np.multiply(x, self._unit, out=self._given)
        with stream:
            self._x.set(self._given, stream=stream)
            memory = self._factors.generation, self._restraints.generation
            if self._captured_for != memory:  # first without a graph: kernels are compiled as they are launched
                self._graph, self._captured_for = None, memory
                self._launch_counted()
            else:
                if self._graph is None:
                    self._graph = self._captured()
                self._graph.launch(stream=stream)
            self._result.get(stream=stream, out=self._found)
        stream.synchronize()
        return self._found

    def _captured(self) -> Any:
        """The launches of an evaluation as a graph; an error leaves the stream as it was."""
        stream = self._factors.stream
        stream.begin_capture()
        try:
            self._launch()
        except BaseException:
            with suppress(Exception):  # what was captured so far may be no graph
                stream.end_capture()
            raise
        return stream.end_capture()

    def _launch_counted(self) -> None:
        before = sum(launch_counts().values())
        self._launch()
        self.launches = sum(launch_counts().values()) - before

    def _launch(self) -> None:
        """Everything between the vector and the result; nothing here waits, allocates or comes back to the host."""
        main, side = self._factors.stream, self._side
        xyz, b_iso, occupancy = vector_cuda.unpack(self._layout, self._x, self._atoms)
        if self._free is not None:
            self._free.unpack(self._x, b_iso)
        if self._shares is not None:
            self._shares.unpack(self._x, occupancy)
        self._ready.record(main)
        side.wait_event(self._ready)
        geometry = contacts = adp = None
        with side:
            if self._with_geometry:
                geometry = self._restraints.geometry(xyz)
                contacts = self._restraints.contacts(xyz, occupancy)
            if self._with_adp:
                adp = self._restraints.adp(b_iso, self._restrained_u, xyz)
            self._joined.record(side)
        self._factors.place(xyz, b_iso, occupancy, self._u_aniso)
        f_calc = self._factors.forward()
        value, d_f = likelihood_cuda.xray_target(f_calc, *self._numbers, self._kind, self._likelihood, self._phases)
        d_xyz, d_b, d_occupancy, d_u = self._factors.backward(d_f)
        main.wait_event(self._joined)
        vector_cuda.add_terms(
            self._weight, (value, d_xyz, d_b), self._summary, geometry, contacts, adp, self._factors.status
        )
        vector_cuda.pullback(self._layout, d_xyz, d_b, d_occupancy, self._gradient)
        if self._free is not None:
            by_u = self._restraints.adp_by_u if self._with_adp else None
            self._free.pullback(d_b, d_u, None if by_u is None else (self._weight, by_u), self._gradient)
        if self._shares is not None:
            self._shares.pullback(d_occupancy, self._gradient)


def _together(arrays: Sequence[Any], dtype: Any = np.float64) -> OnDevice:
    """What all models share (R,), or a row for each (M, R)."""
    shared = all(a is arrays[0] for a in arrays)
    return to_device(np.ascontiguousarray(arrays[0] if shared else np.stack(arrays), dtype=dtype))


def _layout(members: Sequence[Member]) -> Any:
    p = members[0].parameters
    atoms: Sequence[Atoms] = [m.parameters.reference for m in members]
    shared = all(a is atoms[0] for a in atoms)
    xyz, b_iso, occupancy = (
        getattr(atoms[0], name) if shared else np.stack([getattr(a, name) for a in atoms])
        for name in ("xyz", "b_iso", "occupancy")
    )
    riding = p.reference.riding
    apart = np.zeros_like(p.occupancy) if p.shares else p.occupancy
    others = p.sizes.u + p.sizes.tls + (p.sizes.occupancy if p.shares else 0)
    return vector_cuda.layout(
        p.xyz, p.b, apart, riding.child, riding.parent, p.reference.site_projection, xyz, b_iso, occupancy, others
    )
