/** Changes as history tells them: what became of a thing, in a few words, and where it is now. */

import { payload } from "./payload";
import { bytes } from "./time";

export type Row = Record<string, unknown>;

export interface Change {
  ID: number;
  Index: number;
  Time: string;
  Kind: string;
  Key: string;
  Op: string;
  Author: string;
  Origin: string;
  Reverts: number;
  Before: Row | null;
  After: Row | null;
}

export type Became = "created" | "changed" | "deleted";

export function became(change: Change): Became {
  if (!change.After) return "deleted";
  return change.Before ? "changed" : "created";
}

const SHOWN_MAX = 160;
const INDEXES = new Set(["CreateIndex", "ModifyIndex"]);

/** What it is now, in a line: the value of a key, else the names of the fields that changed. */
export function summary(change: Change): string {
  if (!change.After) return "";
  if (change.Kind === "kv") return valueOf(change.After);
  return fields(change.Before, change.After).join(", ");
}

function valueOf(row: Row): string {
  const base64 = String(row.Value ?? "");
  // The beginning will do: four letters are three bytes.
  const found = payload(base64.slice(0, 4 * SHOWN_MAX));
  const whole = Math.floor((base64.length * 3) / 4);
  if (found.text === null && base64.length <= 4 * SHOWN_MAX) return `${bytes(found.bytes)} binary`;
  if (found.text === null) return bytes(whole);
  const line = found.text.replace(/\s+/g, " ").trim();
  return line.length > SHOWN_MAX ? `${line.slice(0, SHOWN_MAX)}…` : line;
}

/** The fields that differ between two rows; those that are there, where there is only one. */
export function fields(before: Row | null, after: Row | null): string[] {
  const only = before && after ? null : (before ?? after ?? {});
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  return [...names].filter((name) => {
    if (INDEXES.has(name)) return false;
    if (only) return !isEmpty(only[name]);
    return JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name]);
  });
}

/** Whether a change of an instance is one of this service's. */
export function isOf(change: Pick<Change, "Before" | "After">, service: string): boolean {
  const wanted = service.toLowerCase();
  return [change.Before, change.After].some(
    (row) => typeof row?.Name === "string" && row.Name.toLowerCase() === wanted,
  );
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === "" || value === 0) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** The parts of the address of what was changed; null where there is no page of it. */
export function placeOf(
  change: Pick<Change, "Kind" | "Key" | "Before" | "After">,
): string[] | null {
  const { Kind, Key } = change;
  const slash = Key.indexOf("/");
  const [first, second] = slash < 0 ? [Key, ""] : [Key.slice(0, slash), Key.slice(slash + 1)];
  switch (Kind) {
    case "kv":
      return ["kv", Key];
    case "node":
      return ["nodes", Key];
    case "service": {
      const row = change.After ?? change.Before;
      const name = row?.Name ?? row?.Service;
      if (typeof name === "string" && name) return ["services", name, "instances", first, second];
      return ["nodes", first, "services"];
    }
    case "config":
      return first === "service-intentions" ? ["intentions", "list"] : null;
    case "query":
      return ["queries", Key];
    case "maintenance":
      return first ? ["nodes", first] : second ? ["services", second] : null;
    case "autopilot":
      return ["servers"];
    default:
      return null;
  }
}

/** All changes of some lists, each once, the latest first. */
export function merged(...lists: readonly (readonly Change[])[]): Change[] {
  const all = new Map<number, Change>();
  for (const one of lists.flat()) all.set(one.ID, one);
  return [...all.values()].sort((a, b) => b.ID - a.ID);
}
