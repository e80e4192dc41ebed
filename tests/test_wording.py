"""Numbers and lists in sentences."""

from __future__ import annotations

from arrayrefine.wording import are, counted, listed, of_test_set, were


def test_singular_and_plural() -> None:
    assert [f"{counted(n, 'link')} {are(n)}" for n in (0, 1, 2)] == ["0 links are", "1 link is", "2 links are"]
    assert [were(n) for n in (0, 1, 2)] == ["were", "was", "were"]
    assert [of_test_set(n) for n in (1, 2)] == ["the one of the test set stays", "the 2 of the test set stay"]


def test_long_lists_are_cut() -> None:
    assert listed(list("abcdef")) == "a, b, c, d, e, f"
    assert listed(list("abcdefgh"), "; ") == "a; b; c; d; e; f and 2 more"
    assert listed([]) == ""
