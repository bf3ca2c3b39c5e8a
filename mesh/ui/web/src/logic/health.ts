/** Health as the registry has it, and how several of them come to one. */

export type Status = "passing" | "warning" | "critical" | "maintenance" | "unknown";

const ORDER: Status[] = ["unknown", "passing", "warning", "critical", "maintenance"];
export const MAINTENANCE_PREFIXES = [
  "_node_maintenance",
  "_service_maintenance:",
  "_cluster_maintenance",
];

export interface CheckLike {
  CheckID: string;
  Status: string;
}

/** The status of a check; a maintenance check is maintenance, not a failure. */
export function statusOf(check: CheckLike): Status {
  if (MAINTENANCE_PREFIXES.some((prefix) => check.CheckID.startsWith(prefix))) return "maintenance";
  return ORDER.includes(check.Status as Status) ? (check.Status as Status) : "unknown";
}

/** The worst of some; `unknown` without any. Instances without checks are passing: say so first. */
export function worst(statuses: Iterable<Status>): Status {
  let found = 0;
  for (const one of statuses) found = Math.max(found, ORDER.indexOf(one));
  return ORDER[found] ?? "unknown";
}

/** How a node is: the worst of its checks, but for those of instances that are in maintenance. */
export function nodeStatus(checks: (CheckLike & { ServiceID: string })[]): Status {
  const resting = new Set(
    checks.filter((one) => statusOf(one) === "maintenance").map((one) => one.ServiceID),
  );
  resting.delete("");
  const counted = checks.filter((one) => !resting.has(one.ServiceID));
  return counted.length ? worst(counted.map(statusOf)) : "passing";
}

/** How bad it is, for sorting: the worst first. */
export function badness(status: Status): number {
  return ORDER.indexOf(status);
}
