"""Restraints on coordinates: the normalised deviation of each restraint and its derivative by the atoms it
touches.

Every function returns ``z``, the signed deviation divided by sigma, and ``jacobian``, the derivative of
``z`` by the coordinates of each atom of the restraint. The value of a term is ``½ Σ z²``; `accumulate`
turns the pair into value and gradient. All results are finite for coincident and collinear atoms, where a
direction that does not exist is taken as zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrayrefine.kernels.backend import array_module

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_DEGREES = 180.0 / np.pi
_TINY = 1e-12
_SHORT_SQUARED = 1e-6
_COLLINEAR_SQUARED = 1e-4


def accumulate(z: Float, jacobian: Float, index: Int, n_atoms: int) -> tuple[float, Float]:
    """Sum restraints into a value and a gradient.

    Parameters
    ----------
    z : (n,) float64
        Normalised deviations.
    jacobian : (n, k, 3) float64
        Derivative of `z` by the coordinates of the k atoms of each restraint, 1/Å.
    index : (n, k) or (n,) int
        Atoms of each restraint.
    n_atoms : int
        N, length of the gradient.

    Returns
    -------
    value : float
        ½ Σ z².
    gradient : (N, 3) float64
        Its derivative by the coordinates, 1/Å.
    """
    if array_module(z) is not np:
        from arrayrefine.kernels import geometry_cuda

        return geometry_cuda.accumulate(z, jacobian, index, n_atoms)
    gradient = np.empty((n_atoms, 3))
    flat = index.ravel()
    pull = (z[:, None, None] * jacobian).reshape(-1, 3)
    for axis in range(3):
        gradient[:, axis] = np.bincount(flat, weights=pull[:, axis], minlength=n_atoms)
    return 0.5 * float(z @ z), gradient


class Firm(NamedTuple):
    """How bonds, angles and chiral volumes are restrained that are far from their ideals; see `with_firm_outliers`.

    Attributes
    ----------
    limit : float or (n,) float64
        z₀, above 0; infinite for what is never an outlier.
    weight : float
        w; 0: as all others.
    """

    limit: float | Float
    weight: float


def with_firm_outliers(z: Float, jacobian: Float, firm: Firm) -> tuple[Float, Float]:
    """Residuals r that restrain more firmly what is far from its ideal.

    ½ r² = ½ z² + ½ w u³ / (1 + u), where u = \\|z\\| − z₀ is above 0. Where the weight of the data is high, these may
    bend a side chain of no density far for little; squares alone make 7 σ in one place as cheap as 1 σ in fifty. Far
    beyond z₀ the term is 1 + w times as stiff. Value, slope and curvature are continuous.

    Parameters
    ----------
    z : (n,) float64
    jacobian : (n, k, 3) float64
    firm : Firm

    Returns
    -------
    r : (n,) float64
    jacobian : (n, k, 3) float64
        Derivative of r; the arrays given, where none is beyond.
    """
    size = np.abs(z)
    limit = np.broadcast_to(np.asarray(firm.limit, dtype=np.float64), z.shape)
    far = np.flatnonzero(size > limit)
    if not len(far) or firm.weight == 0.0:
        return z, jacobian
    r, slope, size = z.copy(), jacobian.copy(), size[far]
    firm = firm._replace(limit=limit[far])
    u = size - firm.limit
    length = np.sqrt(size**2 + firm.weight * u**3 / (1.0 + u))
    r[far] = np.copysign(length, z[far])
    slope[far] *= (size * stiffness(size, firm) / length)[:, None, None]
    return r, slope


def stiffness(z: Float, firm: Firm) -> Float:
    """Slope of the value of each restraint by z, over z (n,): 1 for those that are not far from their ideals."""
    size = np.abs(z)
    u = np.maximum(size - firm.limit, 0.0)
    return 1.0 + firm.weight * u**2 * (1.5 + u) / (1.0 + u) ** 2 / np.maximum(size, 1e-300)


def _dot(a: Float, b: Float) -> Float:
    product: Float = np.einsum("ij,ij->i", a, b)
    return product


def _cross(a: Float, b: Float) -> Float:
    out = np.empty_like(a)
    out[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    out[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    out[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return out


def bond(xyz: Float, index: Int, ideal: Float, sigma: Float) -> tuple[Float, Float]:
    """Distances of bonded atoms.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    index : (n, 2) int
    ideal, sigma : (n,) float64, Å

    Returns
    -------
    z : (n,) float64
        (d − ideal) / sigma.
    jacobian : (n, 2, 3) float64, 1/Å
    """
    if array_module(xyz) is not np:
        from arrayrefine.kernels import geometry_cuda

        return geometry_cuda.bond(xyz, index, ideal, sigma)
    delta = xyz[index[:, 0]] - xyz[index[:, 1]]
    distance = np.sqrt(_dot(delta, delta))
    unit = delta / (np.maximum(distance, _TINY) * sigma)[:, None]
    return (distance - ideal) / sigma, np.stack([unit, -unit], axis=1)


def angle(xyz: Float, index: Int, ideal: Float, sigma: Float) -> tuple[Float, Float]:
    """Angles, vertex in the middle.

    The angle is atan2(|a × b|, a·b), exact at 0° and 180°, where its derivative has no direction and is set
    to zero.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    index : (n, 3) int
    ideal, sigma : (n,) float64, degrees

    Returns
    -------
    z : (n,) float64
        (angle − ideal) / sigma.
    jacobian : (n, 3, 3) float64, 1/Å
    """
    if array_module(xyz) is not np:
        from arrayrefine.kernels import geometry_cuda

        return geometry_cuda.angle(xyz, index, ideal, sigma)
    vertex = xyz[index[:, 1]]
    a = xyz[index[:, 0]] - vertex
    b = xyz[index[:, 2]] - vertex
    normal = _cross(a, b)
    sine = np.sqrt(_dot(normal, normal))
    theta = np.arctan2(sine, _dot(a, b)) * _DEGREES
    normal /= np.maximum(sine, _TINY)[:, None]
    scale = _DEGREES / sigma
    da = _cross(a, normal) * (scale / np.maximum(_dot(a, a), _SHORT_SQUARED))[:, None]
    db = _cross(normal, b) * (scale / np.maximum(_dot(b, b), _SHORT_SQUARED))[:, None]
    return (theta - ideal) / sigma, np.stack([da, -da - db, db], axis=1)


def dihedral(xyz: Float, index: Int) -> tuple[Float, Float]:
    """Torsion angles, IUPAC sign, and their derivative (Blondel & Karplus, J. Comput. Chem. 17, 1132, 1996).

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    index : (n, 4) int

    Returns
    -------
    phi : (n,) float64, degrees, −180..180
    jacobian : (n, 4, 3) float64, degrees/Å
        Damped where three atoms lie on a line.
    """
    if array_module(xyz) is not np:
        from arrayrefine.kernels import geometry_cuda

        return geometry_cuda.dihedral(xyz, index)
    r1, r2, r3, r4 = (xyz[index[:, k]] for k in range(4))
    f, g, h = r1 - r2, r2 - r3, r4 - r3
    a, b = _cross(f, g), _cross(h, g)
    g_length = np.maximum(np.sqrt(_dot(g, g)), 1e-3)
    phi = np.arctan2(_dot(_cross(b, a), g) / g_length, _dot(a, b)) * _DEGREES
    a /= np.maximum(_dot(a, a), _COLLINEAR_SQUARED)[:, None]
    b /= np.maximum(_dot(b, b), _COLLINEAR_SQUARED)[:, None]
    d1 = -g_length[:, None] * a
    d4 = g_length[:, None] * b
    shift = (_dot(f, g) / g_length)[:, None] * a - (_dot(h, g) / g_length)[:, None] * b
    return phi, np.stack([d1, -d1 + shift, -d4 - shift, d4], axis=1) * _DEGREES


def torsion(xyz: Float, index: Int, ideal: Float, sigma: Float, period: Int) -> tuple[Float, Float]:
    """Torsion angles with a period: the deviation from the nearest of the equivalent ideals.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    index : (n, 4) int
    ideal, sigma : (n,) float64, degrees
    period : (n,) int, >= 1
        Number of equivalent ideals in 360°.

    Returns
    -------
    z : (n,) float64
        Deviation / sigma, the deviation within ±180°/period.
    jacobian : (n, 4, 3) float64, 1/Å
    """
    if array_module(xyz) is not np:
        from arrayrefine.kernels import geometry_cuda

        return geometry_cuda.torsion(xyz, index, ideal, sigma, period)
    phi, jacobian = dihedral(xyz, index)
    turn = 360.0 / period
    delta = phi - ideal
    delta -= turn * np.rint(delta / turn)
    return delta / sigma, jacobian / sigma[:, None, None]


def chirality(xyz: Float, index: Int, ideal: Float, sigma: Float) -> tuple[Float, Float]:
    """Signed volumes a·(b × c) of the three bonds of a centre.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    index : (n, 4) int
        Centre first.
    ideal, sigma : (n,) float64, Å³

    Returns
    -------
    z : (n,) float64
        (volume − ideal) / sigma.
    jacobian : (n, 4, 3) float64, 1/Å
    """
    if array_module(xyz) is not np:
        from arrayrefine.kernels import geometry_cuda

        return geometry_cuda.chirality(xyz, index, ideal, sigma)
    centre = xyz[index[:, 0]]
    a, b, c = (xyz[index[:, k]] - centre for k in (1, 2, 3))
    da, db, dc = _cross(b, c), _cross(c, a), _cross(a, b)
    volume = _dot(a, da)
    jacobian = np.stack([-(da + db + dc), da, db, dc], axis=1) / sigma[:, None, None]
    return (volume - ideal) / sigma, jacobian


def plane(xyz: Float, index: Int, plane: Int, sigma: Float) -> tuple[Float, Float]:
    """Distances of atoms from the best plane of their group.

    The plane minimises Σ z² itself, so the derivative of ½ Σ z² with normal and centroid held fixed is
    exact; that of a single z is not. Planes of any size are handled together.

    Parameters
    ----------
    xyz : (N, 3) float64, Å
    index : (m,) int
        Atoms of all planes, end to end.
    plane : (m,) int
        Number of the plane of each entry, ascending.
    sigma : (m,) float64, Å

    Returns
    -------
    z : (m,) float64
        Distance / sigma; the sign follows the normal, which is arbitrary.
    jacobian : (m, 1, 3) float64, 1/Å
    """
    if array_module(xyz) is not np:
        from arrayrefine.kernels import geometry_cuda

        return geometry_cuda.plane(xyz, index, plane, sigma)
    if len(index) == 0:
        return np.zeros(0), np.zeros((0, 1, 3))
    starts = np.flatnonzero(np.r_[True, plane[1:] != plane[:-1]])
    group = np.cumsum(np.r_[False, plane[1:] != plane[:-1]])
    weight = 1.0 / sigma**2
    position = xyz[index]
    total = np.add.reduceat(weight, starts)
    centroid = np.add.reduceat(position * weight[:, None], starts) / total[:, None]
    delta = position - centroid[group]
    moment = np.add.reduceat(delta[:, :, None] * (delta * weight[:, None])[:, None, :], starts)
    _, vectors = np.linalg.eigh(moment)
    normal = vectors[:, :, 0][group]
    return _dot(delta, normal) / sigma, (normal / sigma[:, None])[:, None, :]
