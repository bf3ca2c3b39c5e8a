/** Members: who is there as gossip has it, what is frozen, and whether the network is well. */

import { useMemo } from "preact/hooks";
import { ask, isHere, scope } from "../live/api";
import { refresh, useLive } from "../live/live";
import { type Member, useSelf } from "../live/nodes";
import { to, useParam } from "../live/place";
import { usePolled } from "../live/steady";
import { tabOf } from "../logic/address";
import { badness } from "../logic/health";
import { isSuspected, signOf, statusOfMember } from "../logic/members";
import { milliseconds } from "../logic/rtt";
import { matches } from "../logic/search";
import { span } from "../logic/time";
import { type Action, ActButton } from "../parts/act";
import { Badge, Command, Data, Empty, Facts, Loaded, Panel, StatusBadge } from "../parts/basics";
import { Page } from "../parts/page";
import { Facet, SearchBox, Toolbar } from "../parts/search";
import { type Column, Table } from "../parts/table";
import { Time } from "../parts/time";
import type { PageProps } from "../routes";
import { words } from "../words";
import { Doctor, Keys, Reach } from "./members-tests";
import { forceLeave } from "./node-acts";
import "./members.css";

const w = words.members;
/** Above so many members, their figures are asked for less often: each asks for all of them. */
const MANY = 300;
const SOON_SECONDS = 2;
const LATER_SECONDS = 10;

const TABS = ["list", "reach", "doctor", "keys"] as const;

export default function Members({ rest }: PageProps) {
  const tab = tabOf(TABS, rest[0]);
  const name = rest[1];
  if (!isHere())
    return (
      <Page title={w.title}>
        <Empty title={w.elsewhere(scope.shown)}>
          <p>{w.elsewhereText(scope.local)}</p>
        </Empty>
      </Page>
    );
  if (tab === "list" && name !== undefined) return <One key={name} name={name} />;
  return (
    <Page
      title={w.title}
      tabs={{
        at: ["members"],
        present: tab,
        tabs: [
          { key: "list", text: w.tabs.list },
          { key: "reach", text: w.tabs.reach },
          { key: "doctor", text: w.tabs.doctor },
          { key: "keys", text: w.tabs.keys },
        ],
      }}
    >
      {tab === "list" && <List />}
      {tab === "reach" && <Reach />}
      {tab === "doctor" && <Doctor />}
      {tab === "keys" && <Keys />}
    </Page>
  );
}

/** Members live, with the latest figures of each: these are others at every moment. */
function useMembers() {
  const live = useLive<Member[]>("/v1/agent/members");
  const seconds = (live.value?.length ?? 0) > MANY ? LATER_SECONDS : SOON_SECONDS;
  const figures = usePolled<Member[]>("/v1/agent/members?detailed=true", seconds).value;
  const rows = useMemo(() => {
    const known = new Map((figures ?? []).map((one) => [one.Name, one.Gossip]));
    return (live.value ?? []).map((one): Member => {
      const gossip = known.get(one.Name);
      return gossip ? { ...one, Gossip: gossip } : one;
    });
  }, [live.value, figures]);
  return { live, rows };
}

function List() {
  const { live, rows } = useMembers();
  const [search] = useParam("q");
  const [status] = useParam("status");
  const found = useMemo(
    () =>
      rows.filter((one) =>
        matches(
          search,
          one.Name,
          one.Addr,
          ...Object.entries(one.Tags).map(([name, value]) => `${name}=${value}`),
        ),
      ),
    [rows, search],
  );
  const counts = useMemo(() => {
    const every = new Map<string, number>();
    for (const one of found) {
      const said = statusOfMember(one);
      every.set(said, (every.get(said) ?? 0) + 1);
    }
    return every;
  }, [found]);
  const shown = found.filter((one) => !status || statusOfMember(one) === status);
  return (
    <>
      <Guard />
      <Loaded live={live}>
        {() => (
          <>
            <Toolbar said={words.parts.shown(shown.length, rows.length, w.what)}>
              <SearchBox hint={w.hint} />
              {(counts.size > 1 || status) && (
                <Facet
                  param="status"
                  label={w.status}
                  choices={[
                    { value: "", text: w.all },
                    ...[...counts].map(([value, count]) => ({
                      value,
                      text: w.statuses[value as keyof typeof w.statuses],
                      count,
                    })),
                  ]}
                />
              )}
            </Toolbar>
            <Table
              rows={shown}
              columns={COLUMNS}
              id={(row) => row.Name}
              href={(row) => to("members", "list", row.Name)}
              label={w.title}
              sort="name"
            />
            <Score rows={rows} />
            <Command text="meshctl members -detailed" />
          </>
        )}
      </Loaded>
    </>
  );
}

function Score({ rows }: { rows: Member[] }) {
  const self = useSelf();
  const score = rows.find((one) => one.Name === self)?.Gossip?.Score;
  if (score === null || score === undefined) return null;
  return <p class="quiet">{w.scoreText(self, score)}</p>;
}

interface GuardShape {
  Frozen: boolean;
  Rule: string;
  Ends: string;
  Since: string;
  EndsBy: string;
  Vanished: number;
  Pool: number;
  Members: string[];
  Damped: { Name: string; Penalty: number; Until: string }[];
}

const RELEASE: Action = {
  title: w.releaseTitle,
  text: w.releaseText,
  verb: w.releaseVerb,
  danger: true,
  command: () => "meshctl guard release",
  run: async () => {
    await ask("/v1/agent/guard/release", { method: "PUT" });
    refresh("/v1/agent/guard");
    return w.released;
  },
};

/** What the mass-failure guard holds, and whom flap damping leaves out. */
function Guard() {
  const guard = useLive<GuardShape>("/v1/agent/guard").value;
  if (!guard) return null;
  const calm = !guard.Frozen && !guard.Damped.length;
  return (
    <>
      {guard.Frozen && (
        <Panel
          tone="warn"
          title={w.guardFrozen}
          aside={<ActButton action={RELEASE}>{w.release}</ActButton>}
        >
          <p>{w.guardText(guard.Vanished, guard.Pool, guard.Rule)}</p>
          <p class="members-names">
            {guard.Members.map((name) => (
              <a key={name} href={to("members", "list", name)}>
                <Data>{name}</Data>
              </a>
            ))}
          </p>
          <p class="quiet">
            {w.guardSince} <Time at={guard.Since} />. {w.guardEnds}: {guard.Ends},{" "}
            <Time at={guard.EndsBy} /> {w.guardBy}.
          </p>
        </Panel>
      )}
      {guard.Damped.length > 0 && (
        <Panel tone="warn" title={w.dampedTitle}>
          <ul>
            {guard.Damped.map((one) => (
              <li key={one.Name}>
                <a href={to("members", "list", one.Name)}>
                  <Data>{one.Name}</Data>
                </a>{" "}
                <span class="quiet">
                  {w.penalty(one.Penalty.toFixed(1))}, {w.until} <Time at={one.Until} />
                </span>
              </li>
            ))}
          </ul>
        </Panel>
      )}
      {calm && <p class="quiet">{w.calmNow}</p>}
    </>
  );
}

function Sign({ member }: { member: Member }) {
  const status = w.statuses[statusOfMember(member)];
  return (
    <StatusBadge
      status={signOf(member)}
      text={isSuspected(member) ? `${status}, ${w.suspected.toLowerCase()}` : status}
    />
  );
}

function Calm({ member }: { member: Member }) {
  if (member.Frozen)
    return (
      <Badge tone="warn" title={w.frozenHint}>
        {w.frozen}
      </Badge>
    );
  if (member.Damped)
    return (
      <Badge tone="warn" title={w.dampedHint}>
        {w.damped}
      </Badge>
    );
  if (member.Penalty >= 0.05)
    return <span title={w.penaltyHint}>{w.penalty(member.Penalty.toFixed(1))}</span>;
  return <span class="quiet">–</span>;
}

const rtt = (member: Member) => {
  const seconds = member.Gossip?.RttSeconds;
  return seconds === null || seconds === undefined ? "–" : milliseconds(seconds);
};
const isServer = (member: Member) => member.Tags.role === "consul";
const version = (member: Member) => member.Tags.build?.split(":")[0] ?? "–";
const address = (member: Member) => `${member.Addr}:${member.Port}`;
const protocol = (member: Member) =>
  `${member.ProtocolCur} (${member.ProtocolMin}–${member.ProtocolMax})`;

const COLUMNS: Column<Member>[] = [
  {
    key: "name",
    title: w.name,
    width: "minmax(7rem, 1.5fr)",
    cell: (row) => <Data>{row.Name}</Data>,
    order: (row) => row.Name,
  },
  {
    key: "status",
    title: w.status,
    width: "minmax(6.5rem, 1fr)",
    cell: (row) => <Sign member={row} />,
    order: (row) => -badness(signOf(row)),
  },
  {
    key: "role",
    title: w.role,
    width: "5.5rem",
    yields: 3,
    cell: (row) =>
      isServer(row) ? (
        <Badge tone="info">{words.nodes.server}</Badge>
      ) : (
        <span class="quiet">{words.nodes.agent}</span>
      ),
    order: (row) => (isServer(row) ? 0 : 1),
  },
  {
    key: "address",
    title: w.address,
    width: "minmax(11.5rem, 1.2fr)",
    yields: 3,
    cell: (row) => <Data mono>{address(row)}</Data>,
    order: address,
  },
  {
    key: "rtt",
    title: w.rtt,
    width: "6rem",
    align: "end",
    yields: 2,
    cell: (row) => <span title={w.rttHint}>{rtt(row)}</span>,
    order: (row) => row.Gossip?.RttSeconds ?? Number.POSITIVE_INFINITY,
  },
  {
    key: "accusers",
    title: w.accusers,
    width: "minmax(6rem, 1fr)",
    yields: 1,
    cell: (row) => {
      const accusers = row.Gossip?.Accusers ?? [];
      return accusers.length ? <Data>{accusers.join(", ")}</Data> : <span class="quiet">–</span>;
    },
    order: (row) => -(row.Gossip?.Accusers.length ?? 0),
  },
  {
    key: "calm",
    title: w.calm,
    width: "6rem",
    yields: 1,
    cell: (row) => <Calm member={row} />,
    order: (row) => -row.Penalty,
  },
  {
    key: "incarnation",
    title: w.incarnation,
    width: "6rem",
    align: "end",
    yields: 0,
    cell: (row) => row.Gossip?.Incarnation ?? "–",
    order: (row) => -(row.Gossip?.Incarnation ?? 0),
  },
  {
    key: "version",
    title: w.version,
    width: "5.5rem",
    yields: 0,
    cell: (row) => <Data>{version(row)}</Data>,
    order: version,
  },
  {
    key: "protocol",
    title: w.protocol,
    width: "5rem",
    align: "end",
    yields: 0,
    cell: (row) => <span title={protocol(row)}>{row.ProtocolCur}</span>,
    order: (row) => row.ProtocolCur,
  },
];

function One({ name }: { name: string }) {
  const { live, rows } = useMembers();
  const member = rows.find((one) => one.Name.toLowerCase() === name.toLowerCase());
  const crumbs = [{ text: w.title, at: ["members", "list"] }];
  if (!member)
    return (
      <Page title={name} crumbs={crumbs}>
        <Loaded live={live}>
          {() => (
            <Empty title={w.none(name)} command="meshctl members">
              {w.noneText}
            </Empty>
          )}
        </Loaded>
      </Page>
    );
  return (
    <Page
      title={member.Name}
      crumbs={crumbs}
      badge={<Sign member={member} />}
      actions={
        <>
          <a class="members-node" href={to("nodes", member.Name, "checks")}>
            {w.toNode}
          </a>
          <ActButton action={forceLeave(member.Name)}>{w.leave}</ActButton>
        </>
      }
    >
      <Panel>
        <Facts facts={facts(member)} />
      </Panel>
      <Panel title={w.tags}>
        <Facts
          facts={Object.keys(member.Tags)
            .sort()
            .map((tag): [string, preact.ComponentChildren] => [
              tag,
              <Data key={tag}>{member.Tags[tag] ?? ""}</Data>,
            ])}
        />
      </Panel>
    </Page>
  );
}

function facts(member: Member): [string, preact.ComponentChildren][] {
  const gossip = member.Gossip;
  const seconds = (value: number | null | undefined) =>
    value === null || value === undefined ? "–" : span(value);
  return [
    [
      w.address,
      <Data key="address" mono>
        {address(member)}
      </Data>,
    ],
    [w.role, isServer(member) ? words.nodes.server : words.nodes.agent],
    [w.protocol, protocol(member)],
    [w.incarnation, gossip?.Incarnation ?? "–"],
    [w.state, gossip?.State ?? "–"],
    [w.since, seconds(gossip?.StateSeconds)],
    [w.rtt, rtt(member)],
    [
      w.distance,
      gossip?.DistanceSeconds === null || gossip?.DistanceSeconds === undefined
        ? "–"
        : milliseconds(gossip.DistanceSeconds),
    ],
    [w.answered, seconds(gossip?.AnsweredSeconds)],
    [
      w.accusers,
      gossip?.Accusers.length ? (
        <Data key="by">{gossip.Accusers.join(", ")}</Data>
      ) : (
        words.parts.none
      ),
    ],
    [w.verdict, seconds(gossip?.VerdictSeconds)],
    [w.calm, <Calm key="calm" member={member} />],
  ];
}
