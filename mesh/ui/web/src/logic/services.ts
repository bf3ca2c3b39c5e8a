/** Services, their instances and neighbours, as the API gives them and as pages show them. */

import { type CheckLike, type Status, badness, statusOf, worst } from "./health";
import { matches } from "./search";

/** How many instances there are by health. */
export interface InstanceHealth {
  Passing: number;
  Warning: number;
  Critical: number;
  Maintenance: number;
}

/** A row of /v1/internal/ui/services. */
export interface Listed {
  Name: string;
  Kind?: string;
  Tags: string[];
  Nodes: string[];
  ExternalSources: string[];
  InstanceCount: number;
  ChecksPassing: number;
  ChecksWarning: number;
  ChecksCritical: number;
  ConnectNative: boolean;
  ConnectedWithProxy: boolean;
  TransparentProxy: boolean;
  InstanceHealth: InstanceHealth;
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
  tags: string[];
  sources: string[];
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

function rowOf(one: Listed): ServiceRow {
  const health = counts(one.InstanceHealth);
  return {
    name: one.Name,
    kind: one.Kind ?? "",
    status: worstOf(health),
    instances: one.InstanceCount,
    health,
    checks: {
      passing: one.ChecksPassing,
      warning: one.ChecksWarning,
      critical: one.ChecksCritical,
    },
    tags: one.Tags,
    sources: one.ExternalSources,
    mesh: one.ConnectNative ? "native" : one.ConnectedWithProxy ? "proxy" : "",
    sidecars: "unknown",
    folded: [],
  };
}

/** One row per service. Sidecars whose service is listed are folded into it. */
export function fold(listed: readonly Listed[]): ServiceRow[] {
  const rows = new Map<string, ServiceRow>();
  for (const one of listed) if (!one.ProxyFor) rows.set(one.Name.toLowerCase(), rowOf(one));
  for (const one of listed) {
    if (!one.ProxyFor) continue;
    const served = one.ProxyFor.map((name) => rows.get(name.toLowerCase()));
    const row = rowOf(one);
    let alone = true;
    for (const service of served) {
      if (!service) continue;
      alone = false;
      service.folded.push(one.Name);
      if (service.sidecars === "unknown" || badness(row.status) > badness(service.sidecars))
        service.sidecars = row.status;
    }
    if (alone) rows.set(one.Name.toLowerCase(), row);
  }
  return [...rows.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
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
export function narrowed(rows: readonly ServiceRow[], by: Narrowing): ServiceRow[] {
  const { passed } = by;
  return rows.filter(
    (row) =>
      hasStatus(row, by.status) &&
      hasKind(row, by.kind) &&
      (!by.source || row.sources.includes(by.source)) &&
      (passed
        ? passed.has(row.name) || row.folded.some((name) => passed.has(name))
        : matches(by.search, row.name, ...row.tags, ...row.sources)),
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
