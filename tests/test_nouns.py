"""Crystal, reflections and atoms: what they say of themselves, what they refuse, and where they are empty."""

from __future__ import annotations

import dataclasses
import importlib.metadata

import numpy as np
import pytest
from synthetic import crystal, random_atoms, wilson

import arrayrefine
from arrayrefine.atoms import Riding
from arrayrefine.crystal import Crystal
from arrayrefine.displacements.displacement import joined
from arrayrefine.displacements.tls import Tls
from arrayrefine.errors import InputError
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.models.reading import read_model
from arrayrefine.preparation import prepare
from arrayrefine.reflections import positions
from arrayrefine.state import evaluate
from arrayrefine.version import version


def test_a_space_group_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"^space group 'P 9' is not known; expected a Hermann-Mauguin symbol"):
        Crystal((10.0, 10.0, 10.0, 90.0, 90.0, 90.0), "P 9")


def test_what_is_prepared_says_what_it_is() -> None:
    model = read_model(MODEL)
    assert repr(model) == f"Model('{MODEL}', {len(model.atoms)} atoms, P 21 21 21)"
    _, problem, atoms, _ = prepare(MODEL, DATA, arrayrefine.Options(d_min=5.0))
    assert repr(problem) == f"Problem({problem.reflections}, {len(atoms)} atoms, 0 extra targets)"
    state = evaluate(problem, atoms)
    now = state.statistics
    assert repr(state) == f"State({len(atoms)} atoms, r_work={now.r_work:.4f}, r_free={now.r_free:.4f})"


def test_atoms_and_reflections_say_how_many_they_are() -> None:
    atoms = random_atoms(crystal("P 1"), n=6)
    riding = Riding(np.array([1, 2]), np.array([0, 0]))
    assert repr(atoms) == "Atoms(6 atoms, 0 of them riding)"
    assert repr(dataclasses.replace(atoms, riding=riding)) == "Atoms(6 atoms, 2 of them riding)"
    data = wilson(crystal("P 1"))
    free = dataclasses.replace(data, free=np.arange(len(data)) < 7)
    assert repr(free) == f"Reflections({len(data)} from {data.d_max:.1f} to {data.d_min:.2f} Å, 7 of them free)"
    assert repr(free.select(np.zeros(len(data), dtype=bool))) == "Reflections(0, 0 of them free)"


def test_places_among_indices() -> None:
    hkl = np.array([[1, 2, 3], [-1, 0, 5], [2, 2, 2]])
    assert positions(hkl, hkl[[2, 0]]).tolist() == [1, -1, 0]
    assert positions(hkl, hkl[:0]).tolist() == [-1, -1, -1]
    assert positions(hkl[:0], hkl).tolist() == []


def test_a_gradient_without_anisotropy_is_by_the_trace() -> None:
    by_b = np.array([2.0, -1.0])
    np.testing.assert_allclose(joined(by_b, None), joined(by_b, np.zeros((2, 6))))
    assert np.ptp(joined(by_b, None)[:, :3], axis=1).tolist() == [0.0, 0.0]


def test_groups_of_which_none_is_chosen_do_not_move() -> None:
    tls = Tls.none(4)
    assert tls.moved(np.zeros(0, dtype=bool), np.eye(3), np.ones(3), np.ones(3)) is tls


def test_a_source_tree_that_is_not_installed_has_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert version() == "source"


def test_the_package_lists_what_it_exports_before_any_of_it_is_loaded() -> None:
    assert {"refine", "Options", "validate", "__doc__"} <= {*dir(arrayrefine)}
    assert dir(arrayrefine) == sorted(dir(arrayrefine))
