// Data arrive by script tags: pages opened from a file may not fetch. Every data file calls
// pagerGallery(key, value); `load` adds the tag and resolves with the value.

const waiting = new Map();
const loaded = new Map();
let build = "";

/** Takes the build's token: it keeps a browser from mixing files of two builds. */
export function useBuild(token) {
  build = token;
}

window.pagerGallery = (key, value) => {
  const request = waiting.get(key);
  if (request) request.resolve(value);
};

/** Value of a data file; kept, so that a second call costs nothing. `keep: false` forgets it at once. */
export function load(key, { keep = true } = {}) {
  if (loaded.has(key)) return loaded.get(key);
  const promise = new Promise((resolve, reject) => {
    waiting.set(key, { resolve });
    const tag = document.createElement("script");
    tag.src = `${key}.js${build ? `?${build}` : ""}`;
    tag.onerror = () => reject(new Error(`${key}.js is missing or cannot be read`));
    // A file that loads and says nothing would be waited for forever.
    tag.onload = () => reject(new Error(`${key}.js holds other data than its name says`));
    document.head.append(tag);
    for (const event of ["load", "error"]) tag.addEventListener(event, () => tag.remove());
  });
  const done = promise.finally(() => waiting.delete(key));
  if (keep) {
    loaded.set(key, done);
    done.catch(() => loaded.delete(key));
  }
  return done;
}


/** Bytes of a base64 text. */
export function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  return bytes;
}

/** A column of little-endian float32; NaN where a panorama has no value. */
export function floatsOf(base64) {
  return new Float32Array(bytesOf(base64).buffer);
}

/** Inverse of `pack` in panorama.py: zlib over byte planes of differences along rows. */
export async function unpack(packed, rows, columns) {
  const stream = new Blob([bytesOf(packed.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = rows * columns;
  const wide = packed.bits === 16;
  const out = wide ? new Uint16Array(count) : new Uint8Array(count);
  for (let row = 0, k = 0; row < rows; row++) {
    let value = 0;
    for (let column = 0; column < columns; column++, k++) {
      value += wide ? planes[k] * 256 + planes[count + k] : planes[k];
      out[k] = value;
      value = out[k];
    }
  }
  return out;
}
