"""The command line on real input: in a process of its own where signals, pipes or the entry point matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import __main__ as cli
from arrayrefine.device import choice as device
from arrayrefine.example import DATA, MODEL

Case = Callable[[str], Path]
Here = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).resolve().parents[1]
FILES = ["refined.cif", "refined.mtz", "refined.pdb", "report.html", "report.json"]


def start(*arguments: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "arrayrefine", *map(str, arguments)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path, "COLUMNS": "110"},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Status, output and errors of a command in this process, which spares the start of another."""
    monkeypatch.setenv("COLUMNS", "110")

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def test_demo_with_two_steps(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = ["demo", "--out", out, "--cycles", "1", "--targets", "xyz", "b", "--d-min", "2.2", "--timings"]
    command += ["--device", "cpu"]
    status, text, errors = finish(start(*command))
    assert (status, errors) == (0, "")
    assert sorted(p.name for p in out.iterdir()) == FILES
    report = json.loads((out / "report.json").read_text())
    final = report["final"]
    assert final["r_work"] < report["start"]["r_work"] - 0.03
    assert 0.4 < final["bond_rmsz"] < 1.2
    assert f"R-free           {report['start']['r_free']:.4f} ->   {final['r_free']:.4f}" in text
    for part in ("splat", "fft", "lookup", "likelihood", "geometry", "contacts", "adp"):
        assert f"\n{part} " in text
        assert any(step["timings"].get(part, 0) > 0 for step in report["steps"])
    assert "\x1b" not in text  # a pipe gets no colours


def test_quick_refinement_from_mmcif_with_a_configuration(case: Case, tmp_path: Path, here: Here) -> None:
    folder, out = case("6mw0"), tmp_path / "refined"
    config = tmp_path / "options.toml"
    config.write_text('cycles = 1\nd_min = 1.2\ntargets = ["xyz+b"]\n[weighting]\nratio = 0.25\n')
    command = ["refine", folder / "shaken.cif", folder / "norm.mtz", "--out", out, "--config", config]
    status, _, errors = here(*command, "--xray.target", "gaussian")
    assert (status, errors) == (0, "")
    report = json.loads((out / "report.json").read_text())
    assert [s["target"] for s in report["steps"]] == ["xyz+b"]
    assert report["options"]["weighting"]["ratio"] == 0.25
    assert report["options"]["xray"]["target"] == "gaussian"
    assert report["final"]["r_work"] < report["start"]["r_work"]


@pytest.mark.parametrize(
    ("number", "status", "wait"),
    [
        pytest.param(signal.SIGINT, 130, 4.0, id="Ctrl-C while refining"),
        pytest.param(signal.SIGTERM, 143, 4.0, id="SIGTERM while refining"),
        pytest.param(signal.SIGINT, 130, 0.0, id="Ctrl-C while reading"),
    ],
)
def test_interrupted_run_writes_the_best_model_so_far(
    tmp_path: Path, number: signal.Signals, status: int, wait: float
) -> None:
    out = tmp_path / "refined"
    process = start("demo", "--out", out, "--cycles", "200", "--minimiser.no-early-stop", "--d-min", "2.2")
    deadline = time.monotonic() + 60
    while not out.is_dir() and time.monotonic() < deadline:  # made once the signals are caught
        time.sleep(0.02)
    time.sleep(wait)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    found, text, errors = finish(process)
    assert found == status, errors
    assert "best model so far" in errors
    assert "ended: interrupted" in text
    assert sorted(p.name for p in out.iterdir()) == FILES
    report = json.loads((out / "report.json").read_text())
    assert "interrupted" in report["stopped"]
    assert report["final"]["r_work"] <= report["start"]["r_work"] + 2e-3
    assert gemmi.read_structure(str(out / "refined.pdb"))[0].count_atom_sites() == 1503
    assert gemmi.read_mtz_file(str(out / "refined.mtz")).nreflections > 5000


def bad_inputs(folder: Path) -> dict[str, tuple[list[object], list[str]]]:
    """Arguments of `refine`, and what its message has to say."""
    empty, text, cut = folder / "empty.pdb", folder / "words.mtz", folder / "cut.mtz"
    empty.write_bytes(b"")
    text.write_text("these are no reflections\n")
    cut.write_bytes(DATA.read_bytes()[:20000])
    structure = gemmi.read_structure(str(MODEL))
    structure.cell = gemmi.UnitCell()
    structure.write_pdb(str(folder / "nocell.pdb"))
    data = gemmi.read_mtz_file(str(DATA))
    data.set_cell_for_all(gemmi.UnitCell())
    data.write_to_file(str(folder / "nocell.mtz"))
    other = gemmi.read_structure(str(MODEL))
    other.spacegroup_hm = "P 21 21 2"
    other.write_pdb(str(folder / "other.pdb"))
    return {
        "no file": (["nowhere.pdb", DATA], ["nowhere.pdb"]),
        "empty file": ([empty, DATA], ["empty.pdb", "empty"]),
        "wrong kind": ([MODEL, text], ["words.mtz"]),
        "files exchanged": ([DATA, MODEL], ["data.mtz"]),
        "truncated": ([MODEL, cut], ["cut.mtz"]),
        "no cell": ([folder / "nocell.pdb", folder / "nocell.mtz"], ["nocell.pdb", "cell", "its data do not name"]),
        "other space group": ([folder / "other.pdb", DATA], ["P 21 21 2", "P 21 21 21"]),
        "no such column": ([MODEL, DATA, "--columns", "F,SIGF"], ["FP", "SIGFP"]),
        "no such free column": ([MODEL, DATA, "--free", "Rfree=0"], ["FREE"]),
        "too little resolution": ([MODEL, DATA, "--d-min", "200"], ["200"]),
        "no GPU": ([MODEL, DATA, "--device", "cuda"], ["--device cuda: CuPy", "--device cpu"]),
        "no such step": ([MODEL, DATA, "--targets", "u"], ["tls", "occupancy"]),
    }


def test_input_that_cannot_be_used_is_one_message_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from arrayrefine.__main__ import main

    monkeypatch.setattr(device, "cuda_unavailable_reason", lambda: "CuPy is not installed")  # whatever is here
    for name, (arguments, words) in bad_inputs(tmp_path).items():
        out = tmp_path / "out"
        status = main(["refine", *map(str, arguments), "--out", str(out)])
        said = capsys.readouterr()
        assert status == 2, name
        assert said.err.startswith("arrayrefine: error: "), name
        assert "Traceback" not in said.err, name
        for word in words:
            assert word in said.err, f"{name}: {said.err}"
        assert not out.exists(), name


def test_component_without_restraints_names_the_remedies(case: Case, tmp_path: Path, here: Here) -> None:
    folder = case("5orl")
    status, _, errors = here("refine", folder / "shaken.pdb", folder / "norm.mtz", "--out", tmp_path / "out")
    assert status == 2
    assert all(word in errors for word in ("A4W", "A 407", "--restraints", "--monomers", "--unknown hold"))
    assert not (tmp_path / "out").exists()


def test_several_starts_have_folders_and_a_table(case: Case, tmp_path: Path, here: Here) -> None:
    folder, out = case("1dur"), tmp_path / "out"
    status, printed, _ = here(
        "refine", folder / "shaken.pdb", folder / "norm.mtz", "--out", out, "--cycles", 1, "--starts", 2,
        "--perturb", 0.1, "--seed", 7, "--timings", "--no-report",
    )  # fmt: skip
    assert status == 0
    reports = [json.loads((out / str(k) / "report.json").read_text()) for k in (0, 1)]
    assert [(report["options"]["seed"], report["options"]["start"]) for report in reports] == [(7, 0), (7, 1)]
    assert reports[0]["start"]["r_work"] != reports[1]["start"]["r_work"]
    best = min(range(2), key=lambda k: reports[k]["final"]["r_work"])
    assert f"lowest R-work: start {best}," in printed
    assert "part" in printed  # of the timings
    for report in reports:
        assert f"{report['final']['r_free']:.4f}" in printed


@pytest.mark.parametrize(
    ("flags", "expected"), [(["--starts", "3"], "give --perturb"), (["--starts", "0"], "expected 1 or more")]
)
def test_starts_that_make_no_sense_are_refused(
    case: Case, tmp_path: Path, here: Here, flags: list[str], expected: str
) -> None:
    folder, out = case("1dur"), tmp_path / "out"
    status, _, err = here("refine", folder / "shaken.pdb", folder / "norm.mtz", "--out", out, *flags)
    assert status == 2
    assert expected in err
    assert not out.exists()


def test_starts_share_a_test_set_that_was_chosen(case: Case, tmp_path: Path, here: Here) -> None:
    folder, out = case("1dur"), tmp_path / "out"
    arguments = ("--out", out, "--cycles", 0, "--starts", 2, "--perturb", 0.1, "--free", "random", "--no-report")
    assert here("refine", folder / "shaken.pdb", folder / "norm.mtz", *arguments)[0] == 0
    files = [gemmi.read_mtz_file(str(out / k / "refined.mtz")) for k in ("0", "1")]
    flags = [np.array(file.column_with_label("FREE")) for file in files]
    np.testing.assert_array_equal(*flags)
    assert (flags[0] == 0.0).sum() > 50


def test_a_start_that_cannot_be_written_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where the disk fills up for a while."""
    from arrayrefine import many
    from arrayrefine.commands import progress

    class Refined:
        model = atoms = reflections = None
        report = SimpleNamespace(with_warnings=lambda *_: None)

        def write(self, folder: Path) -> None:
            if folder.name != "1":
                raise ar.ArrayRefineError(f"no room for start {folder.name}")
            (folder / "refined.cif").touch()

    monkeypatch.setattr(many, "refine_many", lambda jobs, **_: tuple(Refined() for _ in jobs))
    monkeypatch.setattr("arrayrefine.io.output.write.left_out", lambda *_: ())
    monkeypatch.setattr(progress.Progress, "starts", lambda self, reports, *_: print("table of", list(reports)))
    arguments = ["--starts", "3", "--perturb", "0.1", "--no-report", "--out", str(tmp_path / "out")]
    assert cli.main(["refine", str(MODEL), str(DATA), *arguments]) == 2
    said = capsys.readouterr()
    assert "table of [1]" in said.out
    assert said.err == "arrayrefine: error: no room for start 0\nno room for start 2\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1"]


def test_starts_on_bad_input_leave_nothing_behind(case: Case, tmp_path: Path, here: Here) -> None:
    folder, out = case("1dur"), tmp_path / "out"
    flags = ("--starts", 2, "--perturb", 0.1, "--out", out)
    assert here("refine", tmp_path / "absent.pdb", folder / "norm.mtz", *flags)[0] == 2
    assert not out.exists()
    out.mkdir()
    (out / "1").write_text("in the way")
    status, _, err = here("refine", folder / "shaken.pdb", folder / "norm.mtz", *flags)
    assert status == 2
    assert "is a file" in err
    assert [p.name for p in out.iterdir()] == ["1"]


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs a system on which a folder in use can be removed")
def test_a_working_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.main(["refine", str(MODEL), str(DATA), "--out", "refined"]) == 2
    assert capfd.readouterr().err == "arrayrefine: error: the working folder does not exist any more: go to another\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_standard_output_that_is_closed_or_takes_nothing(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = f"'{sys.executable}' -m arrayrefine demo --cycles 0 --d-min 3 --device cpu --out"
    for name, where, status, said in (
        ("closed", ">&-", 0, ""),
        ("full", ">/dev/full", 2, "standard output could not be written: No space left on device"),
    ):
        run = subprocess.run(
            f"{command} '{tmp_path / name}' {where}", shell=True, text=True, stderr=subprocess.PIPE, timeout=100,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert (run.returncode, said in run.stderr, "Traceback" in run.stderr) == (status, True, False)
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == FILES
    # all three closed: files that are opened must not get their numbers
    command = f"{command} '{tmp_path / 'none'}' <&- >&- 2>&-"
    assert subprocess.run(command, shell=True, env={**os.environ, "PYTHONPATH": path}, timeout=100).returncode == 0
    assert sorted(p.name for p in (tmp_path / "none").iterdir()) == FILES
