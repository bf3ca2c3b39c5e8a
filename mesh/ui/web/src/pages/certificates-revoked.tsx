/** The certificates of nodes that servers refuse: what is on the list, onto it, and off it. */

import { useMemo } from "preact/hooks";
import { ask, isHere, query } from "../live/api";
import { refresh, useLive } from "../live/live";
import { toWith, useParam } from "../live/place";
import { called, meant, revokeCommand, type Revoked, unrevokeCommand } from "../logic/revocations";
import { matches } from "../logic/search";
import { ActButton, type Action, type Values } from "../parts/act";
import { Command, Data, Empty, Facts, Loaded, Panel } from "../parts/basics";
import { SearchBox, Toolbar } from "../parts/search";
import { type Column, Table } from "../parts/table";
import { Time } from "../parts/time";
import { words } from "../words";

const w = words.certificates.revoked;
const c = w.columns;
const PATH = "/v1/operator/tls/revoked";

const COLUMNS: Column<Revoked>[] = [
  {
    key: "name",
    title: c.name,
    width: "minmax(6rem, 1.6fr)",
    cell: (row) => (
      <span title={row.Names.join(", ")}>
        <Data mono={!row.Names.length}>{called(row)}</Data>
      </span>
    ),
    order: called,
  },
  {
    key: "serial",
    title: c.serial,
    width: "minmax(6rem, 1fr)",
    yields: 2,
    cell: (row) => (
      <span title={row.SerialNumber}>
        <Data mono>{row.SerialNumber}</Data>
      </span>
    ),
    order: (row) => row.SerialNumber,
  },
  {
    key: "issuer",
    title: c.issuer,
    width: "minmax(5rem, 1fr)",
    yields: 0,
    cell: (row) => <span title={row.Issuer}>{issuer(row)}</span>,
    order: (row) => row.Issuer,
  },
  {
    key: "reason",
    title: c.reason,
    width: "minmax(5rem, 1.4fr)",
    yields: 3,
    cell: (row) => <span title={row.Reason}>{reason(row)}</span>,
    order: (row) => row.Reason,
  },
  {
    key: "time",
    title: c.time,
    width: "6.5rem",
    yields: 3,
    cell: (row) => <Time at={row.Time} />,
    order: (row) => row.Time,
  },
  {
    key: "by",
    title: c.by,
    width: "minmax(5rem, 1fr)",
    yields: 1,
    cell: (row) => (
      <span title={row.By}>
        <Data>{row.By}</Data>
      </span>
    ),
    order: (row) => row.By,
  },
  {
    key: "expires",
    title: c.expires,
    width: "6rem",
    yields: 2,
    cell: (row) => <Time at={row.Expires} />,
    order: (row) => row.Expires,
  },
  {
    key: "act",
    title: c.act,
    width: "6.5rem",
    align: "end",
    cell: (row) => (
      <ActButton action={unrevoking(row)} class="small">
        {w.unrevoke}
      </ActButton>
    ),
  },
];

const issuer = (row: Revoked) =>
  row.Issuer ? <Data>{row.Issuer}</Data> : <span class="quiet">{w.anyIssuer}</span>;

const reason = (row: Revoked) =>
  row.Reason ? <Data>{row.Reason}</Data> : <span class="quiet">{w.noReason}</span>;

export function RevokedList() {
  const live = useLive<Revoked[]>(PATH);
  // What the node that was asked shows says nothing of another datacenter.
  const held = useLive<{ Own: unknown[] }>(isHere() ? "/v1/internal/ui/certificates" : null);
  return (
    <Loaded live={live}>
      {(found) => (
        <>
          {held.value?.Own.length === 0 && (
            <Panel tone="warn" title={w.plain}>
              <p>{w.plainText}</p>
            </Panel>
          )}
          <section class="ca-leaves">
            <header class="ca-head">
              <h2>{w.title}</h2>
              <ActButton class="primary" action={REVOKING}>
                {w.revoke}
              </ActButton>
            </header>
            <p class="quiet">
              {w.text} <a href={toWith({ kind: "revocation" }, "history")}>{w.history}</a>
            </p>
            {found.length ? (
              <Found all={found} />
            ) : (
              <Empty title={w.none} command={w.noneCommand}>
                {w.noneText}
              </Empty>
            )}
          </section>
        </>
      )}
    </Loaded>
  );
}

function Found({ all }: { all: Revoked[] }) {
  const [search] = useParam("q");
  const shown = useMemo(
    () =>
      all.filter((one) =>
        matches(search, one.SerialNumber, one.Issuer, one.Reason, one.By, ...one.Names),
      ),
    [all, search],
  );
  return (
    <>
      <Toolbar said={words.parts.shown(shown.length, all.length, w.what)}>
        <SearchBox hint={w.hint} />
      </Toolbar>
      <Table
        label={w.title}
        rows={shown}
        columns={COLUMNS}
        id={(row) => `${row.SerialNumber}/${row.Issuer}`}
        sort="-time"
      />
      <Command text="meshctl tls revoked" />
    </>
  );
}

const REVOKING: Action = {
  title: w.revoke,
  text: w.revokeText,
  fields: [
    { name: "which", label: w.which, kind: "area", hint: w.whichHint, required: true },
    { name: "reason", label: w.reason, hint: w.reasonHint },
    { name: "force", label: w.force, kind: "check" },
  ],
  verb: w.verb,
  danger: true,
  command: (values) =>
    revokeCommand(meant(values["which"] ?? ""), values["reason"] ?? "", Boolean(values["force"])),
  run: async (values: Values) => {
    const which = meant(values["which"] ?? "");
    if (!which.Certificate && !which.SerialNumber) throw new Error(w.noCertificate);
    const body = { ...which, Reason: values["reason"] ?? "", Force: Boolean(values["force"]) };
    const done = await ask<Revoked>(PATH, { method: "PUT", body });
    refresh(PATH);
    return w.done(called(done));
  },
};

function unrevoking(row: Revoked): Action {
  const name = called(row);
  return {
    title: w.unrevokeTitle(name),
    text: (
      <>
        <p>{w.unrevokeText}</p>
        <Facts
          facts={[
            [c.name, row.Names.length ? <Data>{row.Names.join(", ")}</Data> : w.noName],
            [c.serial, <Data mono>{row.SerialNumber}</Data>],
            [c.issuer, issuer(row)],
            [c.reason, reason(row)],
            [c.time, <Time at={row.Time} />],
            [c.by, <Data>{row.By}</Data>],
            [c.expires, <Time at={row.Expires} />],
          ]}
        />
      </>
    ),
    verb: w.unrevoke,
    danger: true,
    command: () => unrevokeCommand(row),
    run: async () => {
      const path = query(PATH, { serial: row.SerialNumber, issuer: row.Issuer });
      const done = await ask<boolean>(path, { method: "DELETE" });
      refresh(PATH);
      return done ? w.undone(name) : w.wasNot(name);
    },
  };
}
