"""What happened in a refinement, as data: statistics, one record per step, and the JSON form of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA = "arrayrefine.report/1"


@dataclass(frozen=True)
class Statistics:
    """Quality of one model against the data and the restraint dictionary.

    R factors are Σ|F_o − k F_c| / Σ F_o; RMSZ are over non-hydrogen restraints; None where nothing was there to measure.
    """

    r_work: float
    r_free: float | None
    bond_rmsd: float | None
    bond_rmsz: float | None
    angle_rmsd: float | None
    angle_rmsz: float | None
    b_mean: float


@dataclass(frozen=True)
class Step:
    """Record of one refinement step.

    Attributes
    ----------
    cycle : int
        Macro-cycle, from 1.
    target : str
        What was free: "scale", "xyz", "b", "occupancy" or a sum of them such as "xyz+b".
    free_parameters : int
        Length of the refined vector (0 for "scale").
    weights : dict
        Every weight used and how it was found (norms, ratio, prior, clamp, steering), JSON-ready;
        at least the keys "geometry" and "adp", each a float or None.
    evaluations : int
        Calls of the objective.
    note : str
        Why the step ended, and what the guard did.
    timings : dict
        Seconds per part of the evaluations (splat, fft, lookup, likelihood, geometry, contacts, adp, ...).
    """

    cycle: int
    target: str
    free_parameters: int
    weights: dict[str, Any]
    r_work: float
    r_free: float | None
    bond_rmsz: float | None
    angle_rmsz: float | None
    evaluations: int
    seconds: float
    note: str
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """The whole account of a refinement; `report.json` is this, see `as_dict`."""

    inputs: dict[str, Any]
    options: dict[str, Any]
    start: Statistics
    final: Statistics
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]
    seconds: float
    data: dict[str, Any] = field(default_factory=dict)
    scaling: dict[str, Any] = field(default_factory=dict)
    shells: tuple[dict[str, Any], ...] = ()
    restraints: tuple[dict[str, Any], ...] = ()
    device: str = ""
    stopped: str = ""
