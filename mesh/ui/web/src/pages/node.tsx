/** A node: its checks, what runs there, how far it is from others, its sessions and its past. */

import { useMemo } from "preact/hooks";
import { api, isHere, query } from "../live/api";
import { useLive } from "../live/live";
import {
  type Maintenance,
  type Member,
  type NodeDump,
  type ServiceRow,
  type Session,
  useSelfHere,
} from "../live/nodes";
import { to, toWith, useParam } from "../live/place";
import { tabOf } from "../logic/address";
import { badness, nodeStatus, statusOf, worst } from "../logic/health";
import { matches } from "../logic/search";
import { ActButton } from "../parts/act";
import { Badge, Command, Data, Empty, Failure, Loading, Panel, StatusBadge } from "../parts/basics";
import { Facts, Tags } from "../parts/basics";
import { Page } from "../parts/page";
import { SearchBox, Toolbar } from "../parts/search";
import { type Column, Table } from "../parts/table";
import { Time } from "../parts/time";
import { words } from "../words";
import { Changes } from "./changes";
import {
  beginMaintenance,
  deregister,
  endMaintenance,
  endOwnMaintenance,
  forceLeave,
} from "./node-acts";
import { Checks } from "./node-checks";
import { RoundTrips } from "./node-rtt";
import { SessionTable } from "./session-table";

const w = words.nodes;
const ALIVE = 1;

const same = (one: string, other: string) => one.toLowerCase() === other.toLowerCase();

const TABS = ["checks", "services", "rtt", "sessions", "meta", "history"] as const;

export function NodePage({ name, tab: asked }: { name: string; tab: string | undefined }) {
  const tab = tabOf(TABS, asked);
  const live = useLive<NodeDump>(api`/v1/internal/ui/node/${name}`);
  const members = useLive<Member[]>(isHere() ? "/v1/agent/members" : null).value;
  const raft = useLive<{ Servers: { Node: string; Leader: boolean }[] }>(
    "/v1/operator/raft/configuration",
  ).value;
  const sessions = useLive<Session[]>(api`/v1/session/node/${name}`).value;
  const member = members?.find((one) => same(one.Name, name));
  const node = live.value;
  const crumbs = [{ text: w.title, at: ["nodes"] }];
  if (!node)
    return (
      <Page title={name} crumbs={crumbs}>
        {!live.loaded && <Loading />}
        {live.loaded && live.status === 404 && <Unknown name={name} />}
        {live.loaded && live.status !== 404 && (
          <Failure title={words.shell.failed} error={live.error} />
        )}
      </Page>
    );
  const server = raft?.Servers.find((one) => same(one.Node, name));
  const status = nodeStatus(node.Checks);
  const t = w.tabs;
  return (
    <Page
      title={node.Node}
      crumbs={crumbs}
      badge={
        <>
          <StatusBadge status={status} />
          {server && (
            <Badge tone={server.Leader ? "good" : "info"}>
              {server.Leader ? w.leader : w.server}
            </Badge>
          )}
          {members && !member && <Badge title={w.externalHint}>{w.external}</Badge>}
        </>
      }
      actions={<Acts name={node.Node} member={member} known={members !== undefined} />}
      tabs={{
        at: ["nodes", name],
        present: tab,
        tabs: [
          { key: "checks", text: t.checks, count: node.Checks.length },
          { key: "services", text: t.services, count: node.Services.length },
          { key: "rtt", text: t.rtt },
          { key: "sessions", text: t.sessions, count: sessions?.length },
          { key: "meta", text: t.meta },
          { key: "history", text: t.history },
        ],
      }}
    >
      <Strip node={node} member={member} />
      {live.error && <Failure error={words.parts.old(live.error)} />}
      <InMaintenance node={node} />
      {tab === "checks" && <Checks checks={node.Checks} />}
      {tab === "services" && <Services node={node} />}
      {tab === "rtt" && <RoundTrips node={node.Node} />}
      {tab === "sessions" && <SessionTable sessions={sessions} ofNode={node.Node} />}
      {tab === "meta" && <Meta node={node} />}
      {tab === "history" && <Past node={node.Node} />}
    </Page>
  );
}

function Unknown({ name }: { name: string }) {
  return (
    <Empty title={w.none(name)} command="meshctl catalog nodes">
      <p>{w.noneText}</p>
      <p>
        <a href={toWith({ kind: "node", q: name }, "history")}>{w.noneHistory}</a>
      </p>
    </Empty>
  );
}

function Acts({
  name,
  member,
  known,
}: {
  name: string;
  member: Member | undefined;
  known: boolean;
}) {
  return (
    <>
      <ActButton action={beginMaintenance(name)}>{w.maintenance.begin}</ActButton>
      {member && member.Status !== ALIVE && (
        <ActButton action={forceLeave(name)}>{w.leave.button}</ActButton>
      )}
      {known && !member && <ActButton action={deregister(name)}>{w.deregister.button}</ActButton>}
    </>
  );
}

function Strip({ node, member }: { node: NodeDump; member: Member | undefined }) {
  const facts: [string, string][] = [
    [w.address, node.Address],
    [w.version, member?.Tags.build?.split(":")[0] ?? node.Meta?.["consul-version"] ?? ""],
    [w.strip.datacenter, node.Datacenter],
    [w.strip.id, node.ID],
  ];
  return (
    <dl class="node-strip">
      {facts
        .filter(([, value]) => value)
        .map(([fact, value]) => (
          <div key={fact}>
            <dt>{fact}</dt>
            <dd>
              <Data>{value}</Data>
            </dd>
          </div>
        ))}
    </dl>
  );
}

/** Whatever keeps the whole node out of discovery, and how that ends. */
function InMaintenance({ node }: { node: NodeDump }) {
  const m = w.maintenance;
  const self = useSelfHere();
  const every = useLive<Maintenance[]>("/v1/maintenance").value;
  const cluster = every?.find((one) => same(one.Node, node.Node) && !one.ServiceID && !one.Service);
  const own = node.Checks.find((check) => check.CheckID === "_node_maintenance");
  if (!cluster && !own) return null;
  return (
    <Panel
      tone="warn"
      title={m.inIt}
      aside={
        cluster ? (
          <ActButton action={endMaintenance(node.Node)}>{m.end}</ActButton>
        ) : same(self, node.Node) ? (
          <ActButton action={endOwnMaintenance(node.Node)}>{m.end}</ActButton>
        ) : undefined
      }
    >
      {cluster && (
        <p>
          {cluster.Reason && <Data>{cluster.Reason}</Data>}{" "}
          <span class="quiet">
            {cluster.Owner && <Data>{`${m.by(cluster.Owner)}, `}</Data>}
            <Time at={cluster.Since} />,{" "}
            {cluster.Until ? (
              <>
                {m.until} <Time at={cluster.Until} />
              </>
            ) : (
              m.byHand
            )}
          </span>
        </p>
      )}
      {own && (
        <>
          <p>
            <Data>{own.Notes}</Data> <span class="quiet">{m.ofAgent}</span>
          </p>
          {!same(self, node.Node) && <Command text="meshctl maint --disable" />}
        </>
      )}
    </Panel>
  );
}

interface InstanceRow extends ServiceRow {
  status: ReturnType<typeof statusOf>;
  where: string;
}

function Services({ node }: { node: NodeDump }) {
  const s = w.service;
  const [search] = useParam("q");
  const rows = useMemo(() => instances(node), [node]);
  const shown = useMemo(
    () => rows.filter((row) => matches(search, row.Service, row.ID, row.where, ...row.Tags)),
    [rows, search],
  );
  if (!rows.length)
    return (
      <Empty title={s.none} command={s.noneCommand}>
        {s.noneText}
      </Empty>
    );
  return (
    <>
      <Toolbar said={words.parts.shown(shown.length, rows.length, s.what)}>
        <SearchBox hint={s.hint} />
      </Toolbar>
      <Table
        rows={shown}
        columns={INSTANCE_COLUMNS}
        id={(row) => row.ID}
        href={(row) => to("services", row.Service, "instances", node.Node, row.ID)}
        label={w.tabs.services}
        sort="service"
      />
    </>
  );
}

function instances(node: NodeDump): InstanceRow[] {
  const ofNode = node.Checks.filter((check) => !check.ServiceID).map(statusOf);
  return node.Services.map((row) => {
    const own = node.Checks.filter((check) => check.ServiceID === row.ID).map(statusOf);
    const all = [...ofNode, ...own];
    const address = row.Address || node.Address;
    return {
      ...row,
      Tags: row.Tags ?? [],
      status: all.length ? worst(all) : "passing",
      where: row.SocketPath || (row.Port ? `${address}:${row.Port}` : address),
    };
  });
}

const INSTANCE_COLUMNS: Column<InstanceRow>[] = [
  {
    key: "service",
    title: w.service.name,
    width: "minmax(8rem, 1.5fr)",
    cell: (row) => <Data>{row.Service}</Data>,
    order: (row) => row.Service,
  },
  {
    key: "health",
    title: w.health,
    width: "8rem",
    cell: (row) => <StatusBadge status={row.status} />,
    order: (row) => -badness(row.status),
  },
  {
    key: "id",
    title: w.service.id,
    width: "minmax(8rem, 1.5fr)",
    yields: 3,
    cell: (row) => <Data mono>{row.ID}</Data>,
    order: (row) => row.ID,
  },
  {
    key: "where",
    title: w.service.port,
    width: "minmax(9rem, 1fr)",
    yields: 3,
    cell: (row) => <Data mono>{row.where}</Data>,
  },
  {
    key: "kind",
    title: w.service.kind,
    width: "8rem",
    yields: 2,
    cell: (row) => <span class="quiet">{row.Kind || w.service.plain}</span>,
    order: (row) => row.Kind ?? "",
  },
  {
    key: "tags",
    title: w.service.tags,
    width: "minmax(6rem, 1fr)",
    yields: 1,
    cell: (row) => <Tags tags={row.Tags} max={3} />,
  },
];

function Pairs({ pairs }: { pairs: Record<string, string> }) {
  const names = Object.keys(pairs).sort();
  return (
    <Facts
      facts={names
        .map((name) => [name, <Data key={name}>{pairs[name] ?? ""}</Data>] as const)
        .map(([name, value]) => [name, value])}
    />
  );
}

function Meta({ node }: { node: NodeDump }) {
  const meta = node.Meta ?? {};
  const addresses = node.TaggedAddresses ?? {};
  return (
    <>
      {Object.keys(meta).length ? (
        <Panel title={w.meta.title}>
          <Pairs pairs={meta} />
        </Panel>
      ) : (
        <Empty title={w.meta.none} command={w.meta.noneCommand}>
          {w.meta.noneText}
        </Empty>
      )}
      {Object.keys(addresses).length > 0 && (
        <Panel title={w.meta.addresses}>
          <Pairs pairs={addresses} />
        </Panel>
      )}
      {node.Locality && (
        <Panel title={w.meta.locality}>
          <Pairs pairs={{ Region: node.Locality.Region, Zone: node.Locality.Zone }} />
        </Panel>
      )}
    </>
  );
}

function Past({ node }: { node: string }) {
  return (
    <>
      <Panel title={words.history.ofNode}>
        <Changes path={query("/v1/history", { kind: "node", key: node })} />
      </Panel>
      <Panel title={words.history.ofInstances}>
        <Changes path={query("/v1/history", { kind: "service", prefix: `${node}/` })} />
      </Panel>
    </>
  );
}
