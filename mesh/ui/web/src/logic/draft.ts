/** What becomes of an unsaved change when the value changes meanwhile. */

export interface Version {
  /** The value's ModifyIndex; 0 when there is no such key. */
  index: number;
  /** Null when it is no text. */
  text: string | null;
  flags: string;
}

export interface Draft {
  /** From what the change began. */
  base: Version;
  text: string;
  flags: string;
}

export const NOTHING: Version = { index: 0, text: "", flags: "0" };

/** Whether a draft would change anything. */
export function isDirty({ base, text, flags }: Draft): boolean {
  return base.text !== text || base.flags !== flags;
}

/**
 * What to do with a draft now that the value is this: go on; go on from the present one, which
 * differs in nothing that is edited; drop it, as nothing is lost by that; or ask.
 */
export function reconcile(draft: Draft, theirs: Version): "same" | "rebase" | "drop" | "conflict" {
  if (theirs.index === draft.base.index) return "same";
  if (!isDirty(draft)) return "drop";
  if (theirs.index === 0) return "conflict";
  if (theirs.text === draft.text && theirs.flags === draft.flags) return "drop";
  if (theirs.text === draft.base.text && theirs.flags === draft.base.flags) return "rebase";
  return "conflict";
}
