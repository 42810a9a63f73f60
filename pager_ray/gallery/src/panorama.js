// One panorama's page: a 360° view that switches between layers, metres under the pointer, and a point cloud.

import * as THREE from "three";
import { makeCloud } from "./cloud.js";
import { load } from "./data.js";
import { element, fileOf, withUnit } from "./list.js";
import { depthLegend, shown } from "./scale.js";
import { makeSphere } from "./sphere.js";
import { colorsOf, decodePanorama, LAYERS, npyOf, sampleAt, textureOf } from "./stage.js";

const at = (id) => document.getElementById(id);
const MODES = [["sphere", "360°"], ["cloud", "Point cloud"]];
const HINTS = {
  sphere: "Drag or use the arrow keys to look around; the wheel, two fingers, + and − zoom.",
  cloud: "Drag to orbit, right-drag or two fingers to move, the wheel zooms.",
};

export function makePanoramaPage(run, list) {
  const stage = at("stage");
  let renderer = null;
  let sphere = null;
  let cloud = null;
  let panorama = null;
  let cloudOf = null;
  let legend = null;
  let [layer, mode] = ["rgb", "sphere"];
  let turn = 0;
  let frame = 0;

  /** WebGL is set up when the first panorama is opened: the list needs none. */
  function setUp() {
    if (renderer) return;
    renderer = new THREE.WebGLRenderer({ antialias: true });
    renderer.outputColorSpace = THREE.LinearSRGBColorSpace;
    // Colours go to the screen as they are given, and a hexadecimal one would be converted.
    renderer.setClearColor(new THREE.Color().setRGB(0x15 / 255, 0x17 / 255, 0x1b / 255, THREE.LinearSRGBColorSpace));
    renderer.setPixelRatio(Math.min(2, window.devicePixelRatio || 1));
    const canvas = renderer.domElement;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", "View of the panorama; arrow keys turn, plus and minus zoom");
    stage.prepend(canvas);
    sphere = makeSphere(renderer);
    cloud = makeCloud(renderer, redraw);
    listen(canvas);
    new ResizeObserver(redraw).observe(stage);
  }

  function redraw() {
    if (!frame) frame = requestAnimationFrame(draw);
  }

  function draw() {
    frame = 0;
    if (!panorama || !panorama.layers.length || at("page-view").hidden) return;
    const { clientWidth: width, clientHeight: height } = stage;
    if (!width || !height) return;
    const size = renderer.getSize(new THREE.Vector2());
    if (size.x !== width || size.y !== height) renderer.setSize(width, height, false);
    if (mode === "sphere") sphere.draw();
    else cloud.draw(width, height, renderer.getPixelRatio());
    const { yaw, pitch, field } = sphere.view;
    Object.assign(stage.dataset, { mode, layer, yaw: yaw.toFixed(5), pitch: pitch.toFixed(5), field: field.toFixed(3),
      camera: mode === "cloud" ? cloud.camera.position.toArray().map((value) => value.toFixed(4)).join(" ") : "",
      points: mode === "cloud" ? cloud.count() : 0, drawn: Number(stage.dataset.drawn || 0) + 1 });
  }

  function listen(canvas) {
    const pointers = new Map();
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const spread = () => {
      const [a, b] = [...pointers.values()];
      return Math.hypot(a[0] - b[0], a[1] - b[1]);
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (mode !== "sphere") return;
      pointers.set(event.pointerId, place(event));
      canvas.setPointerCapture(event.pointerId);
      stage.classList.add("dragging");
    });
    canvas.addEventListener("pointermove", (event) => {
      if (mode !== "sphere") return;
      const now = place(event);
      const before = pointers.get(event.pointerId);
      if (before && pointers.size === 2) {
        const wide = spread();
        pointers.set(event.pointerId, now);
        sphere.zoom(wide / Math.max(1, spread()));
        redraw();
      } else if (before) {
        sphere.drag(now[0] - before[0], now[1] - before[1]);
        pointers.set(event.pointerId, now);
        redraw();
      }
      at("reticle").hidden = true;
      tell(now);
    });
    const release = (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) stage.classList.remove("dragging");
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => tell(null));
    canvas.addEventListener("wheel", (event) => {
      if (mode !== "sphere") return;
      event.preventDefault();
      sphere.zoom(Math.exp(Math.max(-80, Math.min(80, event.deltaY)) / 800));
      redraw();
      tell(place(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      if (mode !== "sphere") return;
      const step = (sphere.view.field * Math.PI) / 180 / 12;
      const turns = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (turns[event.key]) sphere.turn(...turns[event.key]);
      else if (event.key === "+" || event.key === "=") sphere.zoom(0.9);
      else if (event.key === "-") sphere.zoom(1 / 0.9);
      else return;
      event.preventDefault();
      redraw();
      // Without a pointer the middle of the view is read.
      at("reticle").hidden = false;
      tell([canvas.clientWidth / 2, canvas.clientHeight / 2]);
    });
    cloud.controls.listenToKeyEvents(canvas);
  }

  /** The read-out for a point of the canvas; null empties it. */
  function tell(point) {
    const out = at("readout");
    const data = out.dataset;
    if (!point || !panorama || mode !== "sphere" || !panorama.depths) {
      out.textContent = "";
      for (const key of Object.keys(data)) delete data[key];
      if (legend) legend.point(0);
      return;
    }
    const { x, y, depth, sky } = sampleAt(panorama, sphere.placeAt(...point));
    const words = depth > 0 ? `${depth.toPrecision(4)} ${panorama.unit}` : "no depth";
    out.replaceChildren(element("strong", "", words), element("span", "", `pixel ${x}, ${y}`));
    if (sky !== null && sky >= 0.5) out.append(element("span", "", `sky ${Math.round(100 * sky)} %`));
    Object.assign(data, { x, y, depth });
    if (legend) legend.point(depth);
  }

  function showLayer() {
    for (const button of at("layers").children) button.setAttribute("aria-pressed", String(button.value === layer));
    for (const button of at("modes").children) button.setAttribute("aria-pressed", String(button.value === mode));
    const isCloud = mode === "cloud";
    cloud.controls.enabled = isCloud;
    if (isCloud) {
      if (cloudOf !== panorama.row) startCloud();
      cloud.paint(colorsOf(panorama, layer));
    } else {
      sphere.use(...textureOf(panorama, layer));
    }
    at("sliders").hidden = !isCloud;
    at("hint").textContent = [HINTS[mode], isCloud ? cloudNote() : panorama.depths ? readoutNote() : ""].join(" ");
    tell(null);
    redraw();
  }

  function startCloud() {
    const extent = cloud.fill(panorama);
    cloudOf = panorama.row;
    const [reach, ceiling] = [at("reach"), at("ceiling")];
    const [low, high] = [Math.log(Math.max(extent.near, 1e-6)), Math.log(Math.max(extent.far, 2e-6))];
    const limit = () => {
      const far = Math.exp(low + Number(reach.value) * (high - low)) * 1.0001;
      const top = extent.bottom + Number(ceiling.value) * (extent.top - extent.bottom) + 1e-4 * Math.abs(extent.top);
      at("reach-text").textContent = `${shown(far)} ${panorama.unit}`;
      at("ceiling-text").textContent = `${shown(top, 2)} ${panorama.unit} above the camera`;
      cloud.limit(far, top);
      redraw();
    };
    reach.value = String((Math.log(extent.most) - low) / (high - low || 1));
    // A room is closed: from outside its ceiling would be all there is to see.
    ceiling.value = panorama.scene === "outdoor" ? "1" : "0.8";
    reach.oninput = ceiling.oninput = limit;
    limit();
  }

  function readoutNote() {
    const { grid, width, height, depth } = panorama;
    const kept = grid.step === 1 ? "every pixel" : `one pixel in ${grid.step} along each side`;
    return `Read-out: the stored depth at the pixel named, within ${shown(100 * depth.max_relative_error, 2)} %; ${kept} of the ${width}×${height} map is kept here.`;
  }

  function cloudNote() {
    return `${cloud.count().toLocaleString("en")} points; what is more likely sky than not is left out.`;
  }

  function segments(place, entries, choose) {
    place.replaceChildren(...entries.map(([value, text]) => {
      const button = element("button", "", text);
      button.type = "button";
      button.value = value;
      button.onclick = () => choose(value);
      return button;
    }));
  }

  function facts(about) {
    const rows = [["scene", about.scene]];
    if (about.problem) rows.push(["note", about.problem]);
    for (const { name, label, unit } of run.columns) {
      const value = panorama.values[name];
      if (value !== null && value !== undefined) rows.push([label, withUnit(value, unit)]);
    }
    rows.push(["maps", `${panorama.width}×${panorama.height}`], ["source", about.uri]);
    if (panorama.rgb_from) rows.push(["picture from", panorama.rgb_from]);
    at("facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", String(value))]));
  }

  /** Pictures as the page shows them, and the depth that is kept here as numbers. */
  function offer(about) {
    const name = about.id.replace(/[^\w.-]+/g, "_").slice(-80) || String(about.row);
    const link = (text, file, url) => {
      const made = element("a", "button", text);
      made.download = file;
      made.href = url;
      return made;
    };
    const links = panorama.layers.map((each) => {
      const picture = panorama.pictures[each];
      const url = picture.toDataURL ? picture.toDataURL("image/png") : picture.src;
      const kind = /^data:image\/(\w+)/.exec(url)[1];
      return link(each, `${name}-${each}.${kind === "jpeg" ? "jpg" : kind}`, url);
    });
    if (panorama.depths) {
      const { rows, columns } = panorama.grid;
      const url = URL.createObjectURL(npyOf(panorama.depths, rows, columns));
      panorama.urls = [url];
      links.push(link(`depth.npy, ${columns}×${rows}`, `${name}-depth.npy`, url));
    }
    at("downloads").replaceChildren(element("span", "", "Download"), ...links);
  }

  function toggleFull() {
    if (document.fullscreenElement) document.exitFullscreen();
    else stage.requestFullscreen?.().catch((error) => note(`No full screen: ${error.message}.`));
  }

  // The browser itself leaves the full screen with Escape; a second one goes back to the list.
  document.addEventListener("keydown", (event) => {
    if (at("page-view").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    // Where the page stands inside another one, without its head, there is no list.
    const hasList = at("back").offsetParent !== null;
    if (event.key === "Escape" && !document.fullscreenElement && hasList) location.hash = list.address();
    else if (event.key.toLowerCase() === "f" && panorama && event.target.tagName !== "INPUT") toggleFull();
  });
  at("full").onclick = toggleFull;
  at("full").hidden = !document.fullscreenEnabled;

  function note(text) {
    at("stage-note").textContent = text;
    at("stage-note").hidden = !text;
  }

  function release() {
    if (panorama) {
      for (const texture of panorama.textures.values()) texture.dispose();
      for (const url of panorama.urls ?? []) URL.revokeObjectURL(url);
    }
    at("downloads").replaceChildren();
    if (cloud) cloud.clear();
    panorama = cloudOf = null;
  }

  async function open(row) {
    const mine = ++turn;
    release();
    delete stage.dataset.ready;
    at("back").href = list.address();
    note("Loading…");
    try {
      const about = await list.describe(row);
      if (mine !== turn) return;
      at("page-id").textContent = about.id;
      if (!about.has) throw new Error(about.problem || "it is listed without a page of its own");
      const file = await load(`panoramas/${fileOf(row)}`, { keep: false });
      const decoded = await decodePanorama({ ...file, scene: about.scene, unit: file.metric ? "m" : "relative" }, list.palette);
      if (mine !== turn) return;
      panorama = decoded;
      facts(about);
      offer(about);
      if (!panorama.layers.length) {
        note("This panorama has no map to show.");
        return;
      }
      setUp();
      if (!panorama.layers.includes(layer)) layer = panorama.layers[0];
      if (!panorama.depths) mode = "sphere";
      segments(at("layers"), LAYERS.filter((name) => panorama.layers.includes(name)).map((name) => [name, name]), (name) => {
        layer = name;
        showLayer();
      });
      segments(at("modes"), panorama.depths ? MODES : MODES.slice(0, 1), (name) => {
        mode = name;
        showLayer();
      });
      legend = panorama.depths ? depthLegend(panorama.depth.shown, panorama.unit, list.palette, 10) : null;
      at("legend").replaceChildren(...(legend ? [legend.root] : []));
      note("");
      at("reticle").hidden = true;
      showLayer();
      stage.dataset.ready = row;
      at("page-id").focus({ preventScroll: true });
    } catch (error) {
      if (mine === turn) {
        empty(`This panorama cannot be shown: ${error.message}.`);
      }
    }
    const [previous, next] = await list.neighbours(row);
    if (mine !== turn) return;
    for (const [id, to] of [["previous", previous], ["next", next]]) {
      if (to === null) at(id).removeAttribute("href");
      else at(id).href = `#/panorama/${to}`;
    }
  }

  function empty(text) {
    for (const id of ["layers", "modes", "legend", "facts"]) at(id).replaceChildren();
    at("hint").textContent = "";
    at("sliders").hidden = true;
    note(text);
  }

  return {
    open,
    /** The page of an address that no panorama has. */
    unknown(name, count) {
      turn++;
      release();
      delete stage.dataset.ready;
      at("back").href = list.address();
      at("page-id").textContent = "Unknown panorama";
      for (const id of ["previous", "next"]) at(id).removeAttribute("href");
      empty(`There is no panorama ${name} here: this gallery has ${count.toLocaleString("en")}, counted from 0.`);
    },
    close() {
      turn++;
      release();
    },
  };
}
