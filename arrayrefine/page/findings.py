"""Tables of what validation has found: residues, outliers, clashes, flips, peaks, blobs, anomalous peaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arrayrefine.page.chains import POOR_RSCC, problems
from arrayrefine.page.table import Cell, Column, Place, Table, number, table, whole

Row = Mapping[str, Any]
Find = Callable[[str], Place | None]

MOST = 150
"""Rows of a table; what is left out is said."""
_ANOMALOUS = "Peaks of the anomalous difference map that are higher than its deepest hole"


def tables(validation: Mapping[str, Any], where: Find) -> dict[str, Table | None]:
    """All tables by name, None where there is no row; `where` gives the place of a residue or an atom by its label."""
    made = {
        "residues": _residues(validation["residues"], where),
        "outliers": _outliers(validation.get("outliers") or (), where),
        "clashes": _clashes(validation.get("clashes") or (), where),
        "nqh_flips": _flips(validation.get("nqh_flips") or (), where),
        "peaks": _peaks(validation.get("peaks") or (), "Peaks (+) and holes (−) of the mFo−DFc map"),
        "anomalous": _peaks(validation.get("anomalous_peaks") or (), _ANOMALOUS),
        "blobs": _blobs(validation.get("blobs") or ()),
    }
    return {name: found if found.rows else None for name, found in made.items()}


def residue_name(row: Row) -> str:
    """Such as "A 10 ALA"."""
    return f"{row['chain']} {row['seqid']} {row['name']}"


def _limited(rows: Sequence[Any], what: str) -> str:
    return f"{what}: the first {MOST} of {len(rows)}" if len(rows) > MOST else what


def _residues(rows: Sequence[Row], where: Find) -> Table:
    """Residues with a problem, the most problems first, then the lowest correlation."""
    chosen = [(row, problems(row)) for row in rows if row["kind"] != "water" or _rscc(row) < POOR_RSCC]
    chosen = [(row, found) for row, found in chosen if found]
    chosen.sort(key=lambda pair: (-len(pair[1]), pair[0]["kind"] == "water", _rscc(pair[0])))
    columns = (
        Column("Residue", numeric=False), Column("Problems"), Column("Which", numeric=False),
        Column("RSCC", hint="real-space correlation with the 2mFo−DFc map"), Column("Mean B, Å²"),
        Column("Ramachandran", numeric=False),
        Column("Rotamer", numeric=False), Column("Worst |z|", hint="of bonds, angles, torsions, planes, chirality"),
        Column("Clashes"),
    )  # fmt: skip
    made = []
    for row, found in chosen[:MOST]:
        rscc = row.get("rscc")
        made.append((
            Cell(residue_name(row), f"{row['chain']} {_padded(row['seqid'])}", where=where(residue_name(row))),
            Cell(str(len(found)), len(found), "bad" if len(found) > 1 else ""), Cell(", ".join(found)),
            number(rscc, 2, "bad" if rscc is not None and rscc < POOR_RSCC else ""), number(row["b_mean"], 1),
            _verdict(row.get("ramachandran")), _verdict(row.get("rotamer")),
            number(row.get("worst_z"), 1, "bad" if "geometry" in found else ""), whole(row.get("clashes")),
        ))  # fmt: skip
    return table(_limited(chosen, "Residues with a problem, those with most problems first"), columns, made)


def _verdict(text: str | None) -> Cell:
    return Cell(text or "–", flag="bad" if text == "outlier" else "")


def _rscc(row: Row) -> float:
    """Where none is known, higher than any."""
    found = row.get("rscc")
    return 2.0 if found is None else float(found)


def _padded(seqid: object) -> str:
    """So that text sorts as numbers do."""
    digits = "".join(c for c in str(seqid) if c.isdigit() or c == "-")
    return f"{int(digits or 0) + 100000:06d}{seqid}"


def _outliers(rows: Sequence[Row], where: Find) -> Table:
    units = {"bond": ("Å", 3), "plane": ("Å", 3), "chirality": ("Å³", 2)}
    columns = (
        Column("Kind", numeric=False), Column("Atoms", numeric=False), Column("Value"), Column("Ideal"),
        Column("σ"), Column("z", hint="(value − ideal) / σ"),
    )  # fmt: skip
    made = []
    for row in rows[:MOST]:
        unit, digits = units.get(row["kind"].split()[0], ("°", 1))
        atoms = row["atoms"]
        made.append((
            Cell(row["kind"]), Cell(_together(atoms), where=where(atoms[0])),
            number(row["value"], digits, unit=f" {unit}"), number(row["ideal"], digits, unit=f" {unit}"),
            number(row["sigma"], digits, unit=f" {unit}"),
            Cell(f"{row['z']:.1f}".replace("-", "−"), abs(row["z"])),
        ))  # fmt: skip
    return table(_limited(rows, "Restraints of the dictionary that are missed by more than 4 σ"), columns, made)


def _together(atoms: Sequence[str]) -> str:
    """Labels of atoms such as "A 10 ALA CA", without repeating the residue."""
    said, last = [], ""
    for label in atoms:
        parts = label.split(" ", 3)
        residue, atom = " ".join(parts[:3]), parts[3] if len(parts) > 3 else ""
        said.append(atom if residue == last else f"{residue} {atom}".strip())
        last = residue
    return " – ".join(said)


def _clashes(rows: Sequence[Row], where: Find) -> Table:
    columns = (
        Column("Atom", numeric=False), Column("Atom", numeric=False), Column("Distance, Å"), Column("Overlap, Å"),
        Column("Symmetry", numeric=False),
    )  # fmt: skip
    made = [
        (Cell(one, where=where(one)), Cell(two, where=where(two)), number(row["distance"], 2),
         number(row["overlap"], 2), Cell(row.get("symmetry") or "–"))
        for row in rows[:MOST]
        for one, two in [row["atoms"]]
    ]  # fmt: skip
    return table(_limited(rows, "Pairs of atoms that overlap by 0.4 Å or more"), columns, made)


def _flips(rows: Sequence[Row], where: Find) -> Table:
    columns = (Column("Residue", numeric=False), Column("Gained by a half turn, kT"))
    made = [(Cell(row["residue"], where=where(row["residue"])), number(row["gain"], 1)) for row in rows[:MOST]]
    title = "Ends of Asn, Gln, His and carboxamides that look the wrong way round, by hydrogen bonds and contacts"
    return table(_limited(rows, title), columns, made)


def _peaks(rows: Sequence[Row], title: str) -> Table:
    columns = (
        Column("Nearest atom", numeric=False), Column("Height, σ"), Column("Distance, Å"), Column("x"), Column("y"),
        Column("z"),
    )  # fmt: skip
    made = [
        (Cell(row["atom"] or "–", where=_place(row)),
         Cell(f"{row['height']:+.1f}".replace("-", "−"), abs(row["height"]), "plus" if row["height"] > 0 else "minus"),
         number(row["distance"], 2), *(number(value, 1) for value in row["xyz"]))
        for row in rows[:MOST]
    ]  # fmt: skip
    return table(_limited(rows, title), columns, made)


def _blobs(rows: Sequence[Row]) -> Table:
    columns = (
        Column("Nearest residue", numeric=False), Column("Volume, Å³"),
        Column("Integral", hint="of the 2mFo−DFc map, σ Å³"), Column("mFo−DFc peak, σ"), Column("Distance, Å"),
        Column("x"), Column("y"), Column("z"),
    )  # fmt: skip
    made = [
        (Cell(row["residue"] or "–", where=_place(row)), number(row["volume"], 1), number(row["integral"], 1),
         number(row["peak"], 1), number(row.get("distance"), 2),
         *(number(value, 1) for value in row["xyz"]))
        for row in rows[:MOST]
    ]  # fmt: skip
    return table(_limited(rows, "Density without a model"), columns, made)


def _place(row: Row) -> Place:
    x, y, z = row["xyz"]
    return (float(x), float(y), float(z))
