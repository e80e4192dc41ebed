"""The command line: flags, configuration, exit status, signals, and what is printed."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from arrayrefine import __main__ as cli
from arrayrefine.commands.progress import Progress, step_line, timing_lines
from arrayrefine.errors import InputError, MonomerError
from arrayrefine.example import DATA, FOLDER, MODEL
from arrayrefine.options import Options, Weighting
from arrayrefine.report import Report, Statistics, Step
from arrayrefine.wording import Caution

FLAGS = (
    "--out",
    "--cycles",
    "--targets",
    "--weights",
    "--adp",
    "--tls",
    "--occupancy-groups",
    "--freeze",
    "--restraints",
    "--monomers",
    "--unknown",
    "--columns",
    "--free",
    "--d-min",
    "--device",
    "--threads",
    "--seed",
    "--perturb",
    "--config",
    "--timings",
)
START = Statistics(0.2623, 0.2711, 0.031, 1.82, 2.5, 1.6, 20.0)
FINAL = Statistics(0.1723, None, 0.012, 0.71, 1.2, 0.8, 21.0)
WEIGHTS = {"geometry": 0.0421, "adp": None}
STEP = Step(2, "xyz", 4509, WEIGHTS, 0.18, 0.21, 0.7, 0.8, 40, 2.0, "converged", {"splat": 0.4})
WARNING = "12 atoms were [fixed] up"
REPORT = Report({}, {}, START, FINAL, (STEP,), (WARNING,), 3.2, device="cpu (NumPy)", stopped="done")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "arrayrefine", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "110", **environment},
    )


@pytest.mark.parametrize("command", ["refine", "demo"])
def test_help_lists_every_fixed_flag(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    for flag in (*FLAGS, "--xray.accuracy", "--weighting.ratio", "--minimiser.max-iterations"):
        assert f"{flag} " in done.stdout or f"{flag}," in done.stdout, flag


def test_help_of_all_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("refine", "demo", "doctor"))


def test_help_fits_a_screen() -> None:
    """80 columns and 24 lines, so that nothing scrolls away."""
    lines = run("--help", COLUMNS="80").stdout.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80


def test_help_of_each_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parse(["--help"])
    commands = re.findall(r"[•*] (\w+)", capsys.readouterr().out)
    assert {"refine", "demo", "doctor", "completion"} <= set(commands)
    for command in commands:
        with pytest.raises(SystemExit):
            cli.parse([command, "--help"])
        text = capsys.readouterr().out
        assert re.search(rf"Examples?:\n  arrayrefine {command}\b", text), command
        assert not re.search(r"OPTIONS\] [A-Z]", text.splitlines()[0]), "files come after the options"


def test_usage_names_the_files_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parse(["refine", "--help"])
    assert capsys.readouterr().out.startswith("usage: arrayrefine refine [-h] MODEL DATA [REFINE OPTIONS]\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "arrayrefine" in script
    assert "rigid-body" in script


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("arrayrefine ")


def test_help_does_not_load_what_computes() -> None:
    code = "import sys, arrayrefine.__main__; print([m for m in ('gemmi', 'scipy') if m in sys.modules])"
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_no_command_and_unknown_flag_are_usage_errors() -> None:
    assert run().returncode == 2
    done = run("refine", "model.pdb", "data.mtz", "--cyles", "3")
    assert done.returncode == 2
    assert "--cycles" in done.stderr


def parsed(*arguments: str) -> cli.Refine:
    command = cli.parse(["refine", "model.pdb", "data.mtz", *arguments])
    assert isinstance(command, cli.Refine)
    return command


def test_flags_reach_the_options() -> None:
    command = parsed(
        *(
            "--out",
            "here",
            "--cycles",
            "3",
            "--targets",
            "xyz",
            "b",
            "--weights",
            "stale",
            "--adp",
            "variance",
        ),
        *("--restraints", "a.cif", "b.cif", "--monomers", "lib", "--unknown", "hold", "--columns", "F,SIGF"),
        *("--free", "FreeR_flag=0", "--d-min", "2", "--device", "cpu", "--threads", "2", "--seed", "7"),
        *("--perturb", "0.1", "--timings", "--xray.target", "gaussian", "--weighting.ratio", "0.5"),
    )
    assert (command.model, command.data, command.out) == (Path("model.pdb"), Path("data.mtz"), Path("here"))
    expected = dataclasses.replace(
        Options(),
        cycles=3,
        targets=("xyz", "b"),
        weights="stale",
        adp="variance",
        restraints=(Path("a.cif"), Path("b.cif")),
        monomers=Path("lib"),
        unknown="hold",
        columns="F,SIGF",
        free="FreeR_flag=0",
        d_min=2.0,
        device="cpu",
        threads=2,
        seed=7,
        perturb=0.1,
        timings=True,
        xray=dataclasses.replace(Options().xray, target="gaussian"),
        weighting=Weighting(ratio=0.5),
    )
    assert command.options == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("refine", "m.pdb", "d.mtz"), ("demo",), ("omit", "m.pdb", "d.mtz", "--selection", "A/1"),
        ("peaks", "m.pdb", "d.mtz"), ("validate", "m.pdb"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_letter_for_the_output(arguments: tuple[str, ...]) -> None:
    short, long = (cli.parse([*arguments, flag, "here"]) for flag in ("-o", "--out"))
    assert short == long
    assert short.out == Path("here")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--targets", "xyz", "b", "model.pdb", "data.mtz", "--cycles", "3"),
        ("--targets", "xyz", "b", "model.pdb", "data.mtz", "--timings"),
        ("--timings", "--targets", "xyz", "b", "model.pdb", "data.mtz", "--seed=2"),
        ("--cycles", "3", "--minimiser.no-early-stop", "--targets", "xyz", "b", "model.pdb", "data.mtz"),
        ("--seed", "2", "--targets", "xyz", "b", "model.pdb", "data.mtz", "--restraints", "a.cif"),
        ("--restraints", "a.cif", "model.pdb", "data.mtz", "--out", "there"),
    ],
)
def test_files_after_a_list_of_values(arguments: tuple[str, ...]) -> None:
    command = cli.parse(["refine", *arguments])
    assert isinstance(command, cli.Refine)
    assert (command.model, command.data) == (Path("model.pdb"), Path("data.mtz"))
    assert command.options.targets == (("xyz", "b") if "xyz" in arguments else Options().targets)
    assert command.options.restraints == ((Path("a.cif"),) if "a.cif" in arguments else ())


def test_lists_are_the_options_that_take_several_values() -> None:
    several = [f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(Options) if str(f.type).startswith("tuple")]
    assert tuple(several) == cli.LISTS


def test_defaults() -> None:
    command = parsed()
    assert command.options == Options()
    assert command.out == Path("refined")
    demo = cli.parse(["demo"])
    assert isinstance(demo, cli.Demo)
    assert demo.out == Path("arrayrefine-demo")
    assert demo.options == Options(perturb=0.2)


def test_flags_override_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "options.toml"
    config.write_text('cycles = 9\ntargets = ["xyz+b"]\n[weighting]\nratio = 0.4\nclamp = 2.0\n')
    options = parsed("--config", str(config), "--cycles", "2", "--weighting.clamp", "4").options
    assert options == Options(cycles=2, targets=("xyz+b",), weighting=Weighting(ratio=0.4, clamp=4.0))
    assert parsed(f"--config={config}").options.cycles == 9
    demo = cli.parse(["demo", "--config", str(config)])
    assert isinstance(demo, cli.Demo)
    assert (demo.options.cycles, demo.options.perturb) == (9, 0.2)


def test_unknown_key_in_configuration_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "options.toml"
    config.write_text("cyles = 9\n")
    assert cli.main(["refine", "m.pdb", "d.mtz", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert "unknown key 'cyles'; did you mean 'cycles'?" in error
    assert "Traceback" not in error


class FakeResult:
    """Stands in for a finished refinement."""

    model = atoms = reflections = object()

    def __init__(self, report: Report) -> None:
        self.report = report

    def write(self, folder: Path) -> tuple[Path, ...]:
        (folder / "report.json").write_text(self.report.to_json())
        return (folder / "report.json",)

    def write_report(self, folder: Path) -> Path:
        raise ValueError("no residues")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Report]], None]:
    """Put a function in the place of the refinement."""

    def install(body: Callable[..., Report]) -> None:
        module = types.ModuleType("arrayrefine.refine")

        def refine(model: Path, data: Path, options: Options, **callbacks: Any) -> FakeResult:
            return FakeResult(body(model, data, options, **callbacks))

        module.refine = refine  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "arrayrefine.refine", module)
        monkeypatch.setattr("arrayrefine.io.output.write.left_out", lambda model, atoms, reflections: ())

    return install


def test_refine_writes_and_summarises(
    fake: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[object] = []

    def body(model: Path, data: Path, options: Options, **callbacks: Any) -> Report:
        seen.extend((model, data, options.cycles))
        callbacks["on_message"]("a note")
        callbacks["on_step"](STEP)
        return REPORT

    fake(body)
    assert cli.main(["refine", "m.pdb", "d.mtz", "--out", str(tmp_path / "out"), "--cycles", "4"]) == 0
    assert seen == [Path("m.pdb"), Path("d.mtz"), 4]
    assert (tmp_path / "out" / "report.json").exists()
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert output.splitlines()[0] == "note: 12 atoms were [fixed] up"
    assert "0.2623 ->   0.1723" in output
    assert "wrote " in output
    assert "converged" not in output
    assert "warning: report.html is not written: ValueError: no residues; the other files are complete" in output


def test_demo_refines_the_embedded_example(fake: Callable[..., None], tmp_path: Path) -> None:
    seen: list[object] = []

    def body(model: Path, data: Path, options: Options, **_: Any) -> Report:
        seen.extend((model, data, options))
        return REPORT

    fake(body)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 0
    assert seen == [MODEL, DATA, Options(perturb=0.2)]


@pytest.mark.parametrize("error", [InputError("no columns"), MonomerError("no restraints for XYZ")])
def test_errors_are_one_message_and_status_2(
    fake: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def body(*_: object, **__: object) -> Report:
        raise error

    fake(body)
    assert cli.main(["refine", "m.pdb", "d.mtz", "--out", str(tmp_path / "new")]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"arrayrefine: error: {error}\n"
    assert captured.out == ""
    assert not (tmp_path / "new").exists()


def test_too_little_memory_is_a_message(
    fake: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(*_: object, **__: object) -> Report:
        raise MemoryError("Unable to allocate 13.7 MiB")

    fake(body)
    assert cli.main(["refine", "m.pdb", "d.mtz", "--out", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert "less memory than the refinement asks for (Unable to allocate 13.7 MiB)" in said
    assert "--threads 1" in said
    assert not (tmp_path / "new").exists()


def test_bad_value_and_bad_folder_are_found_before_refining(
    fake: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(*_: object, **__: object) -> Report:
        raise AssertionError("must not start")

    fake(body)
    assert cli.main(["refine", "m.pdb", "d.mtz", "--cycles", "-3"]) == 2
    assert "--cycles: found -3, expected 0 or more" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main(["refine", "m.pdb", "d.mtz", "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGXCPU, 152)],
)
def test_signal_stops_writes_and_sets_the_status(
    fake: Callable[..., None], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    before = signal.getsignal(number)

    def body(*_: object, stop: Callable[[], int | None], **__: object) -> Report:
        assert stop() is None
        os.kill(os.getpid(), number)
        assert stop() == number
        return dataclasses.replace(REPORT, stopped="interrupted: the best model so far was kept")

    fake(body)
    assert cli.main(["refine", "m.pdb", "d.mtz", "--out", str(tmp_path)]) == status
    assert "interrupted" in (tmp_path / "report.json").read_text()
    assert signal.getsignal(number) is before


def test_second_signal_exits_at_once(fake: Callable[..., None], tmp_path: Path) -> None:
    def body(*_: object, **__: object) -> Report:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("must not go on")

    fake(body)
    with pytest.raises(SystemExit) as caught:
        cli.main(["refine", "m.pdb", "d.mtz", "--out", str(tmp_path)])
    assert caught.value.code == 143
    assert not list(tmp_path.iterdir())


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=terminal, width=120, highlight=False), stream


def test_terminal_shows_steps_as_they_come() -> None:
    target, stream = console(True)
    progress = Progress(target)
    progress.start("what [this] is")
    progress.message(WARNING)
    for cycle in (1, 2):
        progress.step(dataclasses.replace(STEP, cycle=cycle))
    shown = stream.getvalue()
    assert "what [this] is" in shown
    assert shown.count("w(geometry)") == 1
    assert shown.count("xyz") == 2
    assert all(text in shown for text in ("0.0421", "0.1800", "0.2100", "0.70", "0.80", " 40 ", "2.0", "converged"))
    progress.summary(REPORT, (Path("refined/refined.cif"),))
    shown = stream.getvalue()
    assert shown.count("12 atoms") == 1
    assert all(text in shown for text in ("0.2623", "0.1723", "final", "–", "done", "wrote refined/refined.cif"))


def test_pipe_gets_only_warnings_and_summary() -> None:
    target, stream = console(False)
    progress = Progress(target)
    progress.start("what this is")
    progress.message(WARNING)
    progress.step(STEP)
    assert stream.getvalue() == ""
    progress.summary(REPORT)
    shown = stream.getvalue()
    assert "note: 12 atoms were [fixed] up" in shown
    assert "R-work" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(("terminal", "note", "warning"), [(False, "note: ", "warning: "), (True, "• ", "! ")])
def test_warnings_stand_out_among_notes(terminal: bool, note: str, warning: str) -> None:
    target, stream = console(terminal)
    progress = Progress(target)
    look = Caution("look there")
    for said in (WARNING, look):
        progress.message(said)
    progress.summary(dataclasses.replace(REPORT, warnings=(WARNING, look)))
    shown = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())
    assert f"{note}{WARNING}\n{warning}look there\n" in shown


def test_pipe_is_told_of_steps_rolled_back() -> None:
    target, stream = console(False)
    back = dataclasses.replace(STEP, cycle=3, target="b", note="converged; rolled back: R-work rose")
    Progress(target).summary(dataclasses.replace(REPORT, steps=(STEP, back)))
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if "cycle" in line] == ["note: cycle 3, b: converged; rolled back: R-work rose"]


def test_own_input_is_not_overwritten(
    fake: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def body(*_: object, **__: object) -> Report:
        raise AssertionError("must not start")

    fake(body)
    loop = tmp_path / "loop"
    loop.mkdir()
    monkeypatch.chdir(tmp_path)
    for given, arguments in {
        "loop/refined.pdb": ("loop/refined.pdb", "d.mtz"),
        str(loop / "refined.mtz"): ("m.pdb", str(loop / "refined.mtz")),
        "loop/../loop/refined.cif": ("m.pdb", "d.mtz", "--restraints", "loop/../loop/refined.cif"),
    }.items():
        assert cli.main(["refine", *arguments, "--out", "loop"]) == 2
        error = capsys.readouterr().err
        assert "would be replaced by the output 'loop/refined." in error
        assert f"input '{given}'" in error
        assert "--out" in error


def test_output_that_the_locale_cannot_write() -> None:
    plain = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    root = str(Path(__file__).resolve().parents[1])
    code = "import arrayrefine.__main__ as m; m.Doctor.__call__ = lambda s: print('1 \\u00c5') or 0; m.main(['doctor'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=root, env={**os.environ, **plain})
    assert (done.stdout, done.stderr) == (b"1 ?\n", b"")


def test_step_line_is_aligned_with_missing_values() -> None:
    bare = Step(1, "scale", 0, {}, 0.2, None, None, float("nan"), 0, 0.1, "")
    assert len(step_line(bare)) == len(step_line(STEP))


def test_timings_per_evaluation() -> None:
    other = dataclasses.replace(STEP, evaluations=10, seconds=1.0, timings={"splat": 0.1, "adp": 0.5})
    lines = timing_lines([STEP, other])
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["splat"] == ["0.500", "10.00"]
    assert rows["adp"] == ["0.500", "50.00"]
    assert "50 evaluations" in lines[-1]
    on_device = [dataclasses.replace(STEP, launches=n) for n in (25, 17, 25)]
    assert timing_lines(on_device)[-1] == "kernels launched per evaluation: 17 to 25"
    assert timing_lines(on_device[:1])[-1] == "kernels launched per evaluation: 25"


def test_embedded_example_is_what_its_note_says() -> None:
    import gemmi

    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 600_000
    mtz = gemmi.read_mtz_file(str(DATA))
    assert mtz.column_labels() == ["H", "K", "L", "FP", "SIGFP", "FREE"]
    free = np.asarray(mtz.column_with_label("FREE").array)
    assert mtz.nreflections == 14152
    assert (free == 0).sum() == 740
    assert set(free) == {0, 1}
    structure = gemmi.read_structure(str(MODEL))
    assert structure.name == "1RX2" or structure.info["_entry.id"] == "1RX2"
    assert structure[0].count_atom_sites() == 1503
    assert "CC0" in (FOLDER / "SOURCE.txt").read_text(encoding="utf-8")
