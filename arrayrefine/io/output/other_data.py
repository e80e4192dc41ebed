"""Whether what the header of a model says of its data is true of those that it was refined against."""

from __future__ import annotations

import math

import gemmi

from arrayrefine.reflections import Reflections

_FURTHER = 0.05
"""Å; data that end further out than the header has it by more than rounding."""
_MORE = 1.05
"""More reflections than the header has, by more than what another program would have rejected."""


def of_other_data(structure: gemmi.Structure, reflections: Reflections) -> list[str]:
    """Say that a header is of fewer data than there are; those that were left out of a refinement tell nothing.

    Parameters
    ----------
    structure : gemmi.Structure
        With its metadata: REMARK 200, or `_reflns`.
    reflections : Reflections
        What it was refined against.
    """
    described = structure.meta.experiments
    ends = [e.reflections.resolution_high for e in described if e.reflections.resolution_high > 0.0]
    counts = [e.unique_reflections for e in described if e.unique_reflections > 0]
    d_min, n = reflections.d_min, len(reflections)
    said = []
    if ends and math.isfinite(min(ends)) and d_min < min(ends) - _FURTHER:
        said.append(f"data to {min(ends):.2f} Å, those given reach {d_min:.2f} Å")
    if counts and n > _MORE * max(counts):
        said.append(f"{max(counts)} unique reflections, those given are {n}")
    if not said:
        return []
    return [
        "what the header of the model says of measurement and processing (REMARK 200, _reflns) is of "
        f"{'; of '.join(said)}: it is in the output as it was; correct it before deposition if it is of other data"
    ]
