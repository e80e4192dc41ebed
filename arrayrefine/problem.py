"""What a refinement is about: data, restraints, options, and where it is computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.crystal import Crystal
from arrayrefine.device.choice import CPU, Device
from arrayrefine.device.density import Gridded
from arrayrefine.device.memory import Budget, Sizes, fitted
from arrayrefine.device.restraints import DeviceRestraints
from arrayrefine.errors import InputError
from arrayrefine.hydrogens.placing import Hydrogens
from arrayrefine.measurements.intensity_statistics import anisotropy
from arrayrefine.occupancies.groups import OccupancyGroups
from arrayrefine.options import Options
from arrayrefine.parameters import Parameters
from arrayrefine.reflections import Reflections
from arrayrefine.rendezvous import Evaluated, Place
from arrayrefine.restraints import Restraints
from arrayrefine.solvent import KeptOut, MaskShape, SolventModel
from arrayrefine.strict_ncs.copies import Copies
from arrayrefine.structure_factors import StructureFactors
from arrayrefine.targets.adp import AdpTarget
from arrayrefine.targets.extra import ExtraTarget
from arrayrefine.targets.geometry import GeometryTarget
from arrayrefine.twins.twin import Twin

_JELLY_NEIGHBOURS = 20
"""Pairs of a jelly body for each atom, to reckon memory by; they are counted anew in every step."""


def targets_of(
    restraints: Restraints, crystal: Crystal, atoms: Atoms, options: Options, timer: dict[str, float]
) -> dict[str, Any]:
    """What a `Problem` has of its restraints, by the names of its attributes."""
    riding = atoms.riding.mask(len(atoms))
    return {
        "restraints": restraints,
        "geometry": GeometryTarget.build(restraints, crystal, options.geometry, timer=timer),
        "adp": AdpTarget.build(restraints, crystal, atoms, options.adp, options.geometry, timer=timer, skip=riding),
    }


@dataclass(frozen=True)
class Problem:
    """What stays the same during a refinement, but for `adp` and `undecided` where atoms become anisotropic.

    Attributes
    ----------
    reflections : Reflections
    restraints : Restraints
    geometry : GeometryTarget
    adp : AdpTarget
    options : Options
    hydrogens : Hydrogens
    timer : dict
        Seconds per part of the evaluations since it was last emptied.
    occupancy : OccupancyGroups or None
        Atoms that share an occupancy; None: those below 1 each for itself.
    meet : callable, optional
        Gives a minimisation its place among those of other runs, with which it is evaluated.
    device : Device
    counts : dict
        What else was counted since it was last emptied: "launches" of kernels per evaluation on a device.
    extra : tuple of ExtraTarget
        Further terms of the objective, which the user brought.
    kept_out : KeptOut or None
        Where there is no bulk solvent, for polder maps.
    undecided : (N,) bool or None
        Atoms that become anisotropic once the model is near its data.
    twin : Twin or None
        Domains that add up to the data, with the fractions that these alone tell.
    copies : Copies
        Atoms that stay the same as others (strict NCS).
    """

    reflections: Reflections
    restraints: Restraints
    geometry: GeometryTarget
    adp: AdpTarget
    options: Options
    hydrogens: Hydrogens
    timer: dict[str, float] = field(default_factory=dict)
    occupancy: OccupancyGroups | None = None
    meet: Callable[[Evaluated], Place] | None = None
    device: Device = CPU
    counts: dict[str, int] = field(default_factory=dict)
    extra: tuple[ExtraTarget, ...] = ()
    kept_out: KeptOut | None = None
    undecided: NDArray[np.bool_] | None = None
    twin: Twin | None = None
    copies: Copies = field(default_factory=Copies.none)
    _on_device: list[DeviceRestraints] = field(default_factory=list, compare=False, repr=False)
    _plans: dict[str, StructureFactors] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.geometry.restraints is not self.restraints:
            raise InputError(
                "Problem: its restraints are not those of its geometry target, which would go on with the others; "
                "expected problem.with_restraints(restraints, atoms) where they are to be exchanged"
            )

    def __repr__(self) -> str:
        return f"Problem({self.reflections}, {len(self.restraints.held)} atoms, {len(self.extra)} extra targets)"

    @property
    def processes(self) -> int:
        """Processes that share the work of a refinement, of which the first alone uses a device. One where other runs
        are beside, trials of weights on a device among them; and for direct summation, which is not shared."""
        trials = self.device.kind == "cuda" and self.options.weights == "search"
        alone = self.meet is not None or self.options.xray.method == "direct" or trials
        return 1 if alone else self.options.threads

    def with_restraints(self, restraints: Restraints, atoms: Atoms) -> Problem:
        """The same with other restraints on the same atoms, by which its targets are built anew.

        Parameters
        ----------
        restraints : Restraints
            Such as ``problem.restraints.without(mask)``, or with bonds of which `dataclasses.replace` changed ideals.
        atoms : Atoms
            Their present values choose pairs for the restraints on B.
        """
        made = targets_of(restraints, self.reflections.crystal, atoms, self.options, self.timer)
        return dataclasses.replace(self, **made, _on_device=[])

    def parameters(self, atoms: Atoms, target: str) -> Parameters:
        """What a step named `target` refines, such as "xyz" or "tls+b": all atoms but those that are held or frozen."""
        every = Parameters.of(atoms, target, self.restraints.held, self.occupancy, self.copies)
        return every.without(self.options.freeze)

    def structure_factors(self, atoms: Atoms) -> StructureFactors:
        """Plan for the measured reflections, sampled for the B factors of `atoms`; the last one while it fits."""
        known = self._plans.get("measured")
        plan = self.plan(atoms, self.reflections.hkl) if known is None else known.adapted(atoms)
        self._plans["measured"] = plan
        return plan

    def plan(self, atoms: Atoms, hkl: NDArray[np.int32]) -> StructureFactors:
        """Plan for any reflections (M, 3), sampled for the B factors of `atoms`, where the problem is computed."""
        return self._planned(
            atoms, hkl, timer=self.timer, device=self.device.kind,
            channels_at_once=lambda how: self.budget(how).sizes.channels_at_once,
        )  # fmt: skip

    def _planned(self, atoms: Atoms, hkl: NDArray[np.int32], **where: Any) -> StructureFactors:
        xray = self.options.xray
        return StructureFactors(
            self.reflections.crystal, hkl, atoms, method=xray.method, accuracy=xray.accuracy, precision=xray.precision,
            threads=self.options.threads, radiation=self.reflections.radiation,
            wavelength=self.reflections.wavelength, **where,
        )  # fmt: skip

    def structure_factors_of(self, atoms: Atoms, hkl: NDArray[np.int32]) -> NDArray[np.complex128]:
        """F_calc (M,) of other reflections (M, 3), by the host."""
        return self._planned(atoms, hkl)(atoms)

    def budget(self, how: Gridded, models: int = 1) -> Budget:
        """Memory that evaluations of `models` models at a time take on the device, made to fit.

        Raises
        ------
        DeviceError
            Not even one model fits.
        """
        r, crystal, contacts = self.restraints, self.reflections.crystal, self.geometry.contacts
        widths = ((r.bonds, 2), (r.angles, 3), (r.every_torsion, 4), (r.chiralities, 4), (r.planes, 1))
        distances = sum(d.index.size for d in self.geometry.distances)
        if len(r.across):  # their coordinates and gradient, beside a few restraints
            distances += 2 * (len(how.shift) + len(r.across)) + sum(d.index.size for d in r.across.distances)
        if r.jelly_body is not None:
            distances += int(2 * len(how.shift) * _JELLY_NEIGHBOURS)
        sizes = Sizes(
            len(how.shift), len(how.hkl), len(crystal.primitive_rotations), how.sampling.shape, how.channel.shape[1],
            how.expected_pairs(), sum(width * len(kind.index) for kind, width in widths) + distances, len(self.adp.i),
            None if contacts is None else contacts.symmetry, 0.0 if contacts is None else contacts.reach, models,
            single=self.options.xray.precision == "single",
            tensors=int(how.tensor.sum()), tensor_pairs=how.expected_pairs(tensor=True) if how.tensor.any() else 0,
            shape_pairs=len(self.adp.i) if how.tensor.any() else 0,
        )  # fmt: skip
        return fitted(sizes, self.device.memory)

    def restraints_on_device(self, atoms: Atoms) -> DeviceRestraints:
        """Restraints of one model on the device, made once; of `atoms` only the multiplicities matter."""
        if not self._on_device:
            self._on_device.append(DeviceRestraints(self.geometry, self.adp, atoms.multiplicity))
        self._on_device[0].hold([self.geometry])
        return self._on_device[0]

    @cached_property
    def data_anisotropy(self) -> NDArray[np.float64]:
        """Anisotropic part of the B of the data (3, 3), Å², whatever the model makes of it."""
        return anisotropy(self.reflections)

    @cached_property
    def solvent(self) -> SolventModel:
        """Bulk solvent of the model."""
        data, options = self.reflections, self.options
        shape, d_min = MaskShape.of(options.solvent), data.d_min
        if self.twin is not None and len(self.twin.unmeasured):
            # mates by a law that the lattice obeys nearly have nearly the same resolution
            d_min = min(d_min, self.twin.unmeasured.d_min)
        return SolventModel(data.crystal, d_min, shape, options.threads, self.device.kind, self.kept_out)
