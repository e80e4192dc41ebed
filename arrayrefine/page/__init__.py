"""The report as a page for people: one self-contained HTML file. See `render.report_page`."""

from __future__ import annotations
