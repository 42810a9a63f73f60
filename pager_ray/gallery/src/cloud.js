// The point cloud of a panorama: depth times the pixel's ray, drawn as discs as large as the pixel is there.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

const VERTEX = `
attribute vec3 tint;
attribute float radius;
uniform float focal, reach, ceiling;
varying vec3 shade;
void main() {
  shade = tint;
  vec4 at = modelViewMatrix * vec4(position, 1.0);
  gl_Position = projectionMatrix * at;
  gl_PointSize = clamp(focal * radius / max(-at.z, 1e-6), 1.5, 40.0);
  // Outside of the view: hidden points cost no second buffer.
  if (length(position) > reach || position.y > ceiling) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
}`;

const FRAGMENT = `
varying vec3 shade;
void main() {
  vec2 from = gl_PointCoord - 0.5;
  if (dot(from, from) > 0.25) discard;
  gl_FragColor = vec4(shade, 1.0);
}`;

const SKY = 0.5;

/** Which samples become points: their number along a row follows the row's length on the sphere. */
export function choosePoints(depths, sky, grid, height, width) {
  const chosen = [];
  for (let row = 0; row < grid.rows; row++) {
    const latitude = Math.PI * (0.5 - (row * grid.step + grid.first + 0.5) / height);
    const share = Math.cos(latitude);
    for (let column = 0, before = -1; column < grid.columns; column++) {
      const turn = Math.floor(column * share);
      if (turn === before) continue;
      before = turn;
      const k = row * grid.columns + column;
      if (depths[k] > 0 && !(sky && sky[k] / 255 >= SKY)) chosen.push(k);
    }
  }
  return Uint32Array.from(chosen);
}

/** As large as the pixel is at its depth; larger where the surface runs away from the camera, not at an edge. */
function radiusOf(depth, next, angle) {
  const apart = Math.hypot(depth * angle, next - depth);
  const stretch = apart / (depth * angle);
  return 1.3 * depth * angle * (stretch > 12 ? 1 : Math.min(stretch, 4));
}

export function makeCloud(renderer, redraw) {
  const uniforms = { focal: { value: 1 }, reach: { value: 1 }, ceiling: { value: 1 } };
  const material = new THREE.ShaderMaterial({ uniforms, vertexShader: VERTEX, fragmentShader: FRAGMENT, toneMapped: false });
  const camera = new THREE.PerspectiveCamera(55, 1, 0.01, 1000);
  const controls = new OrbitControls(camera, renderer.domElement);
  controls.enabled = false;
  controls.addEventListener("change", redraw);
  const scene = new THREE.Scene();
  let points = null;
  let chosen = null;
  let extent = null;

  function fill(panorama) {
    clear();
    const { grid, depths, sky, height, width } = panorama;
    chosen = choosePoints(depths, sky, grid, height, width);
    const position = new Float32Array(3 * chosen.length);
    const radius = new Float32Array(chosen.length);
    const ranges = new Float32Array(chosen.length);
    // The depth beside a sample or below it, whichever is farther from its own; none counts as its own.
    const beside = (k) => {
      const [right, below] = [depths[k + 1] || depths[k], depths[k + grid.columns] || depths[k]];
      return Math.abs(right - depths[k]) > Math.abs(below - depths[k]) ? right : below;
    };
    const heights = new Float32Array(chosen.length);
    chosen.forEach((k, n) => {
      const [row, column] = [Math.floor(k / grid.columns), k % grid.columns];
      const latitude = Math.PI * (0.5 - (row * grid.step + grid.first + 0.5) / height);
      const longitude = 2 * Math.PI * ((column * grid.step + grid.first + 0.5) / width - 0.5);
      const depth = depths[k];
      position[3 * n] = depth * Math.cos(latitude) * Math.cos(longitude);
      position[3 * n + 1] = depth * Math.sin(latitude);
      position[3 * n + 2] = depth * Math.cos(latitude) * Math.sin(longitude);
      radius[n] = radiusOf(depth, beside(k), (Math.PI * grid.step) / height);
      ranges[n] = depth;
      heights[n] = position[3 * n + 1];
    });
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(position, 3));
    geometry.setAttribute("radius", new THREE.BufferAttribute(radius, 1));
    geometry.setAttribute("tint", new THREE.BufferAttribute(new Uint8Array(3 * chosen.length), 3, true));
    points = new THREE.Points(geometry, material);
    points.frustumCulled = false;
    scene.add(points);
    ranges.sort();
    heights.sort();
    const of = (sorted, share) => (sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : 1);
    extent = { near: of(ranges, 0), far: of(ranges, 1), typical: of(ranges, 0.7), most: of(ranges, 0.97),
      bottom: of(heights, 0.005), top: of(heights, 1) };
    look();
    return extent;
  }

  /** From above and behind the camera, towards what it sees. */
  function look() {
    const size = extent.typical;
    camera.near = size / 500;
    camera.far = Math.max(extent.far * 4, size * 60);
    camera.position.set(-1.5 * size, 1.35 * size, -1.1 * size);
    controls.target.set(0, Math.min(0, extent.bottom / 3), 0);
    controls.minDistance = size / 50;
    controls.maxDistance = size * 40;
    controls.update();
  }

  function paint(colors) {
    const tint = points.geometry.getAttribute("tint");
    chosen.forEach((k, n) => {
      for (let c = 0; c < 3; c++) tint.array[3 * n + c] = colors[4 * k + c];
    });
    tint.needsUpdate = true;
  }

  function clear() {
    if (!points) return;
    scene.remove(points);
    points.geometry.dispose();
    points = null;
  }

  return {
    fill,
    paint,
    clear,
    controls,
    camera,
    count: () => (chosen ? chosen.length : 0),
    limit(reach, ceiling) {
      uniforms.reach.value = reach;
      uniforms.ceiling.value = ceiling;
    },
    draw(width, height, ratio) {
      camera.aspect = width / height;
      camera.updateProjectionMatrix();
      uniforms.focal.value = (height * ratio) / (2 * Math.tan((camera.fov * Math.PI) / 360));
      renderer.render(scene, camera);
    },
  };
}
