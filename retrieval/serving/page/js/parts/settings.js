// How a query is answered: by meaning or words, with which steps after it.

import { el, segmented } from "../dom.js";
import { changed, on, state } from "../store.js";
import { takes } from "./chips.js";

export const NO_WORDS = "This generation has no index of words; `commonspace words` makes one";

/** How to search: [value of the API, label, why it cannot be]. */
export function modes(hasWords = state.status?.words ?? true) {
  const missing = hasWords ? "" : NO_WORDS;
  return [["vector", "Meaning"], ["hybrid", "Both (hybrid)", missing], ["words", "Words", missing]];
}

/** The settings beneath the query; `extra` is put at their end. */
export function settingsRow(foot) {
  const draw = () => {
    const check = (label, key, title) => el("label", { class: "switch", title }, el("input", { type: "checkbox", checked: state[key], on: { change: (event) => { state[key] = event.target.checked; changed("settings"); } } }), label);
    const spread = el("input", { type: "range", min: "0", max: "1", step: "0.05", value: String(state.spread), "aria-label": "Variety", "aria-valuetext": variety(), on: { input: (event) => { state.spread = Number(event.target.value); event.target.setAttribute("aria-valuetext", variety()); changed("settings"); } } });
    foot.replaceChildren(
      segmented("Search by", modes(), state.mode, (mode) => { state.mode = mode; changed("settings"); }),
      el("label", { class: "switch", title: "Pick hits that differ from each other" }, "Variety", spread),
      check("Fold alike", "fold", "Show near-duplicates as one hit"),
      state.info?.learned.second_stage === undefined ? null : check("Rerank", "rerank", "Order the candidates by the published head, or by the exact score"),
      el("span", { class: "hint" }, "Press ", el("kbd", {}, "/"), takes("image") ? " to type, drop or paste a picture" : " to type"));
  };
  on("catalogue", draw);
  draw();
}

const variety = () => (state.spread ? `strength ${state.spread}` : "off");
