// Requests to the service, and what they took as seen from here.

const TOKEN = "commonspace-token";
export const timings = new Map(); // of each route the milliseconds of its last requests

export class ApiError extends Error {
  constructor(status, message, hint, type = "") {
    super(message);
    Object.assign(this, { status, hint, type });
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) || "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

function headers(extra = {}) {
  return token.get() ? { ...extra, authorization: `Bearer ${token.get()}` } : extra;
}

async function sent(path, options = {}) {
  const start = performance.now();
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers), credentials: "same-origin", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service does not answer", "See whether it still runs, then try again", "ConnectionError");
  }
  const route = path.split("?")[0];
  const known = timings.get(route) || [];
  timings.set(route, [...known.slice(-199), performance.now() - start]);
  if (response.ok) return response;
  if ([429, 503].includes(response.status) && !options.again) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(3, Number(response.headers.get("retry-after")) || 1)));
    return sent(path, { ...options, again: true });
  }
  let error = {};
  try { error = (await response.json()).error || {}; } catch { /* not of this service */ }
  if (response.status === 401) dispatchEvent(new CustomEvent("token-needed"));
  throw new ApiError(response.status, error.message || `The service answered ${response.status}`, error.hint || "", error.type);
}

export async function get(path, options) {
  return (await sent(path, options)).json();
}

/** Get what the service may still be making: as long as it answers 202, ask again when it says; `waiting` is called each time. */
export async function getMade(path, waiting) {
  for (;;) {
    const response = await sent(path);
    if (response.status !== 202) return response.json();
    waiting();
    await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(response.headers.get("retry-after")) || 1)));
  }
}

export async function getText(path) {
  return (await sent(path)).text();
}

export async function post(path, body, options = {}) {
  return (await sent(path, { ...options, method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } })).json();
}

/** Run requests one after the other; of those that wait only the latest is sent, and the others give undefined. */
export function latest() {
  let busy = false, waiting = null;
  const run = async (send) => {
    if (busy) {
      waiting?.resolve(undefined);
      return new Promise((resolve, reject) => { waiting = { send, resolve, reject }; });
    }
    busy = true;
    try {
      return await send();
    } finally {
      busy = false;
      const next = waiting;
      waiting = null;
      if (next) run(next.send).then(next.resolve, next.reject);
    }
  };
  return run;
}

/** The address of a picture or a sound: a path, or the bytes where a token must be sent along. */
export async function mediaUrl(itemId, kind = "image", size = 320) {
  const path = `media/${itemId.split("/").map(encodeURIComponent).join("/")}?kind=${kind}&size=${size}`;
  if (!token.get()) return path;
  return URL.createObjectURL(await (await sent(path)).blob());
}

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
}
