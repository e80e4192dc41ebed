"""How much memory a refinement takes on a device: reckoned before anything is allocated there, and kept."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from arrayrefine.errors import DeviceError
from arrayrefine.kernels import bricks_cuda, contacts_tables, density_aniso_cuda
from arrayrefine.kernels.contacts_cuda import bytes_needed as contact_bytes

GIB = 2**30
_USABLE = 0.9
"""Part of the free memory that is used: the driver and others want some."""
_NUMBERED = 2**31
"""Kernels number the grid points of all models that are computed together with 32 bits."""


@dataclass(frozen=True)
class Sizes:
    """What decides how much memory is needed.

    Attributes
    ----------
    atoms, reflections : int
        N of each model, hydrogens included, and R.
    operators : int
        Symmetry operators without centring.
    shape : tuple of 3 ints
        Of the grids.
    channels : int
        Grids of each model.
    pairs : int
        Pairs of an isotropic atom and a brick to make room for, per model.
    slots, adp_pairs : int
        Atoms in all restraints on coordinates, counted as often as they occur; pairs of the restraints on B.
    symmetry : contacts_tables.Symmetry, optional
        Of the contacts; None without them.
    reach : float
        Of the contacts, Å.
    models : int
        That are computed together.
    channels_at_once : int
        Grids of a model that are on the device at a time.
    single : bool
        float32 grids, or float64.
    tensors, tensor_pairs, shape_pairs : int
        Atoms of each model that may be anisotropic, pairs of such an atom and a brick, and at most of two such atoms.
    """

    atoms: int
    reflections: int
    operators: int
    shape: tuple[int, int, int]
    channels: int
    pairs: int
    slots: int = 0
    adp_pairs: int = 0
    symmetry: contacts_tables.Symmetry | None = None
    reach: float = 0.0
    models: int = 1
    channels_at_once: int = 8
    single: bool = True
    tensors: int = 0
    tensor_pairs: int = 0
    shape_pairs: int = 0


def parts(sizes: Sizes) -> dict[str, int]:
    """Bytes that the parts of an objective take."""
    real = 4 if sizes.single else 8
    n, m, r = sizes.atoms, sizes.models, sizes.reflections
    points, stored = math.prod(sizes.shape), sizes.shape[0] * sizes.shape[1] * (sizes.shape[2] // 2 + 1)
    at_once = min(sizes.channels, sizes.channels_at_once)
    passes = -(-sizes.channels // at_once)
    transforms = m * at_once * stored * 2 * real
    terms = sizes.operators * r
    several = 1 if passes == 1 else 2
    tables = terms * (4 + 2 * real) + 4 * (stored + 1) + 2 * terms * (4 + 2 * real) + passes * at_once * r * real
    numbers = m * r * (16 * several + 16) + r * (16 + 4 * 8 + 2)
    listed = bricks_cuda.bytes_needed(sizes.shape, m * (n - sizes.tensors), at_once, m, m * sizes.pairs, real)
    own = m * n * (48 + 40 * several + 16 + 4 + passes * at_once * real) + 8 * n
    vectors = m * n * (40 + 3 * 40) + n * (3 * 4 + 72 + 8 + 40 + 16 + 40)
    restraints = sizes.slots * (4 + 4 + 8 + 28 * m) + m * n * (24 + 8 + 8) + sizes.adp_pairs * 2 * 12
    if sizes.symmetry is not None:
        restraints += contact_bytes(sizes.symmetry, n, sizes.reach, m)
    found = {
        "grids": m * at_once * points * real + transforms,
        # cuFFT takes about as much as the transforms, there and back.
        "FFT plans": 2 * transforms,
        "reflections": tables + numbers,
        "atoms": listed + own + vectors,
        "restraints": restraints,
    }
    if sizes.tensors:
        found["tensors"] = _of_tensors(sizes, at_once, several, real)
    return found


def _of_tensors(sizes: Sizes, at_once: int, several: int, real: int) -> int:
    """Bytes that anisotropic atoms take besides what every atom takes."""
    n, m, some, alike = sizes.atoms, sizes.models, sizes.tensors, sizes.shape_pairs
    listed = density_aniso_cuda.bytes_needed(sizes.shape, m * some, at_once, m, m * sizes.tensor_pairs, real)
    # Gaussians and their derivatives have six numbers instead of one; the isotropic atoms are copied out.
    own = m * some * 40 * (1 + several) + m * (n - some) * 40 + m * n * (24 + 16 + 48 + 48)
    # U of all atoms, its inverse, gradient and sums, and the pairs with what brings them in order.
    restraints = m * n * (48 + 96 + 48 + 8 + 2) + 2 * sizes.adp_pairs * (4 + 8 + 8) + 4 * n
    if alike:  # shapes, and directions between atoms
        restraints += m * n * (96 + 8 + 48 + 2) + 2 * alike * (4 + 8 + 8) + 4 * n
        restraints += m * n * (96 + 48 + 2 + 24) + 2 * alike * (4 + 8 + 8 + 24 * m) + 4 * n
    # Where U is refined: that of the reference, its derivative, sums over runs and groups of no fewer than twenty
    # atoms, lists of atoms, and projections of the few on special positions.
    refined = m * n * (48 + 48) + m * some * (160 // 20 + 160 // 64 + 184 // 20) + n * (12 + 4 + 3)
    return listed + own + restraints + refined + m * n * (48 + 1) + 8 * n


@dataclass(frozen=True)
class Budget:
    """Memory on the device that a refinement takes, and how it is made to fit.

    Attributes
    ----------
    sizes : Sizes
        With the models and grids that are computed together.
    limit : int
        Bytes that may be used.
    """

    sizes: Sizes
    limit: int

    @property
    def needed(self) -> int:
        """Bytes."""
        return sum(parts(self.sizes).values())

    def of_groups(self, count: int) -> int:
        """Bytes of several groups of as many models, which take turns with the grids and plans of one."""
        found = parts(self.sizes)
        own = self.needed - found["grids"] - found["FFT plans"]
        return self.needed + (count - 1) * own

    def as_dict(self) -> dict[str, Any]:
        """For the report: bytes, and what is computed together."""
        sizes = self.sizes
        return {
            "sentence": self.sentence(), "needed": self.needed, "limit": self.limit, "models": sizes.models,
            "grids_at_once": min(sizes.channels, sizes.channels_at_once), "grids": sizes.channels,
            "parts": parts(sizes),
        }  # fmt: skip

    def sentence(self) -> str:
        """For people; what is free at the moment is said only where it matters, as it is another in every run."""
        biggest = ", ".join(f"{name} {amount(size)}" for name, size in parts(self.sizes).items())
        passes = -(-self.sizes.channels // self.sizes.channels_at_once)
        split = f"; {passes} passes over the grids, to fit into {amount(self.limit)}" if passes > 1 else ""
        return f"memory on the device: {amount(self.needed)} ({biggest}){split}"


def amount(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / 2**20:.1f} MiB"


def usable(free: int) -> int:
    """Bytes of the free memory that may be used."""
    return int(_USABLE * free)


def fitted(sizes: Sizes, limit: int) -> Budget:
    """Make models and grids take turns until they fit: models in groups, which share grids.

    Parameters
    ----------
    sizes : Sizes
        `models` and `channels_at_once` are the most that would be computed together.
    limit : int
        Bytes that may be used.

    Raises
    ------
    DeviceError
        One model with one grid at a time does not fit.
    """
    most = min(sizes.channels, sizes.channels_at_once)
    together = min(sizes.models, max(1, (_NUMBERED - 1) // (most * math.prod(sizes.shape))))
    for models in range(together, 0, -1):
        tried = Budget(dataclasses.replace(sizes, models=models, channels_at_once=most), limit)
        if tried.of_groups(-(-sizes.models // models)) <= limit:
            return tried
    for passes in range(2, sizes.channels + 1):
        at_once = -(-sizes.channels // passes)
        tried = Budget(dataclasses.replace(sizes, models=1, channels_at_once=at_once), limit)
        if tried.needed <= limit:
            return tried
    least = Budget(dataclasses.replace(sizes, models=1, channels_at_once=1), limit)
    if least.needed <= limit:
        return least
    raise DeviceError(
        f"the model needs {amount(least.needed)} of memory on the device with one grid at a time, "
        f"{amount(limit)} can be used; use --device cpu, a larger device, or fewer data (--d-min)"
    )
