// A client of a Commonspace service: the types of its OpenAPI (schema.d.ts), tokens, times, and what is sent again.

import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type Schemas = components["schemas"];

export interface Settings {
  /** Of the service. */
  url?: string;
  /** Sent with each request. */
  token?: string;
  /** Milliseconds of a request, with all that is sent again. */
  timeout?: number;
  /** How often a request is sent again at most, where the service says when to. Writes are not. */
  retries?: number;
  /** What sends requests. */
  fetch?: (request: Request) => Promise<Response>;
}

/** A request that was not answered. */
export class ServiceError extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
    readonly hint: string,
    readonly requestId: string | null,
  ) {
    super(hint ? `${message}; ${hint}` : message);
    this.name = type;
  }
}

const WRITES = ["/events", "/users/", "/admin/"];

/** Make a client: `GET`, `POST` and `DELETE` take a path of the service, and give `{ data, error, response }`. */
export function commonspace(settings: Settings = {}): Client<paths> {
  const { url = "http://127.0.0.1:8080", token, timeout = 10_000, retries = 3, fetch = globalThis.fetch } = settings;
  const base = url.replace(/\/+$/, "");

  async function sent(request: Request): Promise<Response> {
    const until = Date.now() + timeout;
    const path = request.url.slice(base.length);
    const repeatable = request.method === "GET" || !WRITES.some((folder) => path.startsWith(folder));
    for (let number = 0; ; number++) {
      const signal = AbortSignal.any([request.signal, AbortSignal.timeout(Math.max(until - Date.now(), 1))]);
      const response = await fetch(new Request(request.clone(), { signal, redirect: "error" }));
      const seconds = Number(response.headers.get("retry-after") || NaN);
      const pause = seconds * 1000 * (1 + Math.random() / 2); // so that clients do not come back together
      const refused = (response.status === 429 || response.status === 503) && Number.isFinite(pause);
      if (!refused || !repeatable || number >= retries || Date.now() + pause >= until) return response;
      await response.body?.cancel();
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return createClient<paths>({ baseUrl: base, fetch: sent, headers });
}

/** Give the answer of a call, or throw a `ServiceError`. */
export async function answered<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  if (response.ok && data !== undefined) return data;
  const told = (error as Schemas["ErrorBody"] | undefined)?.error;
  const requestId = told?.request_id ?? response.headers.get("x-request-id");
  if (told?.message !== undefined) throw new ServiceError(response.status, told.type, told.message, told.hint, requestId);
  throw new ServiceError(response.status, "AnswerError", `status ${response.status} of no such service`, "", requestId);
}

type Uploaded = Omit<Schemas["SearchRequest"], "texts" | "queries" | "images" | "image_urls" | "sounds" | "mode" | "cross_encoder">;

/** Search with files. */
export function upload(
  client: Client<paths>,
  kind: "image" | "audio",
  files: Blob[],
  options: Uploaded = {},
): Promise<Schemas["Answer"]> {
  const body = new FormData();
  for (const file of files) body.append(kind, file, kind);
  body.append("request", JSON.stringify(options));
  return answered(client.POST("/search/upload", { body: {}, bodySerializer: () => body }));
}
