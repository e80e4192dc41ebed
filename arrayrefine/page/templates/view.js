"use strict";
(async () => {
  const first = {{ first|tojson }};
  const sigma = {{ sigma|tojson }};
  const says = document.getElementById("state");
  const control = (name) => document.getElementById(name);
  const number = (name) => Number(control(name).value);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const colours = { best: 0x3b7dc4, plus: 0x00a070, minus: 0xd9541e, anomalous: 0xa03bc4 };
  let viewer;
  let centre = first;
  let turn = Promise.resolve();

  const wires = () => {
    const state = viewer.plugin.state.data;
    const update = state.build();
    for (const cell of state.cells.values()) {
      if (!cell.transform.transformer.id.endsWith("volume-representation-3d")) continue;
      update.to(cell.transform.ref).update((old) => {
        old.type.params.visuals = ["wireframe"];
        old.type.params.sizeFactor = 1.5;
      });
    }
    return update.commit();
  };
  // Only the surroundings of a place are fetched: a map of the whole model hides what it shows.
  const draw = async () => {
    const plugin = viewer.plugin;
    const state = plugin.state.data;
    const old = [...state.cells.values()].filter((cell) => String(cell.transform.params?.url ?? "").includes(".ccp4"));
    const [x, y, z] = centre;
    const where = `?x=${x}&y=${y}&z=${z}&radius=${number("radius")}`;
    const level = (name, kind, sign) => ({ type: "absolute", value: sign * number(kind) * sigma[kind], color: colours[name], alpha: 1 });
    const load = (kind, file, levels) => viewer.loadVolumeFromUrl({ url: file + where, format: "ccp4", isBinary: true }, levels);
    await load("best", "2mFo-DFc.ccp4", [level("best", "best", 1)]);
    await load("difference", "mFo-DFc.ccp4", [level("plus", "difference", 1), level("minus", "difference", -1)]);
    if (sigma.anomalous) await load("anomalous", "anomalous.ccp4", [level("anomalous", "anomalous", 1)]);
    const update = state.build();
    for (const cell of old) update.delete(cell.transform.ref);
    await update.commit();
    await wires();
  };
  const redraw = () => { turn = turn.then(draw).catch((error) => { says.textContent = `The map cannot be drawn: ${error}`; }); return turn; };
  const go = async (place, label) => {
    centre = place;
    says.textContent = `${label} …`;
    await redraw();
    viewer.plugin.managers.camera.focusSphere({ center: place, radius: 7 });
    says.textContent = label;
  };

  try {
    viewer = await molstar.Viewer.create("app", {
      layoutIsExpanded: false, layoutShowControls: false, layoutShowRemoteState: false, layoutShowLog: false,
      layoutShowSequence: false, viewportShowExpand: false, viewportShowSelectionMode: false, viewportShowAnimation: false,
      viewportBackgroundColor: dark ? "0x14171b" : "white",
    });
    const plugin = viewer.plugin;
    const data = await plugin.builders.data.download({ url: "refined.cif", isBinary: false });
    const trajectory = await plugin.builders.structure.parseTrajectory(data, "mmcif");
    const structure = await plugin.builders.structure.createStructure(await plugin.builders.structure.createModel(trajectory));
    const every = await plugin.builders.structure.tryCreateComponentStatic(structure, "all");
    await plugin.builders.structure.representation.addRepresentation(every, {
      type: "ball-and-stick", typeParams: { sizeFactor: 0.12 },
      color: "element-symbol", colorParams: { carbonColor: { name: "element-symbol", params: {} } },
    });
    await go(first, {{ label|tojson }});
  } catch (error) {
    says.textContent = `The viewer cannot show this: ${error.message ?? error}`;
    throw error;
  }

  for (const [name, unit, digits] of [["best", "σ", 1], ["difference", "σ", 1], ["anomalous", "σ", 1], ["radius", "Å", 0]]) {
    if (!control(name)) continue;
    control(name).addEventListener("input", (event) => {
      event.target.nextElementSibling.textContent = `${number(name).toFixed(digits)} ${unit}`;
    });
    control(name).addEventListener("change", redraw);
  }
  control("bar").addEventListener("submit", (event) => event.preventDefault());
  const frame = document.querySelector("iframe");
  const greet = () => frame?.contentWindow.postMessage({ arrayrefine: "viewer" }, location.origin);
  addEventListener("message", (event) => {
    if (event.origin !== location.origin) return;
    if (event.data?.arrayrefine === "ready") greet();
    if (event.data?.arrayrefine === "go") go(event.data.centre, event.data.label);
  });
  greet();
  window.arrayrefineViewer = viewer; // for those who want more from the console
})();
