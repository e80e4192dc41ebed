"""The diagnosis: right where all is well, and a finding instead of a crash where it is not."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from arrayrefine import __main__ as cli
from arrayrefine import doctor
from arrayrefine.device import choice as device
from arrayrefine.errors import DeviceError
from arrayrefine.kernels import backend, density
from arrayrefine.kernels.backend import DeviceFacts, cuda_unavailable_reason
from arrayrefine.options import Options


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


def test_a_missing_gpu_is_no_fault() -> None:
    with_reason = cuda_unavailable_reason()
    gpu = found("GPU")
    if with_reason is None:
        pytest.skip("a CUDA device answers")
    assert gpu.state == "absent"
    assert with_reason in gpu.detail


def test_gpu_works_only_if_its_kernels_agree(
    emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = found("GPU")
    assert gpu.state == "works"
    assert "agree with NumPy" in gpu.detail
    right = density.splat
    monkeypatch.setattr(density, "splat", lambda *a: 1.001 * right(*a))
    gpu = found("GPU")
    assert gpu.state == "broken"
    assert "computes something else than NumPy" in gpu.detail


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"capability": (7, 0)}, "too old: compute capability 7.0, 7.5 or newer is needed"),
        ({"free": 2**20}, "has 1.0 MiB of its 8.00 GiB of memory free, at least 256.0 MiB are needed"),
    ],
)
def test_an_unfit_gpu_is_named(
    emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], words: str
) -> None:
    card = dataclasses.replace(DeviceFacts("Card 9", (9, 0), 7 * 2**30, 8 * 2**30), **facts)
    monkeypatch.setattr(device, "device_facts", lambda: card)
    gpu = found("GPU")
    assert gpu.state == "broken"
    assert words in gpu.detail
    with pytest.raises(DeviceError, match="--device cuda: Card 9"):
        device.choose_device(Options(device="cuda"))
    chosen = device.choose_device(Options(device="auto"))
    assert chosen.kind == "cpu"
    assert words in str(chosen)


@pytest.mark.emulator
@pytest.mark.parametrize(("said", "words"), [("out of memory\nmore", "out of memory"), ("", "MemoryError")])
def test_a_gpu_that_refuses_is_named(
    emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, said: str, words: str
) -> None:
    """One that is full, or taken by another process, has no room even to be asked."""

    def refuse() -> None:
        raise MemoryError(said)

    monkeypatch.setattr(device, "device_facts", refuse)
    assert str(device.choose_device(Options(device="auto"))).endswith(f"the device refuses: {words}")
    with pytest.raises(DeviceError, match=f"--device cuda: the device refuses: {words}"):
        device.choose_device(Options(device="cuda"))


@pytest.mark.emulator
def test_a_compiler_that_fails_is_named(emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("nvrtc: error: no\nmore")

    monkeypatch.setattr(emulated_cuda, "RawModule", refuse)
    assert "does not run the kernels: nvrtc: error: no" in found("GPU").detail


@pytest.mark.emulator
def test_auto_takes_a_gpu_that_is_fit(emulated_cuda: ModuleType) -> None:
    chosen = device.choose_device(Options(device="auto"))
    assert chosen.kind == "cuda"
    assert str(chosen) == "cuda (emulated device), because it is there and fit for it"
    assert device.choose_device(Options(device="cpu")) is device.CPU


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


def test_a_package_that_is_missing_and_memory_of_unknown_size_are_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", ("numpy", "no_such_package"))
    found = {finding.topic: finding for finding in doctor._packages()}
    assert found["numpy"].state == "works"
    assert found["no_such_package"].state == "broken"
    assert found["no_such_package"].detail == "No module named 'no_such_package'; pip install no_such_package"

    def refuse(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(doctor.os, "sysconf", refuse)
    memory = doctor._machine()[1]
    assert (memory.topic, memory.state, memory.detail) == ("memory", "absent", "size unknown on this system")


@pytest.mark.parametrize(("count", "words"), [
    (0, "no CUDA device is visible"), (None, "CuPy cannot reach a CUDA device: driver too old"),
])  # fmt: skip
def test_a_cupy_without_a_device_says_why(monkeypatch: pytest.MonkeyPatch, count: int | None, words: str) -> None:
    def counted() -> int:
        if count is None:
            raise RuntimeError("driver too old")
        return count

    cupy = types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=counted)))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(backend, "cupy_is_there", lambda: True)
    monkeypatch.setattr(backend, "_device", {**backend._device, "lost": False})
    assert cuda_unavailable_reason() == words


def test_a_device_is_not_used_by_what_was_forked_from_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace())
    monkeypatch.setattr(backend, "cupy_is_there", lambda: True)
    monkeypatch.setattr(backend, "_device", {**backend._device, "lost": True})
    reason = cuda_unavailable_reason()
    assert reason is not None
    assert "the process that this one was forked from has used a CUDA device" in reason
