"""What the package says of itself: one version everywhere, and everything that a wheel has to carry."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import arrayrefine

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_one_semantic_version_everywhere(project: dict[str, Any]) -> None:
    version = project["project"]["version"]
    assert re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?", version)
    assert f"\nversion: {version}\n" in (ROOT / "docs" / "CITATION.cff").read_text()
    headings = re.findall(r"^## (\S+)", (ROOT / "docs" / "changelog.md").read_text(), re.MULTILINE)
    assert headings[0] == version
    assert arrayrefine.__version__ in (version, "source")


def test_every_package_is_listed(project: dict[str, Any]) -> None:
    """The list is explicit, as the kernels lie in a folder of their own."""
    found = {"arrayrefine.kernels"}
    for init in (ROOT / "arrayrefine").rglob("__init__.py"):
        parts = init.relative_to(ROOT).parent.parts
        if "kernels" not in parts:
            found.add(".".join(parts))
    assert set(project["tool"]["setuptools"]["packages"]) == found


def test_files_that_are_no_code_are_package_data(project: dict[str, Any]) -> None:
    data = project["tool"]["setuptools"]["package-data"]
    for package, folder in (("arrayrefine", ROOT / "arrayrefine"), ("arrayrefine.kernels", ROOT / "kernels")):
        covered = {path for pattern in data[package] for path in folder.glob(pattern)}
        others = {
            path for path in folder.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc") and "kernels" not in path.relative_to(folder).parts
        }  # fmt: skip
        missing = {path for path in others - covered if not _of_a_package(path, folder, data)}
        assert not missing


def _of_a_package(path: Path, folder: Path, data: dict[str, list[str]]) -> bool:
    """Whether a package below lists the file."""
    for parent in path.relative_to(folder).parents:
        name = ".".join(("arrayrefine", *parent.parts))
        if any(path in set((folder / parent).glob(pattern)) for pattern in data.get(name, ())):
            return True
    return False


def test_notices_are_shipped(project: dict[str, Any]) -> None:
    for name in project["project"]["license-files"]:
        assert (ROOT / name).is_file(), name
    notices = (ROOT / "docs" / "third-party.md").read_text()
    for requirement in project["project"]["dependencies"]:
        name = re.split(r"[<>=;\[ ]", requirement)[0]
        assert name.lower() in notices.lower(), f"{name} has no line in docs/third-party.md"
