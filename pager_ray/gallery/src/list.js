// The list of a run's panoramas: cards with thumbnails, sorted and filtered by the quality columns.

import { bytesOf, floatsOf, load } from "./data.js";
import { depthLegend, shown } from "./scale.js";
import { formatState, histogram, PAGE_SIZES, parseState, selectRows } from "./select.js";

const PANELS = ["rgb", "depth", "normals", "sky"];
const at = (id) => document.getElementById(id);

/** An element with a class and text; text never becomes markup. */
export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The six digits that name a panorama's files, and the folder of its thousand. */
export function fileOf(row) {
  const name = String(row).padStart(6, "0");
  return `${name.slice(0, -3)}/${name}`;
}

export function makeList(run) {
  const palette = bytesOf(run.palette);
  const names = run.columns.map((column) => column.name);
  const columnOf = new Map(run.columns.map((column) => [column.name, column]));
  const panels = PANELS.filter((name) => name === "rgb" || run.modalities.includes(name));
  const values = {};
  let state = parseState("", names);
  let rows = null;
  let turn = 0;

  const chunk = (row) => load(`data/rows-${String(Math.floor(row / run.chunk)).padStart(5, "0")}`);
  const column = async (name) => (values[name] ??= floatsOf(await load(`data/column-${name}`)));
  const scenes = async () => (values.scene ??= bytesOf(await load("data/column-scene")));
  const ids = async () => {
    if (values.ids) return values.ids;
    const starts = Array.from({ length: Math.ceil(run.count / run.chunk) }, (_, k) => k * run.chunk);
    const chunks = await Promise.all(starts.map(chunk));
    return (values.ids = chunks.flatMap((part) => part.ids).map((id) => id.toLowerCase()));
  };

  /** Id and address of a row, and its values: what both views show. */
  async function describe(row) {
    const part = await chunk(row);
    const k = row % run.chunk;
    const scene = ["unknown", "indoor", "outdoor"][(await scenes())[row]];
    return { row, id: part.ids[k], uri: part.uris[k], scene, limits: part.limits[k], has: part.has[k],
      preview: part.previews ? part.previews[k] : null, problem: part.problems[k] ?? null };
  }

  async function show(query) {
    const mine = ++turn;
    state = parseState(query, names);
    fillToolbar();
    const needed = state.filters.map((filter) => filter.column);
    if (state.sort) needed.push(state.sort);
    const isWhole = !needed.length && !state.scene && !state.text && !state.down;
    if (!isWhole) at("found").textContent = "Looking through the columns…";
    try {
      await Promise.all([...new Set(needed)].map(column));
      const [codes, texts] = await Promise.all([state.scene ? scenes() : null, state.text ? ids() : null]);
      if (mine !== turn) return;
      rows = isWhole ? null : selectRows(run.count, state, values, codes, texts);
      await drawPage(mine);
      drawFilters();
    } catch (error) {
      if (mine === turn) at("found").textContent = `${error.message}.`;
    }
  }

  const count = () => (rows ? rows.length : run.count);
  const rowAt = (place) => (rows ? rows[place] : place);

  async function drawPage(mine) {
    const pages = Math.max(1, Math.ceil(count() / state.size));
    const page = Math.min(state.page, pages);
    const start = (page - 1) * state.size;
    const places = Array.from({ length: Math.min(state.size, count() - start) }, (_, k) => rowAt(start + k));
    const [described] = await Promise.all([
      Promise.all(places.map(describe)),
      ...run.card_columns.map(column),
      state.sort ? column(state.sort) : null,
    ]);
    if (mine !== turn) return;
    at("found").textContent = rows
      ? `${count().toLocaleString("en")} of ${run.count.toLocaleString("en")} panoramas`
      : `${run.count.toLocaleString("en")} panoramas`;
    at("cards").dataset.show = state.show;
    at("cards").replaceChildren(...(described.length ? described.map(card) : [nothing()]));
    drawPager(page, pages);
  }

  /** What stands where no card does. */
  function nothing() {
    const root = element("p", "empty");
    if (run.count) {
      const all = element("a", "", "Show all");
      all.href = "#/";
      root.append("No panorama is like this. ", all);
    } else {
      root.textContent = run.rejects ? "No panorama has a result; the reasons are below." : "This run has no results yet.";
    }
    return root;
  }

  async function drawRejects() {
    const place = at("rejects-list");
    if (place.childElementCount) return;
    try {
      const { rows: rejects } = await load("data/rejects");
      const table = element("table");
      const head = element("tr");
      for (const name of ["id", "class", "stage", "why"]) head.append(element("th", "", name));
      table.append(head);
      for (const [id, kind, stage, message] of rejects) {
        const row = element("tr");
        for (const text of [id, kind, stage, message]) row.append(element("td", "", text));
        table.append(row);
      }
      place.replaceChildren(table);
      if (rejects.length < run.rejects) {
        place.append(element("p", "", `The first ${rejects.length.toLocaleString("en")} by id; the run's rejects hold all.`));
      }
    } catch (error) {
      place.replaceChildren(element("p", "", `${error.message}.`));
    }
  }

  function card(about) {
    const root = element(about.has ? "a" : "div", "card");
    if (about.has) root.href = `#/panorama/${about.row}`;
    root.dataset.row = about.row;
    root.append(about.has ? thumbnails(about) : standIn(about));
    const caption = element("div", "caption");
    const title = element("span", "card-id", about.id);
    title.title = about.id;
    caption.append(title, element("span", "card-scene", about.scene === "unknown" ? "" : about.scene));
    root.append(caption);
    const facts = [...new Set([...run.card_columns, ...(state.sort ? [state.sort] : [])])].map((name) => {
      const value = values[name][about.row];
      return Number.isNaN(value) ? "" : `${columnOf.get(name).label} ${withUnit(value, columnOf.get(name).unit)}`;
    });
    root.append(element("div", "card-facts", facts.filter(Boolean).join(" · ")));
    return root;
  }

  function thumbnails(about) {
    const wanted = state.show === "all" ? panels : panels.filter((name) => name === state.show);
    const grid = element("div", `thumbs thumbs-${wanted.length}`);
    for (const name of wanted) {
      const cell = element("div", "thumb");
      const image = element("img");
      image.loading = "lazy";
      image.decoding = "async";
      image.alt = name;
      image.src = `thumbs/${fileOf(about.row)}.jpg?${run.build}`;
      image.dataset.panel = PANELS.indexOf(name);
      cell.append(image, element("span", "thumb-label", name));
      if (name === "depth" && about.limits) {
        cell.append(depthLegend(about.limits, run.unit, palette, wanted.length > 1 ? 4 : 6).root);
      }
      grid.append(cell);
    }
    return grid;
  }

  function standIn(about) {
    const place = element("div", "thumbs thumbs-none");
    const why = about.problem || "Listed without a page of its own.";
    if (!about.preview) {
      place.append(element("p", "", why));
      return place;
    }
    const link = element("a", "");
    link.href = about.preview;
    const image = element("img", "preview");
    image.loading = "lazy";
    image.alt = "preview: panorama, depth, normals, sky";
    image.src = about.preview;
    image.onerror = () => place.replaceChildren(element("p", "", why));
    link.append(image);
    place.append(link);
    return place;
  }

  function drawPager(page, pages) {
    const link = (to, text, label) => {
      const made = element(to === page || to < 1 || to > pages ? "span" : "a", "button", text);
      if (made.tagName === "A") made.href = formatState({ ...state, page: to });
      if (to === page && !label) made.setAttribute("aria-current", "page");
      if (label) made.setAttribute("aria-label", label);
      return made;
    };
    const around = [...new Set([1, page - 1, page, page + 1, pages])].filter((k) => k >= 1 && k <= pages);
    const middle = around.flatMap((k, i) => (i && k - around[i - 1] > 1 ? [element("span", "gap", "…"), link(k, String(k))] : [link(k, String(k))]));
    at("pager").replaceChildren(link(page - 1, "‹", "Previous page"), ...middle, link(page + 1, "›", "Next page"));
  }

  function fillToolbar() {
    at("sort").value = state.sort ?? "";
    at("direction").textContent = state.down ? "↓" : "↑";
    at("direction").setAttribute("aria-label", state.down ? "Descending; change to ascending" : "Ascending; change to descending");
    at("scene").value = state.scene ?? "";
    at("show").value = state.show;
    at("size").value = String(state.size);
    if (document.activeElement !== at("text")) at("text").value = state.text;
  }

  function drawFilters() {
    const place = at("filters");
    // Redrawing would take the focus from a field that is typed in.
    if (place.contains(document.activeElement) && place.children.length === state.filters.length) return;
    place.replaceChildren(...state.filters.map(filterBox));
  }

  function filterBox(filter, index) {
    const { label, unit } = columnOf.get(filter.column);
    const box = element("fieldset", "filter");
    box.append(element("legend", "", unit ? `${label} (${unit})` : label));
    const known = histogram(values[filter.column], 40);
    const picture = element("div", "bars");
    picture.setAttribute("aria-hidden", "true");
    const most = known ? Math.max(...known.counts) : 1;
    for (const size of known ? known.counts : []) {
      const bar = element("i");
      bar.style.height = `${size ? Math.max(6, (100 * size) / most) : 0}%`;
      picture.append(bar);
    }
    box.append(picture);
    for (const end of ["low", "high"]) {
      const input = element("input");
      input.type = "number";
      input.step = "any";
      input.value = filter[end] ?? "";
      input.placeholder = known ? shown(known[end]) : "–";
      input.setAttribute("aria-label", `${label}, ${end === "low" ? "at least" : "at most"}`);
      input.onchange = () => {
        const filters = state.filters.map((one, k) => (k === index ? { ...one, [end]: input.value === "" ? null : Number(input.value) } : one));
        go({ filters });
      };
      box.append(input);
    }
    const remove = element("button", "", "×");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove the filter on ${label}`);
    remove.onclick = () => {
      at("filters").replaceChildren();
      go({ filters: state.filters.filter((_, k) => k !== index) });
    };
    box.append(remove);
    return box;
  }

  const go = (change) => {
    location.hash = formatState({ ...state, page: 1, ...change });
  };

  function option(select, value, text) {
    const made = element("option", "", text);
    made.value = value;
    select.append(made);
  }

  function build() {
    at("run-name").textContent = run.name;
    at("run-facts").textContent = run.facts.join(" · ");
    at("rejects").hidden = !run.rejects;
    at("rejects-summary").textContent = `${run.rejects.toLocaleString("en")} rejected`;
    at("rejects").ontoggle = () => at("rejects").open && drawRejects();
    option(at("sort"), "", "id");
    option(at("add-filter"), "", "choose…");
    for (const { name, label, unit } of run.columns) {
      for (const place of ["sort", "add-filter"]) option(at(place), name, unit ? `${label} (${unit})` : label);
    }
    option(at("show"), "all", "all maps");
    for (const name of panels) option(at("show"), name, name);
    for (const size of PAGE_SIZES) option(at("size"), String(size), String(size));
    at("sort").onchange = (event) => go({ sort: event.target.value || null });
    at("direction").onclick = () => go({ down: !state.down });
    at("scene").onchange = (event) => go({ scene: event.target.value || null });
    at("show").onchange = (event) => go({ show: event.target.value, page: state.page });
    at("size").onchange = (event) => go({ size: Number(event.target.value) });
    at("add-filter").onchange = (event) => {
      const name = event.target.value;
      event.target.value = "";
      if (name && !state.filters.some((filter) => filter.column === name)) {
        go({ filters: [...state.filters, { column: name, low: null, high: null }], page: state.page });
      }
    };
    let timer = 0;
    at("text").oninput = (event) => {
      clearTimeout(timer);
      timer = setTimeout(() => go({ text: event.target.value.trim() }), 250);
    };
    at("toolbar").onsubmit = (event) => event.preventDefault();
  }

  /** The neighbours of a row in the order of the list, among those with a page of their own. */
  async function neighbours(row) {
    const place = rows ? rows.indexOf(row) : row;
    const near = async (step) => {
      for (let k = place + step, tries = 0; place >= 0 && k >= 0 && k < count() && tries < 50; k += step, tries++) {
        if ((await describe(rowAt(k))).has) return rowAt(k);
      }
      return null;
    };
    return Promise.all([near(-1), near(1)]);
  }

  build();
  return { show, describe, neighbours, palette, address: () => formatState(state) };
}

/** A value with its unit; shares read better in percent. */
export function withUnit(value, unit) {
  if (unit === "share") return `${shown(value * 100, 2)} %`;
  return unit && unit !== "relative" ? `${shown(value)} ${unit}` : shown(value);
}
