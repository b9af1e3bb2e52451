// Pictures of items where the service has them, else a tile with the title.

import { mediaUrl, post } from "../api.js";
import { el } from "../dom.js";
import { state } from "../store.js";

const known = new Map(); // item_id -> ["image", "audio"]

/** Learn which of some items have a picture or a sound; asked once for each item. */
export async function learnMedia(itemIds) {
  const unknown = [...new Set(itemIds)].filter((one) => !known.has(one));
  if (!unknown.length) return;
  if (!state.status?.media) return unknown.forEach((one) => known.set(one, []));
  try {
    const { media } = await post("media", { item_ids: unknown.slice(0, 1000) });
    unknown.forEach((one) => known.set(one, media[one] || []));
  } catch { unknown.forEach((one) => known.set(one, [])); }
}

export const has = (itemId, kind) => (known.get(itemId) || []).includes(kind);

function hue(text) {
  let value = 7;
  for (const letter of text) value = (value * 31 + letter.codePointAt(0)) % 360;
  return value;
}

/** A tile with a title, in a colour of its own. */
export function tile(title, key = title) {
  const of = hue(key || "");
  return el("div", { class: "tile", "aria-hidden": "true", vars: { "--tile-a": `hsl(${of} 38% 30%)`, "--tile-b": `hsl(${(of + 40) % 360} 42% 21%)` } }, el("span", {}, title));
}

/** The picture of an item, or its tile; what it shows is said beside it. */
export function picture(itemId, title, size = 320) {
  if (!has(itemId, "image")) return tile(title || itemId, itemId);
  const image = el("img", { alt: "", class: "waiting", loading: "lazy", decoding: "async", draggable: "false" });
  image.addEventListener("load", () => image.classList.remove("waiting"), { once: true });
  image.addEventListener("error", () => image.replaceWith(tile(title || itemId, itemId)), { once: true });
  mediaUrl(itemId, "image", size).then((url) => { image.src = url; }, () => image.replaceWith(tile(title || itemId, itemId)));
  return image;
}

export function thumbnail(itemId, title, side = 56) {
  const box = el("span", { class: "thumb", vars: { width: `${side}px`, height: `${side}px` } });
  learnMedia([itemId]).then(() => box.replaceChildren(picture(itemId, side < 48 && !has(itemId, "image") ? (title || itemId).slice(0, 1) : title)));
  return box;
}

export function player(itemId, title) {
  if (!has(itemId, "audio")) return null;
  const audio = el("audio", { controls: true, preload: "none", "aria-label": `Sound of ${title || itemId}` });
  mediaUrl(itemId, "audio").then((url) => { audio.src = url; }, () => audio.remove());
  return audio;
}
