/** Answers that stay the same as long as the server runs: asked for once. */

import { type Signal, signal } from "@preact/signals";
import { ask, scoped } from "./api";

const asked = new Map<string, Signal<unknown>>();

/** What a path of the API says; undefined until it did. A failure is tried again with the next use. */
export function useOnce<T>(unscoped: string): T | undefined {
  const path = scoped(unscoped);
  let found = asked.get(path);
  if (!found) {
    const made = signal<unknown>(undefined);
    found = made;
    asked.set(path, made);
    ask<T>(path).then(
      (value) => {
        made.value = value;
      },
      () => asked.delete(path),
    );
  }
  return found.value as T | undefined;
}
