// Which version of the bundle answers: a generation that it keeps, with what it learned or without.

import { get } from "../api.js";
import { state } from "../store.js";

const DAY = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
let kept = []; // the newest first

/** Ask which generations there are. */
export async function loadGenerations() {
  kept = state.status.routes.includes("/generations") ? (await get("generations")).generations.filter((one) => !one.problem) : [];
  return kept;
}

/** The generations as options: [value, label]; the value of the one that is served is empty. */
export function generationOptions() {
  const labels = kept.map((one) => [one.served ? "Served" : one.staged ? "Staged" : "", made(one), one.learned.join(", ") || "nothing learned"].filter(Boolean).join(" · "));
  const isOnly = (label) => labels.indexOf(label) === labels.lastIndexOf(label);
  return kept.map((one, at) => [one.served ? "" : one.generation, isOnly(labels[at]) ? labels[at] : `${labels[at]} · ${shortName(one.generation)}`]);
}

/** When a generation was made, with the year where it is not this one. */
function made({ created }) {
  const date = new Date(created), isThisYear = date.getFullYear() === new Date().getFullYear();
  return date.toLocaleString("en-GB", isThisYear ? DAY : { ...DAY, year: "numeric" });
}

/** What a generation has learned; of the one that is served where none is named. */
export function learnedOf(generation) {
  const found = kept.find((one) => (generation ? one.generation === generation : one.served));
  return found ? found.learned : state.status.learned?.parts || [];
}

/** Whether a generation has an index of words. */
export function hasWords(generation) {
  return kept.find((one) => (generation ? one.generation === generation : one.served))?.words ?? state.status.words;
}

export const isKept = (generation) => !generation || kept.some((one) => one.generation === generation && !one.served);
export const shortName = (generation) => generation.split("-").at(-1);

/** The fields of a request that name a version; none for the one that is served. */
export function versionFields({ generation, learned }) {
  return { ...(generation ? { generation } : {}), ...(learned ? {} : { learned: false }) };
}

/** Say by what a list was answered. */
export function answeredBy(answer) {
  const found = kept.find((one) => one.generation === answer.generation);
  const learned = answer.learned === false ? "without what it learned" : found?.learned.length ? `learned ${found.learned.join(", ")}` : "learned nothing";
  return `Generation ${shortName(answer.generation)}${answer.change ? ` with change ${answer.change}` : ""}, ${learned}.`;
}

/** How alike the orders of two lists are: Kendall's tau of what both have, null where that is less than two. */
export function rankCorrelation(left, right) {
  const places = new Map(right.map((name, at) => [name, at]));
  const shared = left.filter((name) => places.has(name)).map((name) => places.get(name));
  if (shared.length < 2) return null;
  let sum = 0;
  for (let one = 0; one < shared.length; one += 1) for (let other = one + 1; other < shared.length; other += 1) sum += shared[one] < shared[other] ? 1 : -1;
  return sum / ((shared.length * (shared.length - 1)) / 2);
}
