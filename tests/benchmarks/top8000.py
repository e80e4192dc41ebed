"""Make arrayrefine/data/validation/top8000.npz from a clone of github.com/rlabduke/reference_data (CC BY 4.0).

    python tests/benchmarks/top8000.py path/to/reference_data

Grids of percentiles are stored as single bytes (see `decoded` in arrayrefine/validation/top8000.py). The grids of Arg
and Lys have four dimensions and are large: for these two only the centres of the rotamers are kept, with the distances
from the nearest centre that 98 % and 99.7 % of the residues of the data set keep to.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
from pathlib import Path

import numpy as np

from arrayrefine.validation.top8000 import FILE, encoded

RAMACHANDRAN = {
    "general": "general-noGPIVpreP", "glycine": "gly-sym", "isoleucine-valine": "ileval-nopreP",
    "pre-proline": "prepro-noGP", "trans-proline": "transpro", "cis-proline": "cispro",
}  # fmt: skip
ROTAMERS = {
    "ASN": "asn", "ASP": "asp", "CYS": "cys", "GLN": "gln", "GLU": "glu", "HIS": "his", "ILE": "ile", "LEU": "leu",
    "MET": "met", "PHE": "phetyr", "TYR": "phetyr", "PRO": "pro", "SER": "ser", "THR": "thr", "TRP": "trp",
    "VAL": "val",
}  # fmt: skip
CENTRES = (*ROTAMERS, "ARG", "LYS")
SOURCE = "Top8000_filtered_residues_rotarama/srcdata/rota8000-{}.csv"
SOURCES = {"ARG": ("arg-1m", "arg-1p", "arg-1t"), "LYS": ("lys",)}


def text(folder: Path, name: str) -> str:
    """A file of the newest commit, in a clone with a work tree or without."""
    done = subprocess.run(["git", "-C", str(folder), "show", f"HEAD:Top8000/{name}"], capture_output=True, check=True)
    return done.stdout.decode()


def grid(content: str) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles on the whole grid, and lower end and upper end of each dimension (k, 2)."""
    head = [line.split() for line in content.splitlines() if line.startswith("#   x")]
    limits = np.array([[float(low), float(high)] for _, _, low, high, _, _ in head])
    shape = tuple(int(row[4]) for row in head)
    table = np.loadtxt(io.StringIO(content))
    width = (limits[:, 1] - limits[:, 0]) / shape
    index = np.rint((table[:, :-1] - limits[:, 0]) / width - 0.5).astype(int)
    whole = np.zeros(shape)
    whole[tuple(index.T)] = table[:, -1]
    return whole, limits


def main() -> None:
    """Read everything and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    out: dict[str, np.ndarray] = {}
    for name, file in RAMACHANDRAN.items():
        whole, _ = grid(text(folder, f"Top8000_ramachandran_pct_contour_grids/rama8000-{file}.data"))
        out[f"ramachandran/{name}"] = encoded(whole)
    for name, file in ROTAMERS.items():
        whole, limits = grid(text(folder, f"Top8000_rotamer_pct_contour_grids/rota8000-{file}.data"))
        out[f"rotamer/{name}"], out[f"period/{name}"] = encoded(whole), limits[:, 1]
    for name in CENTRES:
        rows = list(csv.DictReader(io.StringIO(text(folder, f"Top8000_rotamer_central_values/{name}.csv"))))
        count = sum(f"chi{k}_mean" in rows[0] for k in range(1, 5))
        if f"rotamer/{name}" in out:
            count = out[f"rotamer/{name}"].ndim
        out[f"name/{name}"] = np.array([row["rotamer"] for row in rows])
        for key in ("mean", "esd"):
            columns = [[float(row[f"chi{k + 1}_{key}"]) for k in range(count)] for row in rows]
            out[f"{key}/{name}"] = np.array(columns, dtype=np.float32)
    for name, files in SOURCES.items():
        out[f"limit/{name}"] = distances(folder, files, out[f"mean/{name}"], out[f"esd/{name}"])
    FILE.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FILE, **out)
    print(f"wrote {FILE}, {FILE.stat().st_size / 1024:.0f} kB")


def distances(folder: Path, files: tuple[str, ...], mean: np.ndarray, esd: np.ndarray) -> np.ndarray:
    """Distance from the nearest centre, in rms esd, that 98 % and 99.7 % of the residues keep to."""
    rows = [line.split(",") for file in files for line in text(folder, SOURCE.format(file)).splitlines()]
    chi = np.array([row[3:7] for row in rows if all(row[3:7])], dtype=float)
    delta = chi[:, None] - mean
    delta -= 360.0 * np.rint(delta / 360.0)
    distance = np.sqrt(((delta / esd) ** 2).mean(axis=2)).min(axis=1)
    return np.asarray(np.quantile(distance, [0.98, 0.997]))


if __name__ == "__main__":
    main()
