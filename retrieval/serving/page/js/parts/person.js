// The user that is being played: what they took and skipped, with undo; kept in this browser alone.

import { changed } from "../store.js";

const SAVED = "commonspace-users";
export const history = []; // {item_id, title, weight}: 1 for what was taken, below 0 for what was skipped
const past = [], future = [];
export const TAKEN = 1, SKIPPED = -1;

const copy = () => history.map((one) => ({ ...one }));
function replace(entries) {
  history.splice(0, history.length, ...entries);
  changed("user");
}

/** Play somebody else, of whom nothing can be undone yet. */
export function become(entries) {
  past.length = future.length = 0;
  replace(entries);
}

/** Change the history so that it can be undone. */
export function act(change) {
  past.push(copy());
  future.length = 0;
  const next = copy();
  change(next);
  replace(next);
}

export const take = (hit, weight = TAKEN) => act((next) => {
  const at = next.findIndex((one) => one.item_id === hit.item_id);
  if (at >= 0) next.splice(at, 1);
  next.push({ item_id: hit.item_id, title: hit.title || hit.item_id, weight });
});
export const drop = (itemId) => act((next) => next.splice(next.findIndex((one) => one.item_id === itemId), 1));

export function undo() {
  if (!past.length) return;
  future.push(copy());
  replace(past.pop());
}

export function redo() {
  if (!future.length) return;
  past.push(copy());
  replace(future.pop());
}

export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;

export function savedUsers() {
  try {
    return new Map(Object.entries(JSON.parse(localStorage.getItem(SAVED) || "{}")));
  } catch { return new Map(); }
}

export function saveUser(name) {
  const users = savedUsers();
  users.set(name, copy());
  localStorage.setItem(SAVED, JSON.stringify(Object.fromEntries(users)));
}
