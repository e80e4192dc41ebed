"""Names of residues at the ends of chains as AMBER writes them."""

from __future__ import annotations

import pytest

from arrayrefine.io.models.amber_ends import without_letters_of_ends

_LETTER = ("NMET A   1", " ALA A   2", "CLYS A   3")
_PUSHED = (" NMETA   1", " ALA A   2", " CLYSA   3")
_PLAIN = [" MET A   1", " ALA A   2", " LYS A   3"]


def _lines(*names: str, end: str = "TER") -> list[str]:
    return [*(f"ATOM      1  CA {name}       1.000   2.000   3.000" for name in names for _ in range(2)), end]


@pytest.mark.parametrize("names", [_LETTER, _PUSHED])
@pytest.mark.parametrize("end", ["TER", "HETATM    9  O   HOH A   4       1.000   2.000   3.000"])
def test_the_letters_of_ends_are_no_conformers(names: tuple[str, ...], end: str) -> None:
    notes: list[str] = []
    assert without_letters_of_ends(_lines(*names, end=end), notes) == _lines(*_PLAIN, end=end)
    assert len(notes) == 1
    assert "2 residues at ends of chains, named as in AMBER" in notes[0]
    assert "A/NMET 1, A/CLYS 3" in notes[0]


def test_a_ter_record_has_the_name_too() -> None:
    end = "TER       7      {}"
    found = without_letters_of_ends(_lines(*_LETTER, end=end.format("x")[:16] + "CLYS A   3"), [])
    assert found == _lines(*_PLAIN, end=end.format("x")[:16] + " LYS A   3")


@pytest.mark.parametrize(
    "names",
    [
        (" MET A   1", "NALA A   2", " LYS A   3"),  # not at an end
        ("NMET A   1", "CALA A   2", " LYS A   3"),
        ("CMET A   1", " ALA A   2", " LYS A   3"),
        ("AMET A   1", "BMET A   1", "CMET A   1"),  # conformers
        ("NSO4 A   1", " ALA A   2", " LYS A   3"),
        (" NMETA   1", " ALATA   2", " LYSTA   3"),  # chain TA
    ],
)
def test_other_letters_stay(names: tuple[str, ...]) -> None:
    notes: list[str] = []
    assert without_letters_of_ends(_lines(*names), notes) == _lines(*names)
    assert not notes
