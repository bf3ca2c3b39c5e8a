/** Since when checks have their status. */

import { query } from "../live/api";
import { useLive } from "../live/live";
import { words } from "../words";
import { Time } from "./time";

interface Dated {
  Node: string;
  CheckID: string;
  Status: string;
  Since: string;
}

/** For each check of a node: what it has been since when, or nothing where that is not known. */
export function useDates(node: string): (check: { CheckID: string; Status: string }) => string {
  const rows =
    useLive<Dated[]>(node ? query("/v1/internal/ui/check-dates", { node }) : null).value ?? [];
  const dates = new Map(rows.map((row) => [`${row.CheckID} ${row.Status}`, row.Since]));
  return (check) => dates.get(`${check.CheckID} ${check.Status}`) ?? "";
}

export function Since({ at }: { at: string }) {
  if (!at) return null;
  return (
    <span class="quiet">
      {words.parts.since} <Time at={at} />
    </span>
  );
}
