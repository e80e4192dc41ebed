"use strict";
(async () => {
  const first = {{ first|tojson }};
  const says = document.getElementById("state");
  const control = (name) => document.getElementById(name);
  const light = !matchMedia("(prefers-color-scheme: dark)").matches;
  const maps = [
    { file: "2mFo-DFc.ccp4", control: "best", sign: 1, colour: 0x3b7dc4 },
    { file: "mFo-DFc.ccp4", control: "difference", sign: 1, colour: 0x00a070 },
    { file: "mFo-DFc.ccp4", control: "difference", sign: -1, colour: 0xd9541e },
  ];
  let viewer;
  let centre = first;

  // Wires within a sphere, as on a crystallographer's screen: a map of the whole model hides what it shows.
  const draw = async () => {
    const state = viewer.plugin.state.data;
    const update = state.build();
    const drawn = [...state.cells.values()].filter((cell) => cell.transform.transformer.id.endsWith("volume-representation-3d"));
    drawn.forEach((cell, i) => {
      const map = maps[i];
      const level = map.sign * Number(control(map.control).value);
      const radius = 2 * Number(control("radius").value);
      update.to(cell.transform.ref).update((old) => {
        old.type.params.isoValue = { kind: "relative", relativeValue: level };
        old.type.params.visuals = ["wireframe"];
        old.type.params.sizeFactor = 1.5;
        old.type.params.clip = { variant: "pixel", objects: [{
          type: "sphere", invert: true, position: centre, rotation: { axis: [1, 0, 0], angle: 0 },
          scale: [radius, radius, radius], transform: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
        }] };
      });
    });
    await update.commit();
  };
  const go = async (place, label) => {
    centre = place;
    await draw();
    viewer.plugin.managers.camera.focusSphere({ center: place, radius: 8 });
    says.textContent = label;
  };

  try {
    viewer = await molstar.Viewer.create("app", {
      layoutIsExpanded: false, layoutShowControls: false, layoutShowRemoteState: false, layoutShowSequence: true,
      layoutShowLog: false, viewportShowExpand: true, viewportShowSelectionMode: false, viewportShowAnimation: false,
      viewportBackgroundColor: light ? "white" : "0x14171b",
    });
    await viewer.loadStructureFromUrl("refined.cif", "mmcif", false, { representationParams: { theme: { globalName: "element-symbol" } } });
    for (const map of maps) {
      await viewer.loadVolumeFromUrl({ url: map.file, format: "ccp4", isBinary: true },
        [{ type: "relative", value: map.sign * Number(control(map.control).value), color: map.colour, alpha: 1 }]);
    }
    await go(first, {{ label|tojson }});
  } catch (error) {
    says.textContent = `The viewer cannot show this: ${error.message ?? error}`;
    throw error;
  }

  for (const [name, unit, digits] of [["best", "σ", 1], ["difference", "σ", 1], ["radius", "Å", 0]]) {
    control(name).addEventListener("input", (event) => {
      event.target.nextElementSibling.textContent = `${Number(event.target.value).toFixed(digits)} ${unit}`;
    });
    control(name).addEventListener("change", draw);
  }
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
