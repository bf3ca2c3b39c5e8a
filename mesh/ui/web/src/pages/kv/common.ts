/** What the pages of folders and keys share. */

import { useEffect, useState } from "preact/hooks";
import { api, ApiError, ask, query, scoped } from "../../live/api";
import { to, toWith } from "../../live/place";
import { flagsIn, fromBase64, textOf } from "../../logic/bytes";
import type { Version } from "../../logic/draft";
import { leaf, steps } from "../../logic/keys";
import type { Crumb } from "../../parts/page";
import { commandLine } from "../../parts/act";
import { words } from "../../words";

export interface Pair {
  Key: string;
  Value: string | null;
  Flags: number;
  LockIndex: number;
  Session?: string;
  CreateIndex: number;
  ModifyIndex: number;
}

/** A value as it is now. */
export interface Present extends Version {
  bytes: Uint8Array;
  pair: Pair;
}

/** Above this size a value is put into the editor only when that is asked for. */
export const EDITED_MAX = 256 * 1024;
const COMMAND_MAX = 160;

/** The address of a folder or key. A browser would drop the names `.` and `..` from a path. */
export function at(path: string): string {
  return /^\.\.?$/.test(path) ? toWith({ key: path }, "kv") : to(...parts(path));
}

function parts(path: string): string[] {
  return path ? ["kv", path] : ["kv"];
}

export function crumbs(path: string): Crumb[] {
  if (!path) return [];
  return [
    { text: words.shell.pages.kv, at: ["kv"] },
    ...steps(path).map((step) => ({
      text: step.text.replace(/\/$/, "") || "/",
      at: parts(step.folder),
    })),
  ];
}

export function title(path: string): string {
  return path ? leaf(path) : words.shell.pages.kv;
}

export function presentOf(pair: Pair, flags: string): Present {
  const bytes = fromBase64(pair.Value);
  return { pair, bytes, text: textOf(bytes), index: pair.ModifyIndex, flags };
}

/**
 * Flags as digits; empty until they are known. Numbers of JavaScript have 53 bits of their 64: what
 * may be another number is asked for once more, and read as text.
 */
export function useFlags(pair: Pair | undefined): string {
  const [exact, setExact] = useState({ index: -1, flags: "" });
  const key = pair && !Number.isSafeInteger(pair.Flags) ? pair.Key : null;
  const index = pair?.ModifyIndex ?? 0;
  useEffect(() => {
    if (key === null) return;
    const stop = new AbortController();
    fetch(scoped(api`/v1/kv/${key}`), { signal: stop.signal, cache: "no-store" })
      .then((answer) => answer.text())
      .then((text) => setExact({ index, flags: flagsIn(text) }))
      .catch(() => undefined);
    return () => stop.abort();
  }, [key, index]);
  if (!pair) return "0";
  if (key === null) return String(pair.Flags);
  return exact.index === index ? exact.flags : "";
}

export function areFlags(text: string): boolean {
  return /^\d{1,20}$/.test(text) && BigInt(text) < 2n ** 64n;
}

/** Write a key if it still is what it was at this index (0: if there is none). */
export async function write(
  key: string,
  body: string | Uint8Array,
  flags: string,
  index: number,
): Promise<void> {
  const path = query(api`/v1/kv/${key}`, { cas: index, flags: flags === "0" ? undefined : flags });
  if (!(await ask<boolean>(path, { method: "PUT", body })))
    throw new ApiError(409, index ? words.kv.changedMeanwhile(key) : words.kv.exists(key));
}

/** The command that writes the same; a long value comes from a file there. */
export function putCommand(
  key: string,
  value: string | null,
  flags: string,
  index: number,
): string {
  const inline = value !== null && value.length <= COMMAND_MAX && !/^[@-]/.test(value);
  const given = inline ? (value ? [value] : []) : ["@FILE"];
  const kept = flags === "0" ? "" : ` --flags ${flags}`;
  const expected = index ? ` --modify-index ${index}` : "";
  return commandLine(`meshctl kv put --cas${expected}${kept}`, [key, ...given]);
}
