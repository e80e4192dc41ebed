"""Every CUDA source compiles without a warning and without spills for the devices that are supported."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from arrayrefine.kernels.backend import compile_options, source_of

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
SOURCES = sorted(KERNELS.glob("*.cu"))
PARTS = sorted(KERNELS.glob("*.cuh"))
ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
NVCC = shutil.which("nvcc")


def _compile(source: Path, folder: Path) -> str:
    """Messages of the compiler for all architectures, the assembler's report included."""
    whole = folder / source.name
    whole.write_text(source_of(source.stem))
    targets = [f"-gencode=arch=compute_{a[3:]},code={a}" for a in ARCHITECTURES]
    command = [str(NVCC), *compile_options(source.stem), "-fatbin", "-Werror", "all-warnings"]
    command += ["-Wno-deprecated-gpu-targets", "-Xptxas", "-v", *targets]
    command += ["--threads", "2", "-o", str(folder / "out.fatbin"), str(whole)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(folder)})
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr + done.stdout


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_compiles_without_spills(source: Path, tmp_path: Path) -> None:
    stamp = hashlib.sha256(source_of(source.stem).encode() + Path(__file__).read_bytes()).hexdigest()[:24]
    passed = Path(tempfile.gettempdir()) / f"cuda-sources-{os.getuid()}-{stamp}"
    if passed.exists():
        return  # the same source has compiled before
    report = _compile(source, tmp_path)
    compiled = re.findall(r"Compiling entry function '(\w+)' for '(sm_\d+)'", report)
    assert {a for _, a in compiled} == set(ARCHITECTURES)
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", report)
    assert len(spills) >= 2 * len(compiled)
    assert not any(int(n) for n in spills), report
    passed.touch()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_keeps_to_what_nvrtc_offers(source: Path) -> None:
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", source_of(source.stem), flags=re.DOTALL)
    assert not re.search(r"#\s*include|\bstd::|\bu?int(8|16|32|64)_t\b", code)
    for name in ("INFINITY", "NAN", "M_PI", "FLT_MAX", "DBL_MAX", "INT_MAX", "printf", "assert"):
        assert not re.search(rf"(?<!_)\b{name}\b", code), f"{source.name} uses {name}, which NVRTC does not define"
    assert re.search(r'extern\s+"C"', code)


def test_parts_are_put_in_once_and_none_is_left_over() -> None:
    included = set()
    for source in SOURCES:
        parts = [part for part in PARTS if f'#include "{part.name}"' in source.read_text()]
        code = source_of(source.stem)
        for part in parts:
            inner = [line for line in part.read_text().splitlines() if line and not line.startswith("#include")]
            assert all(code.count(line) >= 1 for line in inner)
            assert code.count(inner[0]) == 1
        included |= set(parts)
    nested = {part for part in PARTS for other in PARTS if f'#include "{part.name}"' in other.read_text()}
    assert included | nested == set(PARTS)


def test_a_part_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arrayrefine.kernels import backend

    (tmp_path / "odd.cu").write_text('#include "none.cuh"\n')
    monkeypatch.setattr(backend, "__file__", str(tmp_path / "backend.py"))
    with pytest.raises(FileNotFoundError, match=r"none\.cuh"):
        source_of("odd")
