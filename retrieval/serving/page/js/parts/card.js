// A hit: its picture, where it comes from, and what each part of the query gave.

import { get } from "../api.js";
import { el, fixed, icon, iconButton, openDialog, plural } from "../dom.js";
import { addPart, state } from "../store.js";
import { learnMedia, picture, player, thumbnail } from "./media.js";

export const titles = new Map(); // of items that were seen, for reasons that name them

/** What gave a hit its score: parts of the query, lists that were fused, or stages. */
export function contributions(hit) {
  const why = hit.why || {};
  if (why.parts?.length) return why.parts.map((part, at) => ({ label: partLabel(part.part, at), note: part.weight === 1 ? "" : `× ${part.weight.toFixed(1).replace("-", "−")}`, value: part.score, series: state.parts[at]?.series ?? at % 8 }));
  if (why.lists) return Object.entries(why.lists).map(([name, at], place) => ({ label: `${name === "vector" ? "meaning" : name}, place ${at.rank ?? "?"}`, note: "", value: 1 / (60 + (at.rank ?? 1000)), score: at.score, series: place }));
  if ("content" in why) return SHARES.filter(([name]) => why[name]).map(([name, label, series]) => ({ label, note: "", value: why[name], series }));
  return [];
}

const SHARES = [["content", "content of the history", 0], ["behaviour", "what users take together", 1], ["popularity", "popularity", 2], ["profile", "profile", 3]];
const partLabel = (label, at) => state.parts[at]?.label ?? label.replace(/^'|'$/g, "");

/** A bar from the least to the most that parts of any hit gave; below zero to the left. */
export function contributionBar(parts, extent) {
  const [low, high] = extent, span = high - low || 1;
  const bar = el("span", { class: "bar", role: "img", "aria-label": parts.map((part) => `${part.label} ${fixed(part.score ?? part.value)}`).join(", ") || "score" });
  let above = 0, below = 0;
  for (const part of parts) {
    const size = Math.abs(part.value);
    const from = part.value >= 0 ? above : below - size;
    if (part.value >= 0) above += size; else below -= size;
    bar.append(el("i", { class: `swatch-${part.series}${part.value < 0 ? " less" : ""}`, vars: { left: `${(100 * (from - low)) / span}%`, width: `${(100 * size) / span}%` } }));
  }
  if (low < 0) bar.append(el("b", { vars: { left: `${(-100 * low) / span}%` } }));
  return bar;
}

export function extentOf(hits) {
  const sums = hits.map((hit) => contributions(hit)).filter((parts) => parts.length);
  if (!sums.length) return [0, 1];
  const total = (parts, sign) => parts.reduce((sum, part) => sum + (part.value * sign > 0 ? part.value : 0), 0);
  return [Math.min(0, ...sums.map((parts) => total(parts, -1))), Math.max(...sums.map((parts) => total(parts, 1)), 1e-6)];
}

export function meta(hit) {
  const values = Object.entries(hit.attributes || {}).filter(([name]) => name !== "title").map(([, value]) => (Array.isArray(value) ? value[0] : value)).filter((value) => value !== null && value !== undefined);
  return values.length ? String(values[0]) : "";
}

/** A card; actions are [icon, label, handler], the first ones of its foot. */
export function card(hit, { extent = [0, 1], actions = null } = {}) {
  const title = hit.title || hit.item_id;
  titles.set(hit.item_id, title);
  const parts = contributions(hit);
  const why = el("li", { class: "why" }); // below the row of the card, as wide as the list
  const whyButton = el("button", { type: "button", class: "button quiet small", "aria-expanded": "false", "aria-label": `Why ${title}`, on: { click: () => {
    const isOpen = why.isConnected;
    whyButton.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) return why.remove();
    why.replaceChildren(el("h4", { class: "small" }, `Why ${title}`), ...whyRows(hit, parts));
    return node.after(why);
  } } }, "Why");
  const open = el("button", { type: "button", class: "card-picture", "aria-label": `${hit.rank}. ${title}: details`, on: { click: () => details(hit, parts) } },
    picture(hit.item_id, title), el("span", { class: "rank", "aria-hidden": "true" }, String(hit.rank)),
    hit.folded?.length ? el("span", { class: "folded" }, `+${hit.folded.length} alike`) : null);
  const tools = actions || [
    ["plus", `More like ${title}`, () => addPart("item", title, hit.item_id)],
    ["minus", `Less like ${title}`, () => addPart("item", title, hit.item_id, { weight: -0.5 })],
  ];
  const node = el("li", { class: "card", draggable: "true", "data-key": hit.item_id, "data-score": String(hit.score), on: { dragstart: (event) => {
    event.dataTransfer.setData("application/x-item-id", hit.item_id);
    event.dataTransfer.setData("text/plain", title);
  } } }, open, player(hit.item_id, title),
    el("div", { class: "card-body" },
      el("h3", { class: "card-title", title }, title),
      el("div", { class: "card-meta" }, hit.source ? el("span", { class: "pill" }, hit.source) : null, el("span", { class: "clip" }, meta(hit))),
      parts.length
        ? el("div", { class: "contribution" }, contributionBar(parts, extent), el("span", { class: "score" }, fixed(shownScore(hit, parts))), placedBy(hit, parts))
        : hit.stage === "catalogue" ? null : el("div", { class: "contribution" }, el("span", { class: "muted tiny clip" }, stageNote(hit)), el("span", { class: "score" }, fixed(hit.score)))),
    el("div", { class: "card-tools" }, tools.map(([name, label, run]) => iconButton(name, label, run)), whyButton));
  return node;
}

const STAGES = { retrieve: "first stage", rerank: "second stage", hybrid: "fused lists", vector: "meaning", words: "words", exact: "exact score", top: "popularity", diversify: "variety", blend: "blending", rules: "rules" };
const FIRST_STAGES = ["retrieve", "exact", "vector", "hybrid", "words"]; // whose score is what the bar adds up to
export const stageName = (stage) => STAGES[stage] || stage;
const scoreName = (stage) => (stage === "exact" ? "exact score" : `score, ${stageName(stage)}`);
const stageNote = (hit) => `by ${stageName(hit.stage)}`;

/** What the bar adds up to; the score of the hit where a bar is of places in lists. */
function shownScore(hit, parts) {
  if (FIRST_STAGES.includes(hit.stage) || hit.why?.lists) return hit.score;
  return hit.why?.score ?? parts.reduce((sum, part) => sum + part.value, 0);
}

/** By which score a hit has its place, where that is not the one of the bar. */
function placedBy(hit, parts) {
  if (Math.abs(shownScore(hit, parts) - hit.score) < 0.0005) return null;
  return el("span", { class: "placed muted tiny", title: "The bar and its number are of the first stage; this later stage gave the place" }, `placed by ${stageName(hit.stage)}: ${fixed(hit.score)}`);
}

/** The rest beside the parts that are shown, and their sum: the score of the first stage. */
function sumRows(why, parts) {
  const rest = why.score - parts.reduce((sum, part) => sum + part.value, 0);
  const row = (label, value) => el("div", { class: "why-row" }, el("i"), label, el("span", { class: "number" }, fixed(value)));
  return [...(Math.abs(rest) >= 0.0005 ? [row(el("span", {}, "rest"), rest)] : []), row(el("strong", {}, "together: the score of the first stage"), why.score)];
}

export function whyRows(hit, parts) {
  const rows = parts.map((part) => el("div", { class: "why-row" }, el("i", { class: `swatch-${part.series}` }), el("span", {}, part.label, " ", el("span", { class: "muted" }, part.note)), el("span", { class: "number" }, fixed(part.score ?? part.value))));
  const why = hit.why || {};
  if ("content" in why) rows.push(...sumRows(why, parts));
  if (why.history?.length) rows.push(el("p", { class: "muted" }, why.history.length > 1 ? "Each item of the history, with how much lower the score would be without it (these do not add up to the score):" : "The one item that it is due to, with what comes of it:"));
  for (const one of (why.history || []).slice(0, 4)) rows.push(el("div", { class: "why-row" }, el("i", { class: "swatch-0" }), el("span", {}, "because of ", el("strong", {}, titles.get(one.item_id) || one.item_id)), el("span", { class: "number" }, fixed(one.effect))));
  if (Object.keys(why.features || {}).length) rows.push(el("p", { class: "muted" }, "Effect on the score of the second stage:"));
  for (const [name, effect] of Object.entries(why.features || {}).slice(0, 4)) rows.push(el("div", { class: "why-row" }, el("i", { class: "swatch-7" }), el("span", {}, name.replaceAll("_", " ")), el("span", { class: "number" }, typeof effect === "number" ? fixed(effect) : String(effect))));
  for (const [stage, score] of Object.entries(hit.scores || {})) rows.push(el("div", { class: "why-row muted" }, el("i"), el("span", {}, scoreName(stage)), el("span", { class: "number" }, fixed(score))));
  for (const rule of hit.rules || []) rows.push(el("div", { class: "why-row" }, el("i"), el("span", {}, `rule: ${rule}`), el("span")));
  return rows.length ? rows : [el("p", { class: "muted" }, "The service gives no reason for this one.")];
}

/** All about an item, in a dialog. */
export async function details(hit, parts = []) {
  const title = hit.title || hit.item_id;
  const table = el("div", {}, el("div", { class: "skeleton", vars: { height: "120px" } }));
  const box = el("div", { class: "detail-picture" }, picture(hit.item_id, title, 640));
  const dialog = openDialog(title, el("div", { class: "detail" }, el("div", { class: "stack" }, box, player(hit.item_id, title),
    el("button", { type: "button", class: "button primary", on: { click: () => { addPart("item", title, hit.item_id); dialog.close(); } } }, icon("plus"), "Add to the query")),
    el("div", { class: "stack" }, table,
      parts.length || hit.why ? el("h3", {}, "Why this one") : null, parts.length || hit.why ? whyRows(hit, parts) : null,
      hit.folded?.length ? folded(hit) : null)));
  try {
    const { item } = await get(`items/${hit.item_id.split("/").map(encodeURIComponent).join("/")}`);
    const rows = [["item_id", item.item_id], ...Object.entries(item.attributes)].filter(([, value]) => value !== null);
    table.replaceChildren(el("table", { class: "table whole-words" }, el("caption", { class: "visually-hidden" }, `Attributes of ${title}`), el("tbody", {}, rows.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "long" }, Array.isArray(value) ? value.join(", ") : String(value)))))));
  } catch (error) {
    table.replaceChildren(el("p", { class: "muted" }, error.message));
  }
}

function folded(hit) {
  const thumbs = el("div", { class: "thumbs" });
  learnMedia(hit.folded).then(() => thumbs.replaceChildren(...hit.folded.slice(0, 24).map((one) => el("span", { title: one }, thumbnail(one, one)))));
  return el("div", { class: "stack" }, el("h3", {}, plural(hit.folded.length, "near-duplicate")), thumbs);
}
