/** The topology of a service: who is drawn, where, and the lines between them. */

import type { Status } from "./health";
import { type Listed, counts, worstOf } from "./services";

export type Verdict = "allow" | "deny" | "requests";

/** What decides a call, as /v1/internal/ui/service-topology has it. */
export interface Decision {
  DefaultAllow: boolean;
  Allowed: boolean;
  HasPermissions: boolean;
  HasExact: boolean;
  ExternalSource: string;
  Verdict: Verdict;
  Rule: string;
  Entry: string;
  Precedence: number;
  SourceName: string;
  DestinationName: string;
  Permissions: string[];
}

export type Known =
  "proxy-registration" | "specific-intention" | "wildcard-intention" | "default-allow";

export interface Neighbour extends Listed {
  Source: Known;
  Intention: Decision;
}

export interface Topology {
  Protocol: string;
  TransparentProxy: boolean;
  Upstreams: Neighbour[];
  Downstreams: Neighbour[];
}

/** A call between two services. */
export interface Call {
  source: string;
  destination: string;
  /** The one of the two that is not the service of the page. */
  other: string;
  side: "up" | "down";
  status: Status;
  instances: number;
  known: Known;
  decision: Decision;
}

const ORDER: Record<Verdict, number> = { deny: 0, requests: 1, allow: 2 };
const BAD: Status[] = ["critical", "warning", "maintenance", "unknown", "passing"];

/** The calls to and from a service: registered ones first, then what is denied or ill. */
export function callsOf(service: string, topology: Topology): Call[] {
  const made = (one: Neighbour, side: "up" | "down"): Call => ({
    source: side === "down" ? one.Name : service,
    destination: side === "down" ? service : one.Name,
    other: one.Name,
    side,
    status: one.InstanceCount ? worstOf(counts(one.InstanceHealth)) : "unknown",
    instances: one.InstanceCount,
    known: one.Source,
    decision: one.Intention,
  });
  const all = [
    ...topology.Downstreams.map((one) => made(one, "down")),
    ...topology.Upstreams.map((one) => made(one, "up")),
  ];
  const rank = (call: Call): number =>
    (call.side === "down" ? 0 : 1000) +
    (call.known === "proxy-registration" ? 0 : 100) +
    ORDER[call.decision.Verdict] * 10 +
    BAD.indexOf(call.status);
  return all
    .map((call) => [rank(call), call] as const)
    .sort(([a, x], [b, y]) => a - b || (x.other < y.other ? -1 : 1))
    .map(([, call]) => call);
}

/** The calls that are drawn, and how many of each side are not. */
export function drawn(calls: readonly Call[], most: number): { calls: Call[]; left: number } {
  const found: Call[] = [];
  const seen = { up: 0, down: 0 };
  for (const call of calls) {
    seen[call.side] += 1;
    if (seen[call.side] <= most) found.push(call);
  }
  return { calls: found, left: calls.length - found.length };
}

export interface Box {
  id: string;
  x: number;
  y: number;
}

interface Point {
  x: number;
  y: number;
}

export interface Line {
  call: Call;
  /** From the side of one box, by the label, to the side of the other. */
  points: [Point, Point, Point];
}

export interface Layout {
  width: number;
  height: number;
  boxes: Box[];
  lines: Line[];
}

export const BOX = { width: 184, height: 58 };
export const LABEL = { width: 104, height: 34 };
export const SELF = "self";

/** What a box is known by: a service may be on both sides. */
export function boxId(call: Call): string {
  return `${call.side}:${call.other}`;
}

/** What this needs of the library that lays graphs out. */
interface Dagre {
  layout: (graph: never) => unknown;
  graphlib: { Graph: new (options?: object) => unknown };
}

interface LaidOut {
  setGraph: (label: object) => void;
  setDefaultEdgeLabel: (label: () => object) => void;
  setNode: (id: string, label: object) => void;
  setEdge: (from: string, to: string, label: object) => void;
  graph: () => { width?: number; height?: number };
  node: (id: string) => { x: number; y: number };
}

/** Where boxes and lines go: callers on the left, who is called on the right. */
export function laidOut(dagre: unknown, calls: readonly Call[]): Layout {
  const library = dagre as Dagre;
  const graph = new library.graphlib.Graph() as LaidOut;
  graph.setGraph({ rankdir: "LR", nodesep: 16, ranksep: 84, marginx: 6, marginy: 6 });
  graph.setDefaultEdgeLabel(() => ({}));
  graph.setNode(SELF, { ...BOX });
  const ends = (call: Call): [string, string] =>
    call.side === "down" ? [boxId(call), SELF] : [SELF, boxId(call)];
  for (const call of calls) graph.setNode(boxId(call), { ...BOX });
  for (const call of calls) graph.setEdge(...ends(call), { ...LABEL, labelpos: "c" });
  library.layout(graph as never);
  const { width = 0, height = 0 } = graph.graph();
  const self = point(graph.node(SELF));
  const boxes: Box[] = [{ id: SELF, ...self }];
  const lines: Line[] = [];
  for (const side of ["down", "up"] as const) {
    const own = calls.filter((call) => call.side === side);
    // The library's order has the fewest crossings, and here are none: ours says what matters.
    const rows = own.map((call) => graph.node(boxId(call)).y).sort((a, b) => a - b);
    own.forEach((call, i) => {
      const box = { x: graph.node(boxId(call)).x, y: rows[i] ?? 0 };
      const [left, right] = side === "down" ? [box, self] : [self, box];
      const half = BOX.width / 2;
      // Beside the outer box, which leaves lines room to come together.
      const beside = half + 10 + LABEL.width / 2;
      const label = { x: side === "down" ? box.x + beside : box.x - beside, y: box.y };
      const [from, to] = [
        { x: left.x + half, y: left.y },
        { x: right.x - half, y: right.y },
      ];
      boxes.push({ id: boxId(call), ...box });
      lines.push({ call, points: [from, label, to] });
    });
  }
  return { width, height, boxes, lines };
}

function point({ x, y }: Point): Point {
  return { x, y };
}

/** The tip of an arrow that ends here, coming from the left, as the `d` of an SVG path. */
export function tip({ x, y }: Point): string {
  return `M${round(x)},${round(y)} l-9,-5 v10 z`;
}

/** A smooth line through points, as the `d` of an SVG path. */
export function curve(points: readonly Point[]): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let from = first;
  let path = `M${round(first.x)},${round(first.y)}`;
  for (const to of rest) {
    const middle = (from.x + to.x) / 2;
    path += ` C${round(middle)},${round(from.y)} ${round(middle)},${round(to.y)} ${round(to.x)},${round(to.y)}`;
    from = to;
  }
  return path;
}

function round(number: number): number {
  return Math.round(number * 10) / 10;
}
