"""The embedded example: PDB entry 1RX2, dihydrofolate reductase at 1.8 Å."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "data" / "example"
"""Folder of the example, with SOURCE.txt on its origin."""
MODEL = FOLDER / "model.pdb.gz"
"""The model as deposited."""
DATA = FOLDER / "data.mtz"
"""FP, SIGFP and FREE (0 = test set)."""
