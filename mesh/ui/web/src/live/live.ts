/** Live answers for components: what the API says of a path now, and again when that changes. */

import { type Signal, signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ask, scoped } from "./api";
import { type News, Watcher } from "./watcher";

export interface Live<T> {
  /** The last good answer; undefined until there is one. */
  value: T | undefined;
  /** Whether there was any answer yet, be it an error. */
  loaded: boolean;
  /** Why the last answer is none, in the server's words; empty when it is one. */
  error: string;
  status: number;
}

/** Whether the server is heard, since when not (ms since the epoch), and why. */
export const connection = signal<{ up: boolean; since: number; why: string }>({
  up: true,
  since: 0,
  why: "",
});

const NOTHING: Live<never> = { value: undefined, loaded: false, error: "", status: 0 };
const KEPT_MAX = 40;
/** Code that comes later than this finds nothing begun. */
const EXPECTED_MS = 10_000;
/** Answers shown lately, so that going back shows something at once. */
const kept = new Map<string, Signal<Live<unknown>>>();

const watcher = new Watcher(
  (asks, waitSeconds, signal) =>
    ask<News[]>("/v1/internal/ui/watch", {
      method: "POST",
      body: { Asks: asks, WaitSeconds: waitSeconds },
      signal,
    }),
  {
    until: (ms, signal) => AbortSignal.any([signal, AbortSignal.timeout(ms)]),
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        signal.addEventListener("abort", () => {
          clearTimeout(timer);
          resolve();
        });
      }),
  },
  (up, why) => {
    const now = connection.peek();
    if (now.up !== up || (!up && now.why !== why))
      connection.value = { up, why, since: now.up === up ? now.since : Date.now() };
  },
);

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && !connection.peek().up) watcher.again();
});
window.addEventListener("online", () => watcher.again());

function box(path: string): Signal<Live<unknown>> {
  const found = kept.get(path);
  kept.delete(path);
  const made = found ?? signal<Live<unknown>>(NOTHING);
  kept.set(path, made);
  if (kept.size > KEPT_MAX) {
    const oldest = kept.keys().next().value;
    if (oldest !== undefined && oldest !== path) kept.delete(oldest);
  }
  return made;
}

/** The state after this news; a failure keeps the value, which is shown as old. */
export function after(before: Live<unknown>, news: News): Live<unknown> {
  const ok = news.Status >= 200 && news.Status < 300;
  if (ok) return { value: news.Body, loaded: true, error: "", status: news.Status };
  const gone = news.Status === 404;
  return {
    value: gone ? undefined : before.value,
    loaded: true,
    error: String(news.Body ?? "").trim() || `status ${news.Status}`,
    status: news.Status,
  };
}

/** Follow a path of the API as long as the component is shown; null follows nothing. */
export function useLive<T>(unscoped: string | null): Live<T> {
  const path = unscoped === null ? null : scoped(unscoped);
  const state = useMemo(() => (path === null ? signal<Live<unknown>>(NOTHING) : box(path)), [path]);
  useEffect(() => {
    if (path === null) return;
    return watcher.follow(path, (news) => {
      state.value = after(state.peek(), news);
    });
  }, [path, state]);
  return state.value as Live<T>;
}

/** Follow a path that a component will follow as soon as its code is here. */
export function expectLive(unscoped: string): void {
  const stop = watcher.follow(scoped(unscoped), () => {});
  setTimeout(stop, EXPECTED_MS);
}

/**
 * The same as `useLive`, never beginning with what was shown the last time: for what is changed on
 * top of what is there.
 */
export function useFresh<T>(unscoped: string | null): Live<T> {
  const path = unscoped === null ? null : scoped(unscoped);
  useEffect(
    () => () => {
      if (path !== null) kept.delete(path);
    },
    [path],
  );
  return useLive<T>(unscoped);
}

/** Ask for a path that is shown again now, after an action that changes it. */
export function refresh(path: string): void {
  watcher.refresh(scoped(path));
}
