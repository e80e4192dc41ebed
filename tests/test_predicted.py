"""Tests of arrayrefine.displacements.predicted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial import cKDTree

from arrayrefine.atoms import Atoms
from arrayrefine.displacements.displacement import B_BOUNDS
from arrayrefine.displacements.predicted import sentences
from arrayrefine.example import MODEL
from arrayrefine.io.models.reading import read_model
from arrayrefine.wording import Caution


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    return read_model(MODEL).atoms


def _with_confidence(atoms: Atoms, scale: float = 1.0) -> Atoms:
    """B that rises with what is near each residue, from 40 to 98, with some noise."""
    near = cKDTree(atoms.xyz).query_ball_point(atoms.xyz, 10.0, return_length=True)
    number = np.bincount(atoms.identity.residue, near)[atoms.identity.residue]
    rank = np.argsort(np.argsort(number, kind="stable"), kind="stable") / len(atoms)
    b = 40.0 + 58.0 * np.clip(rank + np.random.default_rng(1).normal(0.0, 0.1, len(atoms)), 0.0, 1.0)
    return dataclasses.replace(atoms, b_iso=np.maximum(scale * b, B_BOUNDS[0]))  # as it is read


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_confidence_is_told_from_b(crystal: Atoms, scale: float) -> None:
    """As AlphaFold writes it, and as a fraction."""
    (said,) = sentences(_with_confidence(crystal, scale), refined=True)
    assert isinstance(said, Caution)
    assert "pLDDT, and is refined from there" in said
    assert "below 50" in said
    (fixed,) = sentences(_with_confidence(crystal, scale), refined=False)
    assert "give B that are alike" in fixed


def test_b_of_crystals_are_left_in_peace(crystal: Atoms) -> None:
    assert not sentences(crystal, refined=True)
    assert not sentences(dataclasses.replace(crystal, b_iso=np.full(len(crystal), 20.0)), refined=True)
    assert not sentences(_with_confidence(crystal, 2.0), refined=True)  # no confidence is above 100


def test_where_all_are_confident_none_had_better_be_left_out(crystal: Atoms) -> None:
    atoms = _with_confidence(crystal, 1.0)
    (said,) = sentences(dataclasses.replace(atoms, b_iso=50.0 + 0.5 * atoms.b_iso), refined=True)
    assert "pLDDT" in said
    assert "below 50" not in said
