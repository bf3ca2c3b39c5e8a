/** Sessions in a list, and how one is released. */

import { api, ask } from "../live/api";
import { refresh } from "../live/live";
import type { HeldSession, Session } from "../live/nodes";
import { to } from "../live/place";
import { exact, instant, relative, span } from "../logic/time";
import { type Action, ActButton, quoted } from "../parts/act";
import { Data, Empty, Loading } from "../parts/basics";
import { type Column, Table } from "../parts/table";
import { words } from "../words";

const w = words.sessions;
const NANOSECONDS = 1e9;

export function release(session: Session, after?: () => void): Action {
  const name = session.Name || session.ID;
  const behavior = w.behaviors[session.Behavior] ?? session.Behavior;
  return {
    title: w.releaseTitle(name),
    text: w.releaseText(behavior, span(session.LockDelay / NANOSECONDS)),
    verb: w.releaseVerb,
    danger: true,
    command: () => `meshctl session destroy ${quoted(session.ID)}`,
    run: async () => {
      await ask(api`/v1/session/destroy/${session.ID}`, { method: "PUT" });
      refresh("/v1/internal/ui/sessions");
      after?.();
      return w.released(name);
    },
  };
}

/** Bounds so near each other are one moment. */
const MOMENT_MS = 5000;

export function Began({ session }: { session: HeldSession }) {
  const [after, before] = [instant(session.BegunAfter), instant(session.BegunBefore)];
  const known = (at: number) => (Number.isNaN(at) ? words.parts.ago.unknown : exact(at));
  if (Number.isNaN(after) && Number.isNaN(before))
    return (
      <span class="quiet" title={w.agesUnknown}>
        {words.parts.ago.unknown}
      </span>
    );
  const said = (at: number) => relative(at, Math.max(at, Date.now()));
  return (
    <span title={w.ageBetween(known(after), known(before))}>
      {before - after < MOMENT_MS
        ? said(before)
        : Number.isNaN(before)
          ? w.orLess(said(after))
          : w.orMore(said(before))}
    </span>
  );
}

export function checksOf(session: Session): string[] {
  return [...session.NodeChecks, ...(session.ServiceChecks ?? []).map((check) => check.ID)];
}

const isHeld = (session: Session): session is HeldSession => "Held" in session;

export function HeldKeys({ session }: { session: HeldSession }) {
  if (!session.Held) return <span class="quiet">{w.noKeys}</span>;
  const [first] = session.Keys;
  return (
    <>
      {first !== undefined && (
        <a href={to("kv", first)}>
          <Data mono>{first}</Data>
        </a>
      )}{" "}
      {session.Held > 1 && <span class="quiet">{w.moreKeys(session.Held - 1)}</span>}
    </>
  );
}

const delay = (session: Session) => span(session.LockDelay / NANOSECONDS);

const COLUMNS: Column<Session>[] = [
  {
    key: "name",
    title: w.name,
    width: "minmax(6rem, 1.2fr)",
    cell: (row) => (row.Name ? <Data>{row.Name}</Data> : <Data mono>{row.ID}</Data>),
    order: (row) => row.Name || `~${row.ID}`,
  },
  {
    key: "node",
    title: w.node,
    width: "minmax(6rem, 1fr)",
    yields: 3,
    cell: (row) => (
      <a href={to("nodes", row.Node, "sessions")}>
        <Data>{row.Node}</Data>
      </a>
    ),
    order: (row) => row.Node,
  },
  {
    key: "keys",
    title: w.keys,
    width: "minmax(9rem, 2fr)",
    cell: (row) => (isHeld(row) ? <HeldKeys session={row} /> : null),
    order: (row) => (isHeld(row) ? -row.Held : 0),
  },
  {
    key: "ttl",
    title: w.ttl,
    width: "4rem",
    yields: 2,
    cell: (row) => (row.TTL ? <Data>{row.TTL}</Data> : <span class="quiet">{w.noTtl}</span>),
  },
  {
    key: "behavior",
    title: w.atEnd,
    width: "8rem",
    yields: 1,
    cell: (row) => (
      <span title={w.endsAs(w.behaviors[row.Behavior] ?? row.Behavior, delay(row))}>
        {w.behaviors[row.Behavior] ?? row.Behavior}, {delay(row)}
      </span>
    ),
    order: (row) => row.Behavior,
  },
  {
    key: "checks",
    title: w.checks,
    width: "minmax(6rem, 1fr)",
    yields: 1,
    cell: (row) => {
      const checks = checksOf(row);
      return checks.length ? (
        <span title={checks.join(", ")}>
          <Data>{checks.join(", ")}</Data>
        </span>
      ) : (
        <span class="quiet">{w.noChecks}</span>
      );
    },
  },
  {
    key: "age",
    title: w.age,
    width: "6.5rem",
    yields: 2,
    cell: (row) => (isHeld(row) ? <Began session={row} /> : null),
    order: (row) => -row.CreateIndex,
  },
  {
    key: "act",
    title: w.act,
    width: "5.5rem",
    align: "end",
    yields: 3,
    cell: (row) => (
      <ActButton action={release(row)} class="small">
        {w.release}
      </ActButton>
    ),
  },
];
const NODE_COLUMNS = COLUMNS.filter((column) => !["node", "keys", "age"].includes(column.key));

export function SessionTable({
  sessions,
  ofNode,
}: {
  sessions: readonly Session[] | undefined;
  /** The node whose sessions they are; without, they are those of all. */
  ofNode?: string;
}) {
  if (!sessions) return <Loading />;
  if (ofNode !== undefined && !sessions.length)
    return (
      <Empty title={w.emptyNode} command={w.emptyCommand}>
        {w.emptyText}
      </Empty>
    );
  return (
    <Table
      rows={sessions}
      columns={ofNode === undefined ? COLUMNS : NODE_COLUMNS}
      id={(row) => row.ID}
      href={(row) => to("sessions", row.ID)}
      label={w.title}
      sort="name"
    />
  );
}
