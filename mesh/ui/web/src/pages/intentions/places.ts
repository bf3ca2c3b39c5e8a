/** What the views of intentions follow, and how they lead to the editor. */

import { api } from "../../live/api";
import { place, toWith } from "../../live/place";
import { KIND, type Verdict } from "../../logic/intentions";

export const MATRIX = "/v1/internal/ui/intention-matrix";
export const LIST = "/v1/connect/intentions?dry-run=true";
const EDITING = ["new", "edit", "source", "destination", "dry-run", "action"];

export interface Opening {
  source?: string;
  destination?: string;
  dryRun?: boolean;
  /** What is to be said of them, as a beginning. */
  action?: Verdict | undefined;
}

/** The path of the entry about a destination. */
export function entryOf(destination: string): string {
  return api`/v1/config/${KIND}/${destination}`;
}

function editing({ source, destination, dryRun, action }: Opening): Record<string, string> {
  return {
    [source && destination ? "edit" : "new"]: "yes",
    ...(source ? { source } : {}),
    ...(destination ? { destination } : {}),
    ...(dryRun ? { "dry-run": "yes" } : {}),
    ...(action ? { action } : {}),
  };
}

/** The address that has the editor open over the view that is shown. */
export function opening(given: Opening): string {
  const query = new URLSearchParams(place.peek().query);
  for (const name of EDITING) query.delete(name);
  for (const [name, value] of Object.entries(editing(given))) query.set(name, value);
  return `${location.pathname}?${query}`;
}

/** The address of one intention, for links from elsewhere. */
export function intention(given: Opening): string {
  return toWith(editing(given), "intentions", "list");
}

/** The address without the editor. */
export function closed(): string {
  const query = new URLSearchParams(place.peek().query);
  for (const name of EDITING) query.delete(name);
  const text = query.toString();
  return location.pathname + (text ? `?${text}` : "");
}
