/** What a key was before: each version, what it changed, and the way back to it. */

import { useMemo, useState } from "preact/hooks";
import { api, ask, query } from "../../live/api";
import { useLive } from "../../live/live";
import { toWith, useParam } from "../../live/place";
import { fromBase64, sizeText, textOf } from "../../logic/bytes";
import { ActDialog, commandLine } from "../../parts/act";
import { Badge, Data, Empty, Facts, Loaded, Panel } from "../../parts/basics";
import { CodeDiff } from "../../parts/code";
import { Time } from "../../parts/time";
import { words } from "../../words";
import type { Present } from "./common";

const w = words.kv;
const STEP = 50;
const MOST = 1000;

interface Row {
  Value?: string | null;
  Flags: number;
  Session?: string;
}

export interface Change {
  ID: number;
  Index: number;
  Time: string;
  Op: string;
  Author: string;
  Origin: string;
  Reverts: number;
  Before: Row | null;
  After: Row | null;
}

/** What a change did, as a word. */
export function kindOf({ Before, After }: Change): keyof typeof w.changes {
  if (!Before) return "created";
  if (!After) return "deleted";
  if ((Before.Value ?? "") !== (After.Value ?? "")) return "changed";
  if (Before.Flags !== After.Flags) return "flags";
  return After.Session ? "locked" : "unlocked";
}

export function Versions({ name, present }: { name: string; present: Present | null }) {
  const [limit, setLimit] = useState(STEP);
  const live = useLive<Change[]>(query("/v1/history", { key: name, limit }));
  const [chosen] = useParam("at");
  return (
    <Loaded live={live}>
      {(changes) => {
        const shown = changes.find((one) => String(one.ID) === chosen) ?? changes[0];
        if (!shown)
          return (
            <Empty title={w.noHistory} command={commandLine("meshctl history", [name])}>
              <p>{w.noHistoryText}</p>
            </Empty>
          );
        return (
          <div class="kv-versions">
            <Panel title={w.versions}>
              <ol class="kv-changes">
                {changes.map((one) => (
                  <li key={one.ID}>
                    <a
                      href={toWith({ at: String(one.ID) }, "kv", name, "history")}
                      aria-current={one === shown ? "true" : undefined}
                    >
                      <span class="kv-change">
                        <strong>{w.changes[kindOf(one)]}</strong>
                        {one.Reverts > 0 && <Badge>{w.asAt(one.Reverts)}</Badge>}
                        {one === changes[0] && <Badge tone="info">{w.present}</Badge>}
                      </span>
                      <span class="quiet">
                        <Time at={one.Time} /> · <bdi>{one.Author || one.Origin}</bdi>
                      </span>
                    </a>
                  </li>
                ))}
              </ol>
              {changes.length >= limit && limit < MOST && (
                <button type="button" onClick={() => setLimit(Math.min(limit * 4, MOST))}>
                  {w.more}
                </button>
              )}
            </Panel>
            <Version
              key={shown.ID}
              name={name}
              change={shown}
              present={present}
              isLast={shown === changes[0]}
            />
          </div>
        );
      }}
    </Loaded>
  );
}

function Version({
  name,
  change,
  present,
  isLast,
}: {
  name: string;
  change: Change;
  present: Present | null;
  isLast: boolean;
}) {
  const [asked, setAsked] = useState(false);
  return (
    <Panel
      title={w.atIndex(change.Index)}
      aside={
        !isLast && (
          <button type="button" class="primary" onClick={() => setAsked(true)}>
            {w.revert}
          </button>
        )
      }
    >
      <div class="kv-stack">
        <Facts
          facts={[
            [w.when, <Time at={change.Time} />],
            [w.author, change.Author ? <Data mono>{change.Author}</Data> : w.anonymous],
            [w.origin, <Data>{change.Origin}</Data>],
            [w.op, <Data mono>{change.Op}</Data>],
            [w.flags, change.After ? change.After.Flags : undefined],
          ]}
        />
        <Sides
          before={change.Before}
          after={change.After}
          labels={{ before: w.wasBefore, after: w.thisChange }}
        />
      </div>
      {asked && (
        <RevertDialog
          name={name}
          change={change}
          present={present}
          onClose={() => setAsked(false)}
        />
      )}
    </Panel>
  );
}

function Sides({
  before,
  after,
  labels,
  unified,
}: {
  before: Row | null;
  after: Row | null;
  labels: { before: string; after: string };
  unified?: boolean;
}) {
  const [left, right] = useMemo(
    () => [fromBase64(before?.Value), fromBase64(after?.Value)],
    [before, after],
  );
  const [old, now] = [textOf(left), textOf(right)];
  const size = (row: Row | null, bytes: Uint8Array) => (row ? sizeText(bytes.length) : w.nothing);
  return (
    <>
      {old !== null && now !== null ? (
        <CodeDiff before={old} after={now} labels={labels} unified={unified ?? false} />
      ) : (
        <p>{w.notText(size(before, left), size(after, right))}</p>
      )}
      {before && after && before.Flags !== after.Flags && (
        <p>{w.flagsChange(String(before.Flags), String(after.Flags))}</p>
      )}
    </>
  );
}

function RevertDialog({
  name,
  change,
  present,
  onClose,
}: {
  name: string;
  change: Change;
  present: Present | null;
  onClose: () => void;
}) {
  // What is agreed to is what was shown: a change in between is refused by the server.
  const [from] = useState(present);
  const index = change.Index;
  return (
    <ActDialog
      onClose={onClose}
      action={{
        title: w.revertTitle(index),
        verb: w.revert,
        text: (
          <div class="kv-stack">
            {!change.After && <p>{w.revertDeletes}</p>}
            <Sides
              before={from?.pair ?? null}
              after={change.After}
              labels={{ before: w.now, after: w.then(index) }}
              unified
            />
          </div>
        ),
        command: () => commandLine("meshctl revert", [name], ["--to", String(index)]),
        run: async () => {
          await ask(api`/v1/history/revert`, {
            method: "POST",
            body: { Kind: "kv", Key: name, Index: index, CAS: from?.index ?? 0 },
          });
          return w.reverted(name, index);
        },
      }}
    />
  );
}
