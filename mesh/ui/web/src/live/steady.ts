/** What keeps a page from flickering while somebody types, and from asking more than it needs. */

import { type Signal, signal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ask, ApiError, reason, scoped } from "./api";
import type { Live } from "./live";

/** The value once it has been the same for so long. */
export function useSettled<T>(value: T, ms = 150): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    if (Object.is(settled, value)) return;
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, settled, ms]);
  return settled;
}

/** The live answer; while another path has none yet, the value of the one before. */
export function useSteady<T>(live: Live<T>): Live<T> {
  const last = useRef<T | undefined>(undefined);
  if (live.value !== undefined) last.current = live.value;
  return live.value === undefined && last.current !== undefined
    ? { ...live, value: last.current }
    : live;
}

/**
 * An answer that is asked for every so many seconds, for what would be another answer at each
 * moment (such as how long ago something was) or costs the cluster something.
 */
export function usePolled<T>(path: string | null, seconds: number): Live<T> {
  const state: Signal<Live<T>> = useMemo(
    () => signal<Live<T>>({ value: undefined, loaded: false, error: "", status: 0 }),
    // Another path is another answer.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [path],
  );
  useEffect(() => {
    if (path === null) return;
    const control = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const round = async () => {
      if (document.visibilityState === "visible" || !state.peek().loaded)
        try {
          const value = await ask<T>(scoped(path), { signal: control.signal });
          state.value = { value, loaded: true, error: "", status: 200 };
        } catch (error) {
          if (control.signal.aborted) return;
          const status = error instanceof ApiError ? error.status : 0;
          state.value = { ...state.peek(), loaded: true, error: reason(error), status };
        }
      if (!control.signal.aborted) timer = setTimeout(() => void round(), seconds * 1000);
    };
    void round();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [path, seconds, state]);
  return state.value;
}
