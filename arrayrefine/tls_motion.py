"""What TLS groups say about motion: tensors and their eigenvalues, and the B that each atom has besides."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrayrefine.atoms import Atoms
from arrayrefine.displacement import EIGHT_PI_SQUARED
from arrayrefine.kernels import symmetric

Float = NDArray[np.float64]

_DEGREES = 180.0 / np.pi


def matrices(values: Float) -> tuple[Float, Float, Float]:
    """T (3, 3) in Å², L in rad², S in Å rad of the 20 numbers of a group."""
    s11, s22, s12, s13, s21, s23, s31, s32 = values[12:]
    s = np.array([[s11, s12, s13], [s21, s22, s23], [s31, s32, -s11 - s22]])
    return symmetric.matrices(values[:6]), symmetric.matrices(values[6:12]), s


def residual_b(atoms: Atoms) -> Float:
    """B (N,) that atoms have besides what their groups give them, Å²."""
    u = atoms.tls.u(atoms.xyz)
    if atoms.u_projection is not None:
        u = np.einsum("nij,nj->ni", atoms.u_projection, u)
    return np.asarray(atoms.b_iso - EIGHT_PI_SQUARED / 3.0 * symmetric.trace(u))


def settled(atoms: Atoms) -> Atoms:
    """The same displacements, with as much of what all members of a group share in its T as leaves no B below zero.

    T and the members' own B have the isotropic part of T in common; the data see their sum.
    """
    tls, rest = atoms.tls, residual_b(atoms)
    values = tls.values.copy()
    for number in range(len(tls)):
        values[number, :3] += rest[tls.group == number].min() / EIGHT_PI_SQUARED
    return atoms.replace(tls=dataclasses.replace(tls, values=values))


def describe(atoms: Atoms) -> tuple[dict[str, Any], ...]:
    """One record per group: name, atoms, origin (Å), T (Å²), L (degree²), S (Å degree), eigenvalues, own B (Å²)."""
    tls, rest = atoms.tls, residual_b(atoms)
    out = []
    for number, name in enumerate(tls.names):
        inside = tls.group == number
        t, l, s = matrices(tls.values[number])
        l, s = l * _DEGREES**2, s * _DEGREES
        out.append(
            {
                "name": name, "atoms": int(inside.sum()), "origin": tls.origin[number].tolist(),
                "T": t.tolist(), "L": l.tolist(), "S": s.tolist(),
                "T_eigenvalues": np.linalg.eigvalsh(t).tolist(), "L_eigenvalues": np.linalg.eigvalsh(l).tolist(),
                "residual_b": [float(rest[inside].min()), float(rest[inside].mean()), float(rest[inside].max())],
            }
        )  # fmt: skip
    return tuple(out)
