/** What the servers say of themselves and of each other, put together server by server. */

import { bytes, span } from "./time";
import { quoted } from "./shell";

export interface PeerRow {
  ID: string;
  Node: string;
  Address: string;
  Leader: boolean;
  Voter: boolean;
  LastIndex: number;
  Barred: boolean;
}

export interface Raft {
  Servers: PeerRow[];
  Index: number;
  CommitIndex: number;
}

export interface ServerState {
  ID: string;
  Name: string;
  Address: string;
  Version: string;
  LastContact: string;
  LastTerm: number;
  LastIndex: number;
  Healthy: boolean;
  StableSince: string;
  NodeStatus: string;
  Status: string;
  Reason: string;
}

export interface AutopilotState {
  Healthy: boolean;
  FailureTolerance: number;
  Servers: Record<string, ServerState>;
  Leader: string;
  Voters: string[];
  LastChange: string;
}

export interface Figures {
  ID: string;
  Node: string;
  Address: string;
  Error: string;
  Figures: Record<string, unknown>;
}

export type Role = "leader" | "voter" | "follows" | "barred";

export interface ServerRow {
  id: string;
  name: string;
  address: string;
  role: Role;
  /** Undefined where nobody leads who could say. */
  healthy: boolean | undefined;
  reason: string;
  version: string;
  lastContact: string;
  index: number;
  /** Log entries it is behind the leader; undefined where the leader does not say. */
  lag: number | undefined;
  stableSince: string;
  gossip: string;
}

/** A row for each server that the log or autopilot knows, the leader first, then by name. */
export function rowsOf(raft: Raft | undefined, state: AutopilotState | undefined): ServerRow[] {
  const peers = new Map((raft?.Servers ?? []).map((one) => [one.ID, one]));
  const states = new Map(Object.entries(state?.Servers ?? {}));
  const rows = [...new Set([...peers.keys(), ...states.keys()])].map((id) =>
    row(id, peers.get(id), states.get(id), raft?.CommitIndex ?? 0),
  );
  const rank = (one: ServerRow) => (one.role === "leader" ? 0 : 1);
  return rows.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

function row(
  id: string,
  peer: PeerRow | undefined,
  state: ServerState | undefined,
  commit: number,
): ServerRow {
  const leads = peer?.Leader ?? state?.Status === "leader";
  const votes = peer?.Voter ?? state?.Status === "voter";
  const index = Math.max(peer?.LastIndex ?? 0, state?.LastIndex ?? 0);
  return {
    id,
    name: peer?.Node || state?.Name || id,
    address: peer?.Address || state?.Address || "",
    role: leads ? "leader" : votes ? "voter" : peer?.Barred ? "barred" : "follows",
    healthy: state?.Healthy,
    reason: state?.Reason ?? "",
    version: (state?.Version ?? "").split(":")[0] ?? "",
    lastContact: leads ? "" : (state?.LastContact ?? ""),
    index,
    lag: !index || !commit ? undefined : Math.max(0, commit - index),
    stableSince: state?.StableSince ?? "",
    gossip: state?.NodeStatus ?? "",
  };
}

const SIZES = /Bytes$|Size$|^DiskFree$|^DiskFloor$/;
const SPANS = /Age$|Contact$/;

/** Text for a figure: sizes and spans with their units, durations of a window as its quantiles. */
export function figure(name: string, value: unknown): string {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    if (SIZES.test(name)) return bytes(value);
    if (SPANS.test(name)) return value < 0 ? "–" : span(value);
    return Number.isInteger(value)
      ? value.toLocaleString("en")
      : String(Number(value.toPrecision(3)));
  }
  if (Array.isArray(value))
    return value.map((one) => figure("", one)).join(name === "Log" ? " to " : ", ") || "–";
  if (typeof value !== "object") return String(value);
  const window = value as Record<string, number>;
  if (typeof window["p50"] === "number" && typeof window["p99"] === "number") {
    if (!window["count"]) return "–";
    const parts = [window["p50"], window["p99"], window["max"] ?? 0].map(
      (seconds) => `${Number((seconds * 1000).toPrecision(2))} ms`,
    );
    return `median ${parts[0]}, 99 % within ${parts[1]}, worst ${parts[2]}`;
  }
  return JSON.stringify(value);
}

/** The flags of `meshctl operator autopilot set-config` for what is changed. */
export function changedFlags(
  before: Record<string, string>,
  after: Record<string, string>,
): string {
  return Object.entries(after)
    .filter(([name, value]) => before[name] !== value)
    .map(
      ([name, value]) =>
        `--${name.replace(/([a-z])([A-Z])/g, "$1-$2").toLowerCase()}=${quoted(value)}`,
    )
    .join(" ");
}
