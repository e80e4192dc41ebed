"""The diagnosis: right where all is well, and a finding instead of a crash where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arrayrefine import __main__ as cli
from arrayrefine import doctor
from arrayrefine.kernels import density


def found(topic: str) -> doctor.Finding:
    return next(f for f in doctor.examine() if f.topic == topic)


def test_everything_needed_works_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIBD_MON", raising=False)
    findings = doctor.examine()
    topics = [f.topic for f in findings]
    for topic in (
        "arrayrefine",
        "Python",
        "numpy",
        "scipy",
        "gemmi",
        "cores",
        "memory",
        "GPU",
        "monomers",
        "kernels",
    ):
        assert topic in topics
    assert not [f for f in findings if f.state == "broken"]
    assert doctor.report_lines(findings)[-1] == "Everything that a refinement needs works."
    assert found("numpy").detail == np.__version__
    assert "components" in found("monomers").detail
    assert int(found("monomers").detail.split()[-2]) > 50


def test_gpu_is_said_to_be_unused() -> None:
    gpu = found("GPU")
    assert gpu.state == "absent"
    assert "not used in this version" in gpu.detail


def test_wrong_monomer_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIBD_MON", str(tmp_path / "none"))
    finding = found("CLIBD_MON")
    assert finding.state == "broken"
    assert "is not a folder; unset it" in finding.detail
    monkeypatch.setenv("CLIBD_MON", str(tmp_path))
    assert found("CLIBD_MON").state == "works"


def test_missing_example_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "MODEL", tmp_path / "none")
    finding = found("example")
    assert finding.state == "broken"
    assert "install arrayrefine again" in finding.detail


def test_wrong_adjoint_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = density.gather

    def wrong(*arguments: object) -> tuple[object, ...]:
        first, *rest = right(*arguments)  # type: ignore[arg-type]
        return (1.01 * first, *rest)

    monkeypatch.setattr(density, "gather", wrong)
    assert found("kernels").state == "broken"
    assert doctor.report_lines(doctor.examine())[-1] == "Does not work: kernels."


def test_command_prints_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert "GPU" in output
    assert "monomers" in output
