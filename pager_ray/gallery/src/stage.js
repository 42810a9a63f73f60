// What the viewer of one panorama shows: layers over the 360° view and the point cloud, and the depth at a place.

import { unpack } from "./data.js";
import { NO_DEPTH, placeOf, SKY_RAMP } from "./scale.js";
import { makeTexture } from "./sphere.js";

export const LAYERS = ["rgb", "depth", "normals", "sky"];

/** A panorama's data file, decoded: depths as float32 in the stored unit, 0 where there is none. */
export async function decodePanorama(file, palette) {
  const { grid } = file;
  const [codes, sky] = await Promise.all([
    file.depth ? unpack(file.depth, grid.rows, grid.columns) : null,
    file.sky ? unpack(file.sky, grid.rows, grid.columns) : null,
  ]);
  let depths = null;
  if (codes) {
    const { near, step } = file.depth;
    depths = Float32Array.from(codes, (code) => (code ? near * Math.exp((code - 1) * step) : 0));
  }
  const pictures = {};
  await Promise.all(
    ["rgb", "normals"].filter((name) => file.images[name]).map(async (name) => {
      pictures[name] = await pictureOf(file.images[name]);
    }),
  );
  if (depths) pictures.depth = paintDepth(depths, grid, file.depth.shown, palette);
  if (sky) pictures.sky = paintSky(sky, grid);
  return { ...file, depths, sky, pictures, layers: LAYERS.filter((name) => pictures[name]), textures: new Map() };
}

function pictureOf(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("a picture in the panorama's file cannot be decoded"));
    image.src = url;
  });
}

function canvasOf(grid, color) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [grid.columns, grid.rows];
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(grid.columns, grid.rows);
  for (let k = 0; k < grid.rows * grid.columns; k++) {
    const [r, g, b] = color(k);
    pixels.data[4 * k] = r;
    pixels.data[4 * k + 1] = g;
    pixels.data[4 * k + 2] = b;
    pixels.data[4 * k + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function paintDepth(depths, grid, limits, palette) {
  return canvasOf(grid, (k) => {
    if (!(depths[k] > 0) || !limits) return NO_DEPTH;
    const at = 3 * Math.floor(placeOf(depths[k], limits) * 255);
    return [palette[at], palette[at + 1], palette[at + 2]];
  });
}

function paintSky(sky, grid) {
  const [low, high] = SKY_RAMP;
  return canvasOf(grid, (k) => [0, 1, 2].map((c) => low[c] + (sky[k] / 255) * (high[c] - low[c])));
}

/** Texture of a layer with the scale and offset from places in the ERP to places in it. */
export function textureOf(panorama, layer) {
  const { grid, width, height, textures } = panorama;
  if (!textures.has(layer)) textures.set(layer, makeTexture(panorama.pictures[layer], layer === "rgb" || layer === "normals"));
  const texture = textures.get(layer);
  if (layer === "rgb") return [texture, [1, 1], [0, 0]];
  const along = (size, count) => [size / grid.step / count, (0.5 - (grid.first + 0.5) / grid.step) / count];
  const [[sx, ox], [sy, oy]] = [along(width, grid.columns), along(height, grid.rows)];
  return [texture, [sx, sy], [ox, oy]];
}

/** RGBA of a layer at the grid's samples, for the points of the cloud. */
export function colorsOf(panorama, layer) {
  const { grid } = panorama;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [grid.columns, grid.rows];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(panorama.pictures[layer], 0, 0, grid.columns, grid.rows);
  return context.getImageData(0, 0, grid.columns, grid.rows).data;
}

/** The sample nearest to a place in the ERP: which pixel of the stored map it is, its depth and sky. */
export function sampleAt(panorama, [u, v]) {
  const { grid, width, height } = panorama;
  const nearest = (place, size, count) => {
    const pixel = Math.min(size - 1, Math.max(0, Math.floor(place * size)));
    return Math.min(count - 1, Math.max(0, Math.round((pixel - grid.first) / grid.step)));
  };
  const [column, row] = [nearest(u, width, grid.columns), nearest(v, height, grid.rows)];
  const k = row * grid.columns + column;
  return {
    x: column * grid.step + grid.first,
    y: row * grid.step + grid.first,
    depth: panorama.depths ? panorama.depths[k] : null,
    sky: panorama.sky ? panorama.sky[k] / 255 : null,
  };
}

/** A map of numbers as a file of NumPy: float32, row by row. */
export function npyOf(values, rows, columns) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${columns}), }`;
  // The numbers begin at a multiple of 64 bytes; ten stand before the text, and a line break ends it.
  const header = text.padEnd(64 * Math.ceil((text.length + 11) / 64) - 11, " ") + "\n";
  const begin = Uint8Array.of(0x93, ...[..."NUMPY"].map((letter) => letter.charCodeAt(0)), 1, 0, header.length & 255, header.length >> 8);
  return new Blob([begin, header, values], { type: "application/octet-stream" });
}
