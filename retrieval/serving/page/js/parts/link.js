// The address of a view: the words and items of the query, its filters and settings, as text after the name of the view.

import { get } from "../api.js";
import { changed, state } from "../store.js";

const PLAIN = /^[\p{L}\p{N}]+( [\p{L}\p{N}]+)*$/u;
const TERM = /\s*(?:([+-])\s+)?(?:(\d+(?:\.\d*)?|\.\d+):)?(?:(text|item):)?(?:'((?:\\.|[^'\\])*)'|"((?:\\.|[^"\\])*)"|(?!['"+-])((?:\\.|[^\\])+?))(?=\s+[+-]\s|\s*$)/sy;
const FILE = /^(image:|audio:|\.{0,2}\/|~\/)/;
const uploaded = (part) => part.kind !== "text" && part.kind !== "item";

/** Write words and items as a composed query: `2:'red mug' - item:'mug-3'`. */
export function composed(parts) {
  return parts.map((part, at) => {
    const sign = part.weight < 0 ? "- " : at ? "+ " : "", size = Math.abs(part.weight);
    const value = part.kind === "text" && PLAIN.test(part.value) ? part.value : `'${part.value.replaceAll(/[\\']/g, "\\$&")}'`;
    return `${sign}${size === 1 ? "" : `${size}:`}${part.kind === "item" ? "item:" : ""}${value}`;
  }).join(" ");
}

/** Read a composed query of words and items; throws where it cannot be read. */
export function parsed(text) {
  const found = [];
  for (TERM.lastIndex = 0; TERM.lastIndex < text.trimEnd().length;) {
    const [from, match] = [TERM.lastIndex, TERM.exec(text)];
    const [, sign, size, kind, single, double, plain] = match || [];
    if (!match || (found.length && !sign)) throw new Error(`The query of the link cannot be read at “${text.slice(from, from + 40)}”`);
    if (plain !== undefined && !kind && FILE.test(plain)) throw new Error(`The link names a file, “${plain.slice(0, 40)}”, which a page cannot read`);
    const value = (single ?? double ?? plain).replaceAll(/\\(.)/gs, "$1");
    found.push({ kind: kind || "text", value, weight: (sign === "-" ? -1 : 1) * Number(size ?? 1) });
  }
  return found;
}

/** The address of a view as the text after `#`; empty for a search of nothing. */
export function linkOf(view) {
  const query = new URLSearchParams(), parts = state.parts.filter((part) => !uploaded(part));
  if (parts.length) query.set("q", composed(parts));
  for (const [name, filter] of state.filters) {
    if (filter.kind === "values") for (const value of filter.chosen) query.append(`is.${name}`, String(value));
    else for (const end of ["min", "max"]) if (filter[end] !== null) query.set(`${end}.${name}`, String(filter[end]));
  }
  if (state.mode !== "vector") query.set("by", state.mode);
  if (state.spread) query.set("variety", String(state.spread));
  if (!state.fold) query.set("fold", "off");
  if (state.rerank) query.set("rerank", "on");
  if (parts.length < state.parts.length) query.append("without", "files");
  if (state.region) query.append("without", "region");
  return query.size ? `${view}?${query}` : view === "search" ? "" : view;
}

/** What kind of query an address has, without its weights and bounds: a change of it is a step of the browser's history. */
export const shape = () => JSON.stringify([state.parts.map((part) => part.id), [...state.filters].map(([name, filter]) => [name, [...(filter.chosen || [])]]), state.mode]);

/** The view that an address names. */
export const viewOf = (hash) => hash.replace(/^#/, "").split("?", 1)[0] || "search";

/** Take the query, filters and settings of an address into the state; gives what could not be taken, as sentences. */
export function restore(hash) {
  const query = new URLSearchParams(hash.includes("?") ? hash.slice(hash.indexOf("?") + 1) : ""), lost = [];
  const without = query.getAll("without"), files = state.parts.filter(uploaded);
  let wanted = [];
  try { wanted = parsed(query.get("q") || ""); } catch (error) { lost.push(error.message); }
  const known = [...state.parts];
  state.parts = wanted.map(({ kind, value, weight }, at) => {
    const place = known.findIndex((part) => part.kind === kind && part.value === value);
    const part = place < 0 ? { id: `link-${at}-${kind}-${value}`, label: value, preview: null, series: at % 8 } : known.splice(place, 1)[0];
    return { ...part, kind, value, weight };
  });
  if (without.includes("files")) {
    if (files.length) state.parts.push(...files);
    else lost.push("The query of this link also had a picture or a sound, which links do not carry; add it again");
  }
  if (!without.includes("region")) state.region = null;
  else if (!state.region) lost.push("The query of this link was also within a region of the map, which links do not carry; mark it again");
  state.filters = filtersOf(query, lost);
  const mode = query.get("by") || "vector";
  state.mode = ["vector", "hybrid", "words"].includes(mode) && (mode === "vector" || state.status.words) ? mode : "vector";
  if (state.mode !== mode) lost.push(`The link searches by “${mode}”, which this service does not; it is searched by meaning`);
  const spread = Number(query.get("variety") ?? 0);
  state.spread = spread >= 0 && spread <= 1 ? spread : 0;
  if (state.spread !== spread) lost.push(`The variety of the link, “${query.get("variety")}”, is not from 0 to 1; there is none`);
  Object.assign(state, { fold: query.get("fold") !== "off", rerank: query.get("rerank") === "on" });
  nameItems(state.parts.filter((part) => part.kind === "item" && part.label === part.value));
  return lost;
}

function filtersOf(query, lost) {
  const found = new Map();
  for (const [key, text] of query) {
    const [, end, name] = /^(is|min|max)\.(.+)$/s.exec(key) || [];
    if (!end) continue;
    const facet = state.facets.find((one) => one.name === name && one.kind === (end === "is" ? "values" : "numbers"));
    const value = end === "is" ? facet?.values.find((one) => String(one.value) === text)?.value : Number(text);
    if (!facet || value === undefined || Number.isNaN(value)) {
      lost.push(`The link has a filter that this service has not, ${name}: ${text}; it is left out`);
    } else if (end === "is") {
      const filter = found.get(name) || { kind: "values", several: facet.several, chosen: new Set() };
      filter.chosen.add(value);
      found.set(name, filter);
    } else found.set(name, { kind: "numbers", min: null, max: null, ...found.get(name), [end]: value });
  }
  return found;
}

async function nameItems(parts) {
  if (!parts.length) return;
  await Promise.all(parts.map(async (part) => {
    try {
      const { item } = await get(`items/${part.value.split("/").map(encodeURIComponent).join("/")}`);
      part.label = item.title || part.value;
    } catch { /* the search says that there is no such item */ }
  }));
  state.parts = state.parts.map((part) => (parts.includes(part) ? { ...part, id: `${part.id} ` } : part)); // drawn anew, with its title
  changed("query");
}
