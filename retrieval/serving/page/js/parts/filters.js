// Filters found from the attributes of the items.

import { debounced, el, icon, iconButton } from "../dom.js";
import { changed, on, state } from "../store.js";

const FIRST = 8;

export function filterPanel() {
  const body = el("div", {});
  const clear = el("button", { class: "button quiet small", type: "button", on: { click: clearFilters } }, "Clear");
  const done = el("button", { class: "button small filter-done", type: "button", on: { click: () => panel.opened(false) } }, "Show results");
  const panel = el("aside", { class: "filters", id: "filters", "aria-label": "Filters" }, el("div", { class: "filters-head" }, el("h2", {}, "Filters"), clear, done), body);
  let drawnFor = null;
  const draw = () => {
    clear.hidden = !state.filters.size && !state.region;
    if (drawnFor === state.facets && !panel.dirty) return;
    drawnFor = state.facets;
    panel.dirty = false;
    body.replaceChildren(...state.facets.map((facet, at) => (facet.kind === "numbers" ? numbers(facet, at) : values(facet, at))));
    if (!state.facets.length) body.append(el("p", { class: "muted small" }, "The items have no attributes to filter by."));
  };
  function clearFilters() {
    state.filters.clear();
    state.region = null;
    panel.dirty = true;
    changed("filters");
  }
  panel.clear = clearFilters;
  panel.redraw = () => { panel.dirty = true; draw(); };
  on("catalogue", draw);
  on("filters", draw);
  draw();
  return panel;
}

function facetBox(facet, at, ...children) {
  const count = el("span", { class: "chosen", hidden: true });
  const box = el("details", { class: "facet", open: at < 3 }, el("summary", {}, el("span", { class: "clip" }, title(facet.name)), count), el("div", { class: "facet-body" }, ...children));
  box.count = count;
  const sync = () => {
    const filter = state.filters.get(facet.name);
    const chosen = filter ? (filter.kind === "values" ? filter.chosen.size : 1) : 0;
    count.hidden = !chosen;
    count.textContent = String(chosen);
  };
  on("filters", sync);
  sync();
  return box;
}

function values(facet, at) {
  const list = el("div", {});
  let all = false, wanted = "";
  const filter = () => state.filters.get(facet.name);
  const draw = () => {
    const chosen = filter()?.chosen || new Set();
    const found = facet.values.filter((one) => String(one.value).toLowerCase().includes(wanted));
    const shown = found.filter((one, place) => all || wanted || place < FIRST || chosen.has(one.value)).slice(0, 60);
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.value : null;
    list.replaceChildren(...shown.map((one) => el("label", { class: "facet-value" },
      el("input", { type: "checkbox", "data-value": String(one.value), checked: chosen.has(one.value), on: { change: (event) => choose(one.value, event.target.checked) } }),
      el("span", { class: "clip", title: String(one.value) }, String(one.value)), el("span", { class: "count" }, one.items.toLocaleString("en")))));
    if (focused !== null) [...list.querySelectorAll("input")].find((one) => one.dataset.value === focused)?.focus();
    more.hidden = all || Boolean(wanted) || found.length <= FIRST;
    if (!shown.length) list.append(el("p", { class: "muted small" }, "No such value."));
  };
  const more = el("button", { class: "button quiet small", type: "button", on: { click: () => { all = true; draw(); } } }, `All ${facet.distinct > 60 ? "60 most frequent" : facet.distinct}`);
  const search = facet.values.length > 15 ? el("input", { type: "search", placeholder: "Find a value", "aria-label": `Find a value of ${facet.name}`, on: { input: (event) => { wanted = event.target.value.trim().toLowerCase(); draw(); } } }) : null;
  function choose(value, isChosen) {
    const chosen = filter()?.chosen || new Set();
    if (isChosen) chosen.add(value); else chosen.delete(value);
    if (chosen.size) state.filters.set(facet.name, { kind: "values", several: facet.several, chosen });
    else state.filters.delete(facet.name);
    changed("filters");
  }
  on("filters", draw);
  draw();
  return facetBox(facet, at, search, list, more);
}

function numbers(facet, at) {
  const most = Math.max(...facet.histogram, 1);
  const bars = el("div", { class: "bars", "aria-hidden": "true" }, facet.histogram.map((count) => el("i", { vars: { height: `${Math.round((100 * count) / most)}%` } })));
  const field = (end, label) => el("input", { type: "number", step: facet.whole ? "1" : "any", placeholder: shown(facet[end]), "aria-label": `${facet.name}: ${label}`, value: state.filters.get(facet.name)?.[end] ?? "", on: { input: debounced(250, apply) } });
  const low = field("min", "at least"), high = field("max", "at most");
  function apply() {
    const [min, max] = [low, high].map((one) => (one.value === "" || !one.validity.valid ? null : Number(one.value)));
    if (min === null && max === null) state.filters.delete(facet.name);
    else state.filters.set(facet.name, { kind: "numbers", min, max });
    changed("filters");
  }
  on("filters", () => {
    for (const [end, one] of [["min", low], ["max", high]]) if (document.activeElement !== one) one.value = state.filters.get(facet.name)?.[end] ?? "";
  });
  return facetBox(facet, at, bars, el("div", { class: "range" }, low, el("span", { class: "muted" }, "to"), high));
}

const shown = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));
const title = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

/** The filters that are set, each as a text with what takes it away. */
function each() {
  const found = [];
  for (const [name, filter] of state.filters) {
    if (filter.kind === "numbers") found.push([`${name} ${filter.min ?? "…"} to ${filter.max ?? "…"}`, () => state.filters.delete(name)]);
    else for (const value of filter.chosen) found.push([`${name}: ${value}`, () => { filter.chosen.delete(value); if (!filter.chosen.size) state.filters.delete(name); }]);
  }
  if (state.region) found.push([`Region of the map: ${state.region.ids.size} items`, () => { state.region = null; }]);
  return found;
}

/** The filters that are set, as texts. */
export const setFilters = () => each().map(([text]) => text);

/** The filters that are set, each with a button that takes it away. */
export function activeFilters(panel) {
  const list = el("div", { class: "active-filters", role: "group", "aria-label": "Filters that are set" });
  const gone = (change) => () => { change(); panel.redraw(); changed("filters"); };
  const pill = (text, change) => el("span", { class: "pill" }, text, iconButton("close", `Remove the filter ${text}`, gone(change)));
  const draw = () => {
    list.replaceChildren(...each().map(([text, change]) => pill(text, change)));
  };
  on("filters", draw);
  draw();
  return list;
}

/** The button that opens the filters where the screen is narrow; they have one that closes them. */
export function filterToggle(panel) {
  const button = el("button", { class: "button filter-toggle", type: "button", "aria-expanded": "false", "aria-controls": "filters", on: { click: () => panel.opened(!panel.classList.contains("open")) } }, icon("filter"), "Filters");
  panel.opened = (isOpen) => {
    panel.classList.toggle("open", isOpen);
    button.setAttribute("aria-expanded", String(isOpen));
    (isOpen ? panel.querySelector(".filter-done") : button).focus();
  };
  return button;
}
