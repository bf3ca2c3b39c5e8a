/** The API of the node this page came from. */

import { words } from "../words";

/** A refusal in the server's own words, or a failure to reach it (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Which datacenter is shown, and which one the server is in. */
export const scope = { shown: "", local: "" };

/** Whether what is shown is the datacenter of the node that this page came from. */
export function isHere(): boolean {
  return !scope.shown || scope.shown === scope.local;
}

/** The path, asking the datacenter that is shown. */
export function scoped(path: string): string {
  if (isHere() || /[?&]dc=/.test(path)) return path;
  if (path.startsWith("/v1/agent/") || path.startsWith("/v1/internal/ui/watch")) return path;
  return query(path, { dc: scope.shown });
}

export interface CallOptions {
  method?: "GET" | "PUT" | "POST" | "DELETE";
  /** Sent as JSON, or as it is when it is text or bytes. */
  body?: unknown;
  signal?: AbortSignal;
}

export interface Answer<T> {
  value: T;
  status: number;
  headers: Headers;
}

/** Call the API. Throws ApiError for any status of 400 and above. */
export async function call<T>(path: string, options: CallOptions = {}): Promise<Answer<T>> {
  const { body } = options;
  if (!reaches(path)) throw new ApiError(0, words.parts.dots);
  const raw = typeof body === "string" || body instanceof Uint8Array || body instanceof Blob;
  let response: Response;
  try {
    response = await fetch(scoped(path), {
      method: options.method ?? "GET",
      credentials: "same-origin",
      cache: "no-store",
      ...(body === undefined ? {} : { body: raw ? (body as BodyInit) : JSON.stringify(body) }),
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (error) {
    if (options.signal?.aborted && options.signal.reason?.name !== "TimeoutError") throw error;
    throw new ApiError(0, words.parts.unreached);
  }
  const text = await response.text();
  if (!response.ok) throw new ApiError(response.status, text.trim() || response.statusText);
  const json = response.headers.get("content-type")?.startsWith("application/json") && text !== "";
  return {
    value: (json ? JSON.parse(text) : text) as T,
    status: response.status,
    headers: response.headers,
  };
}

/** The same, when only the answer matters. */
export async function ask<T>(path: string, options: CallOptions = {}): Promise<T> {
  return (await call<T>(path, options)).value;
}

/**
 * Whether a browser asks for just this path: it takes parts that are only dots, in whatever
 * spelling, for steps within the path, and would ask for another one.
 */
export function reaches(path: string): boolean {
  return !/\/(\.|%2e){1,2}(?=[/?]|$)/i.test(path.replace(/\?.*$/s, ""));
}

/** A path of the API with encoded parts: `` api`/v1/catalog/node/${name}` ``. */
export function api(parts: TemplateStringsArray, ...values: (string | number)[]): string {
  return parts.reduce((path, part, i) => path + encodeURIComponent(values[i - 1] ?? "") + part);
}

/** The path with query parameters; those that are undefined or empty are left out. */
export function query(
  path: string,
  params: Record<string, string | number | boolean | undefined>,
): string {
  const given = Object.entries(params).filter(
    ([, value]) => value !== undefined && value !== "" && value !== false,
  );
  if (!given.length) return path;
  const text = given
    .map(([name, value]) =>
      value === true ? name : `${name}=${encodeURIComponent(String(value))}`,
    )
    .join("&");
  return path + (path.includes("?") ? "&" : "?") + text;
}

/** What went wrong, in words. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
