"""What a step does to copies: a linear map from what is free to all atoms, and its adjoint.

The shift of a copy is that of what it is a copy of, turned, and that of its operator: δ(child) = R δ(parent) +
ω × (x − c) + τ. Six numbers of each operator stand behind the coordinates in the vector: ω times the radius of what it
makes, Å, and τ, Å. What this lacks of a rotation, ω²/2 of the radius, is put right between steps, where the operators
are found anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.kernels import symmetric
from arrayrefine.kernels.rotations import crossing
from arrayrefine.strict_ncs.copies import Copies, Motions, turned

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Carried:
    """How the copies of atoms move with these.

    Attributes
    ----------
    copies : Copies
    reference : Atoms
        Where shifts are zero.
    """

    copies: Copies
    reference: Atoms

    @cached_property
    def motions(self) -> Motions:
        """The operators as they are at the reference."""
        return self.copies.motions(self.reference)

    @cached_property
    def _displaced_alike(self) -> Mask:
        return self.copies.displaced_alike(self.reference)

    @cached_property
    def round(self) -> Mask:
        """(N,) True for isotropic atoms of which B is that of others, or that of others is theirs."""
        found = np.zeros(len(self.reference), dtype=bool)
        rows = self._displaced_alike
        found[self.copies.child[rows]] = found[self.copies.parent[rows]] = True
        return found & ~self.reference.anisotropic

    def copied(self, kind: str) -> Mask:
        """(N,) True for atoms of which a kind of value, "xyz" or "b", is another's."""
        found = np.zeros(len(self.reference), dtype=bool)
        found[self.copies.child if kind == "xyz" else self.copies.child[self._displaced_alike]] = True
        return found

    def _rows(self, free: Mask) -> Int:
        """Of copies (m,), those with the displacement of an atom that is free (N,)."""
        return np.flatnonzero(self._displaced_alike & free[self.copies.parent])

    def _moving(self, free: Mask) -> Mask:
        """Operators (K,) that move: those of which all parents are free, or some of what they make is to stay."""
        held = np.bincount(self.copies.operator, ~free[self.copies.parent], minlength=len(self.copies.names))
        return np.asarray(held == 0)

    def operators(self, free: Mask) -> int:
        """Numbers of operators in the vector, with free coordinates (N,)."""
        return 6 * int(self._moving(free).sum()) if len(self.copies) else 0

    def shifts(self, free: Mask) -> Any:
        """Sparse matrix (3N, n) from the free coordinates, and operators, to the shifts of all atoms but riding ones.

        Parameters
        ----------
        free : (N,) bool
            Atoms with coordinates of their own in the vector, no copies among them.
        """
        if not self._maps or not np.array_equal(self._maps[0][0], free):
            self._maps[:] = [(free, self._shifts(free))]
        return self._maps[0][1]

    @cached_property
    def _maps(self) -> list[tuple[Mask, Any]]:
        return []

    def _shifts(self, free: Mask) -> Any:
        copies, atoms, moving = self.copies, self.reference, self._moving(free)
        own, column = np.flatnonzero(free), np.cumsum(free) - 1
        rows = free[copies.parent]
        child, parent, operator = copies.child[rows], copies.parent[rows], copies.operator[rows]
        blocks = [
            (own, 3 * column[own], atoms.site_projection[own]),
            (child, 3 * column[parent], self.motions.rotation[operator]),
        ]
        rows = moving[operator]
        child, operator = child[rows], operator[rows]
        centre, radius = copies.centres(atoms)
        arm = (atoms.xyz[child] - centre[operator]) / radius[operator, None]
        start = 3 * len(own) + 6 * (np.cumsum(moving) - 1)[operator]
        blocks += [(child, start, -crossing(arm)), (child, start + 3, np.broadcast_to(np.eye(3), (len(child), 3, 3)))]
        axis = np.arange(3)
        i = [np.broadcast_to(3 * row[:, None, None] + axis[:, None], block.shape) for row, _, block in blocks]
        j = [np.broadcast_to(column[:, None, None] + axis, block.shape) for _, column, block in blocks]
        entries = [np.concatenate([part.ravel() for part in parts]) for parts in (i, j, [b for *_, b in blocks])]
        shape = 3 * len(atoms), 3 * len(own) + 6 * int(moving.sum())
        return sparse.csr_array((entries[2], (entries[0], entries[1])), shape=shape)

    def set_b(self, b_iso: Float, free: Mask) -> None:
        """Give B (N,) of free atoms (N,) to their copies, in place."""
        if len(self.copies):
            rows = self._rows(free)
            b_iso[self.copies.child[rows]] = b_iso[self.copies.parent[rows]]

    def displaced(self, moved: Atoms, free: Mask) -> Atoms:
        """Atoms of which the copies of those with a free U (N,) have the same, turned."""
        child, parent, operator = self.copies.child, self.copies.parent, self.copies.operator
        b_iso, u_aniso = moved.b_iso.copy(), moved.u_aniso.copy()
        rows = self._rows(free)
        b_iso[child[rows]] = b_iso[parent[rows]]
        u_aniso[child[rows]] = turned(self.motions.rotation[operator[rows]], u_aniso[parent[rows]])
        return moved.replace(b_iso=b_iso, u_aniso=u_aniso)

    def summed(self, values: Float) -> Float:
        """Values (N,) to which those of copies are added; for derivatives by B, and second ones along any line."""
        if not len(self.copies):
            return values
        found = values.copy()
        rows = self._displaced_alike
        np.add.at(found, self.copies.parent[rows], values[self.copies.child[rows]])
        return found

    def summed_by_xyz(self, curvature: Float) -> Float:
        """Second derivatives by coordinates (N, 3), the same along any line, to which those of copies are added."""
        found = curvature.copy()
        np.add.at(found, self.copies.parent, curvature[self.copies.child])
        return found

    def summed_by_u(self, gradient: Float) -> Float:
        """Derivatives by U (N, 6), to which those by the copies' are added, turned back."""
        if not len(self.copies):
            return gradient
        found, rows = gradient.copy(), self._displaced_alike
        back = np.swapaxes(self.motions.rotation, 1, 2)[self.copies.operator[rows]]
        by_entry = back @ symmetric.by_matrix(gradient[self.copies.child[rows]]) @ np.swapaxes(back, 1, 2)
        np.add.at(found, self.copies.parent[rows], symmetric.by_entry(by_entry))
        return found

    def largest(self, values: Float) -> Float:
        """Values (N,), or those of a copy where they are larger."""
        if not len(self.copies):
            return values
        found = values.copy()
        np.maximum.at(found, self.copies.parent, values[self.copies.child])
        return found

    def displacements(self, b: Mask, u: Mask) -> tuple[Int, Int, Any]:
        """Atoms whose ln B or S (of U = R exp(S) R) the free ones move, and the map from these to those.

        Parameters
        ----------
        b, u : (N,) bool
            Those free.

        Returns
        -------
        scalar, tensor : (s,), (t,) int64
        map : (s + 6t, n_b + 6 n_u) csr array
        """
        copies = self.copies
        of_b, of_u = self._rows(b), self._rows(u)
        place_b, place_u = np.cumsum(b) - 1, np.cumsum(u) - 1
        scalar = np.concatenate([np.flatnonzero(b), copies.child[of_b]])
        tensor = np.concatenate([np.flatnonzero(u), copies.child[of_u]])
        column = np.concatenate([np.arange(int(b.sum())), place_b[copies.parent[of_b]]])
        row, n_u = np.arange(len(scalar)), int(u.sum())
        one = sparse.csr_array((np.ones(len(scalar)), (row, column)), shape=(len(scalar), int(b.sum())))
        if not len(tensor):
            return scalar, tensor, one
        column = np.concatenate([np.arange(n_u), place_u[copies.parent[of_u]]])
        of_copies = turned_strains(self.motions.rotation)[copies.operator[of_u]]
        block = np.concatenate([np.broadcast_to(np.eye(6), (n_u, 6, 6)), of_copies])
        i, j = (np.broadcast_to(6 * k[:, None, None] + step, block.shape) for k, step in (
            (np.arange(len(tensor)), np.arange(6)[:, None]), (column, np.arange(6))
        ))  # fmt: skip
        shape = 6 * len(tensor), 6 * n_u
        two = sparse.csr_array((block.ravel(), (i.ravel(), j.ravel())), shape=shape)
        return scalar, tensor, sparse.csr_array(sparse.block_diag([one, two]))


def turned_strains(rotation: Float) -> Float:
    """Matrices (K, 6, 6) by which the components of S in `symmetric.STRAINS` become those of R S Rᵀ."""
    basis = symmetric.STRAINS
    images = np.stack([turned(rotation, np.broadcast_to(one, (len(rotation), 6))) for one in basis], axis=1)
    norms = symmetric.inner(basis, basis)
    return np.asarray(np.einsum("ai,kbi,i->kab", basis, images, symmetric.COUNTS) / norms[:, None])
