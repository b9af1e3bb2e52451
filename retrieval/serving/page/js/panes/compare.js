// The same question under two settings, beside each other: what moved up, down, in and out.

import { latest, post } from "../api.js";
import { announce, debounced, el, fixed, segmented } from "../dom.js";
import { on, searchBody, state } from "../store.js";
import { contributions, details, meta, titles } from "../parts/card.js";
import { learnMedia, picture } from "../parts/media.js";
import { emptyState, errorNotice, skeletons } from "../parts/notice.js";
import { NO_WORDS, modes } from "../parts/settings.js";
import { history } from "../parts/person.js";
import { answeredBy, generationOptions, hasWords, isKept, learnedOf, loadGenerations, rankCorrelation, versionFields } from "../parts/versions.js";

const SHOWN = 20, ROW = 62, TOP = 10;
const SVG = "http://www.w3.org/2000/svg";
const NO_ADAPTER = "It learned no adapter: searches are those of the frozen vectors either way.";

export default function comparePane(root) {
  const hybrid = state.status.words;
  const sides = [
    { name: "A", mode: "vector", rerank: false, spread: 0, fold: false, stages: "retrieval", generation: "", learned: true },
    { name: "B", mode: hybrid ? "hybrid" : "vector", rerank: !hybrid, spread: hybrid ? 0 : 0.5, fold: false, stages: "all", generation: "", learned: true },
  ];
  let of = "query";
  const tells = el("p", { class: "small" });
  const summary = el("div", { class: "summary" }, segmented("Compare answers to", [["query", "The query"], ["user", "The user"]], of, (value) => { of = value; drawHeads(); ask(); }), tells);
  const note = el("div");
  const lists = sides.map((side) => el("ol", { class: "ranked", "aria-label": `Results under ${side.name}` }));
  const heads = sides.map((side) => el("section", { class: "side-head", "aria-label": `Setting ${side.name}` }));
  const says = sides.map(() => el("p", { class: "muted tiny said" }));
  const lines = document.createElementNS(SVG, "svg");
  lines.setAttribute("class", "lines");
  lines.setAttribute("aria-hidden", "true");
  const both = el("div", { class: "compare" }, el("div", {}, heads[0], lists[0]), lines, el("div", {}, heads[1], lists[1]));
  root.append(summary, note, both);

  function drawHeads() {
    const focused = root.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    sides.forEach((side, at) => heads[at].replaceChildren(el("h2", { class: "minor" }, `Setting ${side.name}`), ...controls(side), says[at]));
    if (focused) [...root.querySelectorAll("[aria-label]")].find((one) => one.getAttribute("aria-label") === focused)?.focus();
  }

  function controls(side) {
    const byScenario = of === "user" && side.stages.startsWith("=");
    const set = (key, value) => { side[key] = value; useWords(side); drawHeads(); ask(); };
    const box = (key, label, title) => el("label", { class: "switch small", title }, el("input", { type: "checkbox", checked: side[key], "aria-label": `${label}, ${side.name}`, on: { change: (event) => set(key, event.target.checked) } }), label);
    const spread = el("input", { type: "range", min: "0", max: "1", step: "0.05", value: String(side.spread), vars: { width: "84px" }, "aria-label": `Variety of ${side.name}`, on: { input: (event) => { side.spread = Number(event.target.value); ask(); } } });
    const generations = generationOptions();
    const first = of === "query"
      ? choice(`Search by, ${side.name}`, modes(hasWords(side.generation)).map(([value, label, missing]) => [value, value === "hybrid" ? "By meaning and words (hybrid)" : `By ${label.toLowerCase()}`, missing]), side.mode, (mode) => set("mode", mode))
      : choice(`Stages, ${side.name}`, [["retrieval", "First stage"], ["all", "All stages"], ...state.status.scenarios.map((name) => [`=${name}`, `Scenario ${name}`])], side.stages, (stages) => set("stages", stages));
    if (byScenario) return [el("div", { class: "row wrap selects" }, first), el("p", { class: "muted small" }, "The scenario sets all else.")];
    return [
      el("div", { class: "row wrap selects" }, first,
        generations.length > 1 ? choice(`Generation, ${side.name}`, generations, side.generation, (generation) => set("generation", generation)) : null),
      el("div", { class: "row wrap" },
        learnedOf(side.generation).length ? box("learned", "Learned", "With what was learned of users; without it, the frozen vectors answer, as before fit") : null,
        of === "query" ? box("rerank", "Rerank", "Order the candidates by the published head, or by the exact score") : null,
        box("fold", "Fold alike", "Show near-duplicates as one hit"),
        el("label", { class: "switch small", title: "Pick hits that differ from each other" }, "Variety", spread)),
    ];
  }

  /** Search by meaning where a generation has no index of words, and as it was chosen again where one has. */
  function useWords(side) {
    const has = hasWords(side.generation);
    if (!has && side.mode !== "vector") [side.wanted, side.mode] = [side.mode, "vector"];
    else if (has && side.wanted) [side.mode, side.wanted] = [side.wanted, null];
  }

  const only = latest();
  const ask = debounced(60, async () => {
    if (root.hidden) return;
    const empty = of === "query" ? !state.parts.length : !history.length;
    both.hidden = empty;
    if (empty) {
      tells.replaceChildren();
      note.replaceChildren(of === "query" ? emptyState("Ask something first", "Type words above, or drop a picture. Both lists then answer the same query.") : emptyState("There is no user yet", "Build one in the view of users: take a few items."));
      return;
    }
    note.replaceChildren();
    for (const list of lists) {
      if (!list.children.length) list.replaceChildren(...skeletons(8, 56));
      list.setAttribute("aria-busy", "true");
    }
    try {
      const answers = await only(async () => {
        const found = await Promise.all(sides.map(answerOf));
        await learnMedia(found.flatMap((answer) => answer.hits.map((hit) => hit.item_id)));
        return found;
      });
      if (answers) draw(answers);
    } catch (error) {
      for (const node of [tells, lines, ...lists, ...says]) node.replaceChildren(); // the settings stay, to choose others
      lines.style.height = "0";
      if (error.status === 410) await reload().catch(() => null);
      note.replaceChildren(errorNotice(error, ask));
    }
    for (const list of lists) list.removeAttribute("aria-busy");
  });

  /** Read which generations there are, and leave those that were collected: the one that is served answers then. */
  async function reload() {
    await loadGenerations();
    for (const side of sides) {
      if (!isKept(side.generation)) side.generation = "";
      useWords(side);
    }
    drawHeads();
  }

  async function answerOf(side) {
    const { mode, rerank, spread, fold, stages } = side;
    const version = versionFields(side);
    let answer;
    if (of === "query") answer = await post("search", { ...searchBody({ mode, rerank, spread, fold, k: SHOWN }), ...version });
    else {
      const asked = { histories: [history.map((one) => one.item_id)], weights: [history.map((one) => one.weight)], k: SHOWN };
      const varied = spread > 0 ? { diversify: { method: "mmr", strength: spread } } : {};
      answer = await post("recommend", stages.startsWith("=") ? { ...asked, scenario: stages.slice(1) } : { ...asked, stages, duplicates: fold ? "collapse" : "show", ...varied, ...version });
    }
    return { ...answer, hits: answer.results[0].hits };
  }

  function draw(answers) {
    const [left, right] = answers.map((answer) => answer.hits);
    const places = [left, right].map((hits) => new Map(hits.map((hit, at) => [hit.item_id, at])));
    lists[0].replaceChildren(...left.map((hit) => row(hit, gone(places[1].get(hit.item_id)), !places[1].has(hit.item_id))));
    lists[1].replaceChildren(...right.map((hit, at) => row(hit, came(places[0].get(hit.item_id), at), !places[0].has(hit.item_id))));
    answers.forEach((answer, at) => {
      const adapter = of === "query" && answer.learned === false && !learnedOf(sides[at].generation).includes("adapter") ? NO_ADAPTER : "";
      const meaning = of === "query" && sides[at].wanted ? `Searched by meaning alone: ${NO_WORDS.charAt(0).toLowerCase()}${NO_WORDS.slice(1)}.` : "";
      says[at].textContent = [answeredBy(answer), meaning, adapter, ...(answer.notes || [])].filter(Boolean).join(" ");
    });
    drawLines(left, places[1]);
    const moves = left.filter((hit) => places[1].has(hit.item_id)).map((hit) => places[0].get(hit.item_id) - places[1].get(hit.item_id));
    const top = left.slice(0, TOP).filter((hit) => (places[1].get(hit.item_id) ?? SHOWN) < TOP).length;
    const first = Math.min(TOP, Math.max(left.length, right.length));
    const correlation = rankCorrelation(left.map((hit) => hit.item_id), right.map((hit) => hit.item_id));
    const counts = [[moves.filter((one) => one > 0).length, "up"], [moves.filter((one) => one < 0).length, "down"], [moves.filter((one) => one === 0).length, "in place"], [right.length - moves.length, "new"]];
    const text = `${top} of the first ${first} the same, ${moves.length} of ${Math.max(left.length, right.length)} in both`;
    const order = correlation === null ? "" : `; rank correlation ${correlation.toFixed(2).replace("-", "−")}`;
    const words = counts.filter(([count]) => count).map(([count, name]) => `${count} ${name}`).join(", ");
    tells.replaceChildren(el("strong", {}, text), el("span", { title: "Kendall's tau of the items in both lists: 1 is the same order, −1 the reverse" }, order), el("span", { class: "muted" }, `. ${words}`));
    announce(`${text}${order}. ${words}`);
  }

  function row(hit, mark, alone) {
    const title = hit.title || hit.item_id;
    titles.set(hit.item_id, title);
    const open = el("button", { class: "thumb", type: "button", "aria-label": `${hit.rank}. ${title}: details`, on: { click: () => details(hit, contributions(hit)) } }, picture(hit.item_id, title));
    const node = el("li", { class: alone ? "only" : "", "data-key": hit.item_id }, el("span", { class: "place", "aria-hidden": "true" }, String(hit.rank)), open,
      el("span", { class: "what" }, el("strong", { class: "clip", title }, title), el("span", { class: "muted tiny clip" }, [meta(hit), hit.source, fixed(hit.score)].filter(Boolean).join(" · "))), mark);
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

  async function refresh() {
    try { await reload(); } catch { /* the lists say what is wrong */ }
    ask();
  }

  drawHeads();
  refresh();
  for (const topic of ["query", "filters", "user"]) on(topic, ask);
  on("catalogue", refresh);
  return { shown: refresh };
}

function choice(label, options, value, onChange) {
  return el("select", { "aria-label": label, on: { change: (event) => onChange(event.target.value) } }, options.map(([key, text, missing]) => el("option", { value: key, selected: key === value, disabled: Boolean(missing) }, text)));
}

/** Where a hit of the first list is in the second one. */
function gone(to) {
  if (to === undefined) return el("span", { class: "pill moved", title: `Not among the first ${SHOWN} of B` }, "out");
  return el("span", { class: "muted tiny moved" }, el("span", { class: "visually-hidden" }, "in B at place "), el("span", { "aria-hidden": "true" }, "→ "), String(to + 1));
}

/** How far a hit of the second list moved, and from where. */
function came(from, at) {
  if (from === undefined) return moved("new");
  const badge = moved(from - at);
  return from === at ? badge : el("span", { class: "came" }, badge, el("span", { class: "muted tiny" }, `from ${from + 1}`));
}

/** How far a hit moved, in a word for screen readers too. */
export function moved(move) {
  if (move === null || move === undefined) return el("span", { class: "moved" });
  if (move === "new") return el("span", { class: "pill new moved" }, "new");
  if (move === 0) return el("span", { class: "pill moved", title: "same place" }, "=");
  const up = move > 0;
  return el("span", { class: `pill moved ${up ? "up" : "down"}` }, el("span", { class: "visually-hidden" }, up ? "up " : "down "), el("span", { "aria-hidden": "true" }, up ? "▲" : "▼"), String(Math.abs(move)));
}
