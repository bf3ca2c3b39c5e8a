/** Keys and the folders that their slashes make. */

import { matches } from "./search";

export interface Step {
  text: string;
  folder: string;
}

export interface Entry {
  /** The key, or the folder with its slash. */
  path: string;
  /** What it is called in its folder. */
  name: string;
  folder: boolean;
}

export function isFolder(path: string): boolean {
  return path === "" || path.endsWith("/");
}

/** The folder in which a key or folder lies; "" is the root. */
export function parent(path: string): string {
  const end = path.endsWith("/") ? path.length - 2 : path.length - 1;
  return end < 0 ? "" : path.slice(0, path.lastIndexOf("/", end) + 1);
}

/** What it is called in its folder. */
export function leaf(path: string): string {
  return path.slice(parent(path).length);
}

/** The folders on the way to a path, the first one below the root. */
export function steps(path: string): Step[] {
  const found: Step[] = [];
  for (let at = parent(path); at !== ""; at = parent(at))
    found.unshift({ text: leaf(at), folder: at });
  return found;
}

/** The rows of a folder's listing: folders first, without the mark that a folder itself may be. */
export function entries(listing: readonly string[], folder: string): Entry[] {
  const rows = listing
    .filter((path) => path !== folder)
    .map((path) => ({ path, name: path.slice(folder.length), folder: path.endsWith("/") }));
  return [...rows.filter((row) => row.folder), ...rows.filter((row) => !row.folder)];
}

export function search(rows: readonly Entry[], wanted: string): readonly Entry[] {
  return wanted.trim() ? rows.filter((row) => matches(wanted, row.name)) : rows;
}

/** Where to go for what was typed, given what begins with it up to the next slash. */
export function jump(typed: string, found: readonly string[]): { path: string; search: string } {
  if (typed === "" || found.includes(typed)) return { path: typed, search: "" };
  if (found.includes(`${typed}/`)) return { path: `${typed}/`, search: "" };
  const [only] = found;
  if (found.length === 1 && only !== undefined) return { path: only, search: "" };
  if (typed.endsWith("/") && found.length) return { path: typed, search: "" };
  return { path: parent(`${typed}x`), search: typed.slice(parent(`${typed}x`).length) };
}
