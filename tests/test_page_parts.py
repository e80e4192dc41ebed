"""Parts of the page of a report by themselves: what the page of a good model does not have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import crystal, random_atoms

from arrayrefine.errors import InputError
from arrayrefine.page import chains, course, facts, fit, picture, places, torsions
from arrayrefine.page.figure import style
from arrayrefine.page.folder import Folder


@pytest.fixture(autouse=True)
def _as_on_the_page() -> Iterator[None]:
    with style():
        yield


def residue(seqid: int, **more: Any) -> dict[str, Any]:
    return {
        "chain": "A", "seqid": str(seqid), "name": "ALA", "kind": "protein", "b_mean": 20.0, "occupancy_min": 1.0,
        "ramachandran": "favoured", "phi": -60.0, "psi": -45.0, "rotamer": "favoured", "worst_z": 1.0, "clashes": 0,
        "rscc": None, **more,
    }  # fmt: skip


def test_outliers_are_named_where_there_is_room_and_no_more_than_a_dozen() -> None:
    crowd = [residue(k, ramachandran="outlier", phi=60.0 + k, psi=100.0, name="SER") for k in (1, 2)]
    apart = [residue(10 + k, ramachandran="outlier", phi=120.0, psi=-170.0 + 12.0 * k, name="THR") for k in range(15)]
    rows = [*crowd, *apart, residue(40), residue(41, name="GLY"), residue(42, name="PRO", ramachandran="allowed")]
    drawn = torsions.chart({"residues": rows}, np.zeros((18, 18)))
    assert drawn is not None
    assert "SER 1<" in drawn.svg
    assert "SER 2<" not in drawn.svg
    named = [k for k in range(15) if f"THR {10 + k}<" in drawn.svg]
    assert named == list(range(11))
    assert [torsions._shape(row) for row in rows[-4:]] == ["X", "o", "^", "s"]


def test_a_chain_has_a_line_at_each_gap_and_its_problems_in_words() -> None:
    rows = [residue(k) for k in [*range(1, 11), *range(14, 24)]]
    rows[3] |= {"ramachandran": "outlier", "rotamer": "outlier"}
    whole = [residue(k) for k in range(1, 21)]
    (broken,), note = chains.charts({"residues": rows})
    (unbroken,), _ = chains.charts({"residues": whole})
    assert note == ""
    assert "Residues with problems: density 0, Ramachandran 1, rotamer 1, geometry 0, clash 0" in broken.alternative
    assert broken.svg.count("<path") > unbroken.svg.count("<path")
    assert "RSCC" not in broken.alternative


def test_why_a_place_is_shown() -> None:
    row = residue(7, ramachandran="outlier", rotamer="outlier", phi=61.0, psi=-99.0)
    (place,) = places.choose({"residues": [row], "peaks": [{"height": 9.0, "atom": "W 1 HOH O", "distance": 2.0}]})
    assert place.title == "A 7 ALA"
    assert "Ramachandran outlier" in place.why
    assert "φ 61°, ψ -99°, an outlier; rotamer outlier" in place.why.replace("−", "-")


def test_what_a_report_has_no_steps_or_weights_for_has_no_chart() -> None:
    step = {"cycle": 1, "target": "xyz", "nll_work": None, "weights": {}, "bond_rmsz": None, "angle_rmsz": None}
    assert course._likelihood([step]) is None
    assert course._weights([step]) is None
    assert course._geometry({"steps": [step]}) is None
    fixed = {**step, "weights": {"geometry": 2.0, "adp": None, "geometry_detail": None}}
    drawn = course._weights([step, fixed])
    assert drawn is not None
    assert "geometry: 2" in drawn.alternative
    assert "B factors" not in drawn.alternative


def test_words_for_options() -> None:
    assert [facts._words(value) for value in (True, False, (), ("xyz", "b"))] == ["yes", "no", "none", "xyz b"]


def test_a_report_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(InputError, match=r"report.json' is no JSON: .*; expected the output of a refinement"):
        _ = Folder(tmp_path).account


def test_each_further_domain_of_a_twin_has_a_tile() -> None:
    end = {"r_work": 0.2, "r_free": None, "bond_rmsz": None, "angle_rmsz": None}
    domains = [{"operator": "h,k,l", "fraction": 0.7}, {"operator": "k,h,-l", "fraction": 0.3}]
    account = {"start": end, "final": end, "data": {"twin": domains}, "options": {"weighting": {}}}
    found = [tile for tile in facts.tiles(account, {"residues": []}) if tile.label == "Twin fraction"]
    assert [(tile.value, tile.note) for tile in found] == [("0.300", "by k,h,-l")]


def test_what_shells_and_bins_do_not_have_is_not_drawn() -> None:
    shell = {
        "d_low": None, "d_high": 3.0, "n_work": 90, "n_free": 0, "completeness": None, "r_work": 0.2, "r_free": None,
        "cc_work": 0.9, "cc_free": None,
    }  # fmt: skip
    shells = [shell, {**shell, "d_low": 3.0, "d_high": 2.5}]
    scale = {"bins": [{"d": 3.0, "k_iso": 1.1}, {"d": 2.5, "k_iso": 0.9}]}
    sigma_a = [{"d": 3.0, "D": 0.9}, {"d": 2.5, "D": 0.8}]
    account = {"shells": shells, "scaling": {"scale": scale, "sigma_a": sigma_a}, "data": {}}
    r, cc, luzzati, k = fit.charts(account)
    assert "R-free" not in r.alternative
    assert "R-work 0.200 in the lowest shell" in r.alternative
    assert "completeness" not in cc.alternative
    assert "CC free" not in cc.alternative
    assert "D is 0.900 at 3.0 Å and 0.800 at 2.5 Å" in luzzati.alternative
    assert "S / mean F²" not in luzzati.svg
    assert k.alternative == "By resolution, lowest first: k over its mean 1.100 to 0.900."


def test_atoms_far_apart_are_not_joined_in_a_picture() -> None:
    atoms = random_atoms(crystal("P 1"), n=2)
    for length, joined in ((5.0, []), (1.5, [[0, 1]])):
        apart = atoms.replace(xyz=np.array([[0.0, 0.0, 0.0], [length, 0.0, 0.0]]))
        assert picture._bonds(apart, np.arange(2)).tolist() == joined
