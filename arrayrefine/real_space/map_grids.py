"""Maps in real space: from coefficients to a grid over the unit cell, and to CCP4 files."""

from __future__ import annotations

import numbers
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import gemmi
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from arrayrefine.arguments import check_types
from arrayrefine.crystal import Crystal
from arrayrefine.errors import InputError
from arrayrefine.kernels.processes import gathered
from arrayrefine.maps import MapCoefficients

Float = NDArray[np.float64]
Kind = Literal["2mFo-DFc", "mFo-DFc", "Fc", "anomalous"]
KINDS: Mapping[Kind, str] = MappingProxyType(
    {"2mFo-DFc": "fwt", "mFo-DFc": "delfwt", "Fc": "fc", "anomalous": "anomalous"}
)
"""Maps by name, and where their coefficients are in `MapCoefficients`."""
FILES: Mapping[Kind, str] = MappingProxyType(
    {
        "2mFo-DFc": "refined_2mFo-DFc.ccp4", "mFo-DFc": "refined_mFo-DFc.ccp4",
        "anomalous": "refined_anomalous.ccp4",
    }
)
"""Maps that go with a refinement, and the files that hold them."""
SAMPLING = 3.0
"""Grid points per d_min at least, as most programs have it."""
MARGIN = 5.0
"""Å around the model that a map of its surroundings covers."""


def wanted_maps(extent: Literal["none", "model", "asu"], maps: MapCoefficients) -> tuple[dict[str, Any], ...]:
    """What the report says of the map files that go with a refinement: file, map, extent."""
    if extent == "none":
        return ()
    return tuple(
        {"file": name, "map": kind, "extent": extent}
        for kind, name in FILES.items() if getattr(maps, KINDS[kind]) is not None
    )


@dataclass(frozen=True)
class MapGrid:
    """A map on a grid over the whole unit cell.

    Attributes
    ----------
    kind : str
    values : (nu, nv, nw) float32
        Density on the scale of the data, without F(000).
    crystal : Crystal
    d_min : float
        Resolution of the coefficients, Å.
    """

    kind: str
    values: NDArray[np.float32]
    crystal: Crystal
    d_min: float

    @cached_property
    def sigma(self) -> float:
        """Root mean square of the map over the cell."""
        return float(np.sqrt(np.mean(np.square(self.values, dtype=np.float64))))

    @property
    def step(self) -> Float:
        """Grid vectors as the columns of a (3, 3) matrix, Å."""
        return np.asarray(self.crystal.orth / np.array(self.values.shape))

    @property
    def gemmi_grid(self) -> gemmi.FloatGrid:
        """The same map as gemmi's object."""
        return gemmi.FloatGrid(self.values, self.crystal.gemmi_cell, self.crystal.gemmi_space_group)

    def at(self, xyz: Float) -> Float:
        """Values (n,) at some places (n, 3) in Å, interpolated linearly, in units of sigma.

        Raises
        ------
        InputError
            Places of another shape.
        """
        xyz = np.asarray(xyz)
        if xyz.ndim != 2 or xyz.shape[1] != 3:
            raise InputError(f"MapGrid.at: places of shape {xyz.shape}; expected (n, 3): one place is [[x, y, z]]")
        place = self.crystal.fractional(xyz) * np.array(self.values.shape)
        found = scipy.ndimage.map_coordinates(self.values, place.T, order=1, mode="grid-wrap", output=np.float64)
        return np.asarray(found / self.sigma)

    def ccp4_bytes(self, around: Float | None = None) -> bytes:
        """Content of a CCP4 map file.

        Parameters
        ----------
        around : (n, 3) float64, optional
            Atoms, Å: the map covers the box around them with a margin of 5 Å; by default an asymmetric unit.
        """
        file = gemmi.Ccp4Map()
        file.grid = self.gemmi_grid
        file.update_ccp4_header(2)
        if around is None or not len(around):
            box = gemmi.find_asu_brick(self.crystal.gemmi_space_group).get_extent()
        else:
            margin = MARGIN * np.linalg.norm(self.crystal.frac, axis=1)
            fractional = self.crystal.fractional(around)
            box = gemmi.FractionalBox()
            box.minimum = gemmi.Fractional(*(fractional.min(axis=0) - margin))
            box.maximum = gemmi.Fractional(*(fractional.max(axis=0) + margin))
        file.set_extent(box)
        with tempfile.TemporaryDirectory() as folder:  # gemmi writes to a path only
            path = Path(folder, "map.ccp4")
            file.write_ccp4_map(str(path))
            return path.read_bytes()


def map_grid(maps: MapCoefficients, crystal: Crystal, kind: Kind = "2mFo-DFc", sampling: float = SAMPLING) -> MapGrid:
    """Transform coefficients to a map.

    Parameters
    ----------
    maps : MapCoefficients
        Terms that are nan are left out.
    crystal : Crystal
    kind : "2mFo-DFc", "mFo-DFc", "Fc" or "anomalous"
    sampling : float
        Grid points per d_min at least.

    Raises
    ------
    InputError
        No map of that name, no anomalous differences, or a sampling that is no number above 1.
    """
    check_types("map_grid", maps=(maps, MapCoefficients), crystal=(crystal, Crystal))
    _check_sampling(sampling)
    if kind not in KINDS:
        raise InputError(f"map '{kind}' is not known; expected one of {', '.join(KINDS)}")
    if getattr(maps, KINDS[kind]) is None:
        raise InputError(f"map '{kind}': expected data with Friedel pairs, of X-rays and no twin; found no differences")
    return MapGrid(kind, _values(maps, crystal, kind, sampling), crystal, _d_min(maps, crystal))


def _check_sampling(sampling: object) -> None:
    if not (isinstance(sampling, numbers.Real) and float(sampling) > 1):
        raise InputError(f"map_grid: sampling is {sampling!r}; expected grid points per d_min, more than 1, such as 3")


def _values(maps: MapCoefficients, crystal: Crystal, kind: Kind, sampling: float = SAMPLING) -> NDArray[np.float32]:
    """Grid of a map."""
    cell, group = crystal.gemmi_cell, crystal.gemmi_space_group
    # the size is that of all reflections: maps of one model have one grid, whatever terms they lack
    size = gemmi.ComplexAsuData(cell, group, maps.hkl, maps.fc.astype(np.complex64)).get_size_for_hkl(
        sample_rate=sampling
    )
    values: NDArray[np.complex128] = getattr(maps, KINDS[kind])
    known = np.isfinite(values)
    data = gemmi.ComplexAsuData(cell, group, maps.hkl[known], values[known].astype(np.complex64))
    return np.array(data.transform_f_phi_to_map(exact_size=size), dtype=np.float32, order="C")


def _d_min(maps: MapCoefficients, crystal: Crystal) -> float:
    return float(1.0 / np.sqrt(crystal.inverse_d_squared(maps.hkl).max()))


class Grids(NamedTuple):
    """The maps that a model is looked at in, on one grid: 2mFo-DFc, mFo-DFc, that of the model, the anomalous one."""

    best: MapGrid
    difference: MapGrid
    model: MapGrid
    anomalous: MapGrid | None = None

    @classmethod
    def of(cls, maps: MapCoefficients, crystal: Crystal) -> Grids:
        """Transform the coefficients to all of them."""
        wanted: tuple[Kind, ...] = ("2mFo-DFc", "mFo-DFc", "Fc")
        wanted += ("anomalous",) if maps.anomalous is not None else ()
        values = gathered([partial(_values, maps, crystal, kind) for kind in wanted])
        return cls(*(MapGrid(kind, grid, crystal, _d_min(maps, crystal)) for kind, grid in zip(wanted, values)))
