// Search: filters, result cards, the cut-off, and what the service says of the match.

import { get, latest, post } from "../api.js";
import { announce, debounced, el, fixed, icon, plural, reorder } from "../dom.js";
import { addPart, changed, conditions, on, searchBody, shownAttributes, signature, state } from "../store.js";
import { card, extentOf } from "../parts/card.js";
import { activeFilters, filterPanel, filterToggle, setFilters } from "../parts/filters.js";
import { learnMedia } from "../parts/media.js";
import { draw as drawHealth } from "../parts/health.js";
import { emptyState, errorNotice, skeletons } from "../parts/notice.js";

const MOST = 96;

export function searchPane(root) {
  const panel = filterPanel();
  const heading = el("h2", { id: "results-heading" }, "Items");
  const list = el("ol", { class: "cards", "aria-labelledby": "results-heading" });
  const says = el("div", { class: "stack" });
  const loading = el("div", { class: "loading-bar", "aria-hidden": "true" });
  const cutoff = cutoffSlider(list);
  const more = el("div", { class: "more" });
  const after = el("div");
  root.append(el("div", { class: "side-by-side" }, panel, el("div", { class: "grow" },
    el("div", { class: "results-head" }, heading, cutoff.node, filterToggle(panel)), activeFilters(panel), says, loading, list, after, more)));

  const only = latest();
  let drawnFor = "";
  async function search(force = false) {
    if (root.hidden && !force) return;
    const wanted = signature();
    if (wanted === drawnFor) return;
    drawnFor = wanted;
    loading.classList.add("on");
    list.setAttribute("aria-busy", "true");
    if (!list.children.length) list.replaceChildren(...skeletons(8, 260));
    try {
      const answer = await only(async () => {
        const found = state.parts.length ? await asked() : await browsed();
        await learnMedia(found.hits.map((hit) => hit.item_id));
        return found;
      });
      if (!answer) return;
      draw(answer);
      if (signature() !== drawnFor) return;
    } catch (error) {
      drawnFor = "";
      list.replaceChildren();
      after.replaceChildren();
      more.replaceChildren();
      says.replaceChildren(errorNotice(error, () => search()));
    }
    loading.classList.remove("on");
    list.removeAttribute("aria-busy");
  }

  function draw({ hits, title, verdict, notes, seconds }) {
    heading.replaceChildren(title, hits.length && seconds !== undefined ? el("span", { class: "muted small" }, `  ${(1000 * seconds).toFixed(0)} ms`) : "");
    const extent = extentOf(hits);
    reorder(list, hits.map((hit) => card(hit, { extent })));
    says.replaceChildren(...(notes || []).map((note) => el("p", { class: "muted small" }, note)));
    if (verdict && !verdict.good && hits.length) says.append(noMatch(verdict));
    if (says.children.length) says.append(el("div"));
    after.replaceChildren();
    if (!hits.length) after.append(emptyState("Nothing fits", conditions().length ? "No item passes the filters. Take one away to see more." : "No item has these words."));
    more.replaceChildren();
    if (state.parts.length && hits.length >= state.k && state.k < MOST) more.append(el("button", { class: "button", type: "button", on: { click: () => { state.k = Math.min(MOST, state.k * 2); search(); } } }, "Show more"));
    cutoff.set(state.parts.length ? hits : []);
    drawHealth();
    announce(`${title}: ${plural(hits.length, "result")}${verdict && !verdict.good ? ", no good match" : ""}`);
  }

  /** What is said of a poor match: of the catalogue only where it was searched whole. */
  function noMatch({ probability }) {
    const likely = `${(100 * probability).toFixed(0)} % likely`, set = setFilters();
    const text = set.length
      ? [el("strong", {}, "Nothing under this filter matches well. "), `Among the items with ${set.join(", ")} is probably nothing for this (${likely} that there is). These are the nearest of them.`]
      : [el("strong", {}, "No good match. "), `The catalogue probably has nothing for this (${likely} that it has). These are the nearest items all the same.`];
    return el("div", { class: "notice", role: "note" }, icon("warn"), el("div", { class: "grow" }, text),
      set.length ? el("button", { class: "button small", type: "button", on: { click: () => panel.clear() } }, set.length > 1 ? "Remove the filters" : "Remove the filter") : null);
  }

  async function asked() {
    const start = performance.now();
    const answer = await post("search", searchBody());
    const [result] = answer.results;
    state.results = result.hits;
    changed("results");
    return { hits: result.hits, title: plural(result.hits.length, "result"), verdict: state.parts.every((part) => part.weight <= 0) ? null : result.verdict, notes: answer.notes, seconds: (performance.now() - start) / 1000 };
  }

  async function browsed() {
    state.results = null;
    changed("results");
    const attributes = shownAttributes();
    const where = conditions();
    if (state.info.learned.behaviour && state.status.routes.includes("/trending")) {
      try {
        const { results: [{ hits }] } = await post("trending", { order: "popular", k: state.k, where, attributes });
        if (hits.length) return { hits, title: "Popular items" };
      } catch { /* an older state without popularity */ }
    }
    const query = new URLSearchParams([["limit", String(state.k)], ...(attributes.length ? attributes : ["all"]).map((name) => ["attributes", name])]);
    if (where.length) {
      const texts = where.map(asText);
      texts.forEach((text) => query.append("where", text));
    }
    const page = await get(`items?${query}`);
    return { hits: page.items.map((item, at) => ({ ...item, rank: at + 1, score: 0, source: null, stage: "catalogue", scores: {} })), title: "Items of the catalogue" };
  }

  const soon = debounced(30, search);
  on("query", () => { state.k = 24; soon(); });
  on("filters", soon);
  on("settings", soon);
  on("catalogue", soon);
  return { shown: () => search() };
}

/** A filter in words, for the addresses of pages of items. */
function asText([name, operator, value]) {
  const quoted = (one) => (typeof one === "string" ? `'${one.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'` : String(one));
  const shown = Array.isArray(value) ? `(${value.map(quoted).join(", ")})` : quoted(value);
  return `${/^[A-Za-z_]\w*$/.test(name) ? name : `"${name}"`} ${operator} ${shown}`;
}

function cutoffSlider(list) {
  const output = el("output");
  const input = el("input", { type: "range", step: "any", "aria-label": "Cut-off: the least score of a result", on: { input: () => { state.cutoff = Number(input.value) <= Number(input.min) ? null : Number(input.value); apply(); } } });
  const node = el("label", { class: "cutoff", hidden: true }, "Cut-off", input, output);
  function apply() {
    let shown = 0;
    const cards = [...list.querySelectorAll(".card")];
    for (const one of cards) {
      const below = state.cutoff !== null && Number(one.dataset.score) < state.cutoff - 1e-9;
      one.classList.toggle("below", below);
      shown += below ? 0 : 1;
    }
    output.textContent = state.cutoff === null ? "off" : `≥ ${fixed(state.cutoff)}, ${cards.length - shown} hidden`;
    input.setAttribute("aria-valuetext", state.cutoff === null ? "off" : `at least ${fixed(state.cutoff)}, ${shown} of ${cards.length} shown, ${cards.length - shown} hidden`);
  }
  function set(hits) {
    node.hidden = hits.length < 2;
    if (node.hidden) { state.cutoff = null; return; }
    const scores = hits.map((hit) => hit.score);
    const low = Math.min(...scores), high = Math.max(...scores);
    input.min = String(low - (high - low) * 0.01);
    input.max = String(high - (high - low) * 1e-6);
    if (state.cutoff !== null && (state.cutoff < low || state.cutoff > high)) state.cutoff = null;
    input.value = String(state.cutoff ?? low - (high - low));
    apply();
  }
  return { node, set };
}

/** A few words to begin with: frequent values of the attributes. */
export function examples(root) {
  const draw = () => {
    const facet = [...state.facets].filter((one) => one.kind === "values").sort((a, b) => b.distinct - a.distinct)[0];
    const words = (facet?.values || []).filter((one) => typeof one.value === "string").slice(0, 40).filter((_, at) => at % 5 === 0).slice(0, 6);
    root.hidden = Boolean(state.parts.length) || !words.length;
    root.replaceChildren("Try ", ...words.map((one) => el("button", { class: "button small", type: "button", on: { click: () => addPart("text", one.value, one.value) } }, one.value)));
  };
  on("catalogue", draw);
  on("query", draw);
}
