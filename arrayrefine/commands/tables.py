"""Tables of the commands as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arrayrefine.validation import Validation
    from arrayrefine.validation.result import BlobRow, PeakRow


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], show: int) -> list[str]:
    """The first `show` rows of a table, columns as wide as they need; those whose head ends in a space to the right."""
    shown = rows[:show]
    if not shown:
        return []
    cells = [[head.strip() for head in heads], *shown]
    width = [max(len(row[k]) for row in cells) for k in range(len(heads))]
    lines = []
    for row in cells:
        parts = [c.rjust(w) if h.endswith(" ") else c.ljust(w) for c, w, h in zip(row, width, heads)]
        lines.append(("  " + "  ".join(parts)).rstrip())
    more = f" (the first {len(shown)} of {len(rows)})" if len(rows) > len(shown) else ""
    return ["", f"{title}{more}", *lines]


def number(value: float | None, digits: int) -> str:
    """A number of a table, "–" for none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def place(xyz: Sequence[float]) -> str:
    """Coordinates in Å."""
    return " ".join(f"{v:8.2f}" for v in xyz)


def peak_table(title: str, peaks: Sequence[PeakRow], show: int) -> list[str]:
    """Peaks with their nearest atoms."""
    rows = [(number(p.height, 1), place(p.xyz), number(p.distance, 2), p.atom) for p in peaks]
    return table(title, ("sigma ", "x y z, Å", "Å ", "from"), rows, show)


def blob_table(blobs: Sequence[BlobRow], show: int) -> list[str]:
    """Blobs with their nearest residues."""
    rows = [
        (number(b.volume, 1), number(b.peak, 1), place(b.xyz), number(b.distance, 2), b.residue) for b in blobs
    ]  # fmt: skip
    heads = ("volume, Å³ ", "mFo-DFc, sigma ", "x y z, Å", "Å ", "from")
    return table("2mFo-DFc density without a model", heads, rows, show)


def validation_lines(found: Validation, show: int) -> list[str]:
    """The validation as text: totals, then the worst of each kind."""
    return [
        *_totals(found), *_torsions(found, show), *_fit(found, show), *_restraints(found, show), *_clashes(found, show),
        *_flips(found, show),
        *peak_table("mFo-DFc peaks and holes", found.peaks, show), *blob_table(found.blobs, show),
        *peak_table("Anomalous differences", found.anomalous_peaks, show),
    ]  # fmt: skip


def _totals(found: Validation) -> list[str]:
    rows: list[tuple[str, str]] = []
    if found.r_work is not None:
        rows.append(("R-work, R-free", f"{number(found.r_work, 4)} {number(found.r_free, 4)}"))
    for name, totals in (("Ramachandran", found.ramachandran), ("rotamers", found.rotamers)):
        if totals["count"]:
            rows.append((name, _percentages(totals)))
    score = f"{number(found.clashscore, 1)}: {len(found.clashes)} clashes of {found.n_atoms} atoms"
    score += f" ({number(found.clashscore_alone, 1)} without symmetry mates)"
    rows.append(("clashscore", score if found.hydrogens else f"{score}; the model has no hydrogens"))
    for kind, count in found.restraints.items():
        if count["count"]:
            rows.append((f"{kind} outliers", f"{count['outliers']} of {count['count']} beyond 4 sigma"))
    known = sorted(row.rscc for row in found.residues if row.rscc is not None)
    if known:
        low = sum(value < 0.8 for value in known)
        text = f"{known[len(known) // 2]:.3f} in the median, {low} of {len(known)} residues below 0.8"
        rows.append(("real-space CC", text))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _percentages(totals: dict[str, Any]) -> str:
    percent = totals["percent"]
    parts = [f"{percent[name]:.1f} % {name}" for name in ("favoured", "allowed", "outlier")]
    return f"{', '.join(parts)} ({totals['outlier']} of {totals['count']})"


def _torsions(found: Validation, show: int) -> list[str]:
    spine = [
        (r.label, number(r.phi, 0), number(r.psi, 0), r.ramachandran_kind or "")
        for r in found.residues
        if r.ramachandran == "outlier"
    ]
    side = [
        (r.label, " ".join(f"{c:.0f}" for c in r.chi), r.rotamer_name or "")
        for r in found.residues
        if r.rotamer == "outlier"
    ]
    lines = table("Ramachandran outliers", ("residue", "phi ", "psi ", "compared with"), spine, show)
    return lines + table("Rotamer outliers", ("residue", "chi", "nearest"), side, show)


def _fit(found: Validation, show: int) -> list[str]:
    poor = sorted((r for r in found.residues if r.rscc is not None), key=lambda r: r.rscc or 0.0)
    rows = [
        (r.label, number(r.rscc, 3), number(r.rscc_main, 3), number(r.rscc_side, 3), number(r.density, 1),
         number(r.b_mean, 1), number(r.occupancy_min, 2))
        for r in poor
    ]  # fmt: skip
    heads = ("residue", "CC ", "main ", "side ", "2mFo-DFc, sigma ", "mean B ", "occ. ")
    return table("Lowest real-space correlation", heads, rows, show)


def _restraints(found: Validation, show: int) -> list[str]:
    rows = [
        (number(o.z, 1), o.kind, number(o.value, 3), number(o.ideal, 3), number(o.sigma, 3), " – ".join(o.atoms))
        for o in found.outliers
    ]
    heads = ("z ", "kind", "value ", "ideal ", "sigma ", "atoms")
    return table("Furthest from the dictionary", heads, rows, show)


def _clashes(found: Validation, show: int) -> list[str]:
    rows = [
        (number(c.overlap, 2), number(c.distance, 2), " – ".join(c.atoms), c.symmetry or "") for c in found.clashes
    ]  # fmt: skip
    return table("Clashes", ("overlap, Å ", "distance, Å ", "atoms", "symmetry of the second"), rows, show)


def _flips(found: Validation, show: int) -> list[str]:
    rows = [(number(row.gain, 1), row.residue) for row in found.nqh_flips]
    title = "Ends of Asn, Gln, His and carboxamides that look the wrong way round, by hydrogen bonds and contacts"
    return table(title, ("gained by a half turn, kT ", "residue"), rows, show)
