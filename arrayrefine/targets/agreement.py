"""How restraints on coordinates agree with a model: by kind, and the worst one by one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TermResult:
    """Agreement of one kind of restraint with its ideals, restraints on hydrogens left out.

    Attributes
    ----------
    count : int
        Restraints; for contacts, those that are too short.
    rmsd : float or None
        Root mean square deviation: Å (bond, plane, contact), degrees (angle, torsion), Å³ (chirality); None
        if empty.
    rmsz : float or None
        The same in units of sigma.
    value : float
        What the whole term adds to the target, hydrogens included.
    sigma : float or None
        Mean sigma of the restraints, in the unit of `rmsd`; None if empty.
    """

    count: int
    rmsd: float | None
    rmsz: float | None
    value: float
    sigma: float | None = None


@dataclass(frozen=True)
class Outlier:
    """A restraint that is far from its ideal.

    Attributes
    ----------
    kind : str
    atoms : tuple of str
        Labels; for planes, the atom that is out of its plane.
    deviation, sigma, z : float
        Deviation from the ideal, in the unit of the kind, its sigma, and their quotient.
    """

    kind: str
    atoms: tuple[str, ...]
    deviation: float
    sigma: float
    z: float
