import { expect, test } from "vitest";
import {
  type Check,
  type Entry,
  type Glance,
  addressOf,
  dashboard,
  fold,
  instancesOf,
  metaOf,
  narrowed,
  remover,
  tagsOf,
  tallied,
  tally,
} from "./services";

function listed(name: string, more: Partial<Glance> = {}): Glance {
  return { Name: name, Instances: 1, Passing: 1, ChecksPassing: 1, ...more };
}

const ILL = { Passing: 2, Critical: 1, Maintenance: 1 };
const sidecar = (of: string, more: Partial<Glance> = {}) =>
  listed(`${of}-sidecar-proxy`, { Kind: "connect-proxy", ProxyFor: [of], ...more });

test("sidecars are folded into their services, and bring their health along", () => {
  const rows = fold([
    listed("db", { Mesh: "native", ...ILL }),
    sidecar("gone"),
    listed("Web", { Mesh: "proxy" }),
    sidecar("web", ILL),
  ]);
  expect(rows.map((row) => [row.name, row.mesh, row.status, row.sidecars])).toEqual([
    ["db", "native", "critical", "unknown"],
    ["gone-sidecar-proxy", "", "passing", "unknown"],
    ["Web", "proxy", "passing", "critical"],
  ]);
});

test("what did not change is the same row as before", () => {
  const [db, web, proxy] = [listed("db"), listed("web"), sidecar("web")];
  const before = fold([db, web, proxy]);
  const after = fold([db, web, sidecar("web", ILL)]);
  expect(after[0]).toBe(before[0]);
  expect(before.map((row) => row.sidecars)).toEqual(["unknown", "passing"]);
  expect(after.map((row) => row.sidecars)).toEqual(["unknown", "critical"]);
  expect(fold([db, web])[1]?.sidecars).toBe("unknown");
  expect(fold([db, listed("web", ILL)])[1]?.status).toBe("critical");
});

test("rows are counted for each choice", () => {
  const rows = fold([
    listed("db", { ...ILL, ExternalSources: ["nomad"] }),
    listed("gate", { Kind: "api-gateway" }),
    listed("old", { Passing: 0, Warning: 1, ExternalSources: ["nomad", "k8s"] }),
    listed("web", { Mesh: "proxy" }),
  ]);
  expect(tally(rows)).toEqual({
    statuses: { passing: 3, critical: 1, maintenance: 1, warning: 1, failing: 2 },
    kinds: { plain: 2, gateway: 1, mesh: 1 },
    sources: ["k8s", "nomad"],
  });
});

test("2,000 services with sidecars are folded and searched in no time", () => {
  const many = Array.from({ length: 2000 }, (_, i) => [listed(`s${i}`), sidecar(`s${i}`)]).flat();
  const rows = fold(many);
  expect(rows).toHaveLength(2000);
  const by = { search: "s199", passed: null, status: "", kind: "", source: "" };
  expect(narrowed(rows, by)).toHaveLength(11);
});

test.each([
  [{ search: "EU we" }, ["web"]],
  [{ status: "failing" }, ["db"]],
  [{ status: "maintenance" }, ["db"]],
  [{ status: "passing" }, ["db", "web"]],
  [{ kind: "mesh" }, ["web"]],
  [{ kind: "gateway" }, ["gate"]],
  [{ kind: "plain" }, ["db"]],
  [{ source: "nomad" }, ["db"]],
  [{ search: 'Kind == "connect-proxy"', passed: new Set(["web-sidecar-proxy"]) }, ["web"]],
])("%j leaves %j", (by, names) => {
  const rows = fold([
    listed("db", { ...ILL, ExternalSources: ["nomad"] }),
    listed("gate", { Kind: "api-gateway", Passing: 0 }),
    listed("web", { Tags: ["eu"], Mesh: "proxy" }),
    sidecar("web"),
  ]);
  const all = { search: "", passed: null, status: "", kind: "", source: "", ...by };
  expect(narrowed(rows, all).map((row) => row.name)).toEqual(names);
});

function check(id: string, status: string, service = "", node = "n1"): Check {
  return {
    Node: node,
    CheckID: id,
    Name: id,
    Status: status,
    Notes: "",
    Output: "",
    ServiceID: service,
    ServiceName: service,
    Type: "",
    ModifyIndex: 1,
  };
}

function entry(id: string, checks: Check[] = [], service: Partial<Entry["Service"]> = {}): Entry {
  return {
    Node: { ID: "", Node: "n1", Address: "10.0.0.1", Datacenter: "dc1" },
    Service: {
      ID: id,
      Service: "web",
      Tags: null,
      Address: "",
      Meta: null,
      Port: 80,
      Weights: { Passing: 1, Warning: 1 },
      Proxy: null,
      Connect: null,
      CreateIndex: 1,
      ModifyIndex: 1,
      ...service,
    },
    Checks: checks,
  };
}

test("an instance is as ill as the worst of its own checks and its node's", () => {
  const rows = instancesOf(
    [
      entry("a", [check("up", "warning", "a"), check("serfHealth", "passing")]),
      entry("b", [check("serfHealth", "critical"), check("mesh-gossip", "warning")]),
      entry("c", [check("_cluster_maintenance:c", "critical", "c")]),
      entry("d"),
    ],
    [
      entry("a-proxy", [], {
        Kind: "connect-proxy",
        Proxy: { DestinationServiceName: "web", DestinationServiceID: "a" },
      }),
    ],
  );
  expect(rows.map((row) => [row.ownStatus, row.nodeStatus, row.status])).toEqual([
    ["warning", "passing", "warning"],
    ["passing", "critical", "critical"],
    ["maintenance", "passing", "maintenance"],
    ["passing", "passing", "passing"],
  ]);
  expect(rows.map((row) => row.sidecar?.Service.ID ?? "")).toEqual(["a-proxy", "", "", ""]);
  expect(tallied(rows)).toEqual({ warning: 1, critical: 1, maintenance: 1, passing: 1 });
});

test.each([
  [{ Address: "" }, "10.0.0.1:80"],
  [{ Address: "fd00::1" }, "[fd00::1]:80"],
  [{ Address: "x.example", Port: 0 }, "x.example"],
  [{ SocketPath: "/run/x.sock" }, "/run/x.sock"],
])("%j is reached at %s", (service, address) => {
  expect(addressOf(entry("a", [], service))).toBe(address);
});

test.each([
  ["passing", "N1", "here"],
  ["passing", "n2", "agent"],
  ["critical", "n2", "catalog"],
])("of an agent that is %s, seen from %s, the %s removes", (status, here, by) => {
  expect(remover(entry("a", [check("serfHealth", status)]), here)).toBe(by);
  expect(remover(entry("a"), here)).toBe("catalog");
});

test("tags and metadata are counted over instances", () => {
  const all = [
    entry("a", [], { Tags: ["x", "y"], Meta: { team: "a" } }),
    entry("b", [], { Tags: ["y"], Meta: { team: "a" } }),
    entry("c"),
  ];
  expect(tagsOf(all)).toEqual([
    ["y", 2],
    ["x", 1],
  ]);
  expect(metaOf(all)).toEqual([["team", "a", 2]]);
});

test.each([
  ["https://b.example/{{Service.Name}}?dc={{ Datacenter }}", "https://b.example/a%2F%22?dc=dc1"],
  ["https://b.example/{{Nothing}}", "https://b.example/"],
  ["javascript:alert({{Service.Name}})", ""],
  ["", ""],
])("a dashboard at %s", (template, link) => {
  expect(dashboard(template, 'a/"', "dc1")).toBe(link);
});
