"""Which parts of chains move as bodies of their own: TLS groups that the data ask for.

Near a state the likelihood of the data is a parabola in each atom's U, whose gradient and curvature are known. What a
partition of the atoms into rigid bodies gains is then a sum over the bodies, ½ rᵀH⁻¹r with r and H sums over their
atoms: no body has to be refined to know it. A further body has to gain more than the numbers it takes (Akaike (1974)
IEEE Trans. Autom. Control 19, 716-723). The best cuts of a chain come from dynamic programming, as in TLSMD (Painter &
Merritt (2006) Acta Cryst. D62, 439-450), which looks for the least residual of B instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms, Gradient
from arrayrefine.displacements.displacement import CURVATURE_BY_U, joined
from arrayrefine.displacements.tls import NUMBERS, design
from arrayrefine.displacements.tls_groups import TOUCH, grouped, polymer_residues, residue_rows
from arrayrefine.displacements.tls_motion import selection_of, sensible
from arrayrefine.wording import counted

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

LEAST_ATOMS = 8 * NUMBERS
"""Atoms of the smallest segment, some twenty residues of a protein: neighbours move alike, and a residue tells little
more than one number."""
_PIECES = 120
"""Cuts of a chain are looked for between so many pieces at most."""
_RIDGE = 1e-6
"""Of the diagonal, for combinations of the numbers that the atoms do not determine, such as the trace of T."""


@dataclass(frozen=True)
class Evidence:
    """What the data say about the shapes of the atoms' U, as a parabola for each atom.

    Attributes
    ----------
    matrix : (N, 6, 6) float64, Å⁻⁴
        Expected second derivative of -log p by U.
    vector : (N, 6) float64, Å⁻²
        That times the traceless U that the data would like best.
    """

    matrix: Float
    vector: Float

    @classmethod
    def of(cls, atoms: Atoms, gradient: Gradient, curvature: Gradient) -> Evidence:
        """Evidence at atoms where the X-ray target has this gradient and this expected curvature."""
        matrix = np.maximum(curvature.b_iso, 0.0)[:, None, None] * CURVATURE_BY_U
        by_u = joined(gradient.b_iso, gradient.u_aniso)
        return cls(matrix, np.einsum("nij,nj->ni", matrix, atoms.u_aniso) - by_u)

    def sums(self, xyz: Float, index: Int, centre: Float) -> tuple[Float, Float]:
        """Each atom's share (n, 20) in r and (n, 20, 20) in H, by the numbers of a group about `centre`."""
        # The isotropic part is each atom's own B as well, and no evidence.
        shape = design(xyz[index] - centre)
        shape[:, :3] -= shape[:, :3].mean(axis=1, keepdims=True)
        r = np.einsum("nij,ni->nj", shape, self.vector[index])
        return r, np.einsum("nia,nij,njb->nab", shape, self.matrix[index], shape, optimize=True)

    def gain(self, xyz: Float, index: Int) -> float:
        """What the motion of one body of some atoms gains in -log p."""
        r, h = self.sums(xyz, index, xyz[index].mean(axis=0))
        return float(_gains(r.sum(axis=0)[None], h.sum(axis=0)[None])[0])


def _gains(r: Float, h: Float) -> Float:
    """½ rᵀH⁻¹r (m,) of vectors (m, 20) and matrices (m, 20, 20)."""
    diagonal = np.einsum("mii->mi", h)
    scale = 1.0 / np.sqrt(np.maximum(diagonal, np.finfo(float).tiny))
    scale[diagonal <= 1e-12 * diagonal.max(axis=1, keepdims=True)] = 0.0
    scaled = h * scale[:, :, None] * scale[:, None, :] + _RIDGE * np.eye(h.shape[1])
    b = r * scale
    return np.asarray(0.5 * np.einsum("mi,mi->m", b, np.linalg.solve(scaled, b[:, :, None])[:, :, 0]))


def find_bodies(atoms: Atoms, evidence: Evidence, most: int) -> list[Int]:
    """Members of each rigid body among the members of the present groups.

    Parameters
    ----------
    atoms : Atoms
        With groups, one for each chain.
    evidence : Evidence
    most : int
        Bodies at most; at least one.

    Returns
    -------
    list of (n,) int64
        In the order of their first atoms.
    """
    who = atoms.identity
    residue = residue_rows(atoms)
    inside = atoms.tls.group >= 0
    core = inside & polymer_residues(atoms)[residue]
    bodies: list[Int] = []
    for chain in dict.fromkeys(who.chain[core].tolist()):
        index = np.flatnonzero(core & (who.chain == chain))
        index = index[np.argsort(residue[index], kind="stable")]
        # Selections name residues by number: insertions and microheterogeneity stay together.
        bodies += _segments(atoms.xyz, evidence, index, who.sequence_number[index])
    bodies = _united(atoms.xyz, evidence, bodies, max(most, 1))
    return _with_ligands(atoms, bodies, np.flatnonzero(inside & ~core), residue)


def _segments(xyz: Float, evidence: Evidence, index: Int, number: Int) -> list[Int]:
    """Segments of one chain that gain most beyond what they cost.

    Its members (n,) come in its order; between those of one residue number (n,) there are no cuts.
    """
    starts = np.flatnonzero(np.r_[True, np.diff(number) != 0])
    starts = starts[:: max(1, -(-len(starts) // _PIECES))]
    r, h = evidence.sums(xyz, index, xyz[index].mean(axis=0))
    total_r = np.r_[np.zeros((1, NUMBERS)), np.cumsum(np.add.reduceat(r, starts), axis=0)]
    total_h = np.r_[np.zeros((1, NUMBERS, NUMBERS)), np.cumsum(np.add.reduceat(h, starts), axis=0)]
    edges = np.r_[starts, len(index)]
    # The place of a cut is chosen too: among k places one gains ln k by chance.
    cost = NUMBERS + np.log(len(starts))
    best, cut = np.full(len(edges), -np.inf), np.zeros(len(edges), dtype=np.int64)
    best[0] = 0.0
    for end in range(1, len(edges)):
        begin = np.flatnonzero((edges[end] - edges >= LEAST_ATOMS) & np.isfinite(best))
        if len(begin):
            worth = best[begin] + _gains(total_r[end] - total_r[begin], total_h[end] - total_h[begin]) - cost
            best[end], cut[end] = worth.max(), begin[worth.argmax()]
    if not np.isfinite(best[-1]):
        return [index]
    out: list[Int] = []
    end = len(edges) - 1
    while end > 0:
        out.insert(0, index[edges[cut[end]] : edges[end]])
        end = cut[end]
    return out


def _united(xyz: Float, evidence: Evidence, bodies: Sequence[Int], most: int) -> list[Int]:
    """Bodies of which no two that touch move as one, as far as the data can tell, and not more than `most`."""
    left = dict(enumerate(bodies))
    gain = {k: evidence.gain(xyz, index) for k, index in left.items()}
    tree = {k: cKDTree(xyz[index]) for k, index in left.items()}
    loss: dict[tuple[int, int], float] = {}
    joint: dict[tuple[int, int], float] = {}

    def compare(i: int, j: int) -> None:
        if tree[i].count_neighbors(tree[j], TOUCH):
            joint[i, j] = evidence.gain(xyz, np.r_[left[i], left[j]])
            loss[i, j] = gain[i] + gain[j] - joint[i, j]

    for j in left:
        for i in range(j):
            compare(i, j)
    while loss:
        i, j = min(loss, key=lambda pair: loss[pair])
        if loss[i, j] >= NUMBERS and len(left) <= most:
            break
        new = max(left) + 1
        left[new], gain[new] = np.r_[left.pop(i), left.pop(j)], joint[i, j]
        tree[new] = cKDTree(xyz[left[new]])
        loss = {pair: value for pair, value in loss.items() if not {i, j} & set(pair)}
        for other in left:
            if other != new:
                compare(other, new)
    return sorted(left.values(), key=lambda index: int(index.min()))


def _with_ligands(atoms: Atoms, bodies: Sequence[Int], loose: Int, residue: Int) -> list[Int]:
    """The bodies with the ligands among them, each with the body that most of its atoms are nearest to."""
    owner = np.full(len(atoms), -1)
    for k, index in enumerate(bodies):
        owner[index] = k
    if len(loose):
        near = owner[np.concatenate(bodies)[cKDTree(atoms.xyz[np.concatenate(bodies)]).query(atoms.xyz[loose])[1]]]
        for one in np.unique(residue[loose]):
            here = residue[loose] == one
            owner[loose[here]] = np.bincount(near[here]).argmax()
    return [np.flatnonzero(owner == k) for k in range(len(bodies))]


def segmented(atoms: Atoms, gradient: Gradient, curvature: Gradient, most: int) -> tuple[Atoms, str]:
    """Atoms with the groups that the data ask for, and what to say about it.

    Each new group starts from what of its atoms' U a rigid body can do: all of it where a group was only cut.

    Parameters
    ----------
    atoms : Atoms
        With groups, one for each chain.
    gradient, curvature : Gradient
        Of -log p at these atoms.
    most : int
        Groups at most.

    Returns
    -------
    atoms : Atoms
        Those given where the groups stay as they are.
    note : str
        Empty then.
    """
    bodies = find_bodies(atoms, Evidence.of(atoms, gradient, curvature), most)
    polymer, tls = polymer_residues(atoms)[residue_rows(atoms)], atoms.tls
    before = {tuple(np.flatnonzero(polymer & (tls.group == k))) for k in range(len(tls))}
    if {tuple(index[polymer[index]]) for index in bodies} == before:
        return atoms, ""
    names = tuple(selection_of(atoms, index, polymer) for index in bodies)
    found = "; ".join(f"{name} ({len(index)} atoms)" for name, index in zip(names, bodies))
    return sensible(grouped(atoms, bodies, names)), f"{counted(len(bodies), 'TLS group')} from the data: {found}"
