// What a file is, by its first bytes, as the service tells it: names and types that programs give are often wrong.

const STARTS = {
  "\xff\xd8\xff": "image/jpeg", "\x89PNG\r\n\x1a\n": "image/png", "GIF87a": "image/gif", "GIF89a": "image/gif",
  "fLaC": "audio/flac", "OggS": "audio/ogg", "ID3": "audio/mpeg",
};
const RIFF = { WEBP: "image/webp", WAVE: "audio/wav" };
const BMP_HEADERS = [12, 40, 52, 56, 64, 108, 124]; // bytes; two letters alone begin many a text
const LAYER_3 = [0xfb, 0xfa, 0xf3, 0xf2, 0xe3, 0xe2]; // second bytes of an MP3
const MOST = 64; // bytes that tell

export const PICTURES = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/avif"];

/** The media type of a picture or a sound that can be a part of a query; null for all else. */
export async function kindOf(file) {
  const bytes = new Uint8Array(await file.slice(0, MOST).arrayBuffer());
  const text = String.fromCharCode(...bytes), four = (at) => text.slice(at, at + 4);
  if (four(0) === "RIFF") return RIFF[four(8)] ?? null;
  if (text.startsWith("BM") && bytes.length > 17 && BMP_HEADERS.includes(new DataView(bytes.buffer).getUint32(14, true))) return "image/bmp";
  if (four(4) === "ftyp") return [8, ...Array.from({ length: (MOST - 16) / 4 }, (_, at) => 16 + 4 * at)].some((at) => ["avif", "avis"].includes(four(at))) ? "image/avif" : null;
  if (bytes[0] === 0xff && LAYER_3.includes(bytes[1])) return "audio/mpeg";
  return Object.entries(STARTS).find(([start]) => text.startsWith(start))?.[1] ?? null;
}
