"""The report as a page: what it says, and how it behaves in a browser."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest

from arrayrefine import __main__ as cli
from arrayrefine.commands.pages import write_page
from arrayrefine.errors import InputError
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.output.write import account_of
from arrayrefine.kernels.processes import together
from arrayrefine.options import Options
from arrayrefine.page.facts import tiles
from arrayrefine.page.render import Subject, page
from arrayrefine.real_space.map_grids import map_grid
from arrayrefine.refine import refine
from arrayrefine.result import Result

LARGEST = 1_500_000
"""Bytes."""


@pytest.fixture(scope="module")
def result() -> Result:
    return refine(MODEL, DATA, Options(cycles=1, d_min=2.4, perturb=0.2))


@pytest.fixture(scope="module")
def folder(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "refined"
    out.mkdir()
    result.write(out)
    assert result.write_report(out) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def subject(result: Result) -> Subject:
    account = account_of(result.report, result.model, result.atoms, result.reflections, result.maps)
    grids = [map_grid(result.maps, result.reflections.crystal, kind) for kind in ("2mFo-DFc", "mFo-DFc")]  # type: ignore[arg-type]
    return Subject(account, result.validate().as_dict(), result.atoms, *grids)


@pytest.fixture(scope="module")
def drawn(subject: Subject) -> str:
    """The page by one process."""
    return page(subject)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if reason := browser.unavailable_reason():
        pytest.skip(reason)
    with browser.chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def shown(driver: Any, folder: Path) -> Any:
    """The page as it was loaded, in a window of 1280 px."""
    browser.resize(driver, 1280)
    browser.emulate(driver, prefers_color_scheme="light")
    driver.get((folder / "report.html").as_uri())
    deadline = time.monotonic() + 30  # on a machine with much other work `get` has come back in the middle of a page
    while driver.execute_script("return document.readyState") != "complete" and time.monotonic() < deadline:
        time.sleep(0.05)
    return driver


class Outline(HTMLParser):
    """Elements with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_page_is_small_and_needs_nothing_else(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert 50_000 < len(text.encode()) < LARGEST
    found = Outline(text)
    for tag, attributes in found.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, f"<{tag} {name}={value[:80]}>"
    assert not re.search(r"@import|url\((?!#)", text)
    names = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(names) == len(set(names))
    targets = {value for _, a in found.tags for key in ("href", "xlink:href") if (value := a.get(key) or "#")[0] == "#"}
    assert {value[1:] for value in targets if len(value) > 1} <= set(names)


def test_several_processes_draw_the_same_page(subject: Subject, drawn: str) -> None:
    assert together(lambda: page(subject), 2) == drawn


def test_page_says_what_the_report_says(folder: Path, result: Result) -> None:
    words = " ".join(" ".join(Outline((folder / "report.html").read_text(encoding="utf-8")).words).split())
    final = result.report.final
    assert f"R-work {final.r_work:.4f}, R-free {final.r_free:.4f} at 2.40 Å" in words
    assert "P 21 21 21" in words
    assert "--perturb 0.2 (default 0.0)" in words
    assert "--cycles 1 (default 10)" in words
    for warning in result.report.warnings:
        assert " ".join(warning.split()) in words
    for step in result.report.steps:
        sentence = step.weights.get("sentence", "")
        assert sentence[1:] in words
    validation = result.validate()
    assert validation.outliers
    assert validation.peaks
    residue, last = validation.outliers[0].atoms[0].rsplit(" ", 1)
    assert f"{residue} {last}" in words
    assert validation.peaks[0].atom in words
    lowest = min((r for r in validation.residues if r.kind == "protein"), key=lambda r: r.rscc or 2.0)
    assert f"{lowest.label} among the lowest RSCC; RSCC {lowest.rscc:.2f}" in words


def test_figures_have_alternatives_and_captions(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    assert len(figures) >= 14
    for figure in figures:
        label = re.search(r'role="img" aria-label="([^"]+)"', figure)
        caption = re.search(r"<figcaption>(.*?)</figcaption>", figure, re.DOTALL)
        assert label
        assert caption
        assert re.search(r"\d", label[1]), label[1]
        assert len(re.sub(r"<.*?>", "", caption[1]).strip()) > 20
    assert all("<path" in figure for figure in figures)
    assert 'class="best d' in text
    assert "#0101" not in text


def test_command_writes_the_same_page_from_the_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "report.html").read_text(encoding="utf-8")
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"wrote {folder / 'report.html'}\n"
    after = (folder / "report.html").read_text(encoding="utf-8")
    for name in ("r-steps", "r-shells", "sigma-a"):
        pattern = rf'<figure class="chart" id="{name}">.*?</figure>'
        assert re.findall(pattern, before, re.DOTALL) == re.findall(pattern, after, re.DOTALL) != []
    rscc = re.compile(r"lowest RSCC (0\.\d\d) at [A-Z]{3} \d+")
    assert rscc.findall(before) == rscc.findall(after) != []


def test_command_on_what_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "expected the output folder of a refinement" in capsys.readouterr().err
    (tmp_path / "report.json").write_text('{"schema": "other/1"}')
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "has the schema 'other/1', expected 'arrayrefine.report/1'" in capsys.readouterr().err


def test_a_page_that_fails_costs_nothing_but_the_page(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("no scale")

    monkeypatch.setattr("arrayrefine.page.places.pictures", fail)
    with pytest.raises(ZeroDivisionError):
        result.write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "report.html").write_text("of an older run")
    written, failures = write_page(result, tmp_path, True)
    assert written == ()
    assert failures == ("report.html is not written: ZeroDivisionError: no scale; the other files are complete",)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html.old"]


def test_a_page_that_is_broken_off_leaves_none_of_an_older_model(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a second Ctrl-C."""

    def end(*_: object) -> None:
        raise SystemExit(130)

    monkeypatch.setattr("arrayrefine.page.places.pictures", end)
    (tmp_path / "report.html").write_text("of an older run")
    with pytest.raises(SystemExit):
        write_page(result, tmp_path, True)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html.old"]


def test_no_page_of_an_older_model_is_beside_new_files(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the process is killed before the page is drawn, or where `write` alone is called from Python."""
    page, old = tmp_path / "report.html", tmp_path / "report.html.old"
    page.write_text("of an older run")
    result.write(tmp_path)
    assert not page.exists()
    assert old.read_text() == "of an older run"
    monkeypatch.setattr("arrayrefine.page.write.together", lambda work, count: "new")
    result.write_report(tmp_path)
    assert page.read_text() == "new"
    assert not old.exists()
    old.write_text("of an older run")
    (tmp_path / "refined.pdb.old").write_text("of that run, too")
    result.write_report(tmp_path)
    assert old.read_text() == "of an older run"


def test_no_page_where_none_is_wanted(result: Result, tmp_path: Path) -> None:
    assert write_page(result, tmp_path, False) == ((), ())
    assert list(tmp_path.iterdir()) == []
    assert cli.parse(["demo", "--no-report"]).options.report is False  # type: ignore[union-attr]


def test_page_of_little(subject: Subject) -> None:
    """No test set, no step, no shells, a parametric scale, nothing but water: every part can be missing."""
    account: dict[str, Any] = copy.deepcopy(dict(subject.account))
    account["start"]["r_free"] = account["final"]["r_free"] = account["final"]["bond_rmsz"] = None
    account |= {"steps": [], "shells": [], "restraints": [], "tls": [], "warnings": [], "stopped": "", "device": ""}
    account["scaling"] = {"scale": {"form": "parametric"}, "sigma_a": []}
    validation = dict(subject.validation)
    validation["residues"] = [row for row in validation["residues"] if row["kind"] == "water"]
    for name in ("outliers", "clashes", "peaks", "blobs"):
        validation[name] = []
    none = {"count": 0, "favoured": 0, "allowed": 0, "outlier": 0}
    validation["ramachandran"] = validation["rotamers"] = {**none, "percent": dict.fromkeys(none)}
    validation["clashscore"] = validation["clashscore_alone"] = None
    text = page(dataclasses.replace(subject, account=account, validation=validation))
    words = " ".join(Outline(text).words)
    for sentence in ("there is no step", "There is no residue to show", "no chain of a polymer", "no peak beyond"):
        assert sentence in words
    assert "None" not in words.replace("None.", "")
    assert "nan" not in words.split()


def test_page_of_many_steps_without_test_set(subject: Subject) -> None:
    account: dict[str, Any] = copy.deepcopy(dict(subject.account))
    account["steps"] = [{**step, "cycle": k, "r_free": None, "nll_free": None} for k in range(20) for step in
                        account["steps"]]  # fmt: skip
    account["start"]["r_free"] = account["final"]["r_free"] = None
    text = page(dataclasses.replace(subject, account=account))
    steps = re.search(r'<figure class="chart" id="r-steps">.*?</figure>', text, re.DOTALL)
    assert steps
    assert f"over {len(account['steps'])} steps" in steps[0]
    assert "R-free" not in steps[0]


def test_names_are_text_and_never_markup(subject: Subject) -> None:
    name = '<b>$x$"&'
    identity = dataclasses.replace(subject.atoms.identity, chain=np.full(len(subject.atoms), name))
    atoms = dataclasses.replace(subject.atoms, identity=identity)
    validation = dict(subject.validation)
    validation["residues"] = [{**row, "chain": name} for row in validation["residues"]]
    validation["peaks"] = [{**row, "atom": name + row["atom"][1:]} for row in validation["peaks"]]
    account = {**subject.account, "warnings": ["<script>1</script>"], "device": "<i>", "stopped": "</style>"}
    text = page(dataclasses.replace(subject, atoms=atoms, validation=validation, account=account))
    found = Outline(text)
    tags = [tag for tag, _ in found.tags]
    assert (tags.count("script"), tags.count("style"), tags.count("b"), tags.count("i")) == (1, 1, 0, 0)
    assert f"residue of chain {name}" in found.words
    assert "<script>1</script>" in found.words


def test_the_band_that_is_steered_by_is_the_one_that_marks(subject: Subject) -> None:
    """Whatever the options make of it, and as the log has it."""
    account = {**subject.account, "final": {**subject.account["final"], "bond_rmsz": 0.85, "angle_rmsz": 1.12}}
    high, angle = (found for found in tiles(account, subject.validation) if "RMSZ" in found.label)
    assert (high.flag, high.rule) == ("look", "marked above 0.8")
    assert (angle.flag, angle.rule) == ("", "marked above 1.15")
    weighting = {**account["options"]["weighting"], "rmsz_high": 0.9}
    wider = {**account, "options": {**account["options"], "weighting": weighting}}
    high, _ = (found for found in tiles(wider, subject.validation) if "RMSZ" in found.label)
    assert high.flag == ""


def test_warnings_come_before_notes(subject: Subject) -> None:
    """A report of before, which does not tell them apart, has notes alone."""
    without = {key: value for key, value in subject.account.items() if key != "cautions"}
    without["warnings"] = ["atoms were fixed up", "look there"]

    def order(account: dict[str, Any]) -> list[str]:
        names = {"Warnings", "Notes", "None.", *without["warnings"]}
        words = Outline(page(dataclasses.replace(subject, account=account))).words
        return [word for word in words if word in names]

    assert order(without | {"cautions": ["look there"]}) == ["Warnings", "look there", "Notes", "atoms were fixed up"]
    assert order(without) == ["Warnings", "None.", "Notes", "atoms were fixed up", "look there"]


def test_page_is_deterministic(subject: Subject, drawn: str) -> None:
    assert page(subject) == drawn


def test_browser_finds_no_error_and_asks_for_nothing(shown: Any, folder: Path) -> None:
    shown.get_log("browser")
    browser.requests(shown)
    shown.refresh()
    shown.execute_script("scrollTo(0, document.body.scrollHeight)")
    asked = browser.requests(shown)
    assert (folder / "report.html").as_uri() in asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert {url for url in asked if url.startswith("file:")} == {(folder / "report.html").as_uri()}
    assert shown.get_log("browser") == []


def column(driver: Any, caption: str, number: int) -> list[str]:
    """Sort keys of a column as they stand."""
    script = """
        const [caption, number] = arguments;
        const table = [...document.querySelectorAll("table")].find((t) => t.caption.textContent.startsWith(caption));
        const cells = [...table.tBodies[0].rows].map((row) => row.cells[number]);
        return cells.map((cell) => cell.dataset.key ?? cell.textContent);
    """
    found: list[str] = driver.execute_script(script, caption, number)
    return [text.strip() for text in found]


def test_tables_sort_by_click_and_by_keyboard(shown: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    caption = "Restraints of the dictionary"
    heads = shown.find_elements(By.XPATH, f"//table[caption[starts-with(., '{caption}')]]/thead//button")
    names = [head.text.split()[0] for head in heads]
    z, atoms = names.index("z"), names.index("Atoms")
    before = column(shown, caption, z)
    assert len(before) > 3
    assert [float(v) for v in before] == sorted(map(float, before), reverse=True)
    heads[z].click()
    heads[z].click()
    assert [float(v) for v in column(shown, caption, z)] == sorted(map(float, before))
    heads[atoms].send_keys(Keys.ENTER)
    labels = column(shown, caption, atoms)
    numbers = [int(label.split()[1]) for label in labels]
    assert numbers == sorted(numbers)
    assert numbers != [int(label.split()[1]) for label in sorted(labels)]  # as numbers, not as text
    order = "return [...arguments[0].closest('tr').children].map((th) => th.getAttribute('aria-sort'))"
    said = shown.execute_script(order, heads[atoms])
    assert said[atoms] == "ascending"
    assert [said[i] for i in range(len(said)) if i != atoms] == [None] * (len(said) - 1)
    heads[atoms].send_keys(Keys.SPACE)
    assert column(shown, caption, atoms) == labels[::-1] or numbers[0] == numbers[-1]
    assert sorted(column(shown, caption, z)) == sorted(before)


def test_figures_have_names_for_those_who_hear_them(shown: Any) -> None:
    from selenium.webdriver.common.by import By

    images = shown.find_elements(By.CSS_SELECTOR, "figure [role=img]")
    assert len(images) >= 14
    for image in images[:3] + images[-3:]:
        assert image.aria_role in ("img", "image")
        assert len(image.accessible_name) > 40


def test_keyboard_reaches_the_report_first(shown: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    shown.switch_to.active_element.send_keys(Keys.TAB)
    link = shown.switch_to.active_element
    assert link.text == "Skip to the report"
    assert link.rect["x"] >= 0
    link.send_keys(Keys.ENTER)
    assert shown.switch_to.active_element.get_attribute("id") == "main"


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_nothing_sticks_out_of_the_page(shown: Any, width: int) -> None:
    browser.resize(shown, width)
    script = """
        for (const details of document.querySelectorAll("details")) details.open = true;
        const out = [...document.querySelectorAll("main *")].filter((e) => !e.closest(".scroll, .unseen, svg")
          && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80));
        return [document.documentElement.scrollWidth, innerWidth, out];
    """
    total, visible, out = shown.execute_script(script)
    assert visible == width
    assert total <= visible
    assert out == []


def test_dark_mode_reaches_the_charts(shown: Any) -> None:
    script = """
        const line = document.querySelector("#r-steps path[style*='--work']");
        return [getComputedStyle(document.body).backgroundColor, getComputedStyle(line).stroke];
    """
    light = shown.execute_script(script)
    browser.emulate(shown, prefers_color_scheme="dark")
    dark = shown.execute_script(script)
    assert light[0] == "rgb(255, 255, 255)"
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    shown.find_element("id", "theme").click()
    assert shown.execute_script(script) == light


def test_other_schemas_are_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    from arrayrefine.page.folder import Folder

    content = json.loads((folder / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps([content]))
    with pytest.raises(InputError, match="has the schema 'list'"):
        _ = Folder(tmp_path).account
    (tmp_path / "refined.mtz").write_bytes(DATA.read_bytes())
    with pytest.raises(InputError, match=r"no column FC, PHIC.*expected the refined\.mtz"):
        _ = Folder(tmp_path).maps
