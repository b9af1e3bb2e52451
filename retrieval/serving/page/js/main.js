// The page: its views, its themes, and the token where the service needs one.

import { get, token } from "./api.js";
import { byId, debounced, el, icon, openDialog } from "./dom.js";
import { changed, on, state } from "./store.js";
import { queryBuilder } from "./parts/chips.js";
import { refresh, startHealth } from "./parts/health.js";
import { linkOf, restore, shape, viewOf } from "./parts/link.js";
import { errorNotice } from "./parts/notice.js";
import { settingsRow } from "./parts/settings.js";
import { examples, searchPane } from "./panes/search.js";

const THEME = "commonspace-theme";
const LOADED = { search: null, compare: () => import("./panes/compare.js"), users: () => import("./panes/users.js"), map: () => import("./panes/map.js") };
const panes = {};
let current = "search";
let written = null, drawnShape = ""; // the address as this page last wrote or read it, and what kind of query it has

function themed(value) {
  if (value) document.documentElement.dataset.theme = value; else delete document.documentElement.dataset.theme;
  const dark = value ? value === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const button = byId("theme");
  button.replaceChildren(icon(dark ? "sun" : "moon"));
  button.setAttribute("aria-label", dark ? "Light colours" : "Dark colours");
  button.title = button.getAttribute("aria-label");
  button.onclick = () => { const next = dark ? "light" : "dark"; localStorage.setItem(THEME, next); themed(next); changed("theme"); };
}

function askForToken(reason = "") {
  if (document.querySelector("dialog[data-token]")) return;
  const field = el("input", { type: "password", id: "token", value: token.get(), autocomplete: "off" });
  const dialog = openDialog("Access", reason ? el("p", {}, reason) : null,
    el("form", { class: "stack", on: { submit: (event) => { event.preventDefault(); token.set(field.value.trim()); dialog.close(); start(); } } },
      el("label", { for: "token", class: "muted small" }, "Token. It is kept until this tab is closed, and sent to this service alone; a write token also lets this page write events."),
      field, el("div", { class: "row" }, el("button", { class: "button primary", type: "submit" }, "Use it"), el("button", { class: "button", type: "button", on: { click: () => { token.set(""); dialog.close(); start(); } } }, "Forget it"))));
  dialog.dataset.token = "";
}

/** Put the view and its query into the address, as a step of the browser's history or in place of the last. */
function remember(isStep) {
  if (written === null) return; // the address has not been read yet
  const link = linkOf(current), is = shape();
  if (link !== written) history[isStep || is !== drawnShape ? "pushState" : "replaceState"](null, "", link ? `#${link}` : location.pathname + location.search);
  [written, drawnShape] = [link, is];
}

/** Take the query of the address, and say what of it could not be taken. */
function follow() {
  const lost = restore(location.hash);
  linkNote.replaceChildren(...lost.map((one) => el("div", { class: "notice small" }, icon("warn"), el("div", {}, `${one}.`))));
  const view = viewOf(location.hash);
  current = view in LOADED ? view : current;
  [written, drawnShape] = [linkOf(current), shape()];
}

addEventListener("hashchange", () => {
  if (written === null) return;
  if (!(viewOf(location.hash) in LOADED)) { // as that of the link that skips to the content
    history.replaceState(null, "", written ? `#${written}` : location.pathname + location.search);
    return;
  }
  const { mode, spread, fold, rerank } = state;
  const before = JSON.stringify([linkOf(""), mode, spread, fold, rerank]);
  follow();
  if (before !== JSON.stringify([linkOf(""), state.mode, state.spread, state.fold, state.rerank])) for (const topic of ["catalogue", "query", "filters"]) changed(topic);
  show(current, false);
});
for (const topic of ["query", "filters", "settings"]) on(topic, debounced(250, () => remember(false)));

async function show(name, isStep = true) {
  current = name;
  for (const tab of byId("tabs").children) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    byId(`pane-${tab.id.slice(4)}`).hidden = !chosen;
  }
  document.body.dataset.view = name;
  byId("query").hidden = name === "users";
  if (isStep) remember(true);
  if (!panes[name] && LOADED[name]) panes[name] = (await LOADED[name]()).default(byId(`pane-${name}`), { show });
  if (current === name) panes[name]?.shown?.();
}

function tabs() {
  const all = [...byId("tabs").children];
  for (const tab of all) tab.addEventListener("click", () => show(tab.id.slice(4)));
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : step ? (all.findIndex((tab) => tab.id === `tab-${current}`) + step + all.length) % all.length : -1;
    if (at < 0) return;
    event.preventDefault();
    all[at].focus();
    show(all[at].id.slice(4));
  });
}

async function start() {
  const place = byId("no-script");
  try {
    [state.info, state.status] = await Promise.all([get("info"), get("status")]);
    state.facets = (await get("facets")).facets;
  } catch (error) {
    place.hidden = false;
    place.replaceChildren(errorNotice(error, start));
    return;
  }
  place.hidden = true;
  byId("brand-note").textContent = `${state.info.items.toLocaleString("en")} items, ${state.info.encoder.name}`;
  if (written === null) follow();
  for (const topic of ["catalogue", "query", "filters"]) changed(topic);
  await show(current, false);
  refresh();
}

themed(localStorage.getItem(THEME));
byId("access").replaceChildren(icon("key"));
byId("access").setAttribute("aria-label", "Access token");
byId("access").title = "Access token";
byId("access").addEventListener("click", () => askForToken());
addEventListener("token-needed", () => askForToken("This service answers those who have its token."));
on("generation", async () => { state.facets = (await get("facets")).facets; changed("catalogue"); });
tabs();
const { foot } = queryBuilder(byId("query"));
settingsRow(foot);
const linkNote = el("div", { role: "status" });
foot.before(linkNote);
const tries = el("div", { class: "examples" });
foot.after(tries);
examples(tries);
panes.search = searchPane(byId("pane-search"));
start().then(startHealth);
