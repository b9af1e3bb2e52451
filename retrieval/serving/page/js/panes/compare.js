// The same question under two settings, beside each other: what moved up, down, in and out.

import { latest, post } from "../api.js";
import { announce, debounced, el, fixed, plural, segmented } from "../dom.js";
import { on, searchBody, state } from "../store.js";
import { contributions, details, meta, titles } from "../parts/card.js";
import { learnMedia, picture } from "../parts/media.js";
import { emptyState, errorNotice, skeletons } from "../parts/notice.js";
import { modes } from "../parts/settings.js";
import { history } from "../parts/person.js";

const SHOWN = 20, ROW = 62, TOP = 10;
const SVG = "http://www.w3.org/2000/svg";

export default function comparePane(root) {
  const sides = [
    { name: "A", mode: "vector", rerank: false, spread: 0, fold: false, stages: "retrieval" },
    { name: "B", mode: state.status.words ? "hybrid" : "vector", rerank: !state.status.words, spread: state.status.words ? 0 : 0.5, fold: false, stages: "all" },
  ];
  let of = "query";
  const summary = el("div", { class: "summary" });
  const note = el("div");
  const lists = sides.map((side) => el("ol", { class: "ranked", "aria-label": `Results under ${side.name}` }));
  const heads = sides.map((side) => el("div", { class: "side-head" }));
  const lines = document.createElementNS(SVG, "svg");
  lines.setAttribute("class", "lines");
  lines.setAttribute("aria-hidden", "true");
  const both = el("div", { class: "compare" }, el("div", {}, heads[0], lists[0]), lines, el("div", {}, heads[1], lists[1]));
  root.append(summary, note, both);

  function drawHeads() {
    sides.forEach((side, at) => {
      const box = (key, label, title) => el("label", { class: "switch small", title }, el("input", { type: "checkbox", checked: side[key], on: { change: (event) => { side[key] = event.target.checked; ask(); } } }), label);
      const spread = el("input", { type: "range", min: "0", max: "1", step: "0.05", value: String(side.spread), vars: { width: "84px" }, "aria-label": `Variety of ${side.name}`, on: { input: (event) => { side.spread = Number(event.target.value); ask(); } } });
      heads[at].replaceChildren(el("h2", { class: "minor" }, `Setting ${side.name}`),
        of === "query"
          ? choice(`Search by, ${side.name}`, modes().map(([value, label, missing]) => [value, `By ${label === "Both" ? "meaning and words" : label.toLowerCase()}`, missing]), side.mode, (mode) => { side.mode = mode; ask(); })
          : choice(`Stages, ${side.name}`, [["retrieval", "First stage"], ["all", "All stages"], ...state.status.scenarios.map((name) => [`=${name}`, `Scenario ${name}`])], side.stages, (stages) => { side.stages = stages; ask(); }),
        el("div", { class: "row wrap" }, of === "query" ? box("rerank", "Rerank", "Order the candidates by the published head, or by the exact score") : null, box("fold", "Fold alike", "Show near-duplicates as one hit"), el("label", { class: "switch small" }, "Variety", spread)));
    });
  }

  const only = latest();
  const ask = debounced(60, async () => {
    if (root.hidden) return;
    const empty = of === "query" ? !state.parts.length : !history.length;
    summary.replaceChildren(segmented("Compare answers to", [["query", "The query"], ["user", "The user"]], of, (value) => { of = value; drawHeads(); ask(); }));
    both.hidden = empty;
    if (empty) {
      note.replaceChildren(of === "query" ? emptyState("Ask something first", "Type words above, or drop a picture. Both lists then answer the same query.") : emptyState("There is no user yet", "Build one in the view of users: take a few items."));
      return;
    }
    note.replaceChildren();
    for (const list of lists) if (!list.children.length) list.replaceChildren(...skeletons(8, 56));
    try {
      const answers = await only(async () => {
        const found = await Promise.all(sides.map((side) => hitsOf(side)));
        await learnMedia(found.flat().map((hit) => hit.item_id));
        return found;
      });
      if (answers) draw(answers);
    } catch (error) {
      both.hidden = true;
      note.replaceChildren(errorNotice(error, ask));
    }
  });

  async function hitsOf(side) {
    const { mode, rerank, spread, fold, stages } = side;
    if (of === "query") return (await post("search", searchBody({ mode, rerank, spread, fold, k: SHOWN }))).results[0].hits;
    const asked = { histories: [history.map((one) => one.item_id)], weights: [history.map((one) => one.weight)], k: SHOWN };
    if (stages.startsWith("=")) return (await post("recommend", { ...asked, scenario: stages.slice(1) })).results[0].hits;
    const body = { ...asked, stages, duplicates: fold ? "collapse" : "show" };
    return (await post("recommend", { ...body, ...(spread > 0 ? { diversify: { method: "mmr", strength: spread } } : {}) })).results[0].hits;
  }

  function draw([left, right]) {
    const places = [left, right].map((hits) => new Map(hits.map((hit, at) => [hit.item_id, at])));
    lists[0].replaceChildren(...left.map((hit) => row(hit, null)));
    lists[1].replaceChildren(...right.map((hit, at) => row(hit, places[0].has(hit.item_id) ? places[0].get(hit.item_id) - at : "new")));
    left.forEach((hit, at) => { if (!places[1].has(hit.item_id)) { lists[0].children[at].classList.add("only"); lists[0].children[at].querySelector(".moved").replaceWith(el("span", { class: "pill moved" }, "out")); } });
    drawLines(left, places[1]);
    const shared = left.filter((hit) => places[1].has(hit.item_id)).length;
    const top = left.slice(0, TOP).filter((hit) => (places[1].get(hit.item_id) ?? SHOWN) < TOP).length;
    const same = left.filter((hit, at) => places[1].get(hit.item_id) === at).length;
    const text = `${shared} of ${left.length} in both, ${top} of the first ${TOP}; ${plural(same, "place")} unchanged`;
    summary.append(el("p", { class: "muted small", role: "status" }, text));
    announce(text);
  }

  function row(hit, move) {
    const title = hit.title || hit.item_id;
    titles.set(hit.item_id, title);
    const open = el("button", { class: "thumb", type: "button", "aria-label": `${title}: details`, on: { click: () => details(hit, contributions(hit)) } }, picture(hit.item_id, title));
    const node = el("li", { "data-key": hit.item_id }, el("span", { class: "place", "aria-hidden": "true" }, String(hit.rank)), open,
      el("span", { class: "what" }, el("strong", { class: "clip", title }, title), el("span", { class: "muted tiny clip" }, [meta(hit), hit.source, fixed(hit.score)].filter(Boolean).join(" · "))), moved(move));
    node.addEventListener("pointerenter", () => lit(hit.item_id, true));
    node.addEventListener("pointerleave", () => lit(hit.item_id, false));
    open.addEventListener("focus", () => lit(hit.item_id, true));
    open.addEventListener("blur", () => lit(hit.item_id, false));
    return node;
  }

  function lit(itemId, on) {
    for (const node of root.querySelectorAll("[data-key]")) if (node.dataset.key === itemId) node.classList.toggle("lit", on);
  }

  function drawLines(left, places) {
    const height = SHOWN * ROW, paths = [];
    lines.setAttribute("viewBox", `0 0 120 ${height}`);
    lines.setAttribute("preserveAspectRatio", "none");
    lines.style.height = `${height}px`;
    lines.style.marginTop = `${lists[0].offsetTop - both.offsetTop}px`;
    left.forEach((hit, from) => {
      const to = places.get(hit.item_id);
      if (to === undefined) return;
      const path = document.createElementNS(SVG, "path"), y0 = from * ROW + 28, y1 = to * ROW + 28;
      path.setAttribute("d", `M4 ${y0}C60 ${y0} 60 ${y1} 116 ${y1}`);
      path.setAttribute("class", to < from ? "up" : to > from ? "down" : "");
      path.dataset.key = hit.item_id;
      paths.push(path);
    });
    lines.replaceChildren(...paths);
  }

  drawHeads();
  for (const topic of ["query", "filters", "user"]) on(topic, ask);
  on("catalogue", () => { drawHeads(); ask(); });
  return { shown: ask };
}

function choice(label, options, value, onChange) {
  return el("select", { "aria-label": label, on: { change: (event) => onChange(event.target.value) } }, options.map(([key, text, missing]) => el("option", { value: key, selected: key === value, disabled: Boolean(missing) }, text)));
}

/** How far a hit moved, in a word for screen readers too. */
export function moved(move) {
  if (move === null || move === undefined) return el("span", { class: "moved" });
  if (move === "new") return el("span", { class: "pill new moved" }, "new");
  if (move === 0) return el("span", { class: "pill moved", title: "same place" }, "=");
  const up = move > 0;
  return el("span", { class: `pill moved ${up ? "up" : "down"}` }, el("span", { class: "visually-hidden" }, up ? "up " : "down "), el("span", { "aria-hidden": "true" }, up ? "▲" : "▼"), String(Math.abs(move)));
}
