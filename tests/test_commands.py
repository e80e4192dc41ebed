"""Commands that look at a model: validate, peaks, omit."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
from pathlib import Path

import gemmi
import numpy as np
import pytest

from arrayrefine import __main__ as cli
from arrayrefine.commands.inputs import options_of
from arrayrefine.commands.pages import loading
from arrayrefine.commands.reading_options import Reading
from arrayrefine.commands.stopping import cleaned_up
from arrayrefine.commands.tables import table
from arrayrefine.errors import InputError
from arrayrefine.evaluation import as_read, validate_files
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Options
from arrayrefine.page.folder import Folder
from arrayrefine.wording import Caution


def test_validate_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found" / "v.json"
    assert cli.main(["validate", str(MODEL), str(DATA), "--out", str(out), "--show", "2"]) == 0
    text, notes = capsys.readouterr()
    content = json.loads(out.read_text(encoding="utf-8"))
    favoured = content["ramachandran"]["percent"]["favoured"]
    assert f"{favoured:.1f} % favoured" in text
    assert "Rotamer outliers (the first 2 of " in text
    assert "A 102 GLN CD – A 102 GLN NE2" in text
    assert text.endswith(f"wrote {out}\n")
    assert f"R-work, R-free      {content['r_work']:.4f} {content['r_free']:.4f}" in text
    assert content["r_work"] < 0.17
    assert "TLS" not in text + notes  # nothing is refined
    assert "of hydrogens turned to contacts\n" in text + notes  # and there are no cycles
    assert content["residues"][0]["rscc"] > 0.8


def test_peaks_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "peaks.json"
    assert cli.main(["peaks", str(MODEL), str(DATA), "--limit", "5.5", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    content = json.loads(out.read_text(encoding="utf-8"))
    assert all(abs(peak["height"]) >= 5.5 for peak in content["peaks"])
    assert f"{content['peaks'][0]['height']:.1f}" in text
    assert "0 holes beyond 5.5 sigma, 1 blob\n" in text
    assert "A 116 ASP" in content["peaks"][0]["atom"]


@pytest.mark.parametrize(
    ("command", "out", "file"),
    [
        (["validate"], "found.json", "found.json"),
        (["peaks"], "found.json", "found.json"),
        (["omit", "--selection", "resname FOL"], "", "omit.json"),
    ],
)
def test_what_was_found_is_written_though_nobody_reads_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], out: str, file: str
) -> None:
    def gone(*text: object, **how: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", gone)
    monkeypatch.setattr(cli.standard_streams, "give_up_output", lambda: None)
    assert cli.main([*command, str(MODEL), str(DATA), "--d-min", "3", "--out", str(tmp_path / out)]) == 141
    schemas = {"validate": "arrayrefine.validation/1", "peaks": "arrayrefine.peaks/1", "omit": "arrayrefine.omit/1"}
    assert json.loads((tmp_path / file).read_text())["schema"] == schemas[command[0]]  # what other programs look for


def test_omit_writes_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "omit"
    assert cli.main(["omit", str(MODEL), str(DATA), "--selection", "element Mn", "--out", str(out)]) == 0
    assert "polder, 5 Å map at these atoms" in capsys.readouterr().out
    content = json.loads((out / "omit.json").read_text(encoding="utf-8"))
    assert content["atoms"][0]["atom"] == "A 300 MN MN"
    assert content["atoms"][0]["sigma"] > 15.0
    assert content["cc_present_data"] > 0.9
    place = gemmi.read_structure(str(MODEL))[0].sole_residue("A", gemmi.SeqId("300"))[0].pos
    grid = gemmi.read_ccp4_map(str(out / "omit_mFo-DFc.ccp4"), setup=False).grid
    assert grid.point_count < 60 * 80 * 180 / 4
    mtz = gemmi.read_mtz_file(str(out / "omit.mtz"))
    whole = mtz.transform_f_phi_to_map("DELFWT", "PHDELWT", sample_rate=3.0)
    assert whole.interpolate_value(place) / np.array(whole).std() > 15.0


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread")
def test_sigterm_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "omit"

    def interrupted(*_: object) -> None:
        assert out.is_dir()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("arrayrefine.evaluation.omit_files", interrupted)
    with pytest.raises(SystemExit) as left:
        cli.main(["omit", str(MODEL), str(DATA), "--selection", "element Mn", "--out", str(out)])
    assert left.value.code == 128 + signal.SIGTERM
    assert not out.exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["validate", "none.pdb"], "model file 'none.pdb' does not exist"),
        (["validate", "model.pdb", "--out", "model.pdb"], "input 'model.pdb' would be replaced"),
        (["validate", "model.pdb", "--out", "."], "output '.' is a folder"),
        (["validate", "model.pdb", "--out", "found/"], "'found' has the name of a folder; expected that of a file"),
        (["peaks", "model.pdb", "data.mtz", "-o", "found"], "such as 'found.json' or 'found/found.json'"),
        (["omit", "model.pdb", "data.mtz", "--selection", "all", "-o", "o.mtz"], "'o.mtz' has the name of a file; ex"),
        (["regularise", "model.pdb", "-o", "new.pdb"], "expected that of a folder, such as 'new': several files are"),
        (["refine", "model.pdb", "data.mtz", "-o", "new.cif"], "'new.cif' has the name of a file; expected that of"),
        (["validate", "model.pdb", "--show", "-1"], "--show: found -1, expected 0 or more rows"),
        (["peaks", "model.pdb", "data.mtz", "--show", "-1"], "--show: found -1, expected 0 or more rows"),
        (["peaks", "model.pdb", "data.mtz", "--limit", "0"], "--limit: found 0"),
        (["peaks", "model.pdb", "data.mtz", "--out", "data.mtz"], "input 'data.mtz' would be replaced"),
        (["omit", "model.pdb", "omit/omit.mtz", "--selection", "all"], "input 'omit/omit.mtz' would be replaced"),
        (["validate", "model.pdb", "--config", "none.toml"], "configuration 'none.toml' cannot be read"),
    ],
)
def test_input_that_cannot_be_used(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.pdb").write_text("")
    Path("data.mtz").write_text("")
    Path("omit").mkdir()
    Path("omit/omit.mtz").write_text("")
    assert cli.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_options_on_data_have_no_effect_without_any(tmp_path: Path) -> None:
    """Whatever they name is not looked for; what says how the model is read is heeded."""
    found = validate_files(MODEL, None, Options(phases="none.phs", d_min=2.0, hydrogens="strip"))[1]
    said = [note for note in found if "has no effect" in note]
    assert said == [f"--{name} has no effect: there are no data" for name in ("phases", "d-min")]
    assert all(isinstance(note, Caution) for note in said)


def test_folder_that_is_none_of_a_refinement(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refined\.cif' does not exist; expected the output folder of a refinement"):
        _ = Folder(tmp_path).atoms


def test_options_of_a_look(tmp_path: Path) -> None:
    config = tmp_path / "options.toml"
    config.write_text('d_min = 2.5\nunknown = "hold"\ntls = ["chain"]\n')
    options = options_of(Reading(d_min=3.0, hydrogens="keep"), config)
    assert (options.d_min, options.hydrogens, options.unknown) == (3.0, "keep", "hold")
    seen = as_read(options)
    assert (seen.tls, seen.anisotropic, seen.perturb) == (("none",), "keep", 0.0)
    assert seen.d_min == 3.0
    assert options_of(Reading(), None) == Options()


def test_tables_align_and_say_what_is_left_out() -> None:
    rows = [("A 1 MET", "1.5"), ("B 10 LEU", "-12.0"), ("C 1 GLY", "3.0")]
    assert table("Outliers", ("residue", "z "), rows, 2) == [
        "", "Outliers (the first 2 of 3)", "  residue       z", "  A 1 MET     1.5", "  B 10 LEU  -12.0",
    ]  # fmt: skip
    assert table("Outliers", ("residue", "z "), rows, 3)[1] == "Outliers"
    assert table("Outliers", ("residue", "z "), [], 3) == []


def test_a_keyboard_interrupt_that_no_command_catches_is_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse", interrupted)
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr() == ("", "")


def test_an_error_of_the_system_that_is_not_of_the_output_is_no_error_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(cli, "parse", failing)
    with pytest.raises(OSError, match="Input/output error"):
        cli.main(["doctor"])


def test_signals_are_left_to_a_caller_who_has_a_use_for_them() -> None:
    """Where another handler is in place, and in a thread that may set none."""
    def own(number: int, frame: object) -> None:
        raise AssertionError

    with cleaned_up():
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, own)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGTERM, own)
    try:
        with cleaned_up():
            assert signal.getsignal(signal.SIGTERM) is own
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    seen: list[object] = []

    def within() -> None:
        with cleaned_up():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_whoever_has_the_collector_off_has_it_off_afterwards() -> None:
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            with loading():
                assert not gc.isenabled()
            assert gc.isenabled() is enabled
        finally:
            gc.unfreeze()
            gc.enable()


def test_help_that_is_asked_for_beside_a_mistake_gives_way_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["refine", "--nonsense", "-h"])
    assert ended.value.code == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert "arrayrefine refine --help" in found.err


def test_peaks_are_printed_where_no_file_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["peaks", str(MODEL), str(DATA), "--d-min", "4"]) == 0
    assert "sigma" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_model_without_data_is_validated_without_what_data_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["validate", str(MODEL)]) == 0
    text = capsys.readouterr().out
    assert "Ramachandran" in text
    assert "clashscore" in text
    assert "R-work" not in text
    assert "real-space CC" not in text
