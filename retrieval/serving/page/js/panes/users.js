// A user: what they took and skipped, their taste in words, and recommendations that follow each click.

import { getMade, latest, post } from "../api.js";
import { announce, debounced, el, icon, iconButton, plural, reorder } from "../dom.js";
import { changed, on, shownAttributes, state } from "../store.js";
import { card, extentOf, titles } from "../parts/card.js";
import { liveLog } from "../parts/live.js";
import { learnMedia, thumbnail } from "../parts/media.js";
import { emptyState, errorNotice, skeletons } from "../parts/notice.js";
import { SKIPPED, TAKEN, act, canRedo, canUndo, drop, history, redo, saveUser, savedUsers, take, undo } from "../parts/person.js";
import { moved } from "./compare.js";

const SHOWN = 24;

export default function usersPane(root) {
  const live = liveLog(() => { before = null; changed("user"); });
  const items = el("ol", { class: "history", "aria-label": "History, the latest first" });
  const tastes = el("div", { class: "stack" });
  const undoButton = iconButton("undo", "Undo", () => { undo(); announce("Undone"); });
  const redoButton = iconButton("redo", "Redo", () => { redo(); announce("Done again"); });
  const title = el("h2", {}, "A user");
  const heading = el("h2", { id: "user-heading" }, "Recommendations");
  const list = el("ol", { class: "cards", "aria-labelledby": "user-heading" });
  const note = el("div", { class: "list-notes" });
  const chooser = el("div", { class: "row" });
  root.append(el("div", { class: "users" },
    el("aside", { class: "user-side", "aria-label": "The user" },
      el("section", { class: "panel stack" }, title, chooser, live.field, finder((hit) => acted(hit, TAKEN)), items, live.node),
      el("section", { class: "panel stack" }, el("h2", {}, "Taste, in words"), tastes)),
    el("div", {}, el("div", { class: "results-head" }, heading, el("span", { class: "muted small" }, "Take or skip, and the list follows"), el("span", { class: "row" }, undoButton, redoButton)), note, list)));

  function drawUser() {
    const isLive = live.writes(); // what is written to the log cannot be undone
    undoButton.disabled = isLive || !canUndo();
    redoButton.disabled = isLive || !canRedo();
    title.textContent = live.user() ? `The user ${live.user()} of the live log` : "A user";
    const saved = savedUsers();
    const select = el("select", { class: "grow", "aria-label": "Choose a user", disabled: isLive, on: { change: (event) => choose(event.target.value) } },
      el("option", { value: "" }, "Choose…"), el("option", { value: "=random" }, "Somebody at random"), el("option", { value: "=new" }, "Nobody: a new user"),
      [...saved.keys()].map((name) => el("option", { value: name }, name)));
    chooser.replaceChildren(select, el("button", { class: "button small", type: "button", disabled: !history.length, on: { click: keep } }, "Keep this user"));
    const entries = [...history].reverse();
    items.replaceChildren(...entries.map((one) => el("li", { class: one.weight < 0 ? "skipped" : "" }, thumbnail(one.item_id, one.title, 40), el("span", { class: "clip", title: one.title }, one.title),
      el("span", { class: "muted tiny" }, one.weight < 0 ? "skipped" : "taken"), isLive ? null : iconButton("close", `Forget ${one.title}`, () => { drop(one.item_id); }))));
    if (!entries.length) items.append(el("li", { class: "muted small", vars: { display: "block", padding: "8px" } }, "Nothing taken yet. Find an item, or take one from the list."));
  }

  function keep() {
    const name = `User ${savedUsers().size + 1}: ${history.filter((one) => one.weight > 0).slice(-2).map((one) => one.title).join(", ")}`.slice(0, 60);
    saveUser(name);
    drawUser();
    announce(`Kept as ${name}, in this browser`);
  }

  async function choose(name) {
    live.leave();
    before = null; // of somebody else, beside whose list nothing has moved
    if (name === "=new") return act((next) => next.splice(0));
    if (savedUsers().has(name)) return act((next) => next.splice(0, next.length, ...savedUsers().get(name)));
    if (name !== "=random") return;
    try {
      const map = await getMade("map", () => announce("Drawing the map…"));
      const start = map.item_ids[Math.floor(Math.random() * map.item_ids.length)];
      const { results: [{ hits }] } = await post("similar", { item_ids: [start], k: 6, by: state.info.learned.behaviour ? "both" : "content" });
      const chosen = [{ item_id: start, title: map.titles[map.item_ids.indexOf(start)] || start }, ...hits.slice(0, 3).map((hit) => ({ item_id: hit.item_id, title: hit.title || hit.item_id }))];
      act((next) => next.splice(0, next.length, ...chosen.map((one) => ({ ...one, weight: TAKEN }))));
    } catch (error) { note.replaceChildren(errorNotice(error)); }
  }

  const only = latest();
  let before = null;
  const ask = debounced(40, async () => {
    if (root.hidden) return;
    note.replaceChildren();
    if (!list.children.length) list.replaceChildren(...skeletons(8, 260));
    try {
      const found = await only(async () => {
        const [answer, taste] = await Promise.all([recommended(), tasted()]);
        await learnMedia(answer.hits.map((hit) => hit.item_id));
        return { ...answer, taste };
      });
      if (found) draw(found);
    } catch (error) {
      list.replaceChildren();
      note.replaceChildren(errorNotice(error, ask));
    }
  });

  async function recommended() {
    const user = live.user(), skipped = history.filter((one) => one.weight < 0).map((one) => one.item_id);
    const shown = { k: SHOWN, attributes: shownAttributes(), explain: true };
    const once = { duplicates: "collapse" };
    const body = user
      ? { ...shown, ...(state.status.scenarios.length ? {} : once), user_ids: [user] } // all else is as the scenario of the user has it
      : { ...shown, ...once, where: skipped.length ? [["item_id", "not in", skipped]] : [], histories: [history.map((one) => one.item_id)], weights: [history.map((one) => one.weight)] };
    const { request_id, variant, notes = [], results: [result] } = await post("recommend", body);
    return { user, request_id, variant: result.variant ?? variant, hits: result.hits, notes };
  }

  async function tasted() {
    return history.length ? post("tastes", { history: history.map((one) => one.item_id), weights: history.map((one) => one.weight), k: 8 }) : { near: [], far: [] };
  }

  function draw({ user, hits, notes, taste, ...answer }) {
    const places = new Map((before || []).map((itemId, at) => [itemId, at]));
    const extent = extentOf(hits);
    const cards = hits.map((hit, at) => {
      const title = hit.title || hit.item_id;
      titles.set(hit.item_id, title);
      const node = card(hit, { extent, actions: [["check", `Take ${title}`, () => acted(hit, TAKEN, answer)], ["skip", `Skip ${title}`, () => acted(hit, SKIPPED, answer)]] });
      const move = before === null ? null : places.has(hit.item_id) ? places.get(hit.item_id) - at : "new";
      if (move !== null && move !== 0) { const badge = moved(move); badge.classList.add("moved-badge"); node.querySelector(".card-picture").append(badge); }
      return node;
    });
    reorder(list, cards);
    before = hits.map((hit) => hit.item_id);
    const sources = new Map();
    for (const hit of hits) if (hit.source) sources.set(hit.source, (sources.get(hit.source) || 0) + 1);
    heading.textContent = user ? `Recommendations for ${user}` : history.length ? "Recommendations" : "For somebody who is new";
    const scenario = answer.variant ? [user ? `Scenario “${answer.variant}”, which the service gives to ${user}.` : `Scenario “${answer.variant}”, the default.`] : [];
    note.replaceChildren(...[...scenario, ...notes].map((one) => el("p", { class: "muted small" }, one)));
    if (!hits.length) note.append(emptyState("Nothing to recommend", "This bundle has learned nothing of users yet, and the history is empty. Take an item to begin."));
    announce(`${plural(hits.length, "recommendation")}; ${[...sources].map(([name, count]) => `${count} by ${name}`).join(", ")}`);
    drawTaste(taste);
    live.shown({ user, hits, ...answer }, cards);
  }

  async function acted(hit, weight, list) {
    if (!(await live.tell(hit, weight, list))) return;
    take(hit, weight);
    announce(`${weight > 0 ? "Taken" : "Skipped"}: ${hit.title || hit.item_id}`);
  }

  function drawTaste({ near, far, notes = [] }) {
    const rows = (values, kind) => values.map((one) => el("li", { class: `taste ${kind}` }, el("span", { class: "clip", title: `${one.attribute}: ${one.value}` }, one.value, " ", el("span", { class: "muted tiny" }, one.attribute)),
      el("span", { class: "bar", "aria-hidden": "true" }, el("i", { vars: { width: `${Math.min(100, Math.abs(100 * one.score))}%` } })), el("span", { class: "score" }, one.score.toFixed(2).replace("-", "−"))));
    if (!near.length && !far.length) return tastes.replaceChildren(el("p", { class: "muted small" }, notes.length ? notes.map((one) => `${one.charAt(0).toUpperCase()}${one.slice(1)}.`).join(" ") : history.length ? "The items have no values of attributes to name the taste by." : "Once something is taken, the attribute values nearest to the taste stand here."));
    return tastes.replaceChildren(el("h3", {}, "Nearest"), el("ul", { class: "tastes" }, rows(near, "near")), far.length ? el("h3", {}, "Farthest") : "", el("ul", { class: "tastes" }, rows(far.slice(0, 3), "far")));
  }

  const redraw = () => { drawUser(); ask(); };
  on("user", redraw);
  on("catalogue", redraw);
  drawUser();
  return { shown: redraw };
}

/** A field that finds items to take. */
function finder(taken) {
  const found = el("div", { class: "found-items", role: "group", "aria-label": "Items found" });
  const input = el("input", { type: "search", class: "grow", placeholder: "Find an item to take", "aria-label": "Find an item to take" });
  const only = latest();
  const search = debounced(120, async () => {
    const text = input.value.trim();
    if (!text) return found.replaceChildren();
    try {
      const answer = await only(() => post("search", { texts: [text], k: 5, duplicates: "collapse" }));
      if (!answer) return undefined;
      const { hits } = answer.results[0];
      await learnMedia(hits.map((hit) => hit.item_id));
      return found.replaceChildren(...hits.map((hit) => el("button", { type: "button", on: { click: () => { taken(hit); input.value = ""; found.replaceChildren(); input.focus(); } } }, thumbnail(hit.item_id, hit.title || hit.item_id, 36), el("span", { class: "clip" }, hit.title || hit.item_id), icon("plus"))));
    } catch (error) { return found.replaceChildren(errorNotice(error)); }
  });
  input.addEventListener("input", search);
  return el("div", {}, el("div", { class: "row" }, input), found);
}
