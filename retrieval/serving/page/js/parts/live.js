// The live log: the view becomes that of a named user of the log, whose clicks are written as events.

import { get, post, token } from "../api.js";
import { announce, el } from "../dom.js";
import { state } from "../store.js";
import { titles } from "./card.js";
import { SKIPPED, TAKEN, become, history } from "./person.js";

const MOST = 100; // of the last events of a user

/** A part of the user's panel that is there where the service takes events; `onChange` is called when answers may differ. */
export function liveLog(onChange) {
  let user = "", aside = null; // who is played, and the one who was built meanwhile
  const name = el("input", { type: "text", value: "page-visitor", maxLength: 100, hidden: true, "aria-label": "Name of the user in the live log", on: { change: () => begin() } });
  const said = el("p", { class: "muted tiny", role: "status" });
  const box = el("input", { type: "checkbox", on: { change: () => (box.checked ? begin() : end()) } });
  const node = el("div", { class: "stack", hidden: !(state.info.events && state.info.writes) }, el("label", { class: "switch small" }, box, "Write to the live log"), name, said);
  const say = (text) => { said.textContent = text; announce(text); };

  async function begin() {
    const wanted = name.value.trim();
    if (!token.get() || !wanted) {
      end();
      return say(token.get() ? "Not turned on: the user of the log needs a name." : "Not turned on: writing needs the write token. Give it by the lock above, then tick this again.");
    }
    try {
      const entries = await eventsOf(wanted);
      aside ??= history.map((one) => ({ ...one }));
      user = wanted;
      name.hidden = false;
      become(entries);
      say(`The view begins anew with ${user}, of whom the log has ${entries.length ? `${entries.length}${entries.length >= MOST ? " or more" : ""} items` : "nothing yet"}. Each click is written to the log, which undo does not take back. The user that you built comes back when this is turned off.`);
    } catch (error) {
      end();
      say(`Not turned on: ${error.message}. ${error.hint || ""}`);
    }
    return onChange();
  }

  function end() {
    box.checked = false;
    name.hidden = true;
    user = "";
    said.textContent = "";
    if (aside) become(aside);
    aside = null;
  }

  return {
    node,
    user: () => user,
    /** Write a click where the log is on; whether it counts. */
    async tell(hit, weight) {
      if (!user) return true;
      try {
        await post("events", { user_id: user, item_id: hit.item_id, type: weight > 0 ? "like" : "hide", event_id: crypto.randomUUID() });
        said.textContent = `Written: ${weight > 0 ? "like" : "hide"} of ${hit.title || hit.item_id}, by ${user}.`;
        return true;
      } catch (error) {
        say(`Not written, and not counted: ${error.message}. ${error.hint || ""}`);
        return false;
      }
    },
  };
}

/** Ask for titles that no answer has brought yet; items that the catalogue lost stay ids. */
async function learnTitles(itemIds) {
  const unknown = itemIds.filter((itemId) => !titles.has(itemId));
  if (!unknown.length) return;
  const query = new URLSearchParams([...unknown.map((itemId) => ["ids", itemId]), ["attributes", "item_id"]]);
  const { items } = await get(`items?${query}`);
  for (const item of items) if (item.title) titles.set(item.item_id, item.title);
}

/** What the log has of a user as a history, each item once by its last event. */
async function eventsOf(user) {
  const { events } = await get(`users/${encodeURIComponent(user)}/events?limit=${MOST}`);
  const last = new Map();
  for (const event of events) if (event.type !== "impression" && !last.has(event.item_id)) last.set(event.item_id, event.type === "hide" || event.type === "dislike" ? SKIPPED : TAKEN);
  await learnTitles([...last.keys()]);
  return [...last].reverse().map(([itemId, weight]) => ({ item_id: itemId, title: titles.get(itemId) || itemId, weight }));
}
