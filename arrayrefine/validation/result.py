"""What a validation found, as data, and its JSON form."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from arrayrefine.report import json_ready
from arrayrefine.reporting.notebook import table
from arrayrefine.validation.torsions import Class

SCHEMA = "arrayrefine.validation/1"
ResidueKind = Literal["protein", "nucleic", "ligand", "water", "ion"]


@dataclass(frozen=True)
class ResidueRow:
    """One residue; of alternates the first conformer counts for torsions, all for everything else.

    Attributes
    ----------
    chain, seqid, name : str
        `seqid` with its insertion code.
    kind : str
    b_mean, b_max : float
        Over atoms that are not hydrogens, Å².
    occupancy_min : float
    rscc : float or None
        Correlation of the 2mFo-DFc map and that of Fc near its atoms; None without data.
    rscc_main, rscc_side : float or None
        The same for main chain (N, CA, C, O, OXT) and side chain of amino acids.
    density : float or None
        Mean of the 2mFo-DFc map at its atoms, in sigma.
    phi, psi, omega : float or None
        Degrees.
    ramachandran : str or None
        "favoured", "allowed" or "outlier".
    ramachandran_kind : str or None
        Which distribution it was compared with.
    ramachandran_percentile : float or None
        See `Backbone`.
    rotamer : str or None
        "favoured", "allowed" or "outlier".
    rotamer_name : str or None
        Of the nearest rotamer, such as "mt".
    chi : tuple of float
        Degrees.
    worst_z : float or None
        Largest \\|z\\| of the restraints on its atoms.
    clashes : int
    """

    chain: str
    seqid: str
    name: str
    kind: ResidueKind
    b_mean: float
    b_max: float
    occupancy_min: float
    rscc: float | None = None
    rscc_main: float | None = None
    rscc_side: float | None = None
    density: float | None = None
    phi: float | None = None
    psi: float | None = None
    omega: float | None = None
    ramachandran: Class | None = None
    ramachandran_kind: str | None = None
    ramachandran_percentile: float | None = None
    rotamer: Class | None = None
    rotamer_name: str | None = None
    chi: tuple[float, ...] = ()
    worst_z: float | None = None
    clashes: int = 0

    @property
    def label(self) -> str:
        """Such as "A 10 ALA"."""
        return f"{self.chain} {self.seqid} {self.name}"


@dataclass(frozen=True)
class OutlierRow:
    """A restraint far from its ideal; see `geometry.Outlier`. Atoms by their labels, such as "A 10 ALA CA alt B"."""

    kind: str
    atoms: tuple[str, ...]
    value: float
    ideal: float
    sigma: float
    z: float


@dataclass(frozen=True)
class ClashRow:
    """Two atoms that overlap; `symmetry` is the operator that brings the second one there, None for none."""

    atoms: tuple[str, str]
    distance: float
    overlap: float
    symmetry: str | None


@dataclass(frozen=True)
class FlipRow:
    """Asn, Gln, His or carboxamide the wrong way round, as it seems: what contacts gain the other way, kT."""

    residue: str
    gain: float


@dataclass(frozen=True)
class PeakRow:
    """A peak or hole of the difference map, with the nearest atom; see `peaks.Peak`.

    Of all symmetry copies the one next to the model as given is named, so that no operator is needed to find it.
    """

    height: float
    xyz: tuple[float, float, float]
    atom: str
    distance: float


@dataclass(frozen=True)
class BlobRow:
    """A region of density without a model, with the nearest residue; see `peaks.Blob`."""

    volume: float
    peak: float
    integral: float
    xyz: tuple[float, float, float]
    residue: str
    distance: float


@dataclass(frozen=True)
class Validation:
    """Everything that was found about a model.

    Attributes
    ----------
    residues : tuple of ResidueRow
        In the order of the model.
    outliers : tuple of OutlierRow
        The worst first.
    clashes : tuple of ClashRow
        The largest overlap first.
    clashscore : float or None
        Clashes per 1000 atoms, hydrogens and symmetry mates included.
    clashscore_alone : float or None
        The same without symmetry mates, which is what most programs give.
    n_atoms : int
        Atoms with an occupancy above 0.
    hydrogens : int
        How many of them are hydrogens; without any the clashes are those of heavier atoms alone.
    peaks : tuple of PeakRow
        Of the mFo-DFc map, the most extreme first; empty without data.
    blobs : tuple of BlobRow
        The largest first.
    restraints : dict
        Number of outliers beyond 4 sigma, and of restraints, by kind.
    nqh_flips : tuple of FlipRow
        The largest gain first; none without hydrogens.
    anomalous_peaks : tuple of PeakRow
        Of the anomalous difference map, see `peaks.anomalous_peaks`; the highest first.
    r_work, r_free : float or None
        None without data, or without a test set.
    """

    residues: tuple[ResidueRow, ...]
    outliers: tuple[OutlierRow, ...]
    clashes: tuple[ClashRow, ...]
    clashscore: float | None
    clashscore_alone: float | None
    n_atoms: int
    hydrogens: int
    peaks: tuple[PeakRow, ...] = ()
    blobs: tuple[BlobRow, ...] = ()
    restraints: dict[str, dict[str, int]] = field(default_factory=dict)
    nqh_flips: tuple[FlipRow, ...] = ()
    anomalous_peaks: tuple[PeakRow, ...] = ()
    r_work: float | None = None
    r_free: float | None = None

    @property
    def ramachandran(self) -> dict[str, Any]:
        """Number and percentage of favoured, allowed and outlier among the residues with phi and psi."""
        return _totals([row.ramachandran for row in self.residues])

    @property
    def rotamers(self) -> dict[str, Any]:
        """The same for side chains."""
        return _totals([row.rotamer for row in self.residues])

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = [("R-work", self.r_work), ("R-free", self.r_free)]
        for name, found in (("Ramachandran", self.ramachandran), ("rotamers", self.rotamers)):
            counts = " / ".join(str(found[kind]) for kind in ("favoured", "allowed", "outlier"))
            rows.append((f"{name}: favoured / allowed / outliers", counts))
        rows += [
            ("clashes per 1000 atoms", self.clashscore), ("restraints beyond 4 sigma", len(self.outliers)),
            ("difference peaks", len(self.peaks)), ("blobs", len(self.blobs)),
        ]  # fmt: skip
        return table(f"validation of {len(self.residues)} residues", ("", ""), rows)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `validation.json`: nothing but JSON types, numbers to six digits."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        totals = {"schema": SCHEMA, "ramachandran": self.ramachandran, "rotamers": self.rotamers}
        ready: dict[str, Any] = _rounded(json_ready({**totals, **content}))
        return ready


def _rounded(value: Any) -> Any:
    """The same JSON with its numbers to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


def _totals(classes: list[Class | None]) -> dict[str, Any]:
    count = Counter(c for c in classes if c is not None)
    total = sum(count.values())
    names: tuple[Class, ...] = ("favoured", "allowed", "outlier")
    percent = {name: 100.0 * count[name] / total if total else None for name in names}
    return {"count": total, **{name: count[name] for name in names}, "percent": percent}
