"""The viewer beside the report: what is served and to whom, and that places of the report lead there."""

from __future__ import annotations

import importlib.util
import shutil
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import gemmi
import numpy as np
import pytest

from arrayrefine import __main__ as cli
from arrayrefine.commands import viewer
from arrayrefine.errors import ArrayRefineError
from arrayrefine.example import DATA, MODEL
from arrayrefine.io.models.reading import read_model
from arrayrefine.options import Options
from arrayrefine.page.folder import Folder
from arrayrefine.page.render import NAME
from arrayrefine.refine import refine

STUB = """
var molstar = { Viewer: { create: async () => {
  const calls = window.calls = [];
  const note = (name) => async (...values) => { calls.push([name, JSON.parse(JSON.stringify(values))]); return {}; };
  const update = { to: () => update, update: () => update, delete: () => update, commit: async () => {} };
  return {
    loadVolumeFromUrl: async (source, levels) => {
      const content = await (await fetch(source.url)).arrayBuffer();
      calls.push(["volume", source.url, content.byteLength, levels.map((l) => l.value)]);
    },
    plugin: {
      state: { data: { build: () => update, cells: new Map() } },
      builders: { data: { download: note("download") }, structure: {
        parseTrajectory: note("trajectory"), createModel: note("model"), createStructure: note("structure"),
        tryCreateComponentStatic: note("component"), representation: { addRepresentation: note("drawn") },
      } },
      managers: { camera: { focusSphere: note("focus") } },
    },
  };
} } };
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view") / "refined"
    folder.mkdir()
    result = refine(MODEL, DATA, Options(cycles=0, d_min=3.0))
    result.write(folder)
    result.write_report(folder)
    return folder


@pytest.fixture
def server(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[viewer.Server]:
    """The server with a stand-in for Mol*, which needs more than a headless browser without a GPU has."""
    (tmp_path / "molstar.js").write_text(STUB)
    (tmp_path / "molstar.css").write_text("")
    monkeypatch.setattr(viewer, "molstar_folder", lambda: tmp_path)
    with viewer.Server(viewer.make_site(Folder(out))) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def get(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
        assert "default-src 'self'" in reply.headers["Content-Security-Policy"]
        content: bytes = reply.read()
        return content


def status(url: str, **headers: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(url, **headers)
    caught.value.close()
    return caught.value.code


def test_only_the_site_is_served_and_only_to_those_who_know_the_token(server: viewer.Server, out: Path) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert get(server.url + "refined.cif") == (out / "refined.cif").read_bytes()
    assert get(server.url + "report.html") == (out / "report.html").read_bytes()
    assert b"molstar.js" in get(server.url)
    for name in ("report.json", "../report.json", "..%2Freport.json", "/etc/passwd", "mFo-DFc.ccp4"):
        assert status(server.url + name) == 404
    root = server.url.removesuffix(f"{server.token}/")
    assert status(root) == 403
    assert status(f"{root}wrong/refined.cif") == 403
    assert status(server.url, Host="example.com") == 403
    assert len(server.token) >= 20


@pytest.mark.parametrize(
    "query", ["?x=1&y=2&z=3", "?x=nan&y=2&z=3&radius=8", "?x=1&y=2&z=3&radius=400", "?x=1&y=a&z=3&radius=8"]
)
def test_boxes_that_make_no_sense_are_not_served(server: viewer.Server, query: str) -> None:
    assert status(f"{server.url}2mFo-DFc.ccp4{query}") == 404


def test_a_box_of_the_map_holds_the_density_of_the_model(server: viewer.Server, out: Path, tmp_path: Path) -> None:
    atoms = Folder(out).atoms
    row = int(np.flatnonzero(atoms.identity.residue_name == "FOL")[0])
    x, y, z = atoms.xyz[row]
    file = tmp_path / "box.ccp4"
    file.write_bytes(get(f"{server.url}2mFo-DFc.ccp4?x={x}&y={y}&z={z}&radius=9"))
    box = gemmi.read_ccp4_map(str(file))
    points, whole = (np.array([box.header_i32(k + i) for i in range(3)]) for k in (1, 8))
    size = points / whole * np.array(box.grid.unit_cell.parameters[:3])
    assert np.all((size > 17.0) & (size < 21.0))
    box.setup(float("nan"))
    sigma = server.site.maps["2mFo-DFc.ccp4"].sigma
    near = np.linalg.norm(atoms.xyz - atoms.xyz[row], axis=1) < 6.0
    ligand = near & (atoms.identity.residue_name == "FOL")
    values = [box.grid.interpolate_value(gemmi.Position(*p)) for p in atoms.xyz[ligand]]
    assert ligand.sum() > 8
    assert np.mean(values) > 1.2 * sigma
    assert np.isnan(box.grid.interpolate_value(gemmi.Position(x + 16.0, y, z)))


def test_without_the_extra_the_error_names_it(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "molstar_cli" else find(name))
    assert cli.main(["view", str(out), "--no-browser"]) == 2
    error = capsys.readouterr().err
    assert "the extra 'view' of arrayrefine" in error
    assert "pip install 'arrayrefine[view]'" in error


def test_the_package_has_the_viewer() -> None:
    pytest.importorskip("molstar_cli", reason="the extra 'view' is not installed")
    folder = viewer.molstar_folder()
    assert (folder / "molstar.js").stat().st_size > 1_000_000


def test_another_package_of_that_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "molstar_cli").mkdir()
    (tmp_path / "molstar_cli" / "__init__.py").write_text("")
    spec = importlib.util.spec_from_file_location("molstar_cli", tmp_path / "molstar_cli" / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ArrayRefineError, match=r"no molstar\.js and molstar\.css"):
        viewer.molstar_folder()


def test_port_and_folder_that_cannot_be_used(
    out: Path, tmp_path: Path, server: viewer.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["view", str(out), "--no-browser", "--port", "70000"]) == 2
    assert "--port 70000: expected 0 to 65535" in capsys.readouterr().err
    assert cli.main(["view", str(out), "--no-browser", "--port", str(server.server_port)]) == 2
    assert f"--port {server.server_port} cannot be used" in capsys.readouterr().err
    assert cli.main(["view", str(tmp_path / "nothing"), "--no-browser"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_a_folder_without_a_report_is_shown_from_its_first_residue(
    server: viewer.Server, out: Path, tmp_path: Path
) -> None:
    assert NAME in viewer.make_site(Folder(out)).files
    bare = tmp_path / "bare"
    shutil.copytree(out, bare)
    (bare / NAME).unlink()
    site = viewer.make_site(Folder(bare))
    assert NAME not in site.files
    assert set(site.maps) == {"2mFo-DFc.ccp4", "mFo-DFc.ccp4"}
    label, _ = Folder(bare).first_place()
    assert label in site.files[""]().decode()
    name, number = read_model(MODEL).atoms.identity.label(0).split("/")[1].split()
    assert {name, number} <= set(label.replace("/", " ").split())


@pytest.mark.parametrize("browser", [True, False])
def test_the_command_serves_until_it_is_interrupted(
    server: viewer.Server, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    browser: bool,
) -> None:  # fmt: skip
    opened: list[str] = []
    served: list[str] = []

    def serve_forever(self: viewer.Server) -> None:
        served.append(self.url)
        raise KeyboardInterrupt

    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(viewer.Server, "serve_forever", serve_forever)
    assert cli.main(["view", str(out), *([] if browser else ["--no-browser"])]) == 0
    assert capsys.readouterr().out == f"{out} at {served[0]}\nCtrl-C to end\n"
    assert opened == served[:browser]


def test_places_of_the_report_lead_to_the_viewer(server: viewer.Server, tmp_path: Path, out: Path) -> None:
    if reason := browser.unavailable_reason():
        pytest.skip(reason)
    with browser.chromium(tmp_path / "profile") as driver:
        driver.get(server.url)

        def calls(name: str, least: int) -> list[list[Any]]:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                found = [call for call in driver.execute_script("return window.calls ?? []") if call[0] == name]
                if len(found) >= least:
                    return found
                time.sleep(0.1)
            raise AssertionError(f"{name}: {driver.execute_script('return [window.calls, document.body.innerText]')}")

        calls("focus", 2)  # the first residue, then the first place of the report
        driver.switch_to.frame(driver.find_element("tag name", "iframe"))
        place = driver.find_elements("css selector", "#density .go")[0]
        x, y, z = map(float, place.find_element("xpath", "..").get_attribute("data-where").split(","))
        label = place.text
        driver.execute_script("arguments[0].focus()", place)
        place.send_keys("\n")
        driver.switch_to.default_content()
        target = calls("focus", 3)[-1][1][0]["center"]
        assert target == [x, y, z]
        assert driver.find_element("id", "state").text == label
        volumes = calls("volume", 6)
        assert all(f"x={x:g}" in call[1] and call[2] > 5000 for call in volumes[-2:])
        sigma = server.site.maps["mFo-DFc.ccp4"].sigma
        assert volumes[-1][3] == pytest.approx([3.0 * sigma, -3.0 * sigma])
        asked = browser.requests(driver)
        assert all(url.startswith((server.url, "data:")) for url in asked), asked
        errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert errors == []


def test_a_map_of_anomalous_differences_is_shown_where_there_is_one(
    out: Path, server: viewer.Server, tmp_path: Path
) -> None:
    assert b"anomalous" not in get(server.url).split(b"<script")[0]
    folder = shutil.copytree(out, tmp_path / "anomalous")
    mtz = gemmi.read_mtz_file(str(folder / "refined.mtz"))
    for label, like in (("FAN", "DELFWT"), ("PHAN", "PHDELWT")):
        mtz.copy_column(-1, mtz.column_with_label(like)).label = label
    mtz.write_to_file(str(folder / "refined.mtz"))
    server.site = viewer.make_site(Folder(folder))
    sigma = server.site.maps["anomalous.ccp4"].sigma
    assert sigma == pytest.approx(server.site.maps["mFo-DFc.ccp4"].sigma, rel=1e-4)
    assert b'id="anomalous"' in get(server.url)
    if reason := browser.unavailable_reason():
        pytest.skip(reason)
    with browser.chromium(tmp_path / "profile") as driver:
        driver.get(server.url)
        deadline = time.monotonic() + 20
        drawn: list[list[Any]] = []
        while not drawn and time.monotonic() < deadline:
            found = driver.execute_script("return window.calls ?? []")
            drawn = [call for call in found if call[0] == "volume" and call[1].startswith("anomalous.ccp4")]
            time.sleep(0.1)
        assert drawn
        assert drawn[0][3] == pytest.approx([5.0 * sigma])
        errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert errors == []


@pytest.mark.parametrize(("error", "said"), [(BrokenPipeError("gone"), False), (RuntimeError("a mistake"), True)])
def test_a_browser_that_went_away_is_no_error_to_speak_of(
    error: Exception, said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site: Any = None
    with viewer.Server(site) as server:
        try:
            raise error
        except Exception:
            server.handle_error(None, ("127.0.0.1", 1))
    assert (str(error) in capsys.readouterr().err) is said
