"""Cell and symmetry of a crystal as arrays."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from arrayrefine.errors import InputError

Float = NDArray[np.float64]

SAME_PLACE = 0.1
"""Å; what an operator moves by less, it leaves in its place."""
_LARGEST_OBLIQUITY = 3.0  # degrees
_SAME_LAW = 1e-3
"""Entries of the matrices of one operator differ by less."""
AT_LIMIT = 1e-6
"""Share of a limit of resolution by which a reflection may lie beyond it and still count as at it."""


def space_group_named(symbol: str) -> gemmi.SpaceGroup | None:
    """Space group of a symbol, also one in quotes, or with screw axes as in "P2(1)2(1)2(1)", as XPREP writes them."""
    return gemmi.find_spacegroup_by_name(re.sub(r"\((\d)\)", r"\1", symbol.strip("'\" ")))


@dataclass(frozen=True)
class Crystal:
    """Unit cell and space group.

    Attributes
    ----------
    cell : tuple of 6 floats
        a, b, c in Å; alpha, beta, gamma in degrees.
    space_group : str
        Extended Hermann-Mauguin symbol, e.g. ``"P 21 21 21"``, ``"R 3:H"``.
    """

    cell: tuple[float, float, float, float, float, float]
    space_group: str

    def __post_init__(self) -> None:
        if gemmi.find_spacegroup_by_name(self.space_group) is None:
            raise InputError(
                f"space group '{self.space_group}' is not known; expected a Hermann-Mauguin symbol such as 'P 21 21 21'"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return Crystal, (self.cell, self.space_group)  # not all objects of gemmi can be pickled

    @classmethod
    def from_gemmi(cls, cell: gemmi.UnitCell, space_group: gemmi.SpaceGroup) -> Crystal:
        """Build from gemmi's objects."""
        a, b, c, al, be, ga = (float(v) for v in cell.parameters)
        return cls((a, b, c, al, be, ga), space_group.xhm())

    @cached_property
    def gemmi_cell(self) -> gemmi.UnitCell:
        """The cell as gemmi's object, without symmetry images."""
        return gemmi.UnitCell(*self.cell)

    @cached_property
    def gemmi_space_group(self) -> gemmi.SpaceGroup:
        """The space group as gemmi's object, in the setting of `space_group`."""
        group = gemmi.find_spacegroup_by_name(self.space_group)
        assert group is not None
        return group

    @cached_property
    def group_ops(self) -> gemmi.GroupOps:
        """Symmetry operators and centring translations as gemmi's object."""
        return self.gemmi_space_group.operations()

    @cached_property
    def orth(self) -> Float:
        """(3, 3) matrix, fractional to Cartesian (Å)."""
        return np.array(self.gemmi_cell.orth.mat.tolist(), dtype=float)

    @cached_property
    def frac(self) -> Float:
        """(3, 3) matrix, Cartesian (Å) to fractional."""
        return np.array(self.gemmi_cell.frac.mat.tolist(), dtype=float)

    @cached_property
    def volume(self) -> float:
        """Cell volume, Å³."""
        return float(self.gemmi_cell.volume)

    @cached_property
    def primitive_rotations(self) -> NDArray[np.int32]:
        """(G, 3, 3) integer rotations of the operators without centring, fractional."""
        return np.array([op.rot for op in self.group_ops.sym_ops], dtype=np.int32) // gemmi.Op.DEN

    @cached_property
    def primitive_translations(self) -> Float:
        """(G, 3) translations of the operators without centring, fractional."""
        return np.array([op.tran for op in self.group_ops.sym_ops], dtype=float) / gemmi.Op.DEN

    @cached_property
    def centring(self) -> Float:
        """(C, 3) centring translations, fractional; the first is zero."""
        return np.array(list(self.group_ops.cen_ops), dtype=float) / gemmi.Op.DEN

    @cached_property
    def rotations(self) -> NDArray[np.int32]:
        """(G·C, 3, 3) rotations of all operators, fractional; the first is the identity."""
        return np.array([op.rot for op in self.group_ops], dtype=np.int32) // gemmi.Op.DEN

    @cached_property
    def translations(self) -> Float:
        """(G·C, 3) translations of all operators, fractional."""
        return np.array([op.tran for op in self.group_ops], dtype=float) / gemmi.Op.DEN

    @cached_property
    def twin_laws(self) -> dict[str, Float]:
        """Operators that map the lattice, within an obliquity of 3°, but not the crystal onto itself.

        Matrices (3, 3) by name, such as "-h,k,-l": the twin mates of hkl (R, 3) are ``hkl @ matrix``.
        """
        laws = gemmi.find_twin_laws(self.gemmi_cell, self.gemmi_space_group, _LARGEST_OBLIQUITY, False)
        return {law.as_hkl().triplet(): np.array(law.rot, dtype=float) / gemmi.Op.DEN for law in laws}

    def keeps_point_group(self, law: str) -> bool:
        """Whether the domain by a law has its symmetry axes where the first has them, so that the twin has them too."""
        matrix = self.twin_laws[law]
        turned = np.einsum("ij,gjk,kl->gil", np.linalg.inv(matrix), self.primitive_rotations, matrix)
        apart = np.abs(turned[:, None] - self.primitive_rotations[None]).max(axis=(2, 3)).min(axis=1)
        return bool((apart < _SAME_LAW).all())

    def twin_law(self, operator: str) -> str:
        """Name among `twin_laws` of a law written in any way, such as "h,-k,-l" or "-x, y, -z".

        Raises
        ------
        InputError
            That is no operator, one of the crystal itself, or one that the lattice does not have.
        """
        allowed = ", ".join(self.twin_laws) or "none"
        try:
            given = gemmi.Op("".join(operator.lower().split())).as_xyz()
        except RuntimeError:
            raise InputError(
                f"twin law {operator!r} is no operator; expected one such as '-h,k,-l'; the lattice allows: {allowed}"
            ) from None
        matrix = np.array(given.rot) / gemmi.Op.DEN
        for name, law in {"": np.eye(3), **self.twin_laws}.items():
            equivalent = np.einsum("ij,gjk->gik", law, self.primitive_rotations)
            both = np.concatenate([equivalent - matrix, equivalent + matrix])
            if np.abs(both).max(axis=(1, 2)).min() < _SAME_LAW:
                if name and self.keeps_point_group(name):
                    return name
                if name:
                    raise InputError(
                        f"twin law {operator!r} turns the axes of {self.space_group} to where the crystal has none: "
                        "a twin by it has less symmetry than its domains; reduce and merge the data without those axes"
                    )
                raise InputError(f"twin law {operator!r} is a symmetry of {self.space_group}; allowed are: {allowed}")
        raise InputError(
            f"twin law {operator!r} is none of the lattice of {self.space_group} with this cell; it allows: {allowed}"
        )

    @cached_property
    def anisotropy_basis(self) -> Float:
        """Orthonormal basis (n, 3, 3) of the traceless symmetric tensors (Cartesian) that the point group leaves alone.

        n is 5 for triclinic crystals, 3 monoclinic, 2 orthorhombic, 1 with one axis of higher order and 0 for cubic.
        """
        rotations = np.einsum("ij,gjk,kl->gil", self.orth, self.rotations.astype(float), self.frac)
        averaged = []
        for i in range(3):
            for j in range(i, 3):
                tensor = np.zeros((3, 3))
                tensor[i, j] = tensor[j, i] = 1.0
                mean = np.einsum("gji,jk,gkl->il", rotations, tensor, rotations) / len(rotations)
                averaged.append((mean - np.eye(3) * np.trace(mean) / 3.0).ravel())
        _, size, vectors = np.linalg.svd(np.array(averaged))
        return np.asarray(vectors[: int((size > 1e-6).sum())].reshape(-1, 3, 3))

    def operator_name(self, number: int, shift: Float) -> str:
        """Operator such as "-x+1/2,-y,z+1/2".

        Parameters
        ----------
        number : int
            Row of `rotations`.
        shift : (3,) float64
            Fractional translation, lattice vectors included.
        """
        operator = gemmi.Op()
        operator.rot = (self.rotations[number] * gemmi.Op.DEN).tolist()
        operator.tran = [round(float(t) * gemmi.Op.DEN) for t in shift]
        return operator.triplet()

    def operator_named(self, name: str) -> tuple[int, tuple[float, float, float]] | None:
        """Row of `rotations`, and fractional translation, of an operator such as "-x+1/2,-y,z+1/2".

        None where it is no operator at all, or none of the space group.
        """
        try:
            operator = gemmi.Op(name)
        except (RuntimeError, ValueError):
            return None
        shift = np.array(operator.tran) / gemmi.Op.DEN
        for number, (rotation, translation) in enumerate(zip(self.rotations, self.translations)):
            off = shift - translation
            if (rotation * gemmi.Op.DEN == operator.rot).all() and np.allclose(off, np.rint(off), atol=1e-6):
                return number, (float(shift[0]), float(shift[1]), float(shift[2]))
        return None

    def nearest_operator(self, one: Float, two: Float, itself: bool = True) -> tuple[int, tuple[float, float, float]]:
        """Operator, as in `operator_named`, that puts the second place (3,), Å, nearest to the first.

        Without the identity where `itself` is False.
        """
        where = self.fractional(one)
        images = self.rotations @ self.fractional(two) + self.translations
        around = np.rint(where - images)[:, None] + np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)
        apart = np.linalg.norm(self.cartesian((images[:, None] + around - where).reshape(-1, 3)), axis=1)
        shifts = self.translations[:, None] + around
        if not itself:
            unmoved = (self.rotations == np.eye(3)).all(axis=(1, 2))[:, None] & ~shifts.any(axis=2)
            apart[unmoved.ravel()] = np.inf
        number, cell = np.unravel_index(int(np.argmin(apart.round(6))), around.shape[:2])
        a, b, c = shifts[number, cell].tolist()
        return int(number), (a, b, c)

    def cartesian_operator(self, number: int, shift: Float) -> tuple[Float, Float]:
        """Rotation (3, 3) and translation (3,), Å, of an operator given as for `operator_name`."""
        return self.orth @ self.rotations[number] @ self.frac, self.orth @ shift

    def fractional(self, xyz: Float) -> Float:
        """Cartesian (N, 3) in Å to fractional (N, 3)."""
        return xyz @ self.frac.T

    def cartesian(self, fractional: Float) -> Float:
        """Fractional (N, 3) to Cartesian (N, 3) in Å."""
        return fractional @ self.orth.T

    def inverse_d_squared(self, hkl: NDArray[np.integer]) -> Float:
        """1/d² (R,), Å⁻², of reflections (R, 3)."""
        s = np.asarray(hkl, dtype=float) @ self.frac
        return np.asarray(np.einsum("ij,ij->i", s, s))

    def anisotropic_factor(self, hkl: NDArray[np.integer], b_aniso: Float) -> Float:
        """exp(-¼ sᵀ B s) (R,) of reflections (R, 3), for amplitudes; B is Cartesian (3, 3), Å²."""
        s = np.asarray(hkl, dtype=float) @ self.frac
        return np.asarray(np.exp(-0.25 * np.einsum("ri,ij,rj->r", s, b_aniso, s)))

    def epsilon(self, hkl: NDArray[np.integer]) -> Float:
        """Epsilon factors (R,), centring not counted."""
        return np.asarray(
            self.group_ops.epsilon_factor_without_centering_array(np.ascontiguousarray(hkl, dtype=np.int32)),
            dtype=float,
        )

    def centric(self, hkl: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Centric flags (R,)."""
        return np.asarray(self.group_ops.centric_flag_array(np.ascontiguousarray(hkl, dtype=np.int32)), dtype=bool)

    def absent(self, hkl: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Flags (R,) of systematically absent reflections."""
        return np.asarray(self.group_ops.systematic_absences(np.ascontiguousarray(hkl, dtype=np.int32)), dtype=bool)

    def unique_reflections(self, d_min: float, d_max: float) -> NDArray[np.int32]:
        """All unique reflections (M, 3) from d_max to d_min (Å), present by symmetry, in gemmi's asymmetric unit."""
        limits = d_min * (1.0 - AT_LIMIT), d_max * (1.0 + AT_LIMIT)
        hkl = gemmi.make_miller_array(self.gemmi_cell, self.gemmi_space_group, *limits)
        return np.asarray(hkl, dtype=np.int32)
