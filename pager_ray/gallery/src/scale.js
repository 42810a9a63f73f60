// Colours and scales of depth and sky; the same as in the previews of a run.

export const NO_DEPTH = [96, 96, 96];
export const SKY_RAMP = [[24, 28, 38], [133, 196, 255]];

/** Where a depth lies between near (0) and far (1), on a logarithmic scale. */
export function placeOf(depth, [near, far]) {
  const span = Math.log(far / near) || 1;
  return Math.min(1, Math.max(0, Math.log(depth / near) / span));
}

/** Round values in [near, far]: the 1-2-5 series, or even steps on a short range. */
export function roundTicks(near, far) {
  const ticks = [];
  if (far / near >= 5) {
    for (let decade = Math.floor(Math.log10(near)); decade <= Math.ceil(Math.log10(far)); decade++) {
      for (const digit of [1, 2, 5]) {
        const value = Number(`${digit}e${decade}`);
        if (value >= near && value <= far) ticks.push(value);
      }
    }
    return ticks;
  }
  const target = (far - near) / 4;
  if (target < near * 1e-4) return [Number(near.toPrecision(3))];
  const power = 10 ** Math.floor(Math.log10(target));
  const step = [1, 2, 5, 10].find((s) => s * power >= target) * power;
  for (let k = Math.ceil(near / step); k <= Math.floor(far / step); k++) ticks.push(Number((k * step).toPrecision(6)));
  return ticks;
}

/** At most `most` of the ticks; powers of ten stay longest. */
export function fewTicks(ticks, most) {
  if (ticks.length <= most) return ticks;
  const tens = ticks.filter((value) => /^0*\.?0*10*$/.test(String(value)));
  if (tens.length >= 2 && tens.length <= most) return tens;
  const from = tens.length > most ? tens : ticks;
  const stride = Math.ceil(from.length / most);
  return from.filter((_, k) => k % stride === 0);
}

/** A CSS gradient of the palette, (256, 3) bytes. */
export function gradientOf(palette) {
  const stops = [];
  for (let k = 0; k <= 16; k++) {
    const at = 3 * Math.min(255, k * 16);
    stops.push(`rgb(${palette[at]} ${palette[at + 1]} ${palette[at + 2]})`);
  }
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** A number as people read it. */
export function shown(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(size >= 100 ? Math.max(digits, Math.ceil(Math.log10(size + 1))) : digits)));
}

/** The legend of a depth scale: a bar, ticks, and a marker that `point` moves. */
export function depthLegend(limits, unit, palette, most = 6) {
  const root = document.createElement("div");
  root.className = "legend";
  if (!limits) {
    root.textContent = "no depth";
    return { root, point: () => {} };
  }
  const [near, far] = limits;
  root.setAttribute("role", "img");
  root.setAttribute("aria-label", `depth from ${shown(near)} to ${shown(far)} ${unit}`);
  const bar = document.createElement("div");
  bar.className = "legend-bar";
  bar.style.background = gradientOf(palette);
  const marker = document.createElement("div");
  marker.className = "legend-marker";
  marker.hidden = true;
  bar.append(marker);
  const scale = document.createElement("div");
  scale.className = "legend-ticks";
  for (const value of fewTicks(roundTicks(near, far), most)) {
    const tick = document.createElement("span");
    tick.textContent = String(value);
    const at = placeOf(value, limits) * 100;
    tick.style.left = `${at}%`;
    // Labels at the ends would leave the bar.
    if (at < 4) tick.dataset.end = "left";
    if (at > 96) tick.dataset.end = "right";
    scale.append(tick);
  }
  const name = document.createElement("span");
  name.className = "legend-unit";
  name.textContent = unit;
  root.append(bar, scale, name);
  const point = (depth) => {
    marker.hidden = !(depth > 0);
    if (depth > 0) marker.style.left = `${placeOf(depth, limits) * 100}%`;
  };
  return { root, point };
}
