// What is asked for, shared by the views, and who wants to know when it changes.

const listeners = new Map();
let nextId = 1;

export const state = {
  parts: [], // {id, kind: text|image|audio|item, label, value, preview, weight, series}
  filters: new Map(), // attribute -> {kind: "values", several, chosen: Set} or {kind: "numbers", min, max}
  region: null, // {ids: Set, of}: items marked on the map
  mode: "vector",
  fold: true,
  rerank: false,
  spread: 0, // strength of diversification, 0 for none
  k: 24,
  cutoff: null,
  facets: [],
  info: null,
  status: null,
  results: null, // the last answer of the search, for the map
};

/** Be told of changes: "query", "filters", "settings", "results", "catalogue". */
export function on(topic, run) {
  listeners.set(topic, [...(listeners.get(topic) || []), run]);
}

export function changed(topic) {
  for (const run of listeners.get(topic) || []) run();
}

export function addPart(kind, label, value, more = {}) {
  const used = new Set(state.parts.map((part) => part.series));
  let series = 0;
  while (used.has(series)) series += 1;
  state.parts.push({ id: nextId++, kind, label, value, preview: null, weight: 1, series: series % 8, ...more });
  changed("query");
}

export function removePart(id) {
  const part = state.parts.find((one) => one.id === id);
  if (part?.preview?.startsWith("blob:")) URL.revokeObjectURL(part.preview);
  state.parts = state.parts.filter((one) => one.id !== id);
  changed("query");
}

export function clearParts() {
  state.parts = [];
  changed("query");
}

/** The filters as the service reads them. */
export function conditions() {
  const found = [];
  for (const [name, filter] of state.filters) {
    if (filter.kind === "numbers") {
      if (filter.min !== null) found.push([name, ">=", filter.min]);
      if (filter.max !== null) found.push([name, "<=", filter.max]);
    } else if (filter.several) for (const value of filter.chosen) found.push([name, "contains", value]);
    else if (filter.chosen.size) found.push([name, "in", [...filter.chosen]]);
  }
  if (state.region) found.push(["item_id", "in", [...state.region.ids]]);
  const asked = state.parts.filter((part) => part.kind === "item").map((part) => part.value);
  if (asked.length) found.push(["item_id", "not in", asked]);
  return found;
}

/** The body of a search, with other settings where some are given. */
export function searchBody(settings = {}) {
  const { mode, fold, rerank, spread, k } = { ...state, ...settings };
  const [first] = state.parts;
  const plain = state.parts.length === 1 && first.kind === "text" && first.weight === 1;
  const body = plain
    ? { texts: [first.value] }
    : { queries: [{ parts: state.parts.map((part) => ({ [part.kind]: part.value, weight: part.weight })) }] };
  return {
    ...body, mode, rerank, k,
    where: conditions(),
    attributes: shownAttributes(),
    duplicates: fold ? "collapse" : "show",
    ...(mode === "words" ? {} : { explain: true, verdict: true }), // both need the vectors of the query
    ...(spread > 0 ? { diversify: { method: "mmr", strength: spread } } : {}),
  };
}

/** The few attributes that cards show. */
export function shownAttributes() {
  return state.facets.filter((facet) => !facet.several || facet.distinct <= 40).slice(0, 3).map((facet) => facet.name);
}

export const signature = () => JSON.stringify([state.parts.map((part) => [part.id, part.weight]), conditions(), state.mode, state.fold, state.rerank, state.spread, state.k]);
