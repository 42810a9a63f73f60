// Which rows are shown in which order: what stands in the page's address, and what it means. Knows no page.

export const PAGE_SIZES = [24, 48, 96, 200];

/** The list's state out of an address such as `#/?sort=depth_p50&down=1&page=3&f=sky_fraction:0.1:`. */
export function parseState(query, columns) {
  const given = new URLSearchParams(query);
  const known = new Set(columns);
  const size = Number(given.get("size"));
  const filters = [];
  for (const text of given.getAll("f")) {
    const [column, low, high] = text.split(":");
    if (known.has(column)) filters.push({ column, low: numberOr(low, null), high: numberOr(high, null) });
  }
  return {
    sort: known.has(given.get("sort")) ? given.get("sort") : null,
    down: given.get("down") === "1",
    page: Math.max(1, Math.floor(numberOr(given.get("page"), 1))),
    size: PAGE_SIZES.includes(size) ? size : 48,
    scene: ["indoor", "outdoor", "unknown"].includes(given.get("scene")) ? given.get("scene") : null,
    text: given.get("text") || "",
    show: ["rgb", "depth", "normals", "sky"].includes(given.get("show")) ? given.get("show") : "all",
    filters,
  };
}

/** The address of a state. */
export function formatState(state) {
  const out = new URLSearchParams();
  if (state.sort) out.set("sort", state.sort);
  if (state.down) out.set("down", "1");
  if (state.page > 1) out.set("page", String(state.page));
  if (state.size !== 48) out.set("size", String(state.size));
  if (state.scene) out.set("scene", state.scene);
  if (state.text) out.set("text", state.text);
  if (state.show !== "all") out.set("show", state.show);
  for (const { column, low, high } of state.filters) out.append("f", `${column}:${low ?? ""}:${high ?? ""}`);
  const text = out.toString();
  return text ? `#/?${text}` : "#/";
}

/** Rows that pass every filter, sorted; rows without a value come last in either direction.
 *
 * values: a Float32Array for each column that is sorted or filtered by; scenes: codes (0 unknown, 1 indoor, 2 outdoor);
 * ids: lower-case ids where there is a text to find, else null.
 */
export function selectRows(total, state, values, scenes, ids) {
  const scene = { unknown: 0, indoor: 1, outdoor: 2 }[state.scene];
  const needle = state.text.toLowerCase();
  const kept = new Uint32Array(total);
  let count = 0;
  rows: for (let row = 0; row < total; row++) {
    if (scene !== undefined && scenes[row] !== scene) continue;
    for (const { column, low, high } of state.filters) {
      if (low === null && high === null) continue;
      const value = values[column][row];
      // Written so that NaN fails.
      if (!(low === null || value >= low) || !(high === null || value <= high)) continue rows;
    }
    if (needle && !ids[row].includes(needle)) continue;
    kept[count++] = row;
  }
  const rows = kept.subarray(0, count);
  if (!state.sort) return state.down ? rows.reverse() : rows;
  const by = values[state.sort];
  const sign = state.down ? -1 : 1;
  return rows.sort((a, b) => {
    const [x, y] = [by[a], by[b]];
    if (x !== x || y !== y) return (x !== x) - (y !== y) || a - b;
    return sign * (x - y) || a - b;
  });
}

/** Counts of rows in equal steps between the extremes, for a small picture; null without any value.
 *
 * Values that span more than a factor of 20 are counted in steps of their logarithm.
 */
export function histogram(values, bins) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low <= high)) return null;
  const counts = new Uint32Array(bins);
  const along = low > 0 && high / low > 20 ? Math.log : Number;
  const scale = high > low ? bins / (along(high) - along(low)) : 0;
  for (const value of values) {
    if (value === value) counts[Math.min(bins - 1, Math.floor((along(value) - along(low)) * scale))]++;
  }
  return { low, high, counts };
}

function numberOr(text, otherwise) {
  if (text === null || text === undefined || text === "") return otherwise;
  const value = Number(text);
  return Number.isFinite(value) ? value : otherwise;
}
