/** Members as gossip has them: what their numbers mean. */

import type { Member } from "../live/nodes";
import type { Status } from "./health";

export type MemberStatus = "alive" | "leaving" | "left" | "failed" | "none";

const STATUSES: MemberStatus[] = ["none", "alive", "leaving", "left", "failed"];

export function statusOfMember(member: Pick<Member, "Status">): MemberStatus {
  return STATUSES[member.Status] ?? "none";
}

export function isSuspected(member: Pick<Member, "Gossip">): boolean {
  return member.Gossip?.State === "suspect";
}

/** As which kind of health it is shown. */
export function signOf(member: Member): Status {
  if (member.Frozen) return "warning";
  switch (statusOfMember(member)) {
    case "alive":
      return isSuspected(member) ? "warning" : "passing";
    case "leaving":
      return "warning";
    case "failed":
      return "critical";
    default:
      return "unknown";
  }
}

/** A key by its last letters: they tell keys apart and open nothing. */
export function keyEnd(key: string): string {
  return key.replace(/=+$/, "").slice(-4);
}

export interface MatrixPath {
  Source: string;
  Target: string;
  Shown: string;
}

/** Paths by their source and then by their target. */
export function matrix(paths: readonly MatrixPath[]): Map<string, Map<string, string>> {
  const rows = new Map<string, Map<string, string>>();
  for (const { Source, Target, Shown } of paths) {
    const row = rows.get(Source) ?? new Map<string, string>();
    row.set(Target, Shown);
    rows.set(Source, row);
  }
  return rows;
}

/** Whether a cell of the matrix is a round trip without a loss. */
export function isWell(shown: string): boolean {
  return /^[\d.]+ ms$/.test(shown) || shown === "-" || shown === "";
}
