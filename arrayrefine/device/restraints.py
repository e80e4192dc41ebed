"""Restraints of one or several models on a CUDA device, in memory that is allocated once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.device.displacement import DeviceTensors
from arrayrefine.errors import DeviceError
from arrayrefine.kernels import adp_cuda, contacts_cuda, distances_cuda, geometry_cuda, mates_cuda
from arrayrefine.kernels.backend import device_module, one_at_a_time, to_device
from arrayrefine.kernels.geometry import Firm
from arrayrefine.options import Geometry
from arrayrefine.restraints import Distances
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.firm_outliers import Limits
from arrayrefine.targets.geometry import GeometryTarget

OnDevice = Any
"""An array on the device."""


class DeviceRestraints:
    """Geometry, contacts and ADP of M models that share them; launches are on the current stream.

    Parameters
    ----------
    geometry : GeometryTarget
    adp : AdpTarget
    multiplicity : (N,) int
        Operators that map each atom onto itself.
    n_models : int

    Attributes
    ----------
    generation : int
        Counts repairs: what was captured before one must be captured again.
    """

    @one_at_a_time
    def __init__(
        self, geometry: GeometryTarget, adp: AdpTarget, multiplicity: NDArray[np.int64], n_models: int = 1
    ) -> None:
        xp = device_module()
        n, r = len(multiplicity), geometry.restraints
        self.n_models, self._kind, self.generation = n_models, adp.kind, 0
        every = r.every_torsion
        first = 0 if geometry.options.torsions else len(r.torsions.index)
        torsions = (every.index[first:], every.ideal[first:], every.sigma[first:], every.period[first:])
        outliers = Firm(geometry.options.outlier_z, geometry.options.outlier_weight)
        self._restraints = r
        self._limits: list[Limits] = []
        self._geometry = geometry_cuda.plan(
            n,
            (r.bonds.index, r.bonds.ideal, r.bonds.sigma),
            (r.angles.index, r.angles.ideal, r.angles.sigma),
            torsions,
            (r.chiralities.index, r.chiralities.ideal, r.chiralities.sigma),
            (r.planes.index, r.planes.plane, r.planes.sigma),
            n_models,
            outliers,
        )
        self._mates: mates_cuda.MatePlan | None = None
        if len(r.across):
            where = r.across.mates
            bonds, angles, turned, planes = r.across.effective
            self._mates = mates_cuda.plan(n, where.source, where.rotation, where.shift, n_models)
            self._across = geometry_cuda.plan(
                n + len(r.across),
                (bonds.index, bonds.ideal, bonds.sigma),
                (angles.index, angles.ideal, angles.sigma),
                (turned.index, turned.ideal, turned.sigma, turned.period) if geometry.options.torsions else None,
                None,
                (planes.index, planes.plane, planes.sigma),
                n_models,
                outliers,
                r.across.shares[:2],
            )
            classes = [(d.index, d.ideal, d.sigma, d.alpha, d.weight, d.slack) for d in geometry.to_mates]
            self._to_mates = distances_cuda.plan(n + len(r.across), classes, n_models) if classes else None
        contacts = geometry.contacts
        self._contacts = None if contacts is None else contacts.device_plan(multiplicity, n_models)
        self._adp = adp_cuda.plan(n, adp.i, adp.j, adp.weight, n_models) if adp.kind == "kl" else None
        self._distances: tuple[Distances, ...] = ()
        self._pairs: distances_cuda.DistancePlan | None = None
        self._n_atoms = n
        self._known: OnDevice = None
        self.hold([geometry] * n_models)
        self._variance = xp.zeros(n_models), xp.zeros((n_models, n))
        self._target, self._n_atoms = adp, n
        self._tensors: DeviceTensors | None = None
        xp.cuda.get_current_stream().synchronize()

    def forget(self) -> None:
        """List the contacts anew at the next evaluation, as other atoms with other occupancies need it."""
        if self._contacts is not None:
            contacts_cuda.forget(self._contacts)

    @one_at_a_time
    def hold(self, geometries: Sequence[GeometryTarget]) -> None:
        """Go on with what the next step has anew: robust restraints on distances, as of a jelly body, where outliers
        begin, and occupancies that choose contacts.

        Parameters
        ----------
        geometries : sequence of M GeometryTarget
            As anchored for each model. All have the same distances.
        """
        self._hold_limits([geometry.limits for geometry in geometries], geometries[0].options)
        contacts = [geometry.contacts for geometry in geometries if geometry.contacts is not None]
        self._hold_occupancies([of.occupancy for of in contacts])
        distances = geometries[0].distances
        if len(distances) == len(self._distances) and all(a is b for a, b in zip(distances, self._distances)):
            return
        self._distances = tuple(distances)
        classes = [(d.index, d.ideal, d.sigma, d.alpha, d.weight, d.slack) for d in distances]
        self._pairs = distances_cuda.plan(self._n_atoms, classes, self.n_models) if classes else None
        device_module().cuda.get_current_stream().synchronize()  # they are read on another stream
        self.generation += 1

    def _hold_limits(self, limits: list[Limits], options: Geometry) -> None:
        """Where outliers begin for each model, in memory that stays where it is."""
        if options.outlier_weight == 0.0 or limits == self._limits:
            return
        self._limits = limits
        r = self._restraints
        source = np.concatenate([np.arange(self._n_atoms), r.across.mates.source]) if len(r.across) else None
        indices = r.bonds.index, r.angles.index, r.chiralities.index
        for model, limit in enumerate(limits):
            geometry_cuda.set_limits(self._geometry, model, [limit.firm(options, i).limit for i in indices])
            if source is not None:
                ends = [limit.firm(options, source[kind.index]).limit for kind in (r.across.bonds, r.across.angles)]
                geometry_cuda.set_limits(self._across, model, [*ends, np.inf])
        device_module().cuda.get_current_stream().synchronize()

    def _hold_occupancies(self, chosen: list[NDArray[np.float64] | None]) -> None:
        """By which contacts are chosen in each model, in memory that stays where it is."""
        known = [occupancy for occupancy in chosen if occupancy is not None]
        if len(known) < self.n_models:
            self.generation += self._known is not None
            self._known = None
            return
        if self._known is None:
            self._known = device_module().zeros((self.n_models, self._n_atoms))
            self.generation += 1
        self._known[...] = to_device(np.stack(known), np.float64)
        device_module().cuda.get_current_stream().synchronize()
        self.forget()

    def geometry(self, xyz: OnDevice) -> tuple[OnDevice, OnDevice]:
        """Value (M,) and gradient (M, N, 3) of what bonds, angles, torsions, chirality, planes and distances say.

        `xyz` is (M, N, 3), Å.
        """
        value, gradient = geometry_cuda.evaluate(self._geometry, xyz)
        if self._mates is not None:
            extended = mates_cuda.place(self._mates, xyz)
            found = geometry_cuda.evaluate(self._across, extended)
            if self._to_mates is not None:
                distances_cuda.add(self._to_mates, extended, *found)
            mates_cuda.add(self._mates, found, value, gradient)
        if self._pairs is not None:
            distances_cuda.add(self._pairs, xyz, value, gradient)
        return value, gradient

    def contacts(self, xyz: OnDevice, occupancy: OnDevice) -> tuple[OnDevice, OnDevice, OnDevice] | None:
        """Value (M,), gradient (M, N, 3) and status (M,) of the contacts; None where they are left out."""
        if self._contacts is None:
            return None
        value, gradient = contacts_cuda.evaluate(self._contacts, xyz, occupancy if self._known is None else self._known)
        return value, gradient, self._contacts.status

    def expect_tensors(self, free: bool = False) -> None:
        """Make room for restraints on tensors: anisotropic atoms will be given to `adp`, whose U may be `free`."""
        if self._adp is not None and self._tensors is None:
            self._tensors = DeviceTensors(self._target, self._n_atoms, self.n_models)
        if self._tensors is not None and free:
            self._tensors.keep_tensors()

    @property
    def adp_by_u(self) -> OnDevice | None:
        """Derivative (M, N, 6) by U that `adp` finds, where free tensors are expected and restrained."""
        return None if self._tensors is None else self._tensors.by_u

    def adp(
        self, b_iso: OnDevice, u_aniso: OnDevice | None = None, xyz: OnDevice | None = None
    ) -> tuple[OnDevice, OnDevice, OnDevice | None] | None:
        """Value (M,), and gradients by B (M, N) and xyz (M, N, 3), of the restraints on displacements.

        Parameters
        ----------
        b_iso : (M, N) float64, Å²
        u_aniso : (N, 6) or (M, N, 6) float64, Å², optional
            Where atoms are anisotropic; without `expect_tensors` the first time takes memory.
        xyz : (M, N, 3) float64, Å, optional
            Needed with `u_aniso`.

        Returns
        -------
        tuple or None
            None where the restraints are left out, or for the gradient by xyz where nothing depends on it.
        """
        if self._adp is not None and u_aniso is not None:
            self.expect_tensors()
            assert self._tensors is not None
            return self._tensors(b_iso, u_aniso, xyz)
        if self._adp is not None:
            return (*adp_cuda.evaluate(self._adp, b_iso), None)
        return (*adp_cuda.variance(b_iso, self._variance), None) if self._kind == "variance" else None

    def repair(self) -> None:
        """Make room for contacts where the last evaluation found none; it must be done again then.

        Raises
        ------
        DeviceError
            What went wrong cannot be mended.
        """
        if self._contacts is None:
            return
        larger = contacts_cuda.grown(self._contacts)
        if larger is self._contacts:
            try:
                contacts_cuda.check(self._contacts)
            except RuntimeError as error:
                raise DeviceError(str(error)) from error
        self._contacts = larger
        self.generation += 1
