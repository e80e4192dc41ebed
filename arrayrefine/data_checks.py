"""What the measurements alone say about the crystal: twinning, anisotropy, completeness."""

from __future__ import annotations

import numpy as np

from arrayrefine.atoms import Atoms
from arrayrefine.column_kind import wrong_kind
from arrayrefine.intensity_statistics import anisotropy
from arrayrefine.reflections import Reflections
from arrayrefine.selection import select
from arrayrefine.twinning import twinning
from arrayrefine.wording import Caution, are, counted

ANISOTROPIC_ABOVE = 25.0
"""Å²; between the largest and the smallest principal value of the B of the data."""
INCOMPLETE_BELOW = 0.7


def check_data(reflections: Reflections) -> tuple[str, ...]:
    """Say what is unusual about the data, before a model is compared with them.

    Parameters
    ----------
    reflections : Reflections

    Returns
    -------
    tuple of str
        Sentences about columns of the wrong kind, twinning, anisotropy and completeness; empty for ordinary data.
    """
    checks = (wrong_kind, twinning, _anisotropy, _completeness)
    return tuple(Caution(sentence) for check in checks for sentence in check(reflections))


def few_for_model(reflections: Reflections, atoms: Atoms) -> tuple[str, ...]:
    """A warning where there is not even one work reflection for each residue, waters aside."""
    work, residues = int(reflections.work.sum()), len(np.unique(atoms.identity.residue[~select(atoms, "water")]))
    if work >= residues:
        return ()
    return (Caution(
        f"there {are(work)} {counted(work, 'work reflection')} for {counted(residues, 'residue')}, not one for each: "
        "these cannot tell where the model is, and R factors and the refined model mean nothing. Expected thousands: "
        "check that the data are complete (--columns, --d-min)"
    ),)


def _anisotropy(reflections: Reflections) -> list[str]:
    principal = np.linalg.eigvalsh(anisotropy(reflections))
    spread = float(principal[-1] - principal[0])
    if spread < ANISOTROPIC_ABOVE:
        return []
    ratio = float(np.exp(0.5 * spread / reflections.d_min**2))
    return [
        f"the data are strongly anisotropic: their B is {', '.join(f'{b:+.0f}' for b in principal)} Å² about its mean "
        f"in the three principal directions, so that mean intensities at {reflections.d_min:.2f} Å differ by a factor "
        f"of {ratio:.0f}; they reach this resolution in some directions only"
    ]


def _completeness(reflections: Reflections) -> list[str]:
    possible = len(reflections.possible)
    share = len(reflections) / max(possible, 1)
    if share >= INCOMPLETE_BELOW:
        return []
    return [
        f"only {100 * share:.0f} % of the reflections from {reflections.d_max:.1f} to {reflections.d_min:.2f} Å are "
        "there: maps will show artefacts"
    ]
