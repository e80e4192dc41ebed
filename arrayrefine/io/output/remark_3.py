"""REMARK 3 of a PDB file: what the refinement used and reached, worded as readers of the format expect it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arrayrefine.io.output.refinement_items import details, last_weights

_SYMMETRIC = (((1, 1), (2, 2)), ((3, 3), (1, 2)), ((1, 3), (2, 3)))
_FULL = tuple(tuple((i, j) for j in (1, 2, 3)) for i in (1, 2, 3))

Lines = list[tuple[str, object]]


def remark_3(content: Mapping[str, Any], software: str) -> list[str]:
    """Return the lines of REMARK 3, at most 80 characters each.

    Parameters
    ----------
    content : mapping
        `Report.as_dict`, with the counts of the output files in `content["data"]`.
    software : str
        Program and version.
    """
    lines = ["", " REFINEMENT.", f"   PROGRAM     : {software.upper()}", ""]
    for title, block in (
        ("DATA USED IN REFINEMENT.", _data(content)),
        ("FIT TO DATA USED IN REFINEMENT.", _fit(content)),
        ("FIT IN THE HIGHEST RESOLUTION BIN.", _last_shell(content)),
        ("NUMBER OF ATOMS USED IN REFINEMENT.", _atoms(content)),
        ("B VALUES.", _b_values(content)),
        ("OVERALL ANISOTROPIC B VALUE.", _anisotropic_scale(content)),
        ("BULK SOLVENT MODELLING.", _solvent(content)),
        ("ESTIMATED OVERALL COORDINATE ERROR.", _coordinates(content)),
        ("CORRELATION COEFFICIENTS.", _correlations(content)),
        ("RMS DEVIATIONS FROM IDEAL VALUES.", _geometry(content)),
        ("WEIGHTS OF THE RESTRAINTS.", _weights(content)),
    ):
        if block:
            lines.append(f"  {title}")
            lines += [f"   {label:<35s}: {'NULL' if value is None else value}" for label, value in block]
            lines.append("")
    lines += _ncs(content.get("ncs", ())) + _twin(content["data"].get("twin", ())) + _tls(content.get("tls", ()))
    remarks = details(content)
    lines += ["  OTHER REFINEMENT REMARKS:", *(f"   {part}" for part in remarks.split("; "))] if remarks else []
    return [f"REMARK   3{line}"[:80] for line in lines]


def _data(content: Mapping[str, Any]) -> Lines:
    data = content["data"]
    return [
        ("RESOLUTION RANGE HIGH (ANGSTROMS)", _text(data.get("d_min"), 2)),
        ("RESOLUTION RANGE LOW  (ANGSTROMS)", _text(data.get("d_max"), 2)),
        ("DATA CUTOFF            (SIGMA(F))", "0.0"),
        ("COMPLETENESS FOR RANGE        (%)", _text(data.get("completeness"), 1, 100.0)),
        ("NUMBER OF REFLECTIONS", _sum(data.get("n_work"), data.get("n_free"))),
    ]


def _fit(content: Mapping[str, Any]) -> Lines:
    final, data = content["final"], content["data"]
    n_free, n_obs = data.get("n_free"), _sum(data.get("n_work"), data.get("n_free"))
    chosen = str(content["inputs"].get("data", {}).get("free_convention", ""))
    return [
        ("CROSS-VALIDATION METHOD", "THROUGHOUT" if n_free else "NONE"),
        ("FREE R VALUE TEST SET SELECTION", "RANDOM" if chosen.startswith("random") else None),
        ("R VALUE     (WORKING + TEST SET)", _text(data.get("r_all"), 4)),
        ("R VALUE            (WORKING SET)", _text(final["r_work"], 4)),
        ("FREE R VALUE", _text(final["r_free"], 4)),
        ("FREE R VALUE TEST SET SIZE   (%)", _text(n_free / n_obs if n_obs and n_free is not None else None, 1, 100.0)),
        ("FREE R VALUE TEST SET COUNT", n_free),
    ]


def _last_shell(content: Mapping[str, Any]) -> Lines:
    if not content["shells"]:
        return []
    shell = content["shells"][-1]
    return [
        ("TOTAL NUMBER OF BINS USED", len(content["shells"])),
        ("BIN RESOLUTION RANGE HIGH       (A)", _text(shell["d_high"], 2)),
        ("BIN RESOLUTION RANGE LOW        (A)", _text(shell["d_low"], 2)),
        ("REFLECTION IN BIN     (WORKING SET)", shell.get("n_work")),
        ("BIN COMPLETENESS (WORKING+TEST) (%)", _text(shell.get("completeness"), 1, 100.0)),
        ("BIN R VALUE           (WORKING SET)", _text(shell.get("r_work"), 4)),
        ("BIN FREE R VALUE SET COUNT", shell.get("n_free")),
        ("BIN FREE R VALUE", _text(shell.get("r_free"), 4)),
    ]


def _atoms(content: Mapping[str, Any]) -> Lines:
    atoms = content["data"].get("atoms_by_kind", {})
    names = (("PROTEIN", "protein"), ("NUCLEIC ACID", "nucleic acid"), ("SUGAR", "sugar"), ("SOLVENT", "water"))
    return [(f"{label} ATOMS", atoms[kind]) for label, kind in (*names, ("OTHER", "ligand")) if atoms]


def _b_values(content: Mapping[str, Any]) -> Lines:
    return [
        ("FROM WILSON PLOT           (A**2)", _text(content["data"].get("wilson_b"), 2)),
        ("MEAN B VALUE      (OVERALL, A**2)", _text(content["final"]["b_mean"], 2)),
    ]


def _anisotropic_scale(content: Mapping[str, Any]) -> Lines:
    tensor = content["scaling"].get("scale", {}).get("b_aniso", {})
    return [(f"B{ij} (A**2)", _text(value, 2)) for ij, value in tensor.items()]


def _solvent(content: Mapping[str, Any]) -> Lines:
    scaling = content["scaling"]
    if scaling.get("scale", {}).get("k_sol") is None:
        return []
    return [
        ("METHOD USED", "MASK"),
        ("VDW PROBE RADIUS", _text(scaling.get("solvent_probe"), 2)),
        ("SHRINKAGE RADIUS", _text(scaling.get("solvent_shrink"), 2)),
    ]


def _coordinates(content: Mapping[str, Any]) -> Lines:
    data = content["data"]
    return [
        (f"{label:<47s} (A)", _text(data.get(name), 3))
        for label, name in (("ESU BASED ON R VALUE", "esu_r"), ("ESU BASED ON FREE R VALUE", "esu_r_free"))
    ]


def _correlations(content: Mapping[str, Any]) -> Lines:
    data = content["data"]
    return [
        ("CORRELATION COEFFICIENT FO-FC", _text(data.get("cc_work"), 4)),
        ("CORRELATION COEFFICIENT FO-FC FREE", _text(data.get("cc_free"), 4)),
    ]


def _geometry(content: Mapping[str, Any]) -> Lines:
    final = content["final"]
    return [
        ("BOND LENGTHS       (ANGSTROMS)", f"{_text(final['bond_rmsd'], 4)}  Z {_text(final['bond_rmsz'], 2)}"),
        ("BOND ANGLES          (DEGREES)", f"{_text(final['angle_rmsd'], 3)}  Z {_text(final['angle_rmsz'], 2)}"),
    ]


def _weights(content: Mapping[str, Any]) -> Lines:
    found = last_weights(step["weights"] for step in content["steps"])
    scheme = str(content["options"].get("weights", "")).upper()
    rows: Lines = [(f"{name.upper()} WEIGHT", f"{value:.4g}") for name, value in found.items() if value is not None]
    return [("SCHEME", scheme), *rows] if rows else []


def _sum(one: int | None, two: int | None) -> int | None:
    return None if one is None or two is None else one + two


def _ncs(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Pairs of chains that local NCS held alike, in the layout that readers know."""
    if not pairs:
        return []
    lines = [
        "  NCS RESTRAINTS STATISTICS", "   NCS TYPE: LOCAL", f"   NUMBER OF DIFFERENT NCS PAIRS  : {len(pairs)}",
        "  GROUP  CHAIN1    RANGE    CHAIN2    RANGE      COUNT  RMS (A)",
    ]  # fmt: skip
    for number, pair in enumerate(pairs, 1):
        sides = zip(pair["chains"], pair["ranges"])
        ends = [f"{chain:>5s} {_seqid(runs[0][1])} {_seqid(runs[-1][2])}" for chain, runs in sides]
        lines.append(f"  {number:4d} {'  '.join(ends)}  {pair['count']:8d}  {pair['rmsd']:7.3f}")
    return [*lines, ""]


def _twin(domains: Sequence[Mapping[str, Any]]) -> list[str]:
    if not domains:
        return []
    lines = ["  TWIN DETAILS", f"   NUMBER OF TWIN DOMAINS  : {len(domains)}"]
    for number, domain in enumerate(domains, 1):
        lines += [
            f"      TWIN DOMAIN   : {number}",
            f"      TWIN OPERATOR : {domain['operator'].upper().replace(',', ', ')}",
            f"      TWIN FRACTION : {domain['fraction']:.3f}",
        ]
    return [*lines, ""]


def _tls(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Groups in the layout of the format: T in Å², L in degree², S in Å degree."""
    if not groups:
        return []
    lines = ["  TLS DETAILS", f"   NUMBER OF TLS GROUPS  : {len(groups)}", ""]
    for number, group in enumerate(groups, 1):
        lines += [
            f"   TLS GROUP : {number}",
            f"    NUMBER OF COMPONENTS GROUP : {len(group['ranges'])}",
            "    COMPONENTS        C SSSEQI   TO  C SSSEQI",
        ]
        for chain, *ends in group["ranges"]:
            one, two = (f"{chain:>2s} {_seqid(end)}" for end in ends)
            lines.append(f"    RESIDUE RANGE :  {one}      {two}")
        lines.append("    ORIGIN FOR THE GROUP (A):" + "".join(f"{x:9.4f}" for x in group["origin"]))
        for name, places in (("T", _SYMMETRIC), ("L", _SYMMETRIC), ("S", _FULL)):
            lines.append(f"    {name} TENSOR")
            for row in places:
                lines.append("      " + " ".join(f"{name}{i}{j}:{group[name][i - 1][j - 1]:9.4f}" for i, j in row))
        lines.append("")
    return lines


def _seqid(end: str) -> str:
    """Residue number in five columns and its insertion code in one."""
    return f"{end:>5s} " if end[-1].isdigit() else f"{end:>6s}"


def _text(value: float | None, digits: int, factor: float = 1.0) -> str:
    return "NULL" if value is None else f"{round(value * factor, digits) + 0.0:.{digits}f}"
