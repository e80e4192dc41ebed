"""Every code block of README and documentation, in a folder in which the example's files lie.

Blocks of a page run in order, Python in one namespace. What they refine is the embedded example to 2.75 Å; refinements
are cut short, do without hydrogens, and those that would be the same are done once, so that this tests what the pages
say and not how well it refines. Lines of a shell that start other programs than ours are compared with a list.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

import arrayrefine as ar
from arrayrefine import __main__ as cli
from arrayrefine.commands import pages
from arrayrefine.configuration import check_options, read_config
from arrayrefine.example import DATA, MODEL
from arrayrefine.options import Options

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {"likelihood-layer.md": "test_likelihood_layer.py"}
"""Pages that need libraries which may not be there, and the tests that run them."""
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.name not in ELSEWHERE)]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
BLOCK = re.compile(
    r"^(?:<!-- needs: (?P<library>\w+) -->\n)?(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=fence)\s*$",
    re.MULTILINE | re.DOTALL,
)
OTHERS = {"python", "python3", "pip", "pytest", "ruff", "mypy", "coot", "source", ".", "tests/benchmarks/gpu.sh"}
"""What pages start in a shell besides arrayrefine."""
SILENT = {"text", "json", "{eval-rst}", "{toctree}", "{note}", "{figure}", "{image}", "{option-table}"}
"""Languages of blocks that are no code."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that pages refer to."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "model.pdb.gz").write_bytes(MODEL.read_bytes())
    structure = gemmi.read_structure(str(MODEL))
    structure.write_pdb(str(folder / "model.pdb"))
    structure.write_pdb(str(folder / "reference.pdb"))
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(folder / "model.cif"))
    mtz = gemmi.read_mtz_file(str(DATA))
    mtz.set_data(np.array(mtz)[mtz.make_d_array() > 2.75])
    mtz.write_to_file(str(folder / "data.mtz"))
    phases = gemmi.Mtz(with_base=True)
    phases.spacegroup, columns = mtz.spacegroup, (*"ABCD", "PHIB", "FOM")
    phases.set_cell_for_all(mtz.cell)
    for name in columns:
        phases.add_column(f"HL{name}" if len(name) == 1 else name, {"PHIB": "P", "FOM": "W"}.get(name, "A"))
    calculator = gemmi.StructureFactorCalculatorX(mtz.cell)
    phase = [np.angle(calculator.calculate_sf_from_model(structure[0], h)) for h in mtz.make_miller_array().tolist()]
    a, b, nothing = np.cos(phase), np.sin(phase), np.zeros(len(phase))
    phase_deg = np.degrees(phase)
    known = [a, b, nothing, nothing, phase_deg, 0.5 + nothing]
    phases.set_data(np.column_stack([mtz.make_miller_array(), *known]).astype(np.float32))
    phases.write_to_file(str(folder / "phases.mtz"))
    as_text = np.column_stack([mtz.make_miller_array(), nothing, 0.5 + nothing, phase_deg, nothing])
    np.savetxt(folder / "shelxe.phs", as_text, fmt="%4d%4d%4d %9.2f %7.4f %7.1f %7.2f")
    monomer = ROOT / "arrayrefine" / "data" / "monomers" / "f" / "FOL.cif"
    (folder / "ligand.cif").write_text(monomer.read_text())
    return folder


@pytest.fixture(scope="module")
def short() -> Iterator[dict[str, int]]:
    """Cut every refinement short, and do it once; the value holds the limits in force."""
    modules = [importlib.import_module(f"arrayrefine.{name}") for name in ("refine", "many")]
    limits = {"cycles": 1}
    real: Callable[..., Any] = modules[0].run  # type: ignore[attr-defined]
    done: dict[str, Any] = {}

    alone = threading.Lock()

    def run(
        model: Any, data: Any, options: Options, on_step: Any = None, on_message: Any = None, stop: Any = None,
        meet: Any = None, on_state: Any = None, extra: Any = (), restraint_tables: Any = (),
    ) -> Any:  # fmt: skip
        less = dataclasses.replace(
            options, cycles=min(options.cycles, limits["cycles"]), perturb=0.0, start=0, threads=1,
            hydrogens="strip" if {options.hydrogens, options.write_hydrogens} == {"auto"} else options.hydrogens,
            minimiser=dataclasses.replace(options.minimiser, max_iterations=1),
        )  # fmt: skip
        files = all(isinstance(source, (str, Path)) for source in (model, data))
        if on_state or extra or restraint_tables or not files:
            return real(model, data, less, on_step, on_message, stop, None, on_state, extra, restraint_tables)
        with alone:
            key = f"{Path(model).name} {Path(data).name} {less}"
            if key not in done:
                done[key] = real(model, data, less)
        for step in done[key].history if on_step else ():
            on_step(step)
        return done[key]

    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setattr(module, "run", run)
        for module in (cli, pages):  # `arrayrefine report` and `Result.write_report` write some
            patch.setattr(module, "write_page", lambda result, out, wanted: ((), ()))
        yield limits


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for source in files.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("arrayrefine.example.MODEL", files / "model.pdb.gz")
    monkeypatch.setattr("arrayrefine.example.DATA", files / "data.mtz")
    return tmp_path


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """Line, language and text of each code block, but those that need a library that is not here."""
    content = page.read_text()
    return [
        (content.count("\n", 0, found.start("text")) + 1, (found["language"].split() or [""])[0], found["text"])
        for found in BLOCK.finditer(content)
        if found["library"] is None or importlib.util.find_spec(found["library"])
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_code_block_runs(page: Path, folder: Path, short: dict[str, int]) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line, language, text in blocks(page):
        where = f"{page.name}:{line}"
        if language == "python":
            run_python(text, where, namespace)
        elif language in ("sh", "bash", "console", "shell"):
            run_shell(text, where, short)
        elif language == "toml":
            (folder / "options.toml").write_text(text)
            check_options(read_config("options.toml"))
        else:
            assert language in SILENT, f"{where}: no way is known to run {language or 'a block without language'!r}"
            looks_like_code = re.search(r"^(\$ |arrayrefine |import |>>> )", text, re.MULTILINE)
            assert not looks_like_code, f"{where}: is this {language}?"


def run_python(text: str, where: str, namespace: dict[str, Any]) -> None:
    lines = "\n" * (int(where.rsplit(":", 1)[1]) - 1)  # so that a traceback names the line of the page
    exec(compile(lines + text, where, "exec"), namespace)


def run_shell(text: str, where: str, short: dict[str, int]) -> None:
    for row in text.replace("\\\n", " ").splitlines():
        for part in row.removeprefix("$ ").split("&&"):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words.pop(0)
            if not words:
                continue
            program = words[0].removeprefix(".venv/bin/")
            if program != "arrayrefine":
                assert program in OTHERS, f"{where}: {row}"
            elif words[1] not in ("demo", "view"):  # 1.8 Å; a server that never ends
                short["cycles"] = 0
                try:
                    assert run_command(words[1 : words.index(">") if ">" in words else None]) == 0, row
                finally:
                    short["cycles"] = 1
            else:
                cli.parse(words[1:])


def run_command(words: list[str]) -> int:
    if "--help" in words:
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        return int(left.value.code or 0)
    return cli.main([w if w != "cuda" else "auto" for w in words])  # there may be none where tests run


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebooks_run(path: Path, folder: Path, short: dict[str, int]) -> None:
    cells = json.loads(path.read_text())["cells"]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(c for c in cells if c["cell_type"] == "code"):
        assert not cell["outputs"], f"{path.name}: cell {number} was stored with its output; clear it"
        run_python("".join(cell["source"]), f"{path.name}, cell {number}:1", namespace)


def test_the_harness_can_fail(folder: Path, short: dict[str, int]) -> None:
    with pytest.raises(NameError):
        run_python("unknown", "page:3", {})
    with pytest.raises(SystemExit):
        run_shell("arrayrefine refine model.pdb data.mtz --no-such-flag", "page:3", short)
    with pytest.raises(AssertionError):
        run_shell("arrayrefine refine missing.pdb data.mtz", "page:3", short)
    with pytest.raises(AssertionError):
        run_shell("unheard-of --flag", "page:3", short)


def test_public_names_are_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "python.md").read_text()
    text += (ROOT / "docs" / "reference" / "options.md").read_text()
    missing = [name for name in ar.__all__ if f"arrayrefine.{name}\n" not in text]
    assert not missing
