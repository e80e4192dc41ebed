"""How uncertain refined coordinates are: each, by the curvature of data and restraints, and all, by their fit.

With the likelihood of the data and the restraints as a prior, coordinates are distributed about where they ended as a
Gaussian of covariance A⁻¹, A = h + w JᵀJ: h is the expected curvature of -log p of the data, which has the errors of
measurement and those of the rest of the model in it, and J the Jacobian of the restraints.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU
from scipy.spatial import cKDTree

from arrayrefine.atoms import WATERS, Atoms
from arrayrefine.problem import Problem
from arrayrefine.sparse_factor import symmetric_factor
from arrayrefine.state import State
from arrayrefine.targets.geometry_curvature import normal_matrix
from arrayrefine.topology.polymers import of_polymers
from arrayrefine.weights import geometry_prior
from arrayrefine.wording import counted

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_LARGEST = 5.0
"""Å; the standard uncertainty of a coordinate of which neither data nor restraints say anything."""
_UNKNOWN = 0.9
"""Of that; what an atom has of which little more is known, as at occupancy 0, is no estimate."""
_HELD = 1e8
"""Å⁻²; the curvature along displacements that the symmetry of a site forbids."""
_FIXED = 1e-6
"""Of the displacements along an axis: a site that allows less of them has none."""
_EXACT = 3000
"""Coordinates up to which every column of the inverse is computed; of more, those of far atoms together."""
_APART = 12.0
"""Å between atoms whose columns are computed together: covariances hardly reach that far (0.1 % rms, 5 % at most)."""
_COLUMNS = 96
"""Columns that are solved for at a time."""
_LISTED = 2000
"""Atoms whose neighbours are listed at a time: some hundred each."""
_MAIN = ("N", "CA", "C", "O", "P", "O3'", "O5'", "C3'", "C4'", "C5'")


def precision_index(
    atoms: int, observations: int, parameters: int, completeness: float, r: float, d_min: float
) -> float | None:
    """Cruickshank's diffraction-component precision index, Å: the uncertainty of a coordinate at the mean B.

    √(N / (n − p)) C^(−1/3) R d_min (Cruickshank (1999) Acta Cryst. D55, 583-601), of R-free with `parameters` 0; None
    where there are no more observations than parameters.
    """
    left = observations - parameters
    if left <= 0 or completeness <= 0.0:
        return None
    return float(math.sqrt(atoms / left) * completeness ** (-1.0 / 3.0) * r * d_min)


def precision_indices(problem: Problem, state: State) -> dict[str, float | None]:
    """Cruickshank's index from R-work ("esu_r") and from R-free ("esu_r_free"), Å.

    Of tensors restraints hold so much that the number of parameters means nothing: then there is none from R-work.
    """
    data, atoms = problem.reflections, state.atoms
    count = int((~atoms.is_hydrogen & (atoms.occupancy > 0.0)).sum())
    n_work, observed, sizes = int(data.work.sum()), data.completeness, problem.parameters(atoms, "xyz+b").sizes
    r_work, r_free = state.statistics.r_work, state.statistics.r_free
    index = None if sizes.u else precision_index(count, n_work, sum(sizes), observed, r_work, data.d_min)
    of_free = None if r_free is None else precision_index(count, n_work, 0, observed, r_free, data.d_min)
    return {"esu_r": index, "esu_r_free": of_free}


def standard_uncertainties(problem: Problem, state: State, weight: float | None = None, seed: int = 0) -> Float:
    """Standard uncertainties (N, 3) of the coordinates, Å.

    Copies have what they are copies of, turned, as if the errors along its axes were independent.

    nan for those that are not refined, that ride, or of which neither data nor restraints say anything. Coordinates
    that the symmetry of a special position fixes have none: 0.

    Parameters
    ----------
    problem : Problem
    state : State
        Refined, see `evaluate`.
    weight : float, optional
        Of the geometry; by default what the resolution leads one to expect.
    seed : int
        Of random signs, where atoms are many.
    """
    atoms = state.atoms
    refined = "xyz" in problem.options.kinds
    parameters = problem.parameters(atoms, "xyz")
    free = parameters.xyz & refined
    found = np.full((len(atoms), 3), np.nan)
    if not free.any():
        return found
    weight = geometry_prior(problem.reflections.d_min) if weight is None else weight
    h = parameters.carried.summed_by_xyz(state.xray.curvature(atoms).xyz)[free].reshape(-1) + _LARGEST**-2
    n = len(h)  # behind these stand the operators of copies, which are taken for known
    restraints = normal_matrix(problem.geometry.firmed(atoms), atoms, free, parameters.carried)[:n, :n]
    allowed = atoms.site_projection[free]
    places = np.arange(len(allowed) + 1)
    forbidden = sparse.bsr_array((_HELD * (np.eye(3) - allowed), places[:-1], places))
    factor = symmetric_factor(lambda: sparse.diags_array(h) + weight * restraints + forbidden)
    variance = _inverse_diagonal(factor, atoms.xyz[free], seed).reshape(-1, 3)
    fixed = np.diagonal(allowed, axis1=1, axis2=2) < _FIXED
    found[free] = np.where(fixed, 0.0, np.sqrt(variance))
    found[(found > _UNKNOWN * _LARGEST).any(axis=1)] = np.nan
    rotation = parameters.carried.motions.rotation[problem.copies.operator]
    found[problem.copies.child] = np.sqrt(np.einsum("nij,nj->ni", rotation**2, found[problem.copies.parent] ** 2))
    return found


def describe(atoms: Atoms, uncertainty: Float) -> dict[str, Any]:
    """Number of atoms, median and largest uncertainty of a coordinate, Å, by what they are part of."""
    one = np.sqrt(np.mean(uncertainty**2, axis=1))
    names, known = atoms.identity.residue_name, np.isfinite(one)
    of_polymer = of_polymers(names)
    water = np.isin(names, WATERS)
    main, heavy = np.isin(atoms.identity.atom_name, _MAIN), ~atoms.is_hydrogen
    classes = {
        "main chain": of_polymer & main & heavy, "side chain": of_polymer & ~main & heavy, "water": water & heavy,
        "other": ~of_polymer & ~water & heavy, "hydrogen": ~heavy,
    }  # fmt: skip
    return {
        name: {"count": int(here.sum()), "median": float(np.median(one[here])), "largest": float(one[here].max())}
        for name, of_class in classes.items() if (here := of_class & known).any()
    }


def sentence(described: dict[str, Any]) -> str:
    """Say what `describe` has found."""
    parts = [
        f"{name} {row['median']:.3f} Å in the median ({counted(row['count'], 'atom')}, {row['largest']:.2f} Å at most)"
        for name, row in described.items()
    ]
    return f"standard uncertainties of coordinates, in refined.cif: {'; '.join(parts) or 'none, as none is refined'}"


def _inverse_diagonal(factor: SuperLU, xyz: Float, seed: int) -> Float:
    """Diagonal (3 n,) of the inverse of a matrix by the coordinates of n atoms, which couples only what is near."""
    n = len(xyz)
    exact = 3 * n <= _EXACT
    colour = np.arange(n) if exact else _colours(xyz)
    sign = np.ones(3 * n) if exact else np.random.default_rng(seed).choice([-1.0, 1.0], 3 * n)
    found = np.zeros(3 * n)
    own = 3 * np.repeat(colour, 3) + np.tile(np.arange(3), n)  # which column each coordinate is part of
    count = 3 * (int(colour.max()) + 1)
    for first in range(0, count, _COLUMNS):
        rows = np.flatnonzero((own >= first) & (own < first + _COLUMNS))
        columns = np.zeros((3 * n, min(_COLUMNS, count - first)))
        columns[rows, own[rows] - first] = sign[rows]
        found[rows] = sign[rows] * factor.solve(columns)[rows, own[rows] - first]
    # a covariance that reaches further than it should must not make a variance negative
    return np.maximum(found, 1e-2 * float(np.median(found)))


def _colours(xyz: Float) -> Int:
    """Numbers (n,) that atoms nearer to each other than `_APART` do not share, as few as it takes."""
    tree = cKDTree(xyz)
    colour = np.full(len(xyz), -1)
    for first in range(0, len(xyz), _LISTED):
        for atom, others in enumerate(tree.query_ball_point(xyz[first : first + _LISTED], _APART), first):
            taken = set(colour[others].tolist())
            colour[atom] = next(k for k in range(len(others) + 1) if k not in taken)
    return colour
