"""The result of a refinement in the browser: report, model and maps side by side, served on loopback only."""

from __future__ import annotations

import importlib.util
import secrets
import sys
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from arrayrefine.errors import ArrayRefineError
from arrayrefine.page.folder import Folder
from arrayrefine.page.render import NAME, view_page
from arrayrefine.real_space.map_grids import MARGIN, Kind, MapGrid, map_grid

_PACKAGE = "molstar_cli"
"""PyPI package that brings the build of Mol*."""
_MOLSTAR = ("molstar.js", "molstar.css")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".cif": "text/plain"}
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
"""Nothing on these pages may reach beyond this server."""
_FURTHEST, _LARGEST = 1e5, 40.0
"""Å; places and radii that are served."""
_SAMPLING = 3.6
"""Grid points per d_min of the maps that are shown."""


@dataclass(frozen=True)
class Site:
    """What is served, by name.

    Attributes
    ----------
    files : dict
        Functions that give the content.
    maps : dict of MapGrid
        Of these a box around a place is served: name?x=1&y=2&z=3&radius=12, all in Å.
    """

    files: dict[str, Callable[[], bytes]]
    maps: dict[str, MapGrid] = field(default_factory=dict)

    def content(self, name: str, query: str) -> bytes | None:
        """What an address stands for; None for nothing."""
        if name in self.files:
            return self.files[name]()
        if name not in self.maps:
            return None
        try:
            given = dict(urllib.parse.parse_qsl(query))
            x, y, z, radius = (float(given[key]) for key in ("x", "y", "z", "radius"))
        except (KeyError, ValueError):
            return None
        if not all(abs(v) < _FURTHEST for v in (x, y, z)) or not 0.0 < radius <= _LARGEST:
            return None
        inside = radius - MARGIN
        return self.maps[name].ccp4_bytes(np.array([[x, y, z]]) + inside * np.array([[-1.0], [1.0]]))


def molstar_folder() -> Path:
    """Folder of the Mol* build.

    Raises
    ------
    ArrayRefineError
        The extra that brings it is not installed.
    """
    remedy = "install it with: pip install 'arrayrefine[view]'"
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ArrayRefineError(
            f"the viewer is not installed: the extra 'view' of arrayrefine brings it (package molstar-cli); {remedy}"
        )
    folder = Path(found.origin).parent / "static" / "molstar"
    missing = [name for name in _MOLSTAR if not (folder / name).is_file()]
    if missing:
        raise ArrayRefineError(
            f"the package molstar-cli has no {' and '.join(missing)} in '{folder}': another version was expected; "
            f"{remedy}"
        )
    return folder


def make_site(folder: Folder) -> Site:
    """What is served for an output folder.

    Raises
    ------
    InputError
        A file of the output is missing or cannot be read.
    ArrayRefineError
        The viewer is not installed.
    """
    molstar = molstar_folder()
    report = folder.path / NAME
    label, place = folder.first_place()
    shown: dict[str, Kind] = {"best": "2mFo-DFc", "difference": "mFo-DFc"}
    if folder.maps.anomalous is not None:
        shown["anomalous"] = "anomalous"
    grids = {name: map_grid(folder.maps, folder.crystal, kind, _SAMPLING) for name, kind in shown.items()}
    sigma = {name: grid.sigma for name, grid in grids.items()}
    files: dict[str, Callable[[], bytes]] = {
        "": lambda: view_page(folder.path.resolve().name, label, place, sigma, report.is_file()).encode(),
        "refined.cif": (folder.path / "refined.cif").read_bytes,
        **{name: (molstar / name).read_bytes for name in _MOLSTAR},
    }
    if report.is_file():
        files[NAME] = report.read_bytes
    return Site(files, {f"{shown[name]}.ccp4": grid for name, grid in grids.items()})


class Server(ThreadingHTTPServer):
    """Serves a site on 127.0.0.1, behind a token that other users of the machine do not know."""

    daemon_threads = True

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site = site
        self.token = secrets.token_urlsafe(16)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Address of the first page."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that went away in the middle of a file."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """Send one of the files of the site."""
        host = f"127.0.0.1:{self.server.server_port}"
        path, _, query = self.path.partition("?")
        prefix = f"/{self.server.token}/"
        if self.headers.get("Host") != host or not path.startswith(prefix):
            self.send_error(403)
            return
        name = path[len(prefix) :]
        content = self.server.site.content(name, query)
        if content is None:
            self.send_error(404)
            return
        kind = _TYPES.get(Path(name).suffix if name else ".html", "application/octet-stream")
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text") else kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: every request is one of our own page."""
