"""What happened in a refinement, as data: statistics, one record per step, and the JSON form of both."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arrayrefine.io.output.json_text import json_text
from arrayrefine.reporting import notebook
from arrayrefine.wording import parted

SCHEMA = "arrayrefine.report/1"


def json_ready(value: Any) -> Any:
    """Turn a value into what strict JSON can hold.

    Dataclasses and mappings become dicts with string keys; tuples, sets and arrays become lists; paths
    become strings; NumPy scalars become Python numbers; nan and infinities become None, as JSON has no
    word for them.

    Raises
    ------
    TypeError
        For anything else, naming its type: a report must not hold the accidental `repr` of an object.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return json_ready(value.item())
    if isinstance(value, np.ndarray):
        return json_ready(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: json_ready(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json_ready(v) for v in value)
    raise TypeError(f"a report cannot hold a {type(value).__name__}: {value!r}")


@dataclass(frozen=True)
class Statistics:
    """Quality of one model against the data and the restraint dictionary.

    R factors are Σ|F_o − k F_c| / Σ F_o; RMSZ are over non-hydrogen restraints; None where there was nothing
    to measure.
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
        What was free: "xyz", "b", "occupancy", "tls" or a sum of them such as "xyz+b"; or "scale".
    free_parameters : int
        Length of the refined vector (0 for "scale").
    weights : dict
        Every weight used and how it was found (norms, ratio, prior, clamp, steering), JSON-ready;
        at least the keys "geometry" and "adp", each a float or None. With targets of the user's own, "extra" and
        "extra_values" have weight and value (without it, after the step) of each by its name.
    r_work, r_free, bond_rmsz, angle_rmsz : float or None
        After the step; None where there is no test set, or no such restraint.
    evaluations : int
        Calls of the objective.
    seconds : float
    note : str
        Why the step ended, and what the guard did.
    timings : dict
        Seconds per part of the evaluations (splat, fft, lookup, likelihood, geometry, contacts, adp, ...).
    nll_work, nll_free : float or None
        Mean -log p per work and test reflection after the step.
    gain : float
        By how much the step lowered its objective; 0 where it was rolled back.
    side_chains : tuple of (str, float)
        Residues whose side chains were turned to another rotamer before the step, and by how much log p was to rise.
    peptides : tuple of (str, float)
        Residues whose peptides were turned round, by that of O, and what spoke for it in log p and torsions.
    nqh_flips : tuple of (str, float)
        Asn, Gln, His and ligands with carboxamides whose ends were turned by half, and what spoke for it in hydrogen
        bonds, contacts and log p.
    ligands : tuple of (str, float, float, tuple of str)
        Ligands that were moved as rigid fragments before the step, as "A/LIG 1" or "A/NAG 1 and 2 joined to it", by
        how much log p was to rise, by how much they moved (rms, Å), and waters in their way.
    launches : int or None
        Kernels launched on a device per evaluation of the objective, FFTs and copies aside; None without a device.
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
    launches: int | None = None
    nll_work: float | None = None
    nll_free: float | None = None
    gain: float = 0.0
    side_chains: tuple[tuple[str, float], ...] = ()
    peptides: tuple[tuple[str, float], ...] = ()
    nqh_flips: tuple[tuple[str, float], ...] = ()
    ligands: tuple[tuple[str, float, float, tuple[str, ...]], ...] = ()


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
    tls: tuple[dict[str, Any], ...] = ()
    occupancies: tuple[dict[str, Any], ...] = ()
    ncs: tuple[dict[str, Any], ...] = ()
    device: str = ""
    mode: dict[str, Any] = field(default_factory=dict)
    stopped: str = ""
    extra: tuple[dict[str, Any], ...] = ()
    maps: tuple[dict[str, Any], ...] = ()
    waters: tuple[dict[str, Any], ...] = ()

    @property
    def cautions(self) -> tuple[str, ...]:
        """Those of the warnings that ask for a look or a decision; the others say what was done."""
        return tuple(parted(self.warnings)["cautions"])

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `report.json`: `schema` first, then every field, nothing but JSON types."""
        return {"schema": SCHEMA, **json_ready(self), **parted(self.warnings)}

    def to_json(self) -> str:
        """Return `as_dict` as indented, strict JSON text that ends in a newline."""
        return json_text(self.as_dict())

    def _repr_html_(self) -> str:
        notes = parted(self.warnings)["notes"]
        said = notebook.details("Warnings", self.cautions) if self.cautions else ""
        return self.start_and_final() + self.steps_table() + said + notebook.details(f"{len(notes)} notes", notes)

    def start_and_final(self) -> str:
        """An HTML table of the statistics before and after."""
        inputs = " against ".join(str(self.inputs.get(kind, {}).get("path", "?")) for kind in ("model", "data"))
        names = [f.name for f in dataclasses.fields(Statistics)]
        rows = [(name, getattr(self.start, name), getattr(self.final, name)) for name in names]
        return notebook.table(f"{inputs}; {self.stopped}", ("", "start", "final"), rows)

    def steps_table(self) -> str:
        """An HTML table of the steps."""
        names = ("target", "r_work", "r_free", "bond_rmsz", "angle_rmsz")
        rows = [
            (s.cycle, *(getattr(s, name) for name in names), s.weights.get("geometry"), s.weights.get("adp"))
            for s in self.steps
        ]
        return notebook.table("", ("cycle", *names, "w(geometry)", "w(adp)"), rows) if rows else ""

    def with_warnings(self, *sentences: str) -> Report:
        """Return this report with more warnings; a sentence that is there already is not repeated."""
        new = tuple(s for s in dict.fromkeys(sentences) if s not in self.warnings)
        return dataclasses.replace(self, warnings=self.warnings + new)
