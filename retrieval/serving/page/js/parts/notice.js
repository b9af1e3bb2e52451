// What is said where there are no hits: nothing asked yet, nothing found, an error.

import { ApiError } from "../api.js";
import { announce, el, icon } from "../dom.js";

export function errorNotice(error, again) {
  const message = error instanceof ApiError ? error.message : `The page failed: ${error.message}`;
  announce(`Error: ${message}`);
  return el("div", { class: "notice error", role: "alert" }, icon("warn"),
    el("div", { class: "grow" }, el("strong", {}, `${message.charAt(0).toUpperCase()}${message.slice(1)}.`), error.hint ? el("div", {}, `${error.hint.charAt(0).toUpperCase()}${error.hint.slice(1)}.`) : null),
    again ? el("button", { class: "button small", type: "button", on: { click: again } }, "Try again") : null);
}

export function emptyState(title, ...lines) {
  return el("div", { class: "state" }, el("strong", {}, title), ...lines.map((line) => (line instanceof Node ? line : el("p", {}, line))));
}

export function skeletons(count, height) {
  return Array.from({ length: count }, () => el("li", { class: "skeleton", vars: { height: `${height}px` }, "aria-hidden": "true" }));
}
