"""Sphinx: `python -m sphinx -W docs site`. Nothing is fetched, neither when building nor when reading."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import arrayrefine  # noqa: E402
from arrayrefine.version import version as _version  # noqa: E402

project = "arrayrefine"
author = "arrayrefine authors"
copyright = author
release = version = _version()

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "mathml", "option_table"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
root_doc = "index"

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # NumPyDoc docstrings give shape and unit as well
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autosummary_generate = False
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"arrayrefine {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"

assert arrayrefine.__all__
