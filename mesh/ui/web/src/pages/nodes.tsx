/** Nodes: how each is, what runs there, and how far away it is. */

import { useMemo } from "preact/hooks";
import { isHere, query } from "../live/api";
import { useLive } from "../live/live";
import { type ListedNode, useSelfHere } from "../live/nodes";
import { to, useParam } from "../live/place";
import { useSettled, useSteady } from "../live/steady";
import { badness, type Status } from "../logic/health";
import { distances, milliseconds, type Place } from "../logic/rtt";
import { isFilter, matches } from "../logic/search";
import { Badge, Command, Data, Empty, Loaded, StatusBadge } from "../parts/basics";
import { Page } from "../parts/page";
import { Facet, SearchBox, Toolbar } from "../parts/search";
import { type Column, Table } from "../parts/table";
import type { PageProps } from "../routes";
import { words } from "../words";
import { NodePage } from "./node";
import "./nodes.css";

const w = words.nodes;
const LIST = "/v1/internal/ui/node-list";
const NO_VERSION = "-";

interface Row extends ListedNode {
  status: Status;
  rtt: number | undefined;
  leader: boolean;
}

export default function Nodes({ rest }: PageProps) {
  const [name, tab] = rest;
  return name === undefined ? <List /> : <NodePage key={name} name={name} tab={tab} />;
}

/** The nodes that the search finds, and why the server would not search. */
function useFound(search: string) {
  const filter = useSettled(isFilter(search) ? search : "");
  const all = useSteady(useLive<ListedNode[]>(filter ? query(LIST, { filter }) : LIST));
  const error = filter && all.status >= 400 ? all.error : "";
  return { live: error ? { ...all, error: "" } : all, error };
}

function useRows(found: ListedNode[] | undefined): Row[] {
  const self = useSelfHere();
  const places = useLive<Place[]>(isHere() ? "/v1/coordinate/nodes" : null).value;
  const raft = useLive<{ Servers: { Node: string; Leader: boolean }[] }>(
    "/v1/operator/raft/configuration",
  ).value;
  const leader = raft?.Servers.find((one) => one.Leader)?.Node.toLowerCase();
  const rtts = useMemo(
    () => new Map(distances(places ?? [], self)?.map((one) => [one.node.toLowerCase(), one])),
    [places, self],
  );
  return useMemo(
    () =>
      (found ?? []).map((node) => ({
        ...node,
        status: node.Status as Status,
        rtt: rtts.get(node.Node.toLowerCase())?.seconds,
        leader: node.Node.toLowerCase() === leader,
      })),
    [found, rtts, leader],
  );
}

function List() {
  const [search] = useParam("q");
  const [status] = useParam("status");
  const [version] = useParam("version");
  const { live, error } = useFound(search);
  const rows = useRows(live.value);
  const self = useSelfHere();
  const text = isFilter(search) ? "" : search;
  const found = useMemo(
    () => rows.filter((row) => matches(text, row.Node, row.Address, row.ID, ...row.Services)),
    [rows, text],
  );
  const shown = useMemo(
    () =>
      found.filter(
        (row) =>
          (!status || row.status === status) &&
          (!version || (row.Version || NO_VERSION) === version),
      ),
    [found, status, version],
  );
  const columns = useMemo(() => columnsFrom(self), [self]);
  return (
    <Page title={w.title}>
      <Toolbar said={live.value ? words.parts.shown(shown.length, rows.length, w.what) : ""}>
        <SearchBox hint={w.hint} error={error} />
        <StatusFacet rows={found} />
        <VersionFacet rows={rows} />
      </Toolbar>
      <Loaded live={live}>
        {() =>
          rows.length || search ? (
            <Table
              rows={shown}
              columns={columns}
              id={(row) => row.Node}
              href={(row) => to("nodes", row.Node, "checks")}
              label={w.title}
              sort="name"
            />
          ) : (
            <Empty title={w.empty} command={w.emptyCommand}>
              {w.emptyText}
            </Empty>
          )
        }
      </Loaded>
      <Command text="meshctl catalog nodes" />
    </Page>
  );
}

const STATUSES: Status[] = ["critical", "warning", "maintenance", "passing"];

function StatusFacet({ rows }: { rows: Row[] }) {
  const [present] = useParam("status");
  const counts = useMemo(() => {
    const found: Partial<Record<Status, number>> = {};
    for (const row of rows) found[row.status] = (found[row.status] ?? 0) + 1;
    return found;
  }, [rows]);
  const choices = STATUSES.filter((one) => counts[one] || one === present).map((one) => ({
    value: one,
    text: words.parts.status[one],
    count: counts[one] ?? 0,
  }));
  if (choices.length < 2 && !present) return null;
  return (
    <Facet param="status" label={w.health} choices={[{ value: "", text: w.all }, ...choices]} />
  );
}

function VersionFacet({ rows }: { rows: Row[] }) {
  const [present] = useParam("version");
  const counts = useMemo(() => {
    const found = new Map<string, number>();
    for (const { Version } of rows)
      found.set(Version || NO_VERSION, (found.get(Version || NO_VERSION) ?? 0) + 1);
    return found;
  }, [rows]);
  if (counts.size < 2 && !present) return null;
  const choices = [...counts]
    .sort(([a], [b]) => (a < b ? 1 : -1))
    .map(([value, count]) => ({
      value,
      text: value === NO_VERSION ? w.noVersion : value,
      count,
    }));
  return (
    <Facet
      param="version"
      label={w.version}
      choices={[{ value: "", text: w.anyVersion }, ...choices]}
    />
  );
}

function Role({ row }: { row: Row }) {
  if (row.leader) return <Badge tone="good">{w.leader}</Badge>;
  if (row.Server) return <Badge tone="info">{w.server}</Badge>;
  return row.Version ? (
    <span class="quiet">{w.agent}</span>
  ) : (
    <Badge title={w.externalHint}>{w.external}</Badge>
  );
}

function columnsFrom(self: string): Column<Row>[] {
  return [
    {
      key: "name",
      title: w.name,
      width: "minmax(8rem, 2fr)",
      cell: (row) => <Data>{row.Node}</Data>,
      order: (row) => row.Node,
    },
    {
      key: "health",
      title: w.health,
      width: "minmax(8rem, 1fr)",
      cell: (row) => <StatusBadge status={row.status} />,
      order: (row) => -badness(row.status),
    },
    {
      key: "role",
      title: w.role,
      width: "5rem",
      yields: 3,
      cell: (row) => <Role row={row} />,
      order: (row) => (row.leader ? 0 : row.Server ? 1 : row.Version ? 2 : 3),
    },
    {
      key: "address",
      title: w.address,
      width: "minmax(8rem, 1fr)",
      yields: 3,
      cell: (row) => <Data mono>{row.Address}</Data>,
      order: (row) => row.Address,
    },
    {
      key: "instances",
      title: w.instances,
      width: "6rem",
      align: "end",
      yields: 2,
      cell: (row) => row.Instances,
      order: (row) => -row.Instances,
    },
    {
      key: "meshed",
      title: w.meshed,
      width: "6.5rem",
      align: "end",
      yields: 1,
      cell: (row) => <span title={w.meshedHint(row.Meshed)}>{row.Meshed}</span>,
      order: (row) => -row.Meshed,
    },
    {
      key: "version",
      title: w.version,
      width: "5rem",
      yields: 1,
      cell: (row) => <Data>{row.Version || "–"}</Data>,
      order: (row) => row.Version,
    },
    {
      key: "rtt",
      title: w.rtt,
      width: "6rem",
      align: "end",
      yields: 2,
      cell: (row) =>
        row.rtt === undefined ? (
          <span class="quiet">–</span>
        ) : (
          <span title={w.rttFrom(self)}>{milliseconds(row.rtt)}</span>
        ),
      order: (row) => row.rtt ?? Number.POSITIVE_INFINITY,
    },
  ];
}
