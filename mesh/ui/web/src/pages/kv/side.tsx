/** Beside the value: what is known of the key, and its lock. */

import { api, ask, query } from "../../live/api";
import { useLive } from "../../live/live";
import { to } from "../../live/place";
import { sizeText } from "../../logic/bytes";
import { ActButton, commandLine, quoted } from "../../parts/act";
import { Badge, Command, Data, Facts, Panel } from "../../parts/basics";
import { Time } from "../../parts/time";
import { words } from "../../words";
import type { Present } from "./common";
import type { Change } from "./versions";

const w = words.kv;

interface Session {
  ID: string;
  Name: string;
  Node: string;
  Behavior: string;
  TTL: string;
}

export function Side({ name, present }: { name: string; present: Present | null }) {
  const last = useLive<Change[]>(query("/v1/history", { key: name, limit: 1 })).value?.[0];
  if (!present && !last) return null;
  return (
    <div class="kv-side">
      <Panel title={w.details}>
        <div class="kv-stack">
          <Facts
            facts={[
              [w.size, present ? sizeText(present.bytes.length) : undefined],
              [
                w.lastChange,
                last && (
                  <>
                    <Time at={last.Time} />
                    <br />
                    <span class="quiet">
                      {last.Author ? (
                        <>
                          {w.by} <Data mono>{last.Author}</Data>{" "}
                        </>
                      ) : null}
                      {w.from} <Data>{last.Origin}</Data>
                    </span>
                  </>
                ),
              ],
              [w.modifyIndex, present?.pair.ModifyIndex],
              [w.createIndex, present?.pair.CreateIndex],
            ]}
          />
          {present && <Command label={w.shell} text={commandLine("meshctl kv get", [name])} />}
        </div>
      </Panel>
      {present && (
        <Panel
          title={w.lock}
          tone={present.pair.Session ? "info" : "plain"}
          aside={
            present.pair.LockIndex > 0 && (
              <Badge>{`${w.lockIndex}: ${present.pair.LockIndex}`}</Badge>
            )
          }
        >
          {present.pair.Session ? (
            <Lock id={present.pair.Session} />
          ) : (
            <p class="quiet">{w.unlocked}</p>
          )}
        </Panel>
      )}
    </div>
  );
}

function Lock({ id }: { id: string }) {
  const session = useLive<Session[]>(api`/v1/session/info/${id}`).value?.[0];
  return (
    <div class="kv-stack">
      <p class="quiet">{w.lockText}</p>
      <Facts
        facts={[
          [w.session, <Data mono>{id}</Data>],
          [w.sessionName, session?.Name ? <Data>{session.Name}</Data> : undefined],
          [
            w.node,
            session && (
              <a href={to("nodes", session.Node)}>
                <bdi>{session.Node}</bdi>
              </a>
            ),
          ],
          [w.ttl, session && (session.TTL || w.none)],
          [w.behavior, session && (w.behaviors[session.Behavior] ?? session.Behavior)],
        ]}
      />
      <div>
        <ActButton
          action={{
            title: w.release,
            text: w.releaseText(session?.Name || id),
            verb: w.release,
            danger: true,
            command: () => `meshctl session destroy ${quoted(id)}`,
            run: async () => {
              await ask(api`/v1/session/destroy/${id}`, { method: "PUT" });
              return w.released;
            },
          }}
        >
          {w.release} …
        </ActButton>
      </div>
    </div>
  );
}
