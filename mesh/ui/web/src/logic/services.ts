/** Services, their instances and neighbours, as the API gives them and as pages show them. */

import { type CheckLike, type Status, statusOf, worst } from "./health";
import { matcher } from "./search";

/** How many instances there are by health. */
export interface InstanceHealth {
  Passing: number;
  Warning: number;
  Critical: number;
  Maintenance: number;
}

/** A service of a topology, as far as it is shown. */
export interface Listed {
  Name: string;
  InstanceCount: number;
  InstanceHealth: InstanceHealth;
}

/** A row of /v1/internal/ui/service-list: what is empty or 0 is left out. */
export interface Glance {
  Name: string;
  Kind?: string;
  Tags?: string[];
  ExternalSources?: string[];
  Instances?: number;
  Passing?: number;
  Warning?: number;
  Critical?: number;
  Maintenance?: number;
  ChecksPassing?: number;
  ChecksWarning?: number;
  ChecksCritical?: number;
  Mesh?: "proxy" | "native";
  ProxyFor?: string[];
}

/** A service with its sidecars folded into it. */
export interface ServiceRow {
  name: string;
  kind: string;
  status: Status;
  instances: number;
  health: Partial<Record<Status, number>>;
  checks: Partial<Record<Status, number>>;
  tags: readonly string[];
  sources: readonly string[];
  mesh: "" | "proxy" | "native";
  /** The health of its sidecars. */
  sidecars: Status;
  /** The names of the sidecars, which were folded into it. */
  folded: string[];
}

const SEVERITY: Status[] = ["critical", "warning", "maintenance", "passing"];

/** The instances by health, in our words. */
export function counts(health: InstanceHealth): Partial<Record<Status, number>> {
  return {
    passing: health.Passing,
    warning: health.Warning,
    critical: health.Critical,
    maintenance: health.Maintenance,
  };
}

/** The worst of some counts: what is in maintenance on purpose hides no failure beside it. */
export function worstOf(health: Partial<Record<Status, number>>): Status {
  return SEVERITY.find((one) => (health[one] ?? 0) > 0) ?? "unknown";
}

const NONE: readonly never[] = [];
/** Rows made before: what is the same object again gets the same row, which is not drawn anew. */
const made = new WeakMap<Glance, { sidecars: readonly Glance[]; row: ServiceRow }>();

function rowOf(one: Glance, sidecars: readonly Glance[]): ServiceRow {
  const before = made.get(one);
  if (
    before?.sidecars.length === sidecars.length &&
    before.sidecars.every((sidecar, i) => sidecar === sidecars[i])
  )
    return before.row;
  const health = healthOf(one);
  const row: ServiceRow = {
    name: one.Name,
    kind: one.Kind ?? "",
    status: worstOf(health),
    instances: one.Instances ?? 0,
    health,
    checks: {
      passing: one.ChecksPassing ?? 0,
      warning: one.ChecksWarning ?? 0,
      critical: one.ChecksCritical ?? 0,
    },
    tags: one.Tags ?? NONE,
    sources: one.ExternalSources ?? NONE,
    mesh: one.Mesh ?? "",
    sidecars: sidecars.length
      ? worst(sidecars.map((sidecar) => worstOf(healthOf(sidecar))))
      : "unknown",
    folded: sidecars.map((sidecar) => sidecar.Name),
  };
  made.set(one, { sidecars, row });
  return row;
}

function healthOf(one: Glance): Partial<Record<Status, number>> {
  return {
    passing: one.Passing ?? 0,
    warning: one.Warning ?? 0,
    critical: one.Critical ?? 0,
    maintenance: one.Maintenance ?? 0,
  };
}

/** One row per service, ordered as they come. Sidecars whose service is listed are folded into it. */
export function fold(listed: readonly Glance[]): ServiceRow[] {
  const proxies = listed.filter((one) => one.ProxyFor);
  if (!proxies.length) return listed.map((one) => rowOf(one, NONE));
  const sidecars = new Map<string, Glance[]>();
  for (const one of listed) if (!one.ProxyFor) sidecars.set(one.Name.toLowerCase(), []);
  const alone = new Set<Glance>();
  for (const one of proxies) {
    const served = one.ProxyFor?.map((name) => sidecars.get(name.toLowerCase()));
    if (!served?.some((found) => found)) alone.add(one);
    for (const found of served ?? []) found?.push(one);
  }
  return listed
    .filter((one) => !one.ProxyFor || alone.has(one))
    .map((one) => rowOf(one, (!one.ProxyFor && sidecars.get(one.Name.toLowerCase())) || NONE));
}

/** How many rows there are of each health and kind, and which sources they have. */
export function tally(rows: readonly ServiceRow[]): {
  statuses: Record<string, number>;
  kinds: Record<string, number>;
  sources: string[];
} {
  const statuses: Record<string, number> = {};
  const kinds: Record<string, number> = {};
  const sources = new Set<string>();
  const count = (of: Record<string, number>, key: string) => {
    of[key] = (of[key] ?? 0) + 1;
  };
  for (const row of rows) {
    for (const one of SEVERITY) if (row.health[one]) count(statuses, one);
    if (hasStatus(row, "failing")) count(statuses, "failing");
    for (const kind of ["mesh", "plain", "gateway"]) if (hasKind(row, kind)) count(kinds, kind);
    for (const source of row.sources) sources.add(source);
  }
  return { statuses, kinds, sources: [...sources].sort() };
}

export interface Narrowing {
  search: string;
  /** Names that the server's filter lets pass; null when the search is text. */
  passed: ReadonlySet<string> | null;
  status: string;
  kind: string;
  source: string;
}

export function hasStatus(row: ServiceRow, status: string): boolean {
  if (!status) return true;
  if (status === "failing") return row.status === "critical" || row.status === "warning";
  return (row.health[status as Status] ?? 0) > 0;
}

export function hasKind(row: ServiceRow, kind: string): boolean {
  if (!kind) return true;
  if (kind === "mesh") return row.mesh !== "";
  if (kind === "plain") return row.mesh === "" && row.kind === "";
  if (kind === "gateway") return row.kind.endsWith("-gateway");
  return row.kind === kind;
}

/** The rows that a search and facets leave. */
export function narrowed(rows: readonly ServiceRow[], by: Narrowing): readonly ServiceRow[] {
  const { passed } = by;
  if (!passed && !by.search && !by.status && !by.kind && !by.source) return rows;
  const fits = matcher(by.search);
  return rows.filter(
    (row) =>
      hasStatus(row, by.status) &&
      hasKind(row, by.kind) &&
      (!by.source || row.sources.includes(by.source)) &&
      (passed
        ? passed.has(row.name) || row.folded.some((name) => passed.has(name))
        : fits([row.name, ...row.tags, ...row.sources])),
  );
}

/** A check of the API. */
export interface Check extends CheckLike {
  Node: string;
  Name: string;
  Notes: string;
  Output: string;
  ServiceID: string;
  ServiceName: string;
  Type: string;
  Interval?: string;
  Timeout?: string;
  ExposedPort?: number;
  ModifyIndex: number;
}

export interface Upstream {
  DestinationType?: string;
  DestinationName: string;
  Datacenter?: string;
  LocalBindAddress?: string;
  LocalBindPort?: number;
  LocalBindSocketPath?: string;
}

/** The proxy block of an instance; null where there is none. */
export interface Proxy {
  DestinationServiceName?: string;
  DestinationServiceID?: string;
  LocalServiceAddress?: string;
  LocalServicePort?: number;
  Mode?: string;
  Upstreams?: Upstream[];
  Expose?: {
    Checks?: boolean;
    Paths?: { Path: string; LocalPathPort: number; ListenerPort: number; Protocol?: string }[];
  };
}

/** A row of /v1/health/service and /v1/health/connect. */
export interface Entry {
  Node: { ID: string; Node: string; Address: string; Datacenter: string };
  Service: {
    Kind?: string;
    ID: string;
    Service: string;
    Tags: string[] | null;
    Address: string;
    TaggedAddresses?: Record<string, { Address: string; Port: number }>;
    Meta: Record<string, string> | null;
    Port: number;
    SocketPath?: string;
    Weights: { Passing: number; Warning: number };
    Proxy: Proxy | null;
    Connect: { Native?: boolean } | null;
    CreateIndex: number;
    ModifyIndex: number;
  };
  Checks: Check[];
}

/** Checks of a node that say nothing about the health of instances there. */
const ASIDE = ["mesh-gossip", "mesh-snapshots", "mesh-ca"];
const AGENT = "serfHealth";

export interface InstanceRow {
  id: string;
  node: string;
  address: string;
  status: Status;
  nodeStatus: Status;
  ownStatus: Status;
  entry: Entry;
  sidecar: Entry | undefined;
  native: boolean;
  own: Check[];
  ofNode: Check[];
}

/** `address:port`, with brackets where the address is one of IPv6; the node's if it has none. */
export function addressOf(entry: Entry): string {
  const { Service: service, Node: node } = entry;
  if (service.SocketPath) return service.SocketPath;
  const host = service.Address || node.Address;
  if (!service.Port) return host;
  return `${host.includes(":") ? `[${host}]` : host}:${service.Port}`;
}

const passingUnless = (checks: Check[]): Status =>
  checks.length ? worst(checks.map(statusOf)) : "passing";

/** The instances of a service, each with the sidecar that stands before it. */
export function instancesOf(entries: readonly Entry[], proxies: readonly Entry[]): InstanceRow[] {
  const sidecars = new Map<string, Entry>();
  for (const one of proxies) {
    const proxy = one.Service.Proxy;
    if (one.Service.Kind === "connect-proxy" && proxy?.DestinationServiceID)
      sidecars.set(`${one.Node.Node}/${proxy.DestinationServiceID}`.toLowerCase(), one);
  }
  return entries.map((entry) => {
    const own = entry.Checks.filter((check) => check.ServiceID !== "");
    const ofNode = entry.Checks.filter((check) => check.ServiceID === "");
    const ownStatus = passingUnless(own);
    const nodeStatus = passingUnless(ofNode.filter((check) => !ASIDE.includes(check.CheckID)));
    return {
      id: entry.Service.ID,
      node: entry.Node.Node,
      address: addressOf(entry),
      status: worst([ownStatus, nodeStatus]),
      nodeStatus,
      ownStatus,
      entry,
      sidecar: sidecars.get(`${entry.Node.Node}/${entry.Service.ID}`.toLowerCase()),
      native: entry.Service.Connect?.Native === true,
      own,
      ofNode,
    };
  });
}

/** Who removes an instance for good: this agent, the agent of another node, or the catalog. */
export function remover(entry: Entry, here: string): "here" | "agent" | "catalog" {
  const alive = entry.Checks.find((check) => check.CheckID === AGENT);
  if (alive && entry.Node.Node.toLowerCase() === here.toLowerCase()) return "here";
  return alive?.Status === "passing" ? "agent" : "catalog";
}

/** The instances by health. */
export function tallied(rows: readonly InstanceRow[]): Partial<Record<Status, number>> {
  const found: Partial<Record<Status, number>> = {};
  for (const row of rows) found[row.status] = (found[row.status] ?? 0) + 1;
  return found;
}

/** Each tag with the number of instances that have it, the commonest first. */
export function tagsOf(entries: readonly Entry[]): [string, number][] {
  const found = new Map<string, number>();
  for (const entry of entries)
    for (const tag of new Set(entry.Service.Tags ?? [])) found.set(tag, (found.get(tag) ?? 0) + 1);
  return [...found].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
}

/** Each pair of metadata with the number of instances that have it. */
export function metaOf(entries: readonly Entry[]): [string, string, number][] {
  const found = new Map<string, [string, string, number]>();
  for (const entry of entries)
    for (const [key, value] of Object.entries(entry.Service.Meta ?? {})) {
      const pair = JSON.stringify([key, value]);
      found.set(pair, [key, value, (found.get(pair)?.[2] ?? 0) + 1]);
    }
  return [...found.values()].sort(([a, x], [b, y]) => (a + x < b + y ? -1 : 1));
}

/** The link to a service's dashboard; empty for none, and for what is no link of the web. */
export function dashboard(template: string, service: string, datacenter: string): string {
  const values: Record<string, string> = {
    "Service.Name": service,
    "Service.Namespace": "default",
    "Service.Partition": "default",
    Datacenter: datacenter,
  };
  const url = template.replace(/\{\{\s*([\w.]+)\s*\}\}/g, (_, name: string) =>
    encodeURIComponent(values[name] ?? ""),
  );
  return /^https?:\/\//i.test(url) ? url : "";
}
