"""Second derivative of the restraints on coordinates, for a preconditioner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from arrayrefine.atoms import Atoms
from arrayrefine.riding import fold_columns
from arrayrefine.targets.geometry import GeometryTarget


def normal_matrix(target: GeometryTarget, atoms: Atoms, free: NDArray[np.bool_]) -> sparse.csr_array:
    """Gauss-Newton matrix JᵀJ (3n, 3n) of the restraints, by the coordinates of free atoms (N,), Å⁻².

    Children that ride move with their parents.
    """
    folded = fold_columns(atoms.riding, target.jacobian(atoms), len(atoms))[:, np.repeat(free, 3)]
    return sparse.csr_array(folded.T @ folded)
