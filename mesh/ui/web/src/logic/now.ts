/** What is wrong now, as the server tells it, put in order for who looks at it. */

export type Severity = "critical" | "warning" | "info";
export const SEVERITIES: Severity[] = ["critical", "warning", "info"];

export interface Step {
  Text: string;
  Command: string;
  /** The parts of the address of a page. */
  Path: string[];
}

export interface Finding {
  Kind: string;
  Severity: Severity;
  Subject: string;
  Name: string;
  Since: string;
  /** It was so before already: `Since` is when it was first seen. */
  SinceAtLeast: boolean;
  Detail: string;
  Next: Step[];
}

export interface Cluster {
  Datacenter: string;
  Node: string;
  Version: string;
  Leader: string;
  Servers: number;
  Voters: number;
  FailureTolerance: number;
  Nodes: number;
  NodesPassing: number;
  Services: number;
  ServicesPassing: number;
  Instances: number;
  InstancesPassing: number;
  Checks: number;
  ChecksPassing: number;
}

export interface Now {
  Findings: Finding[];
  More: number;
  Cluster: Cluster;
  Unasked: string[];
}

/** How it is on the whole: the worst of what there is; what is only to be known does no harm. */
export function mood(findings: readonly Finding[]): "bad" | "warn" | "good" {
  if (findings.some((one) => one.Severity === "critical")) return "bad";
  return findings.some((one) => one.Severity === "warning") ? "warn" : "good";
}

/** How many findings there are of each severity. */
export function bySeverity(findings: readonly Finding[]): Record<Severity, Finding[]> {
  const found: Record<Severity, Finding[]> = { critical: [], warning: [], info: [] };
  for (const one of findings) found[one.Severity]?.push(one);
  return found;
}

/** Kinds of things with how many findings each has, most first. */
export function bySubject(findings: readonly Finding[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const one of findings) counts.set(one.Subject, (counts.get(one.Subject) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

/** What tells a finding from the others. */
export function idOf(one: Finding): string {
  return [one.Kind, one.Subject, one.Name, one.Severity].join("\0");
}
