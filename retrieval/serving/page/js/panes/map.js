// The map of the space: colours, results, the query, and a region that becomes a filter.

import { bytesOf, getMade, latest, post } from "../api.js";
import { announce, debounced, el, icon, iconButton, plural } from "../dom.js";
import { changed, on, searchBody, state } from "../store.js";
import { contributions, details } from "../parts/card.js";
import { learnMedia, thumbnail } from "../parts/media.js";
import { errorNotice } from "../parts/notice.js";
import { MapView, rampColours } from "./map_view.js";

const MODALITY = "modality";
const HOW_TO_MARK = "Draw around items; or zoom in, and press Enter on the map for those in view";

export default function mapPane(root, { show }) {
  const canvas = el("canvas", { tabIndex: 0, role: "application", "aria-label": "Map of the items. Arrow keys move it, plus and minus zoom, 0 shows all, Enter opens the item in the middle, or marks the items in view while a region is being marked." });
  const tip = el("div", { class: "tip", hidden: true });
  const note = el("p", { class: "map-note" });
  const box = el("div", { class: "map" }, canvas, tip);
  const buttons = el("div", { class: "map-buttons" }, iconButton("plus", "Zoom in", () => view.zoom(1.5)), iconButton("minus", "Zoom out", () => view.zoom(1 / 1.5)), iconButton("home", "Show all", () => view.home()));
  const legend = el("div", { class: "legend", role: "group", "aria-label": "Colours" });
  const lit = el("div", { class: "lit-list", role: "group", "aria-label": "Results on the map" });
  const region = el("div");
  const problem = el("div");
  const select = el("select", { "aria-label": "Colour by", on: { change: () => load(select.value) } });
  const mark = el("button", { class: "button", type: "button", "aria-pressed": "false", on: { click: () => marking(!view.marking) } }, icon("lasso"), "Mark a region");
  root.append(el("div", { class: "map-tools" }, el("label", { class: "field" }, "Colour by", select), mark, buttons, region), problem,
    el("div", { class: "map-box" }, el("div", {}, box, note), el("aside", { class: "map-side", "aria-label": "Legend and results" }, legend, lit)));
  let titles = [], loaded = null, colourName = null;

  const view = new MapView(canvas, {
    hovered(at, place, byKey) {
      tip.hidden = at < 0;
      if (at < 0) return;
      const title = titles[at] || view.ids[at];
      tip.replaceChildren(thumbnail(view.ids[at], title, 54), el("span", {}, title));
      tip.style.left = `${Math.min(place[0] + 14, box.clientWidth - 210)}px`;
      tip.style.top = `${Math.min(place[1] + 12, box.clientHeight - 76)}px`;
      if (byKey) announce(title);
    },
    async opened(at) {
      await learnMedia([view.ids[at]]);
      const hit = (state.results || []).find((one) => one.item_id === view.ids[at]) || { item_id: view.ids[at], title: titles[at] };
      details(hit, hit.why ? contributions(hit) : []);
    },
    marked(ids) {
      marking(false);
      view.lasso = view.lasso?.length && ids.size ? view.lasso : null;
      view.draw();
      if (!ids.size) { announce("No item is in this region"); return; }
      state.region = { ids: new Set([...ids].slice(0, 10000)) };
      changed("filters");
      announce(`${plural(state.region.ids.size, "item")} marked; searches are within them`);
    },
  });

  function marking(isOn) {
    view.marking = isOn;
    mark.setAttribute("aria-pressed", String(isOn));
    box.classList.toggle("marking", isOn);
    if (isOn) { view.lasso = null; view.draw(); announce(HOW_TO_MARK); }
    drawRegion();
  }

  function drawRegion() {
    const clear = () => { state.region = null; view.lasso = null; changed("filters"); };
    if (view.marking) region.replaceChildren(el("span", { class: "small muted" }, HOW_TO_MARK));
    else if (state.region) region.replaceChildren(el("span", { class: "row small" }, `Searches are within ${plural(state.region.ids.size, "item")}`, el("button", { class: "button quiet small", type: "button", on: { click: clear } }, "Clear"), el("button", { class: "button quiet small", type: "button", on: { click: () => show("search") } }, "Show them")));
    else region.replaceChildren();
  }

  const only = latest();
  async function load(name) {
    problem.replaceChildren();
    note.textContent = loaded ? "Loading the colours…" : "Loading the map…";
    try {
      const body = await only(() => getMade(`map${name ? `?colour=${encodeURIComponent(name)}` : ""}`, () => { note.textContent = "Drawing the map…"; }));
      if (!body) return;
      const key = `${body.generation} ${body.change} ${name === MODALITY}`;
      if (loaded !== key) {
        const bytes = bytesOf(body.places);
        view.points(body.item_ids, new Uint16Array(bytes.buffer));
        titles = body.titles;
        loaded = key;
      }
      colourName = name;
      select.replaceChildren(...body.colours.map((one) => el("option", { value: one, selected: one === name }, one === MODALITY ? "texts and pictures apart" : one)));
      drawLegend(body.colour);
      note.textContent = `${body.item_ids.length < body.of ? `A sample: ${body.item_ids.length.toLocaleString("en")} of ` : ""}${plural(body.of, "item")}; two dimensions hold ${(100 * body.explained_variance).toFixed(0)} % of the variance`;
      light();
    } catch (error) {
      note.textContent = "";
      problem.replaceChildren(errorNotice(error, () => load(name)));
    }
  }

  function drawLegend(found) {
    if (!found) return legend.replaceChildren();
    view.paint(found.kind, bytesOf(found.codes));
    if (found.kind === "ramp") return legend.replaceChildren(el("h2", { class: "minor" }, found.name), el("div", { class: "ramp", vars: { "--r0": rampColours[0], "--r1": rampColours[1], "--r2": rampColours[2] } }), el("div", { class: "row small muted" }, el("span", { class: "grow" }, found.names[0]), found.names[1]));
    const buttons = found.names.slice(0, 8).map((name, code) => el("button", { type: "button", "aria-pressed": "false", on: { click: (event) => {
      view.only = view.only === code ? null : code;
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === event.currentTarget && view.only !== null));
      view.draw();
    } } }, el("i", { class: `swatch-${code}` }), el("span", { class: "clip" }, name)));
    return legend.replaceChildren(el("h2", { class: "minor" }, found.name === MODALITY ? "Texts and pictures apart" : found.name), ...buttons);
  }

  const lights = latest();
  const light = debounced(60, async () => {
    if (root.hidden || !loaded) return;
    drawRegion();
    if (!state.parts.length) {
      state.results = null;
      lit.replaceChildren(el("p", { class: "muted small" }, "Ask something above: its results are lit here, with the query among them."));
      view.light([], null);
      return;
    }
    try {
      const body = searchBody({ k: 24 });
      const asked = { ...(body.texts ? { texts: body.texts } : { queries: body.queries }) };
      const found = await lights(() => Promise.all([post("search", body), post(`map/places?modality=${colourName === MODALITY}`, asked)]));
      if (!found) return;
      const [answer, { places: [place] }] = found;
      state.results = answer.results[0].hits;
      view.light(state.results.map((hit) => hit.item_id), place);
      lit.replaceChildren(el("h2", { class: "minor" }, "Results"), ...state.results.map((hit) => el("button", { type: "button", on: { click: () => view.centre(hit.item_id) } }, el("span", { class: "muted number" }, String(hit.rank)), el("span", { class: "clip" }, hit.title || hit.item_id))));
      announce(`${plural(state.results.length, "result")} lit on the map`);
    } catch (error) { problem.replaceChildren(errorNotice(error, light)); }
  });

  const first = () => state.facets.find((facet) => facet.kind === "values" && !facet.several && facet.distinct > 2 && facet.distinct <= 60)?.name ?? state.facets[0]?.name ?? null;
  for (const topic of ["query", "filters", "settings"]) on(topic, () => { problem.replaceChildren(); light(); });
  on("theme", () => view.draw());
  on("catalogue", () => { loaded = null; if (!root.hidden) load(first()); });
  return { shown() { view.resize(); if (loaded) light(); else load(first()); } };
}
