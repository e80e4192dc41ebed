"""The change of variable that makes the objective round: p = D^{1/2} Lᵀ P y, with P A Pᵀ = L D Lᵀ.

Coordinates: y = x − x₀ and A = w JᵀJ + diag(h), J the Jacobian of the restraints and h the X-ray curvature per atom;
restraints are stiff and sparse, the X-ray curvature nearly diagonal. B factors: y = ln(B/B₀), in which the
Kullback-Leibler restraint is a nearly quadratic form of differences, and A its matrix plus the X-ray curvature; a
logarithm has no lower bound to run into, so B may be mapped like coordinates (clipped where it leaves its range). Where
a B starts near its bounds it is left out of what maps the others, and keeps real bounds. U: U = R exp(S) R with R² =
U₀, which is positive definite whatever S is; its six components take their places beside the logarithms of B, with
the second derivative of the restraints by both. TLS: the full block of every group. Occupancies keep their bounds
and are scaled by the diagonal only. With copies that are the same A is Mᵀ A M, M the map from what is free to atoms.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from arrayrefine.atoms import Gradient
from arrayrefine.displacements.displacement import CURVATURE_BY_U
from arrayrefine.kernels import symmetric
from arrayrefine.kernels.processes import gathered, kept, shared
from arrayrefine.kernels.threads import each, pieces
from arrayrefine.parameters import Parameters
from arrayrefine.sparse_factor import Cholesky, Matrix, made

Float = NDArray[np.float64]

_DAMPING = 0.02
"""Fraction of the mean curvature added to every diagonal entry: keeps atoms that nothing sees from running away."""
_LARGEST_SHIFT = 2.0
"""Å; no coordinate goes further in one step: a line search that does has lost its way."""
_STIFFNESS = 1e-3
"""Least X-ray curvature of a coordinate, as a fraction of the mean curvature of the weighted restraints."""
_CLEARANCE = 1.5
"""Where a B starts within this factor of its bounds, real bounds are needed, and B is scaled by the diagonal."""
_LARGEST_LOG = 7.0
"""Beyond the logarithm of the whole range of B; only keeps the exponential from overflowing."""
_LARGEST_STRAIN = 1.0
"""What the components of S tend to: within a step no tensor grows or shrinks by more than e along any of them. The
restraints are nearly quadratic forms of S that far, and atoms that the data hardly see do not run away."""
_TENSORS = 2048
"""Tensors that are worked on at a time."""
_TLS_RIDGE = 1e-3
"""Added to the scaled diagonal of a group's matrix: in a small group not all motions can be told apart."""


Factor: TypeAlias = "Cholesky | Float | None"
"""Factor of A, or the length of one unit of p along each entry; None where another process of a team has it."""


class _Grown(NamedTuple):
    """The strains S (n_u, 6) at a p (n,), and of S as matrices the eigenvalues (n_u, 3) and axes (n_u, 3, 3)."""

    p: Float
    strain: Float
    eigenvalues: Float
    axes: Float


@dataclass(frozen=True)
class ChangeOfVariable:
    """Map between the round variable p and the vector x of the parameters.

    Attributes
    ----------
    x0 : (n,) float64
        Where p = 0 lies.
    lower, upper : (n,) float64
        Bounds on x.
    at : dict of slices
        Where "xyz", "b", "occupancy", "u" and "tls" lie in x and in p.
    xyz : factor of A, or (n_xyz,) float64
    displacement : factor of A, or (n_b + n_u,) float64
        For ln B, and after it the components of S, six for each tensor.
    bounded : (n_b,) bool
        B that keep real bounds, and that nothing is coupled to.
    occupancy : (n_occupancy,) float64
        Length of one unit of p along each occupancy.
    root : (n_u, 6) float64
        R of U = R exp(S) R, Å.
    tls : (groups, 20, 20) float64
        Columns: one unit of p along each.
    """

    x0: Float
    lower: Float
    upper: Float
    at: dict[str, slice]
    xyz: Factor
    displacement: Factor
    bounded: NDArray[np.bool_]
    occupancy: Float
    root: Float
    tls: Float
    _last: list[_Grown] = field(default_factory=list, init=False, compare=False, repr=False)

    def around(self, parameters: Parameters) -> ChangeOfVariable:
        """The same second derivative around other values of the same parameters."""
        return dataclasses.replace(self, x0=parameters.pack(parameters.reference), root=_roots(parameters))

    def _strained(self, p: Float) -> tuple[Float, Float]:
        """Change of ln B (n_b,), and S (n_u, 6) before it is limited; only where the factor of these is."""
        found = _forward(self.displacement, np.concatenate([p[self.at["b"]], p[self.at["u"]]]))
        return found[: len(self.bounded)], found[len(self.bounded) :].reshape(-1, 6)

    def _grown(self, p: Float, strain: Float) -> Float:
        """U (n_u, 6) at S before it is limited; keeps what the way back from there needs."""
        limited, value, axes, u = (
            shared(f"strained {name}", float, len(strain), *shape)
            for name, shape in (("S", (6,)), ("values", (3,)), ("axes", (3, 3)), ("U", (6,)))
        )
        blocks = pieces(len(strain), _TENSORS)

        def work(number: int) -> None:
            here = blocks[number]
            limited[here] = _LARGEST_STRAIN * np.tanh(strain[here] / _LARGEST_STRAIN)
            grown = symmetric.Exponential.of(limited[here] @ symmetric.STRAINS)
            value[here], axes[here] = grown
            u[here] = symmetric.product(self.root[here], grown.value())

        each(work, len(blocks), 1)
        self._last[:] = [_Grown(p.copy(), limited.copy(), value.copy(), axes.copy())]
        return u

    def to_x(self, p: Float) -> Float:
        """Vector of the parameters (n,), B and occupancy within bounds."""
        at, x = self.at, self.x0.copy()
        (shift,), (log, strain) = gathered([lambda: (_forward(self.xyz, p[at["xyz"]]),), lambda: self._strained(p)])
        x[at["xyz"]] += np.clip(shift, -_LARGEST_SHIFT, _LARGEST_SHIFT)
        x[at["b"]] *= np.exp(np.clip(log, -_LARGEST_LOG, _LARGEST_LOG))
        x[at["u"]] = self._grown(p, strain).reshape(-1)
        x[at["occupancy"]] += self.occupancy * p[at["occupancy"]]
        if len(self.tls):
            x[at["tls"]] += np.einsum("gij,gj->gi", self.tls, p[at["tls"]].reshape(len(self.tls), -1)).reshape(-1)
        return np.clip(x, self.lower, self.upper)

    def pullback(self, x: Float, gradient: Float, p: Float) -> Float:
        """Gradient by p (n,) at `x` = to_x(p), from the gradient by x."""
        at, out = self.at, np.empty_like(gradient)
        n_b = len(self.bounded)
        by_strain = self._by_strain(gradient[at["u"]].reshape(-1, 6), p)

        def by_place() -> Float:
            near = np.abs(x[at["xyz"]] - self.x0[at["xyz"]]) < _LARGEST_SHIFT
            return _adjoint(self.xyz, np.where(near, gradient[at["xyz"]], 0.0))

        def by_displacement() -> Float:
            b = x[at["b"]]
            # Behind a clip nothing changes; where real bounds act, the minimiser wants the slope at the bound.
            inside = (b > self.lower[at["b"]]) & (b < self.upper[at["b"]]) | self.bounded
            by_log = np.where(inside, gradient[at["b"]] * b, 0.0)
            return _adjoint(self.displacement, np.concatenate([by_log, by_strain.reshape(-1)]))

        out[at["xyz"]], found = gathered([by_place, by_displacement])
        out[at["b"]], out[at["u"]] = found[:n_b], found[n_b:]
        out[at["occupancy"]] = self.occupancy * gradient[at["occupancy"]]
        if len(self.tls):
            by_tls = gradient[at["tls"]].reshape(len(self.tls), -1)
            out[at["tls"]] = np.einsum("gji,gj->gi", self.tls, by_tls).reshape(-1)
        return out

    def _by_strain(self, by_u: Float, p: Float) -> Float:
        """Gradient by the components of S (n_u, 6) from that by U (n_u, 6)."""
        if not self._last or not np.array_equal(self._last[0].p, p):
            *_, (_, strain) = gathered([lambda: (by_u, by_u), lambda: self._strained(p)])
            self._grown(p, strain)
        last = self._last[0]
        found: Float = shared("by strain", float, *by_u.shape)
        blocks = pieces(len(by_u), _TENSORS)

        def work(number: int) -> None:
            here = blocks[number]
            grown = symmetric.Exponential(last.eigenvalues[here], last.axes[here])
            by_s = grown.adjoint(symmetric.product_adjoint(self.root[here], by_u[here]))
            found[here] = (1.0 - (last.strain[here] / _LARGEST_STRAIN) ** 2) * (by_s @ symmetric.STRAINS.T)

        each(work, len(blocks), 1)
        return found

    def bounds(self) -> tuple[Float, Float]:
        """Bounds on p: of occupancies, and of those B that have real ones; the others are clipped instead."""
        low, high = np.full(len(self.x0), -np.inf), np.full(len(self.x0), np.inf)
        b, q, real = self.at["b"], self.at["occupancy"], self.bounded
        _, unit = gathered([lambda: np.zeros(0), lambda: _unit(self.displacement)[: len(real)][real]])
        for bound, limit in ((low, self.lower), (high, self.upper)):
            bound[b][real] = np.log(limit[b][real] / self.x0[b][real]) / unit
        low[q], high[q] = ((limit[q] - self.x0[q]) / self.occupancy for limit in (self.lower, self.upper))
        return low, high


def _forward(factor: Factor, p: Float) -> Float:
    return factor.forward(p) if isinstance(factor, Cholesky) else _unit(factor) * p


def _adjoint(factor: Factor, g: Float) -> Float:
    return factor.adjoint(g) if isinstance(factor, Cholesky) else _unit(factor) * g


def _unit(factor: Factor) -> Float:
    assert factor is not None, "another process has this factor"
    return factor.unit if isinstance(factor, Cholesky) else factor


def build(
    parameters: Parameters, xray: Gradient, *, xyz_matrix: Matrix | None = None, geometry: float = 0.0,
    adp_matrix: Matrix | None = None, adp: float = 0.0,
) -> ChangeOfVariable:  # fmt: skip
    """Make the change of variable for one step.

    Parameters
    ----------
    parameters : Parameters
    xray : Gradient
        Positive X-ray curvature per value: by xyz, B and occupancy.
    xyz_matrix : (n_xyz, n_xyz) sparse matrix, or what makes it, or None
        Second derivative of the geometry term by the free coordinates; None for a diagonal map.
    geometry : float
        Weight of the geometry term.
    adp_matrix : (n_b + 6 n_u, n_b + 6 n_u) sparse matrix, or what makes it, or None
        Second derivative of the ADP term by the logarithms of the free B, and after these by the components of S of
        the free tensors, see `targets.adp_curvature`; None for a diagonal map.
    adp : float
        Weight of the ADP term.
    """
    lower, upper = parameters.bounds()
    atoms, x0 = parameters.reference, parameters.pack(parameters.reference)
    b = parameters.slices["b"]
    root = _roots(parameters)
    bounded = (x0[b] <= _CLEARANCE * lower[b]) | (x0[b] >= upper[b] / _CLEARANCE)
    if adp_matrix is None:
        bounded[:] = True
    free = parameters.free_groups[parameters.groups.independent(parameters.free_groups)]
    by_group: Float = np.bincount(
        np.maximum(parameters.groups.group, 0), xray.occupancy * (parameters.groups.group >= 0) / atoms.multiplicity**2,
        minlength=max(len(parameters.groups), 1),
    ).astype(float)  # fmt: skip
    xyz, displacement = kept(
        [
            lambda: _coordinates(parameters, xray, xyz_matrix, geometry),
            lambda: _displacements(parameters, xray, bounded, adp_matrix, adp),
        ]
    )
    return ChangeOfVariable(
        x0, lower, upper, parameters.slices, xyz, displacement, bounded,
        1.0 / np.sqrt(_floored(by_group[free])), root, _groups(parameters, xray),
    )  # fmt: skip


def _coordinates(parameters: Parameters, xray: Gradient, matrix: Matrix | None, weight: float) -> Factor:
    copied = len(parameters.copies) > 0
    h = _floored(xray.xyz[... if copied else parameters.xyz].reshape(-1))
    moves = parameters.carried.shifts(parameters.xyz) if copied else None
    if not len(h) or matrix is None:
        return 1.0 / np.sqrt(h if moves is None else moves.multiply(moves).T @ h)

    def whole() -> Any:
        normal = weight * made(matrix)
        of_data = sparse.diags_array(np.maximum(h, _STIFFNESS * float(normal.diagonal().mean())))
        return normal + (of_data if moves is None else moves.T @ of_data @ moves)

    return Cholesky(whole)


def _displacements(
    parameters: Parameters, xray: Gradient, bounded: NDArray[np.bool_], matrix: Matrix | None, weight: float
) -> Factor:
    """Factor for the logarithms of B and the components of S; diagonal without restraints."""
    if not parameters.sizes.b + parameters.sizes.u:
        return np.zeros(0)

    def of_data() -> Any:
        return displacement_curvature(parameters, xray).matrix()

    def whole() -> Any:
        restraints = made(matrix)
        alone = np.zeros(restraints.shape[0], dtype=bool)
        alone[: len(bounded)] = bounded
        if alone.any():
            coupled = sparse.diags_array((~alone).astype(float))
            diagonal = np.where(alone, restraints.diagonal(), 0.0)
            restraints = coupled @ restraints @ coupled + sparse.diags_array(diagonal)
        return weight * restraints + of_data()

    return np.asarray(1.0 / np.sqrt(of_data().diagonal())) if matrix is None else Cholesky(whole)


class DisplacementCurvature(NamedTuple):
    """X-ray curvature by the logarithms of the free B (n_b,), and by the components of S of the free tensors, a block
    (6, 6) for each; S as for `targets.adp_curvature.strain_matrix`.
    """

    by_log: Float
    block: Float

    def matrix(self) -> Any:
        """Sparse matrix (n_b + 6 n_u, n_b + 6 n_u)."""
        return _side_by_side(self.by_log, self.block)

    def root(self) -> Any:
        """Sparse matrix L of which L Lᵀ is `matrix`."""
        return _side_by_side(np.sqrt(self.by_log), np.asarray(np.linalg.cholesky(self.block), dtype=np.float64))


def displacement_curvature(parameters: Parameters, xray: Gradient) -> DisplacementCurvature:
    """X-ray curvature by what a change of variable makes of the displacements."""
    reference = parameters.reference
    by_b = parameters.carried.summed(xray.b_iso)
    h_log = _floored((by_b * reference.b_iso**2)[parameters.b])
    root = _roots(parameters)
    strained = [symmetric.product(root, np.broadcast_to(basis, root.shape)) for basis in symmetric.STRAINS]
    by_strain = np.stack(strained, axis=1)  # U by each component: (n_u, 6, 6)
    block = by_b[parameters.u][:, None, None] * (by_strain @ CURVATURE_BY_U @ by_strain.transpose(0, 2, 1))
    block += _DAMPING * np.eye(6) * block.mean(axis=0).diagonal() if len(block) else 0.0
    return DisplacementCurvature(h_log, block)


def _roots(parameters: Parameters) -> Float:
    """R (n_u, 6) of which R² is the whole U of each free tensor."""
    return symmetric.root(parameters.pack(parameters.reference)[parameters.slices["u"]].reshape(-1, 6))


def _side_by_side(diagonal: Float, block: Float) -> Any:
    """Sparse matrix of a diagonal (n_b,) and after it blocks (n_u, 6, 6) along the diagonal."""
    n = len(block)
    parts: list[Any] = [sparse.diags_array(diagonal)] if len(diagonal) else []
    if n:
        place = np.arange(n + 1, dtype=np.int32)
        parts.append(sparse.bsr_array((block, place[:-1], place), shape=(6 * n, 6 * n)))
    return sparse.block_diag(parts)


def _groups(parameters: Parameters, xray: Gradient) -> Float:
    """For every free TLS group the matrix (20, 20) that makes its X-ray curvature the identity."""
    if not parameters.sizes.tls:
        return np.zeros((0, 0, 0))
    index, design = parameters.group_design
    root_of_tensor = np.linalg.cholesky(CURVATURE_BY_U)
    group = parameters.reference.tls.group[index]
    out = []
    for number in np.flatnonzero(parameters.tls):
        here = group == number
        # Roots on either side make the sum over atoms one product of a tall matrix with itself.
        rows = np.sqrt(np.maximum(xray.b_iso[index[here]], 0.0))[:, None, None] * (root_of_tensor.T @ design[here])
        rows = rows.reshape(-1, design.shape[2])
        matrix = rows.T @ rows
        scale = 1.0 / np.sqrt(np.maximum(matrix.diagonal(), np.finfo(float).tiny))
        root = np.linalg.cholesky(matrix * np.outer(scale, scale) + _TLS_RIDGE * np.eye(len(scale)))
        out.append(scale[:, None] * np.linalg.inv(root).T)
    return np.array(out)


def _floored(h: Float) -> Float:
    if len(h) == 0:
        return h
    mean = float(h.mean())
    return h + _DAMPING * (mean if mean > 0 else 1.0)
