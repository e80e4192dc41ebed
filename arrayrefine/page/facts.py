"""What the page says first: the key figures, before and after, and how the run was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from arrayrefine.crystal import Crystal
from arrayrefine.options import Options, Weighting
from arrayrefine.page.chains import POOR_RSCC
from arrayrefine.page.table import Cell, Column, Table, number, plain, table
from arrayrefine.report import json_ready
from arrayrefine.reporting.verdicts import BESIDE, R_FREE_RISE

Account = Mapping[str, Any]

_STATISTICS = (
    ("R-work", "r_work", 4), ("R-free", "r_free", 4), ("Bond RMSD, Å", "bond_rmsd", 4), ("Bond RMSZ", "bond_rmsz", 2),
    ("Angle RMSD, °", "angle_rmsd", 2), ("Angle RMSZ", "angle_rmsz", 2), ("Mean B, Å²", "b_mean", 1),
)  # fmt: skip
_WIDE_GAP = 0.07
_ENDS_OF_BANDS = {"bond_rmsz": "rmsz_high", "angle_rmsz": "angle_rmsz_high"}
"""Options of `Weighting`."""
_HIGH_PEAK = 6.0
_HIGH_CLASHSCORE = 10.0
_RAMACHANDRAN_GOAL, _ROTAMER_GOAL = 0.0005, 0.003
"""Fractions of outliers below which MolProbity calls a model good: Williams et al., Protein Sci. 27, 293 (2018)."""


@dataclass(frozen=True)
class Tile:
    """A key figure: `flag` is "look" where it does not meet its rule, and `rule` says what that is."""

    label: str
    value: str
    note: str
    rule: str
    flag: str = ""


def tiles(account: Account, validation: Account) -> list[Tile]:
    """The key figures of a refinement."""
    start, final = account["start"], account["final"]
    found = [Tile("R-work", plain(final["r_work"], 4), f"from {plain(start['r_work'], 4)}", "of the work set")]
    if final["r_free"] is not None:
        rose = start["r_free"] is not None and final["r_free"] > start["r_free"] + R_FREE_RISE
        gap = final["r_free"] - final["r_work"]
        found += [
            Tile("R-free", plain(final["r_free"], 4), f"from {plain(start['r_free'], 4)}",
                 f"marked where it rose by more than {R_FREE_RISE:g}", "look" if rose else ""),
            Tile("R-free − R-work", plain(gap, 4), "overfitting shows here", f"marked above {_WIDE_GAP:g}",
                 "look" if gap > _WIDE_GAP else ""),
        ]  # fmt: skip
    bands = asdict(Weighting()) | account["options"]["weighting"]
    for label, name in (("Bond RMSZ", "bond_rmsz"), ("Angle RMSZ", "angle_rmsz")):
        if final[name] is not None:
            limit = bands[_ENDS_OF_BANDS[name]] + BESIDE
            unit = "Å" if name == "bond_rmsz" else "°"
            spread = plain(final[name.replace("rmsz", "rmsd")], 4 if unit == "Å" else 2)
            found.append(Tile(label, plain(final[name], 2), f"RMSD {spread} {unit}", f"marked above {limit:g}",
                              "look" if final[name] > limit else ""))  # fmt: skip
    for domain in account["data"].get("twin", ())[1:]:
        found.append(Tile("Twin fraction", plain(domain["fraction"], 3), f"by {domain['operator']}", ""))
    return found + _validation_tiles(validation)


def _validation_tiles(validation: Account) -> list[Tile]:
    found = []
    for label, name, goal in (
        ("Ramachandran outliers", "ramachandran", _RAMACHANDRAN_GOAL), ("Rotamer outliers", "rotamers", _ROTAMER_GOAL),
    ):  # fmt: skip
        totals = validation.get(name) or {}
        count = totals.get("count")
        if count:
            share, good = totals["outlier"] / count, totals["favoured"] / count
            found.append(Tile(label, f"{totals['outlier']}", f"of {count}; {100 * good:.1f} % favoured",
                              f"marked above {100 * goal:g} %", "look" if share > goal else ""))  # fmt: skip
    score = validation.get("clashscore_alone")
    if score is not None:
        more = validation["clashscore"]
        found.append(Tile("Clashscore", plain(score, 1), f"{plain(more, 1)} with symmetry mates",
                          f"overlaps ≥ 0.4 Å per 1000 atoms; marked above {_HIGH_CLASHSCORE:g}",
                          "look" if score > _HIGH_CLASHSCORE else ""))  # fmt: skip
    known = [row for row in validation["residues"] if row.get("rscc") is not None and row["kind"] != "water"]
    if known:
        poor = sum(row["rscc"] < POOR_RSCC for row in known)
        found.append(Tile("Residues out of density", str(poor), f"of {len(known)} with RSCC < {POOR_RSCC:g}",
                          "marked above 0; waters not counted", "look" if poor else ""))  # fmt: skip
    heights = [peak["height"] for peak in validation.get("peaks") or ()]
    if heights:
        high = max(heights, key=abs)
        found.append(Tile("Largest peak or hole", f"{plain(high, 1)} σ", f"mFo−DFc; {len(heights)} beyond ±4 σ",
                          f"marked beyond {_HIGH_PEAK:g} σ", "look" if abs(high) > _HIGH_PEAK else ""))  # fmt: skip
    return found


def before_after(account: Account) -> Table:
    """Statistics of the start and of the end."""
    rows = []
    for label, name, digits in _STATISTICS:
        was, now = account["start"][name], account["final"][name]
        change = None if was is None or now is None else now - was
        text = "–" if change is None else f"{change:+.{digits}f}".replace("-", "−")
        rows.append((Cell(label), number(was, digits), number(now, digits), Cell(text, change)))
    columns = (Column("", numeric=False), Column("Start"), Column("End"), Column("Change"))
    return table("The model as given and as refined", columns, rows, sortable=False)


def classes(account: Account) -> Table | None:
    """Every class of restraint: count, RMSD, RMSZ."""
    if not account["restraints"]:
        return None
    units = {"d": "Å", "deg": "°", "volume": "Å³"}
    rows = []
    for row in account["restraints"]:
        name = row["type"].removeprefix("a_")
        unit = units.get(name.rsplit("_", 1)[-1], "Å")
        words = name.removesuffix("_d").removesuffix("_deg").replace("_", " ")
        rmsd = row.get("rmsd")
        digits = 2 if unit == "°" else 3
        rows.append((
            Cell(words), Cell(f"{row['count']:,}", row["count"]),
            Cell("–" if rmsd is None else f"{rmsd:.{digits}f} {unit}"), number(row.get("rmsz"), 2),
            Cell(f"{row['weight']:g}" if row.get("weight") is not None else "–"), Cell(str(row.get("function", "–"))),
        ))  # fmt: skip
    columns = (
        Column("Restraint", numeric=False), Column("Count"), Column("RMSD"), Column("RMSZ"),
        Column("Weight", hint="beside that of the whole geometry term; of restraints from other sources than the "
               "dictionary"),
        Column("Loss", numeric=False),
    )  # fmt: skip
    return table("Classes of restraints; hydrogens left out", columns, rows, sortable=False)


def totals(validation: Account) -> Table | None:
    """Totals of the torsions that validation looked at; None where there are none."""
    if not validation["ramachandran"]["count"] and not validation["rotamers"]["count"]:
        return None
    rows = []
    for label, name in (("Ramachandran", "ramachandran"), ("Rotamers", "rotamers")):
        row = validation[name]
        percent = row["percent"]
        shares = [
            Cell("–" if percent[kind] is None else f"{row[kind]} ({percent[kind]:.1f} %)")
            for kind in ("favoured", "allowed", "outlier")
        ]
        rows.append((Cell(label), Cell(f"{row['count']:,}"), *shares))
    columns = (
        Column("", numeric=False), Column("Residues"), Column("Favoured"), Column("Allowed"), Column("Outliers"),
    )  # fmt: skip
    return table("Torsions, by the distributions of the Top8000 data set", columns, rows, sortable=False)


def changed_options(account: Account) -> list[tuple[str, str, str]]:
    """Options that differ from the defaults: flag, value, default."""
    default = dict(_flat(json_ready(asdict(Options()))))
    return [
        (f"--{name.replace('_', '-')}", _words(value), _words(default.get(name)))
        for name, value in _flat(account["options"])
        if name not in default or value != default[name]
    ]


def _flat(options: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in options.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return found


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def facts(account: Account, crystal: Crystal, version: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headed lists of what was refined, against what, where and how."""
    data, source = account["data"], account["inputs"]["data"]
    measured = (data.get("n_work") or 0) + (data.get("n_free") or 0)
    share = f" ({100 * data['n_free'] / measured:.1f} %)" if measured else ""
    a, b, c, *angles = crystal.cell
    groups = [
        ("Crystal", [
            ("Space group", crystal.space_group),
            ("Cell", f"{a:.2f}, {b:.2f}, {c:.2f} Å; {', '.join(f'{angle:.2f}' for angle in angles)}°"),
        ]),
        ("Data", [
            ("Measured with", _radiation(data)),
            ("Resolution", f"{data['d_max']:.2f} – {data['d_min']:.2f} Å"),
            ("Reflections", f"{data['n_work']:,} work, {data['n_free']:,} test{share}"),
            ("Completeness", f"{100 * data['completeness']:.1f} %"),
            ("Wilson B", "–" if data.get("wilson_b") is None else f"{data['wilson_b']:.1f} Å²"),
            ("Columns", ", ".join(source.get("columns") or ()) or "–"),
            *_phases(data.get("phases")),
            ("Test set", str(source.get("free_convention") or "–")),
            ("Rejected", _rejected(data.get("outliers") or {})),
        ]),
        ("Model", [
            ("Atoms", f"{data['n_atoms']:,} written, displacements {data['displacements']}"),
            ("Uncertainty of coordinates", _precision(data)),
            ("TLS groups", ", ".join(group["name"] for group in account["tls"]) or "none"),
            *_copies(data),
        ]),
        ("Run", [
            ("Program", f"arrayrefine {version}"),
            ("Time", f"{account['seconds']:.1f} s, {len(account['steps'])} steps"),
            ("Device", account["device"] or "–"),
            ("Ended", account["stopped"] or "–"),
        ]),
        ("Files", [
            (label, f"{file['path']}{_hash(file)}") for label, file in _files(account)
        ]),
    ]  # fmt: skip
    return groups


def _phases(phases: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Nothing where none are known."""
    if phases is None:
        return []
    scale = "" if phases["scale"] == 1.0 else f", which count {phases['scale']:.2f} times"
    return [("Known phases", f"{', '.join(phases['columns'])} of {phases['reflections']:,} reflections{scale}")]


def _precision(data: Mapping[str, Any]) -> str:
    """Of an atom of the mean B, by Cruickshank's index, and what each was found to have in the median."""
    names = (("R-work", "esu_r"), ("R-free", "esu_r_free"))
    by = [f"{plain(data[name], 2)} Å by {label}" for label, name in names if data.get(name) is not None]
    said = f"{' and '.join(by)} (Cruickshank's index)" if by else "–"
    found = data.get("coordinate_uncertainty") or {}
    parts = [f"{name} {plain(row['median'], 3)} Å" for name, row in found.items()]
    return f"{said}; atom by atom, in the median: {', '.join(parts)}" if parts else said


def _copies(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Which chains were kept the same, where some were."""
    operators = data.get("strict_ncs") or ()
    return [("Strict NCS", "; ".join(row["chains"] for row in operators))] if operators else []


def _radiation(data: Mapping[str, Any]) -> str:
    """X-rays, electrons or neutrons, and the wavelength that form factors have the dispersion of."""
    kind = data.get("radiation", "xray")
    at = f" of {data['wavelength']:g} Å, f′ included" if data.get("wavelength") else ""
    return ("X-rays" if kind == "xray" else f"{kind}s") + at


def _rejected(outliers: Mapping[str, Any]) -> str:
    work, free = outliers.get("work") or 0, outliers.get("free") or 0
    return f"{work} of the work set ({outliers.get('action', '–')}), {free} of the test set" if work or free else "none"


def _hash(file: Mapping[str, Any]) -> str:
    """The first digits of a file's hash; nothing for what was in no file."""
    digits = str(file.get("sha256", "–"))
    return "" if digits.startswith("in memory") else f" (SHA-256 {digits[:12]}…)"


def _files(account: Account) -> list[tuple[str, Mapping[str, Any]]]:
    inputs = account["inputs"]
    found = [("Model", inputs["model"]), ("Data", inputs["data"])]
    if inputs["data"].get("phases_file"):
        whole = {"path": inputs["data"]["phases_file"], "sha256": inputs["data"]["phases_file_sha256"]}
        found.append(("Phases", whole))
    found += [("Restraints", file) for file in inputs.get("restraints") or ()]
    found += [("Restraint table", file) for file in inputs.get("restraint_tables") or ()]
    return found + [("Reference", file) for file in inputs.get("reference") or ()]
