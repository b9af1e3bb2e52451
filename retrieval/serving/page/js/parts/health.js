// The strip of health: what is served, how exactly, how fast, and how fresh.

import { get, getText, timings } from "../api.js";
import { byId, el, openDialog, plural } from "../dom.js";
import { changed, state } from "../store.js";

const EVERY = 10_000;
let stages = null; // of the service itself, from /metrics

export function startHealth() {
  refresh();
  setInterval(() => { if (!document.hidden) refresh(); }, EVERY);
}

export async function refresh() {
  try {
    const before = state.status?.generation;
    const was = state.status;
    state.status = await get("status");
    if (!was || (before && before !== state.status.generation)) changed("generation");
    if (stages !== false) stages = await readStages();
    draw();
  } catch (error) {
    byId("health").replaceChildren(el("span", {}, el("i", { class: "dot bad" }), error.message));
  }
}

async function readStages() {
  if (!state.status.routes.includes("/metrics")) return false;
  try { return stageQuantiles(await getText("metrics")); } catch { return false; }
}

/** Read p50 and p99 of each stage from the text of Prometheus. */
export function stageQuantiles(text) {
  const buckets = new Map();
  for (const line of text.split("\n")) {
    const match = /^commonspace_stage_seconds_bucket\{([^}]*)\} ([0-9.e+]+)/.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...match[1].matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
    const known = buckets.get(labels.stage) || [];
    known.push([labels.le === "+Inf" ? Infinity : Number(labels.le), Number(match[2])]);
    buckets.set(labels.stage, known);
  }
  return [...buckets].map(([stage, counts]) => ({ stage, count: counts.at(-1)[1], p50: quantile(counts, 0.5), p99: quantile(counts, 0.99) })).filter((one) => one.count > 0);
}

function quantile(counts, share) {
  const wanted = share * counts.at(-1)[1];
  let [below, under] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= wanted) return bound === Infinity ? below : below + ((bound - below) * (wanted - under)) / Math.max(count - under, 1);
    [below, under] = [bound, count];
  }
  return below;
}

const ms = (seconds) => (seconds < 0.01 ? `${(1000 * seconds).toFixed(1)} ms` : `${(1000 * seconds).toFixed(0)} ms`);
const share = (value) => `${Number((100 * value).toFixed(1))} %`;
const TAIL = 20; // requests, of fewer of which no p99 is said

function seen(share, values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] / 1000;
}

export function ago(time) {
  if (!time) return "never";
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}${Math.floor(seconds / size) === 1 ? "" : "s"} ago`;
  return "just now";
}

function searchTimes(values) {
  if (!values.length) return "not yet asked";
  if (values.length === 1) return `${ms(values[0] / 1000)} for one request from here`;
  const middle = `p50 ${ms(seen(0.5, values))}`;
  return values.length < TAIL ? `${middle} of ${values.length} requests from here` : `${middle}, p99 ${ms(seen(0.99, values))} from here`;
}

function lastEvent(without) {
  const seconds = state.status.event_lag_seconds;
  if (seconds === null) return state.info?.events ? "no events yet" : without;
  return ago(new Date(Date.now() - 1000 * seconds).toISOString());
}

function filesCompared(files) {
  const when = { all: "before the first answer", lazy: "each before its first use", background: "in the background" }[files.check];
  return `${files.checked} of ${files.files} (${share(files.bytes ? files.bytes_checked / files.bytes : 1)} of the bytes), ${when}`;
}

export function draw() {
  const { status } = state;
  const found = Object.values(status.recall);
  const search = timings.get("search") || [];
  const entries = [
    ["Generation", status.generation.split("-").slice(-1)[0] + (status.batches_since ? ` + ${status.batches_since}` : "")],
    ["Recall", `${found.length ? share(Math.min(1, ...found)) : "not measured yet"}${found.length ? " found" : ""}, ${share(status.promised_recall)} promised`],
    ["Search", searchTimes(search)],
    ["Learned", status.learned ? `${(status.learned.interactions || 0).toLocaleString("en")} interactions` : "nothing"],
    ["Events", lastEvent("off")],
    ...(status.files.checked < status.files.files ? [["Files", filesCompared(status.files)]] : []),
  ];
  byId("health").replaceChildren(
    el("span", { class: "clip" }, el("i", { class: `dot${status.problems.length ? " bad" : ""}` }), status.problems.length ? "degraded" : "well"),
    el("dl", {}, entries.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("button", { class: "button quiet small", type: "button", on: { click: details } }, "Details"));
}

function details() {
  const { status } = state;
  const facts = [["Generation", status.generation], ["Changes since", plural(status.batches_since, "batch", "batches")], ["Made", `${status.created.replace("T", " ").slice(0, 16)}, ${ago(status.created)}`],
    ["Learned", status.learned ? `${status.learned.parts.join(", ")}; from ${(status.learned.interactions || 0).toLocaleString("en")} interactions` : "nothing yet"],
    ["Log until", status.learned?.until ? `${status.learned.until.slice(0, 10)}, ${ago(status.learned.until)}` : "–"],
    ["Last event", lastEvent("this service takes no events")], ["Files compared", filesCompared(status.files)]];
  const recall = Object.entries(status.recall).map(([kind, value]) => el("tr", {}, el("th", { scope: "row" }, `${kind} queries`), el("td", {}, el("span", { class: "meter" }, el("i", { vars: { width: `${100 * value}%` } }))), el("td", { class: "number" }, share(value)), el("td", { class: "number" }, share(status.promised_recall)), el("td", {}, value >= status.promised_recall ? "kept" : "not kept")));
  const rows = stages
    ? stages.map((one) => [one.stage, one.count, one.p50, one.p99])
    : [...timings].map(([route, values]) => [`/${route.split("/")[0]}`, values.length, seen(0.5, values), seen(0.99, values)]);
  const merged = new Map();
  for (const row of rows) if (!merged.has(row[0]) || merged.get(row[0])[1] < row[1]) merged.set(row[0], row);
  openDialog("Health of the service",
    ...(status.problems.length ? [el("div", { class: "notice error" }, el("div", {}, status.problems.map((one) => el("p", {}, one))))] : []),
    el("table", { class: "table whole-words" }, el("caption", {}, "What is served"), el("tbody", {}, facts.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: name === "Generation" ? "long" : "" }, value))))),
    el("table", { class: "table whole-words" }, el("caption", {}, "Recall of the index"), el("thead", {}, el("tr", {}, ["", "", "found", "promised", ""].map((one, at) => (one ? el("th", { scope: "col", class: at > 1 ? "number" : "" }, one) : el("td"))))), el("tbody", {}, recall)),
    el("table", { class: "table whole-words" }, el("caption", {}, stages ? "Time by stage, in the service" : "Time by route, as seen from this page"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, stages ? "stage" : "route"), ...["requests", "p50", "p99"].map((one) => el("th", { scope: "col", class: "number" }, one)))),
      el("tbody", {}, [...merged.values()].map(([name, count, p50, p99]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, count.toLocaleString("en")), el("td", { class: "number" }, ms(p50)), el("td", { class: "number" }, count < TAIL ? "–" : ms(p99)))))),
    el("p", { class: "muted tiny" }, `Of fewer than ${TAIL} requests no p99 is given.`));
}
