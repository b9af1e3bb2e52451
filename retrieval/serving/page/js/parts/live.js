// The live log: the view becomes that of a named user of the log, and, if that is turned on, clicks and what was seen are written.

import { get, post, token } from "../api.js";
import { announce, debounced, el, plural } from "../dom.js";
import { state } from "../store.js";
import { titles } from "./card.js";
import { draw as drawHealth } from "./health.js";
import { SKIPPED, TAKEN, act, become, history } from "./person.js";
import { watchSeen } from "./seen.js";

const MOST = 100; // of the last items of a user
const PAGE = 1000, PAGES = 10; // events that are read to find them: most are impressions
const SOMEBODY = "page-visitor";
const copy = () => history.map((one) => ({ ...one }));

/** Parts of the user's panel that are there where the service takes events; `onChange` is called when answers may differ. */
export function liveLog(onChange) {
  let user = "", writes = false; // who is played, and whether clicks are written
  let aside = null, asLogged = ""; // who was built before writing began, and the history as the log has it
  let seen = null, unwatch = () => {}; // puts a hit of the list among what was seen, and ends the watch of its cards
  const unsent = []; // impressions that are not written yet
  const name = el("input", { type: "text", class: "grow", maxLength: 256, placeholder: "User id of the live log", "aria-label": "User id of the live log", on: { change: () => { if (writes) begin(); } } });
  const field = el("form", { class: "row", hidden: !state.info.events, on: { submit: (event) => { event.preventDefault(); if (!writes) look(); } } }, name, el("button", { class: "button small", type: "submit" }, "Show"));
  const said = el("p", { class: "muted tiny", role: "status" });
  const box = el("input", { type: "checkbox", on: { change: () => (box.checked ? begin() : end()) } });
  const node = el("div", { class: "stack", hidden: !state.info.events }, el("label", { class: "switch small", hidden: !state.info.writes }, box, "Write to the live log"), said);
  const say = (text) => { said.textContent = text; announce(text); };
  const refused = (what, error) => say(error.status === 401 || error.status === 403
    ? `${what}: what the log has of a user is told to those with a token alone (${error.message}). Give it by the lock above, then try again.`
    : `${what}: ${error.message}. ${error.hint || ""}`);

  /** Show a user as the log has them; nothing is written, and undo gives back who was shown before. */
  async function look() {
    const wanted = name.value.trim();
    if (!wanted) return say("Type the id of a user of the log first.");
    try {
      const { entries, isAll } = await eventsOf(wanted);
      user = wanted;
      asLogged = JSON.stringify(entries);
      act((next) => next.splice(0, next.length, ...entries));
      say(`${user} as the log has them: ${counted(entries, isAll)}. What you take or skip from here on is a trial, of which nothing is written.`);
    } catch (error) {
      return refused("Not shown", error);
    }
    return onChange();
  }

  async function begin() {
    const wanted = name.value.trim() || SOMEBODY;
    if (!token.get()) {
      end();
      return say("Not turned on: writing needs the write token. Give it by the lock above, then tick this again.");
    }
    try {
      const { entries, isAll } = await eventsOf(wanted);
      aside ??= copy();
      [user, writes, name.value] = [wanted, true, wanted];
      become(entries);
      say(`The view begins anew with ${user}, of whom the log has ${counted(entries, isAll)}. What you see of the lists and each click are written to the log, which undo does not take back. The user that you built comes back when this is turned off.`);
    } catch (error) {
      end();
      refused("Not turned on", error);
    }
    return onChange();
  }

  function end() {
    unwatch();
    flush();
    box.checked = writes = false;
    leave();
    if (aside) become(aside);
    aside = null;
  }

  /** Play nobody of the log any more. */
  function leave() {
    user = asLogged = "";
    said.textContent = "";
  }

  async function write(events, options) {
    await post("events", { events }, options);
    state.status.event_lag_seconds = 0; // until the service is asked again
    drawHealth();
  }

  /** Write what was seen. */
  async function flush(options) {
    if (!unsent.length) return;
    try {
      await write(unsent.splice(0), options);
    } catch (error) {
      say(`Not written what was seen of this list: ${error.message}. ${error.hint || ""}`);
    }
  }
  const soon = debounced(100, () => flush());
  document.addEventListener("visibilitychange", () => { if (document.hidden) flush({ keepalive: true }); });

  return {
    field,
    node,
    leave,
    /** Who of the log is played: nobody once the history is another than the one of the log. */
    user: () => (writes || (user && JSON.stringify(history) === asLogged) ? user : ""),
    writes: () => writes,
    /** Write of the cards of a list, one for each hit, which of them are seen, each once and with its place. */
    shown({ user: to, request_id, variant, hits }, cards) {
      unwatch();
      flush();
      [seen, unwatch] = [null, () => {}];
      if (!writes || to !== user) return;
      const left = new Set(hits.map((hit) => hit.item_id));
      seen = (hit) => {
        if (left.delete(hit.item_id)) unsent.push({ user_id: to, item_id: hit.item_id, type: "impression", event_id: crypto.randomUUID(), ...placed(hit, { request_id, variant }) });
      };
      unwatch = watchSeen(cards, (at) => { seen(hits[at]); soon(); });
    },
    /** Write a click where the log is on, with the list that it is of, of which it was seen; whether it counts. */
    async tell(hit, weight, list) {
      if (!writes) return true;
      if (list) seen?.(hit);
      const before = unsent.splice(0);
      try {
        await write([...before, { user_id: user, item_id: hit.item_id, type: weight > 0 ? "like" : "hide", event_id: crypto.randomUUID(), ...(list ? placed(hit, list) : {}) }]);
        said.textContent = `Written: ${weight > 0 ? "like" : "hide"} of ${hit.title || hit.item_id}, by ${user}.`;
        return true;
      } catch (error) {
        unsent.unshift(...before);
        say(`Not written, and not counted: ${error.message}. ${error.hint || ""}`);
        return false;
      }
    },
  };
}

/** Where a hit was: in which list, at which place. */
const placed = (hit, { request_id, variant }) => ({ request_id, position: hit.rank, ...(variant ? { variant } : {}) });

const counted = (entries, isAll) => (entries.length ? `${plural(entries.length, "item")}${isAll ? "" : " or more"}` : "nothing yet");

/** Ask for titles that no answer has brought yet; items that the catalogue lost stay ids. */
async function learnTitles(itemIds) {
  const unknown = itemIds.filter((itemId) => !titles.has(itemId));
  if (!unknown.length) return;
  const query = new URLSearchParams([...unknown.map((itemId) => ["ids", itemId]), ["attributes", "item_id"]]);
  const { items } = await get(`items?${query}`);
  for (const item of items) if (item.title) titles.set(item.item_id, item.title);
}

/** What the log has of a user as a history, each item once by its last event, and whether that is all. */
async function eventsOf(user) {
  const last = new Map();
  let before = null, page = 0;
  do {
    const { events, next_before: next } = await get(`users/${encodeURIComponent(user)}/events?limit=${PAGE}${before === null ? "" : `&before=${before}`}`);
    for (const event of events) if (event.type !== "impression" && last.size < MOST && !last.has(event.item_id)) last.set(event.item_id, event.type === "hide" || event.type === "dislike" ? SKIPPED : TAKEN);
    [before, page] = [next, page + 1];
  } while (before !== null && last.size < MOST && page < PAGES);
  await learnTitles([...last.keys()]);
  return { entries: [...last].reverse().map(([itemId, weight]) => ({ item_id: itemId, title: titles.get(itemId) || itemId, weight })), isAll: before === null && last.size < MOST };
}
