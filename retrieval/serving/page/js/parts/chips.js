// The query builder: words, pictures, sounds and items, each with a weight.

import { ApiError } from "../api.js";
import { announce, debounced, el, icon, iconButton } from "../dom.js";
import { addPart, changed, clearParts, on, removePart, state } from "../store.js";
import { PICTURES, kindOf } from "./file_kinds.js";
import { thumbnail } from "./media.js";

const ICONS = { text: "words", image: "image", audio: "sound", item: "item" };
const LONGEST_SIDE = 1024;
const SMALL = 300_000; // bytes of a picture that is sent as it is

export function queryBuilder(root) {
  const chips = el("ul", { class: "chips", "aria-label": "Parts of the query" });
  const input = el("input", { type: "search", id: "words", "aria-label": "Words to search for", autocomplete: "off", spellcheck: false, maxLength: 1000 });
  const picture = el("input", { type: "file", accept: PICTURES.join(","), hidden: true, "aria-label": "Picture file", on: { change: () => taken(picture) } });
  const sound = el("input", { type: "file", accept: "audio/*", hidden: true, "aria-label": "Sound file", on: { change: () => taken(sound) } });
  const problem = el("div", { role: "alert" });
  const form = el("form", { class: "ask", on: { submit: (event) => { event.preventDefault(); words(); } } },
    el("div", { class: "ask-box" }, icon("search"), input),
    el("div", { class: "tools" },
      toolButton("image", "Add a picture", () => picture.click()),
      toolButton("sound", "Add a sound", () => sound.click(), "audio")),
    el("button", { class: "button primary", type: "submit" }, "Search"), picture, sound);
  const foot = el("div", { class: "query-foot" });
  const promise = () => { input.placeholder = promised(takes("image"), takes("audio")); };
  on("catalogue", promise);
  promise();
  root.replaceChildren(form, problem, chips, foot);
  root.hidden = false;

  function words() {
    const text = input.value.trim();
    if (!text) return;
    const less = text.startsWith("-") || text.startsWith("−");
    const value = less ? text.slice(1).trim() : text;
    if (!value) return;
    input.value = "";
    addPart("text", value, value, { weight: less ? -0.5 : 1 });
  }

  async function taken(field) {
    const files = [...field.files];
    field.value = "";
    await addFiles(files);
  }

  async function addFiles(files) {
    const refused = [];
    for (const file of files) {
      try {
        await addFilePart(file);
        announce(`${file.name || "File"} added to the query`);
      } catch (error) {
        refused.push(el("div", { class: "notice error small" }, icon("warn"), el("div", {}, `${error.message}. ${error.hint || ""}`)));
      }
    }
    problem.replaceChildren(...refused);
  }
  for (const topic of ["query", "filters", "settings"]) on(topic, () => problem.replaceChildren()); // it is of an earlier step

  root.addEventListener("dragover", (event) => { event.preventDefault(); root.classList.add("dropping"); });
  root.addEventListener("dragleave", (event) => { if (!root.contains(event.relatedTarget)) root.classList.remove("dropping"); });
  root.addEventListener("drop", async (event) => {
    event.preventDefault();
    root.classList.remove("dropping");
    const itemId = event.dataTransfer.getData("application/x-item-id");
    if (itemId) return addPart("item", event.dataTransfer.getData("text/plain") || itemId, itemId);
    await addFiles([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files || [])];
    if (!files.length || root.hidden) return;
    event.preventDefault();
    addFiles(files);
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName || "");
    if (event.key === "/" && !typing && !root.hidden && !document.querySelector("dialog[open]")) { event.preventDefault(); input.focus(); }
  });

  const clearAll = el("li", {}, el("button", { class: "button quiet", type: "button", on: { click: () => { clearParts(); input.focus(); } } }, "Clear all"));
  const drawn = new Map();
  const draw = () => {
    const keep = new Set(state.parts.map((part) => part.id));
    for (const id of drawn.keys()) if (!keep.has(id)) drawn.delete(id);
    for (const part of state.parts) if (!drawn.has(part.id)) drawn.set(part.id, chip(part));
    const nodes = state.parts.map((part) => drawn.get(part.id));
    if (nodes.length > 1) nodes.push(clearAll);
    if (nodes.length !== chips.children.length || nodes.some((node, at) => chips.children[at] !== node)) chips.replaceChildren(...nodes); // else a slider would lose its focus
    for (const part of state.parts) drawn.get(part.id).sync();
  };
  on("query", draw);
  draw();
  return { foot, input };
}

/** Whether the encoder of the bundle takes a modality; before that is known, words alone are promised. */
export const takes = (modality) => (state.info?.encoder.modalities || ["text"]).includes(modality);

function promised(pictures, sounds) {
  const kinds = ["words", pictures && "a picture", sounds && "a sound"].filter(Boolean);
  const text = kinds.length > 1 ? `${kinds.slice(0, -1).join(", ")} or ${kinds.at(-1)}` : kinds[0];
  return innerWidth < 600 ? `${text.charAt(0).toUpperCase()}${text.slice(1)}` : `Search by meaning: ${text}…`;
}

function toolButton(name, label, handler, modality) {
  const button = el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click: handler } }, icon(name));
  const check = () => { button.hidden = !takes(modality || name); };
  on("catalogue", check);
  check();
  return button;
}

function chip(part) {
  const output = el("output", { class: "number" });
  const slider = el("input", { type: "range", class: "weight", min: "-2", max: "2", step: "0.1", value: String(part.weight), "aria-label": `Weight of ${part.label}` });
  const send = debounced(40, () => changed("query"));
  slider.addEventListener("input", () => {
    let value = Number(slider.value);
    if (Math.abs(value) < 0.05) value = 0;
    part.weight = value;
    show();
    send();
  });
  slider.addEventListener("dblclick", () => { slider.value = "1"; slider.dispatchEvent(new Event("input")); });
  const node = el("li", { class: "chip", vars: { "--part": `var(--s${part.series})` } },
    part.kind === "item" ? thumbnail(part.value, part.label, 30) : part.preview ? el("img", { src: part.preview, alt: "" }) : icon(ICONS[part.kind]),
    el("span", { class: "clip", title: part.label }, part.label), slider, output,
    iconButton("close", `Remove ${part.label}`, () => { removePart(part.id); document.getElementById("words").focus(); }));
  function show() {
    output.textContent = `${part.weight > 0 ? "+" : part.weight < 0 ? "−" : ""}${Math.abs(part.weight).toFixed(1)}`;
    const at = 50 + part.weight * 25;
    slider.style.setProperty("--from", `${Math.min(50, at)}%`);
    slider.style.setProperty("--to", `${Math.max(50, at)}%`);
    slider.setAttribute("aria-valuetext", `${part.weight.toFixed(1)}${part.weight < 0 ? ", less of this" : ""}`);
    node.classList.toggle("less", part.weight < 0);
  }
  node.sync = () => { if (document.activeElement !== slider) slider.value = String(part.weight); show(); };
  show();
  return node;
}

async function addFilePart(file) {
  const name = file.name || "Pasted picture", kind = await kindOf(file);
  if (!kind && (file.type === "image/svg+xml" || name.toLowerCase().endsWith(".svg"))) throw new ApiError(422, "An SVG is a document that can hold scripts, and is not taken", "Send it as PNG or JPEG");
  if (PICTURES.includes(kind)) {
    if (!takes("image")) throw new ApiError(422, "This encoder takes no pictures", "");
    const small = await shrunk(new File([file], name, { type: kind }));
    if (small.size > state.info.limits.image_bytes) throw new ApiError(413, `${name} is too large`, "");
    addPart("image", name, await base64(small), { preview: URL.createObjectURL(small) });
  } else if (kind?.startsWith("audio/")) {
    if (!takes("audio")) throw new ApiError(422, "This encoder takes no sounds", "");
    if (file.size > state.info.limits.audio_bytes) throw new ApiError(413, `${name} is too large`, "");
    addPart("audio", name, await base64(file));
  } else throw new ApiError(422, `${name} is neither a picture nor a sound`, "Give a PNG, JPEG, WebP, GIF, WAV, FLAC, OGG or MP3");
}

/** A picture of at most 1,024 pixels a side: encoders see less, and it is sent again whenever a weight changes. */
async function shrunk(file) {
  let bitmap;
  try { bitmap = await createImageBitmap(file); } catch { throw new ApiError(422, `${file.name || "The picture"} cannot be read`, "Give a PNG or JPEG"); }
  const scale = LONGEST_SIDE / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1 && file.size <= SMALL) return file;
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * Math.min(scale, 1))), Math.max(1, Math.round(bitmap.height * Math.min(scale, 1))));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/png" });
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",", 2)[1]);
    reader.onerror = () => reject(new ApiError(422, "The file cannot be read", ""));
    reader.readAsDataURL(blob);
  });
}
