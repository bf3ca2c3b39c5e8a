/** The past of one thing: its changes, what differs between two moments, and how it goes back. */

import { useState } from "preact/hooks";
import { ask, query } from "../live/api";
import { useLive } from "../live/live";
import { to, useParam } from "../live/place";
import { useSteady } from "../live/steady";
import { type Change, placeOf, type Row } from "../logic/changes";
import { ActDialog, type Action, Input, commandLine, quoted } from "../parts/act";
import { Command, Data, Failure, Loaded, Panel } from "../parts/basics";
import { Diff } from "../parts/diff";
import { Bytes, Long } from "../parts/long";
import { Page } from "../parts/page";
import { words } from "../words";
import { Changes } from "./changes";
import "./history.css";

const w = words.history;
const SHOWN_MAX = 100;
const UNDONE = new Set(["kv", "service", "node", "config", "query", "autopilot"]);

interface Side {
  Index: number;
  ModifyIndex: number;
  Row: Row | null;
}

interface Difference {
  From: Side;
  To: Side;
  Format: "none" | "text" | "json" | "binary" | "large";
  Diff: string;
}

function flags(kind: string): string {
  return kind === "kv" ? "" : ` --kind ${quoted(kind)}`;
}

export function Past({ kind, name }: { kind: string; name: string }) {
  const [from] = useParam("from");
  const [until] = useParam("to");
  const path = query("/v1/history", { kind, key: name });
  const changes = useLive<Change[]>(query(path, { limit: SHOWN_MAX })).value;
  const diff = useSteady(
    useLive<Difference>(query("/v1/history/diff", { kind, key: name, from, to: until })),
  );
  const last = changes?.[0];
  const open = last && placeOf(last);
  return (
    <Page
      title={name || w.one[kind] || kind}
      badge={<span class="quiet">{w.one[kind] ?? kind}</span>}
      crumbs={[{ text: w.title, at: ["history"] }]}
      actions={
        <>
          {open && last.After && (
            <a class="history-open" href={to(...open)}>
              {w.open}
            </a>
          )}
          {UNDONE.has(kind) && diff.value && !diff.error && (
            <Back kind={kind} name={name} index={diff.value.From.Index} last={last} />
          )}
        </>
      }
    >
      <Panel title={w.differs}>
        <Moments changes={changes ?? []} diff={diff.value} />
        {diff.error && diff.value ? (
          <Failure error={diff.error} />
        ) : (
          <Loaded live={diff}>
            {(found) => <Differs kind={kind} name={name} found={found} />}
          </Loaded>
        )}
        <Command
          text={commandLine(
            `meshctl diff${flags(kind)}`,
            [name],
            [...(from ? ["--from", from] : []), ...(until ? ["--to", until] : [])],
          )}
        />
      </Panel>
      <h2>{w.rows}</h2>
      <Changes path={path} />
    </Page>
  );
}

/** Between which moments: each is the index of a change, just before the first, or now. */
function Moments({ changes, diff }: { changes: Change[]; diff: Difference | undefined }) {
  const [from, setFrom] = useParam("from");
  const [until, setUntil] = useParam("to");
  const indexes = changes.map((one) => one.Index);
  const first = indexes.at(-1);
  const known = new Set(indexes);
  for (const given of [Number(from), Number(until)]) if (given) known.add(given);
  const ordered = [...known].sort((a, b) => b - a).map(String);
  const choices = (some: string[]) =>
    some.map((value) => ({
      value,
      text:
        value === ""
          ? w.present
          : first !== undefined && Number(value) < first
            ? `${value} (${w.before})`
            : value,
    }));
  const shown = from || (diff ? String(diff.From.Index) : "");
  const starts = ordered.includes(shown) || !shown ? ordered : [...ordered, shown];
  return (
    <div class="history-moments">
      <Input
        field={{ name: "from", label: w.fromIndex, kind: "select", choices: choices(starts) }}
        value={shown}
        set={setFrom}
      />
      <Input
        field={{ name: "to", label: w.toIndex, kind: "select", choices: choices(["", ...ordered]) }}
        value={until}
        set={setUntil}
      />
    </div>
  );
}

function Differs({ kind, name, found }: { kind: string; name: string; found: Difference }) {
  const { Format, Diff: text } = found;
  if (text) return <Diff unified={text} label={w.differs} />;
  if (Format === "none" && JSON.stringify(found.From.Row) === JSON.stringify(found.To.Row))
    return <p class="quiet">{words.parts.unchanged}</p>;
  return (
    <>
      <p class="quiet">
        {Format === "large" ? w.large : Format === "binary" ? w.binaries : w.flagsOnly}
      </p>
      <div class="history-sides">
        {[found.From, found.To].map((side, i) => (
          <section key={i} aria-label={`${name} ${side.Index}`}>
            <h3>{i === 0 ? `${w.fromIndex} ${side.Index}` : `${w.toIndex} ${side.Index}`}</h3>
            <Shown kind={kind} row={side.Row} />
          </section>
        ))}
      </div>
    </>
  );
}

function Shown({ kind, row }: { kind: string; row: Row | null }) {
  if (!row) return <p class="quiet">{w.gone}</p>;
  if (kind === "kv")
    return (
      <>
        <Bytes base64={row.Value as string} />
        {Boolean(row.Flags) && (
          <p class="quiet">
            Flags: <Data>{String(row.Flags)}</Data>
          </p>
        )}
      </>
    );
  return <Long text={JSON.stringify(row, null, 2)} />;
}

function Back({
  kind,
  name,
  index,
  last,
}: {
  kind: string;
  name: string;
  index: number;
  last: Change | undefined;
}) {
  // What is seen when the dialog opens is what may be reverted, whatever comes after.
  const [seen, setSeen] = useState<Action | null>(null);
  if (!seen && !(last !== undefined && index < last.Index)) return null;
  return (
    <>
      <button type="button" onClick={() => last && setSeen(revert(kind, name, index, last))}>
        {w.revertTo(index)}
      </button>
      {seen && <ActDialog action={seen} onClose={() => setSeen(null)} />}
    </>
  );
}

/** What the reader saw is what is changed: somebody's change since then makes it refused. */
function revert(kind: string, name: string, index: number, last: Change): Action {
  const seen = last.After ? Number(last.After.ModifyIndex ?? last.Index) : 0;
  return {
    title: w.revertTitle(name, index),
    text: <Would kind={kind} name={name} index={index} now={last.Index} />,
    verb: w.revertVerb,
    danger: true,
    command: () => commandLine(`meshctl revert${flags(kind)}`, [name], ["--to", String(index)]),
    run: async () => {
      const body = { Kind: kind, Key: name, Index: index, CAS: seen };
      const done = await ask<{ Changed: boolean }>("/v1/history/revert", { method: "POST", body });
      return done.Changed ? w.reverted2(name, index) : w.unchanged(name);
    },
  };
}

function Would({
  kind,
  name,
  index,
  now,
}: {
  kind: string;
  name: string;
  index: number;
  now: number;
}) {
  const diff = useLive<Difference>(
    query("/v1/history/diff", { kind, key: name, from: now, to: index }),
  );
  return (
    <>
      <p>{w.revertText}</p>
      <Loaded live={diff}>{(found) => <Differs kind={kind} name={name} found={found} />}</Loaded>
    </>
  );
}
