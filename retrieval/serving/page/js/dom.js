// Elements without markup: text is only ever put in as text.

const SVG = "http://www.w3.org/2000/svg";
const STROKES = {
  search: "M10.5 17.5a7 7 0 1 1 0-14 7 7 0 0 1 0 14ZM16 16l5 5",
  words: "M4 6h16M4 12h10M4 18h13",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  sound: "M4 10v4M8 6v12M12 3v18M16 7v10M20 10v4",
  item: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  why: "M9.2 9a3 3 0 1 1 4.3 2.7c-.9.5-1.5 1.1-1.5 2.3M12 17.5h.01M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 2v2M12 20v2M4 12H2M22 12h-2M5 5l1.4 1.4M17.6 17.6 19 19M19 5l-1.4 1.4M6.4 17.6 5 19",
  moon: "M20 14.5A8 8 0 0 1 9.5 4 8 8 0 1 0 20 14.5Z",
  key: "M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 7 0v3M12 15v2",
  filter: "M4 6h16M7 12h10M10 18h4",
  check: "M5 12.5l4.5 4.5L19 7.5",
  undo: "M8 5L3.5 9.5 8 14M4 9.5h10a5.5 5.5 0 0 1 0 11H9",
  redo: "M16 5l4.5 4.5L16 14M20 9.5H10a5.5 5.5 0 0 0 0 11h5",
  lasso: "M8 17c-3-1-5-3-5-6 0-4 4-7 9-7s9 3 9 7-4 7-9 7c-1 0-2 0-3-.3M8 17a2 2 0 1 0 2.500 1.600c0 1.400-1 2.400-2.500 2.400",
  home: "M4 11l8-7 8 7v9h-5v-6H9v6H4z",
  warn: "M12 4l9 16H3zM12 10v4M12 17h.01",
  skip: "M6 6l8 6-8 6zM18 6v12",
  shuffle: "M4 7h3c5 0 5 10 10 10h3M17 14l3 3-3 3M4 17h3c1.800 0 2.900-1.300 3.800-3M14 8.500c.8-.9 1.700-1.500 3-1.500h3M17 4l3 3-3 3",
};

/** Make an element; children are nodes, texts, or lists of them, and nothing is read as markup. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === "vars") for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    else if (name in node && typeof value !== "string") node[name] = value;
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", STROKES[name]);
  svg.append(path);
  return svg;
}

export function iconButton(name, label, handler, attributes = {}) {
  return el("button", { type: "button", class: "icon-button small", "aria-label": label, title: label, on: { click: handler }, ...attributes }, icon(name));
}

export const byId = (id) => document.getElementById(id);

let saying = 0;
/** Say something to screen readers. */
export function announce(text) {
  clearTimeout(saying);
  saying = setTimeout(() => { byId("live").textContent = text; }, 250);
}

export function debounced(wait, run) {
  let timer = 0;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => run(...values), wait); };
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Replace the children of a list by others with the same keys, and let those that moved slide to their places. */
export function reorder(list, nodes) {
  const before = new Map([...list.children].filter((node) => node.dataset.key).map((node) => [node.dataset.key, node.getBoundingClientRect()]));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const key = focused?.closest("[data-key]")?.dataset.key, label = focused?.getAttribute("aria-label");
  list.replaceChildren(...nodes);
  if (key) [...(nodes.find((node) => node.dataset.key === key)?.querySelectorAll("button") || [])].find((one) => one.getAttribute("aria-label") === label)?.focus({ preventScroll: true });
  if (still() || nodes.length > 120) return;
  for (const node of nodes) {
    const was = before.get(node.dataset.key), is = node.getBoundingClientRect();
    if (!was) { if (before.size) node.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 180 }); continue; }
    const x = was.left - is.left, y = was.top - is.top;
    if (x || y) node.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 240, easing: "cubic-bezier(.2,.7,.2,1)" });
  }
}

/** A group of radio buttons that looks like one control. */
export function segmented(label, options, value, onChange) {
  const name = `seg-${Math.random().toString(36).slice(2)}`;
  return el("div", { class: "segmented", role: "radiogroup", "aria-label": label }, options.map(([key, text, disabled]) =>
    el("label", { title: disabled || undefined }, el("input", { type: "radio", name, value: key, checked: key === value, disabled: Boolean(disabled), on: { change: () => onChange(key) } }), el("span", {}, text))));
}

/** Open a dialog that closes by its button, by Escape, and by a click beside it. */
export function openDialog(title, ...body) {
  const dialog = el("dialog", { "aria-label": title });
  const close = el("button", { type: "button", class: "icon-button", "aria-label": "Close", on: { click: () => dialog.close() } }, icon("close"));
  dialog.append(el("div", { class: "dialog-head" }, el("h2", {}, title), close), el("div", { class: "dialog-body" }, ...body));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** The value of a colour of the theme, as canvases need it. */
export function colour(name) {
  const probe = el("i", { vars: { color: `var(--${name})` } });
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

export const SERIES = 8;
export const plural = (count, one, several = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : several}`;
export const fixed = (value) => (Number.isInteger(value) ? value.toLocaleString("en") : Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3).replace("-", "−"));
