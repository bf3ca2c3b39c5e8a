/** The servers and their log: who leads, who votes, how they fare; snapshots; the feature level. */

import { call, query } from "../live/api";
import { refresh, useLive } from "../live/live";
import { to } from "../live/place";
import { tabOf } from "../logic/address";
import {
  type AutopilotState,
  changedFlags,
  type Figures,
  figure,
  type Raft,
  type Role,
  rowsOf,
  type ServerRow,
} from "../logic/servers";
import { ActButton, type Action, quoted } from "../parts/act";
import {
  Badge,
  Data,
  Empty,
  Facts,
  Failure,
  Loaded,
  Loading,
  Panel,
  StatusBadge,
} from "../parts/basics";
import { Page } from "../parts/page";
import { type Column, Table } from "../parts/table";
import { Time } from "../parts/time";
import type { PageProps } from "../routes";
import { words } from "../words";
import { Snapshots } from "./servers-snapshots";
import { Upgrade } from "./servers-upgrade";
import "./servers.css";

const w = words.servers;
const TABS = ["overview", "snapshots", "upgrade"] as const;
const STATE = "/v1/operator/autopilot/state";
const RAFT = "/v1/operator/raft/configuration";
const SETTINGS = "/v1/operator/autopilot/configuration";
const TONES: Record<Role, "good" | "plain" | "info" | "warn"> = {
  leader: "good",
  voter: "plain",
  follows: "info",
  barred: "warn",
};

export default function Servers({ rest }: PageProps) {
  const [first, name = ""] = rest;
  const tab = tabOf(TABS, first);
  if (first === "server") return <OneServer name={name} />;
  return (
    <Page
      title={w.title}
      actions={tab === "overview" && <Transfer />}
      tabs={{
        at: ["servers"],
        present: tab,
        tabs: TABS.map((key) => ({
          key,
          text: w.tabs[key],
        })),
      }}
    >
      {tab === "snapshots" ? <Snapshots /> : tab === "upgrade" ? <Upgrade /> : <Overview />}
    </Page>
  );
}

/** Health and the log; what any server knows while nobody leads. */
function useServers() {
  const state = useLive<AutopilotState>(STATE);
  const led = useLive<Raft>(RAFT);
  const lost = led.error !== "" || state.error !== "";
  const stale = useLive<Raft>(lost ? `${RAFT}?stale` : null);
  const raft = lost ? (stale.value ?? led.value) : led.value;
  const shown = state.error ? undefined : state.value;
  return {
    state: shown,
    raft,
    rows: rowsOf(raft, shown),
    error: state.error || led.error,
    loaded: (led.loaded || stale.loaded) && state.loaded,
  };
}

function Transfer() {
  const { rows } = useServers();
  const voters = rows.filter((one) => one.role === "voter");
  if (!voters.length) return null;
  return <ActButton action={transfer(voters.map((one) => one.name))}>{w.transfer}</ActButton>;
}

function transfer(voters: string[], usual = ""): Action {
  return {
    title: w.transfer,
    text: w.transferText,
    fields: [
      {
        name: "to",
        label: w.transferTo,
        kind: "select",
        usual,
        choices: [
          { value: "", text: w.fittest },
          ...voters.map((value) => ({ value, text: value })),
        ],
      },
    ],
    verb: w.transferVerb,
    command: ({ to: name = "" }) =>
      `meshctl operator raft transfer-leader${name ? ` --id ${quoted(name)}` : ""}`,
    run: async ({ to: name = "" }) => {
      const path = "/v1/operator/raft/transfer-leader";
      try {
        const { value } = await call<{ Node: string }>(query(path, { id: name }), {
          method: "POST",
        });
        return w.transferred(value.Node);
      } catch (error) {
        // The answer may be lost with the connection to who led, and the act be done all the same.
        if (name && (await leads(name))) return w.transferred(name);
        throw error;
      } finally {
        again();
      }
    },
  };
}

async function leads(name: string): Promise<boolean> {
  try {
    const { value } = await call<Raft>(RAFT);
    return value.Servers.some((one) => one.Leader && one.Node === name);
  } catch {
    return false;
  }
}

function again(): void {
  refresh(STATE);
  refresh(RAFT);
}

const COLUMNS: Column<ServerRow>[] = [
  {
    key: "name",
    title: w.columns.name,
    width: "minmax(3.5rem, 1.4fr)",
    cell: (row) => <Data>{row.name}</Data>,
    order: (row) => row.name,
  },
  {
    key: "role",
    title: w.columns.role,
    width: "5.25rem",
    cell: (row) => <RoleBadge role={row.role} />,
    order: (row) => row.role,
  },
  {
    key: "health",
    title: w.columns.health,
    width: "minmax(5.5rem, 1.6fr)",
    cell: (row) => <HealthOf row={row} />,
    order: (row) => Number(row.healthy ?? true),
  },
  {
    key: "version",
    title: w.columns.version,
    width: "6rem",
    cell: (row) => <Data>{row.version || "–"}</Data>,
    yields: 2,
  },
  {
    key: "contact",
    title: w.columns.contact,
    width: "7rem",
    align: "end",
    cell: (row) => (row.lastContact.startsWith("-") ? "–" : row.lastContact || "–"),
    yields: 2,
  },
  {
    key: "index",
    title: w.columns.index,
    width: "6rem",
    align: "end",
    cell: (row) => (row.index ? row.index.toLocaleString("en") : "–"),
    order: (row) => row.index,
    yields: 3,
  },
  {
    key: "lag",
    title: w.columns.lag,
    width: "5.5rem",
    align: "end",
    cell: (row) => w.entries(row.lag),
    order: (row) => row.lag ?? -1,
    yields: 3,
  },
  {
    key: "since",
    title: w.columns.since,
    width: "7.5rem",
    cell: (row) => <Time at={row.stableSince} />,
    yields: 1,
  },
];

function RoleBadge({ role }: { role: Role }) {
  return (
    <Badge tone={TONES[role]} title={w.rolesText[role]}>
      {w.roles[role]}
    </Badge>
  );
}

function HealthOf({ row }: { row: ServerRow }) {
  if (row.healthy === undefined) return <StatusBadge status="unknown" text={w.unknown} />;
  return (
    <span title={row.reason}>
      <StatusBadge
        status={row.healthy ? "passing" : "critical"}
        text={row.healthy ? w.healthy : row.reason || w.unhealthy}
      />
    </span>
  );
}

function Overview() {
  const { state, raft, rows, error, loaded } = useServers();
  if (!loaded) return <Loading />;
  return (
    <>
      {error && <Failure title={w.noLeader} error={error} />}
      <Table
        label={w.list}
        rows={rows}
        columns={COLUMNS}
        id={(row) => row.id}
        href={(row) => to("servers", "server", row.name)}
      />
      <div class="servers-panels">
        <Consensus state={state} raft={raft} />
        <Autopilot />
      </div>
    </>
  );
}

function Consensus({ state, raft }: { state: AutopilotState | undefined; raft: Raft | undefined }) {
  const f = w.facts;
  const leader = raft?.Servers.find((one) => one.Leader)?.Node;
  const voters = raft?.Servers.filter((one) => one.Voter).length ?? 0;
  return (
    <Panel title={w.consensus}>
      <Facts
        facts={[
          [f.leader, leader ? <Data>{leader}</Data> : w.none],
          [
            f.health,
            state && (
              <StatusBadge
                status={state.Healthy ? "passing" : "critical"}
                text={state.Healthy ? w.healthy : w.unhealthy}
              />
            ),
          ],
          [f.tolerance, state && w.tolerance(state.FailureTolerance, voters)],
          [f.commit, raft && raft.CommitIndex.toLocaleString("en")],
          [f.epoch, raft && w.epochText(raft.Index)],
          [f.change, state && <Data>{state.LastChange || w.none}</Data>],
        ]}
      />
    </Panel>
  );
}

type Settings = Record<string, string | number | boolean>;

function Autopilot() {
  const live = useLive<Settings>(SETTINGS);
  return (
    <Panel
      title={w.autopilot}
      aside={
        live.value && (
          <ActButton class="small" action={changing(live.value)}>
            {w.change}
          </ActButton>
        )
      }
    >
      <Loaded live={live}>
        {(found) => (
          <Facts
            facts={Object.entries(w.settings).map(([name, label]) => [
              label,
              settingText(name, found[name]),
            ])}
          />
        )}
      </Loaded>
    </Panel>
  );
}

function settingText(name: string, value: string | number | boolean | undefined): string {
  if (typeof value === "boolean") return value ? words.parts.yes : words.parts.no;
  return name === "MaxTrailingLogs" ? `${value} ${w.entriesUnit}` : String(value ?? "–");
}

function changing(found: Settings): Action {
  const names = Object.keys(w.settings);
  const before = Object.fromEntries(
    names.map((name) => [
      name,
      typeof found[name] === "boolean" ? String(found[name]) : String(found[name] ?? ""),
    ]),
  );
  return {
    title: w.change,
    fields: names.map((name) => ({
      name,
      label: w.settings[name] ?? name,
      usual: before[name] ?? "",
      ...(typeof found[name] === "boolean"
        ? {
            kind: "select" as const,
            choices: [
              { value: "true", text: words.parts.yes },
              { value: "false", text: words.parts.no },
            ],
          }
        : { kind: typeof found[name] === "number" ? ("number" as const) : ("text" as const) }),
    })),
    verb: w.changeVerb,
    command: (values) =>
      `meshctl operator autopilot set-config ${changedFlags(before, values)}`.trim(),
    run: async (values) => {
      const body: Settings = { ...found };
      for (const name of names) {
        const value = values[name] ?? "";
        body[name] =
          typeof found[name] === "boolean"
            ? value === "true"
            : typeof found[name] === "number"
              ? Number(value)
              : value;
      }
      const cas = String(found["ModifyIndex"] ?? 0);
      const { value } = await call<boolean>(query(SETTINGS, { cas }), { method: "PUT", body });
      refresh(SETTINGS);
      if (!value) throw new Error(w.conflict);
      return w.changed;
    },
  };
}

function OneServer({ name }: { name: string }) {
  const { rows, loaded, error } = useServers();
  const row = rows.find((one) => one.name === name);
  const crumbs = [{ text: w.title, at: ["servers"] }];
  if (!row)
    return (
      <Page title={name} crumbs={crumbs}>
        {!loaded ? (
          <Loading />
        ) : (
          <Empty title={w.gone(name)} command="meshctl operator raft list-peers">
            {error || w.goneText}
          </Empty>
        )}
      </Page>
    );
  return (
    <Page
      title={name}
      crumbs={crumbs}
      badge={<RoleBadge role={row.role} />}
      actions={<ServerActions row={row} rows={rows} />}
    >
      <Panel>
        <Facts
          facts={[
            [w.columns.health, <HealthOf row={row} />],
            [w.columns.since, <Time at={row.stableSince} />],
            [w.columns.version, row.version || "–"],
            [w.columns.address, <Data mono>{row.address}</Data>],
            [w.columns.index, row.index ? row.index.toLocaleString("en") : "–"],
            [w.columns.lag, w.entries(row.lag)],
            [
              w.node,
              <a href={to("nodes", row.name)}>
                <Data>{row.name}</Data>
              </a>,
            ],
            ["ID", <Data mono>{row.id}</Data>],
          ]}
        />
        <p class="quiet servers-text">{w.rolesText[row.role]}</p>
      </Panel>
      <FiguresOf name={name} />
    </Page>
  );
}

function ServerActions({ row, rows }: { row: ServerRow; rows: ServerRow[] }) {
  const voters = rows.filter((one) => one.role === "voter").map((one) => one.name);
  const peer = (method: "PUT" | "DELETE") =>
    call(query("/v1/operator/raft/peer", { id: row.name }), { method }).then(again);
  return (
    <>
      {row.role === "voter" && (
        <ActButton action={transfer(voters, row.name)}>{w.toThis}</ActButton>
      )}
      {row.role === "leader" && voters.length > 0 && (
        <ActButton action={transfer(voters)}>{w.transfer}</ActButton>
      )}
      {(row.role === "voter" || row.role === "leader") && (
        <ActButton
          class="danger"
          action={{
            title: w.remove,
            text: w.removeText(row.name),
            verb: w.remove,
            danger: true,
            command: () => `meshctl operator raft remove-peer --id ${quoted(row.name)}`,
            run: () => peer("DELETE").then(() => w.removed(row.name)),
          }}
        >
          {w.remove}
        </ActButton>
      )}
      {(row.role === "follows" || row.role === "barred") && (
        <ActButton
          action={{
            title: w.add,
            text: w.addText(row.name),
            verb: w.add,
            command: () => `meshctl operator raft add --id ${quoted(row.name)}`,
            run: () => peer("PUT").then(() => w.added(row.name)),
          }}
        >
          {w.add}
        </ActButton>
      )}
    </>
  );
}

function FiguresOf({ name }: { name: string }) {
  const live = useLive<{ Servers: Figures[] }>(
    query("/v1/operator/raft/status", { server: name, stale: true }),
  );
  return (
    <Panel title={w.figures} aside={<span class="quiet">{w.figuresText}</span>}>
      <Loaded live={live}>
        {({ Servers: [one] }) =>
          one?.Error ? (
            <Failure error={w.silent(one.Error)} />
          ) : (
            <Facts
              facts={Object.entries(one?.Figures ?? {})
                .filter(([key]) => key !== "Followers")
                .map(([key, value]) => [spaced(key), figure(key, value)])}
            />
          )
        }
      </Loaded>
    </Panel>
  );
}

/** `JournalBytes` as `Journal bytes`. */
function spaced(key: string): string {
  const text = key.replace(
    /([a-z])([A-Z])/g,
    (_, a: string, b: string) => `${a} ${b.toLowerCase()}`,
  );
  return text.charAt(0).toUpperCase() + text.slice(1);
}
