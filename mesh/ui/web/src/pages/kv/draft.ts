/** The unsaved change of a key: kept while one looks elsewhere, and held against what others do. */

import { useEffect, useState } from "preact/hooks";
import { dc } from "../../live/place";
import { type Draft, isDirty, NOTHING, reconcile, type Version } from "../../logic/draft";

const DRAFTS_MAX = 20;
const kept = new Map<string, Draft>();

export interface Editing {
  draft: Draft | null;
  dirty: boolean;
  /** Somebody else changed the key in between. */
  conflict: boolean;
  change: (what: { text?: string; flags?: string }) => void;
  /** Go on with this text from that version. */
  rebase: (base: Version, text?: string) => void;
  drop: () => void;
  /** The draft is what was saved over that version. */
  saved: (over: Version) => void;
}

/** The draft of a key; `theirs` is what it is now, undefined before that is known. */
export function useDraft(name: string, theirs: Version | undefined): Editing {
  const id = `${dc.value} ${name}`;
  const [draft, setState] = useState<Draft | null>(kept.get(id) ?? null);
  const set = (next: Draft | null) => {
    kept.delete(id);
    if (next && isDirty(next)) kept.set(id, next);
    if (kept.size > DRAFTS_MAX) kept.delete(kept.keys().next().value ?? "");
    setState(next);
  };
  const what = draft && theirs ? reconcile(draft, theirs) : "same";
  useEffect(() => {
    if (what === "drop") set(null);
    if (what === "rebase" && draft && theirs) set({ ...draft, base: theirs });
  });
  const dirty = draft !== null && what !== "drop" && isDirty(draft);
  useEffect(() => {
    if (!dirty) return;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [dirty]);
  const base = theirs ?? NOTHING;
  return {
    draft: what === "drop" ? null : draft,
    dirty,
    conflict: what === "conflict",
    change: (changed) => {
      const from = draft ?? { base, text: base.text ?? "", flags: base.flags };
      set({ ...from, ...changed });
    },
    rebase: (on, text) => {
      if (draft) set({ ...draft, base: on, text: text ?? draft.text });
    },
    drop: () => set(null),
    saved: (over) => {
      if (!draft) return;
      set({ ...draft, base: { index: over.index, text: draft.text, flags: draft.flags } });
    },
  };
}
