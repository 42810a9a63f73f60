// The gallery of a run: the list and one panorama's page, chosen by the page's address.

import { load, useBuild } from "./data.js";
import { makeList } from "./list.js";
import { makePanoramaPage } from "./panorama.js";

async function start() {
  const run = await load("data/run");
  useBuild(run.build);
  document.title = `${run.name} – gallery`;
  const list = makeList(run);
  const page = makePanoramaPage(run, list);
  const route = () => {
    const hash = location.hash || "#/";
    const match = /^#\/panorama\/(.*)$/.exec(hash);
    const row = match && /^\d+$/.test(match[1]) ? Number(match[1]) : null;
    const isPage = match !== null;
    document.getElementById("list-view").hidden = isPage;
    document.getElementById("page-view").hidden = !isPage;
    if (isPage) {
      if (row !== null && row < run.count) page.open(row);
      else page.unknown(match[1], run.count);
    } else {
      page.close();
      list.show(hash.startsWith("#/?") ? hash.slice(3) : "");
    }
  };
  window.addEventListener("hashchange", route);
  route();
}


start().catch((error) => {
  const place = document.getElementById("notice");
  place.hidden = false;
  place.textContent = `The gallery cannot be shown: ${error.message}.`;
});
