"""Numbers and lists in sentences."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import arrayrefine as ar
from arrayrefine.wording import Caution, are, counted, kind_of, listed, of_test_set, were


def test_singular_and_plural() -> None:
    assert [f"{counted(n, 'link')} {are(n)}" for n in (0, 1, 2)] == ["0 links are", "1 link is", "2 links are"]
    assert [were(n) for n in (0, 1, 2)] == ["were", "was", "were"]
    assert [of_test_set(n) for n in (1, 2)] == ["the one of the test set stays", "the 2 of the test set stay"]


def test_long_lists_are_cut() -> None:
    assert listed(list("abcdef")) == "a, b, c, d, e, f"
    assert listed(list("abcdefgh"), "; ") == "a; b; c; d; e; f and 2 more"
    assert listed([]) == ""


def test_what_asks_for_a_look_is_a_warning() -> None:
    caution = Caution("look there")
    assert caution == "look there"
    assert [kind_of(caution), kind_of("hydrogens added")] == ["warning", "note"]
    assert kind_of(pickle.loads(pickle.dumps(caution))) == "warning"  # processes send them to each other


@pytest.mark.parametrize(
    ("name", "data", "of_notes", "of_warnings"),
    [
        ("5uui", "norm.mtz", ("hydrogens added", "chain breaks"), ("look twinned", "lacks? atoms that")),
        ("2r4r", "norm.mtz", ("TLS groups", "cis peptides"), ("strongly anisotropic", "lacks? atoms that")),
        ("1v9g", "norm.mtz", ("hydrogens of the model are refined",), ("NEUTRON DIFFRACTION",)),
        ("1dur", "data-sf.cif", ("is restrained as the cubane",), ("no free flags are taken", "was above 1")),
    ],
)
def test_notes_and_warnings_of_real_crystals(
    case: Callable[[str], Path], name: str, data: str, of_notes: tuple[str, ...], of_warnings: tuple[str, ...]
) -> None:
    folder = case(name)
    (model,) = folder.glob("model.*")
    _, _, _, said = ar.prepare(model, folder / data, ar.Options())
    for kind, patterns in (("note", of_notes), ("warning", of_warnings)):
        for pattern in patterns:
            assert [kind_of(text) for text in said if re.search(pattern, text)] == [kind], pattern
    assert sum(kind_of(text) == "warning" for text in said) <= 3
