/** What was changed about a service: its instances, its config entries, its maintenance. */

import { useMemo } from "preact/hooks";
import { api, query } from "../../live/api";
import { useLive } from "../../live/live";
import { became, type Change, fields, isOf, merged } from "../../logic/changes";
import { Badge, Empty, Loaded } from "../../parts/basics";
import { Time } from "../../parts/time";
import { words } from "../../words";

const w = words.services.history;
const LATEST = 500;
const OWN = 50;
/** Config entries that have the name of a service. */
const ENTRIES = ["service-intentions", "service-defaults"];

export function HistoryTab({ service }: { service: string }) {
  const instances = useLive<Change[]>(query("/v1/history", { kind: "service", limit: LATEST }));
  const [intentions, defaults] = ENTRIES.map((kind) => `${kind}/${service}`);
  const first = useLive<Change[]>(configOf(intentions ?? ""));
  const second = useLive<Change[]>(configOf(defaults ?? ""));
  const resting = useLive<Change[]>(
    `${api`/v1/history?kind=maintenance&key=${`/${service}`}`}&limit=${OWN}`,
  );
  const changes = useMemo(
    () =>
      merged(
        (instances.value ?? []).filter((one) => isOf(one, service)),
        first.value ?? [],
        second.value ?? [],
        resting.value ?? [],
      ),
    [instances.value, first.value, second.value, resting.value, service],
  );
  return (
    <Loaded live={instances}>
      {(value) =>
        changes.length ? (
          <>
            <Changes changes={changes} label={w.list(service)} />
            {value.length >= LATEST && <p class="quiet">{w.full(LATEST)}</p>}
          </>
        ) : (
          <Empty title={w.empty} command={w.command}>
            {w.emptyText}
          </Empty>
        )
      }
    </Loaded>
  );
}

function configOf(key: string): string {
  return `${api`/v1/history?kind=config&key=${key}`}&limit=${OWN}`;
}

function Changes({ changes, label }: { changes: Change[]; label: string }) {
  return (
    <ol class="services-changes" aria-label={label}>
      {changes.map((one) => (
        <li key={one.ID}>
          <details>
            <summary>
              <span class="services-change-when">
                <Time at={one.Time} />
              </span>
              <Badge tone={TONES[became(one)]}>{w.acts[became(one)]}</Badge>
              <span>
                <span class="quiet">{w.kinds[one.Kind] ?? one.Kind} </span>
                <strong>
                  <bdi>{one.Key}</bdi>
                </strong>
              </span>
              {became(one) === "changed" && (
                <span class="quiet services-change-fields">
                  <bdi>{fields(one.Before, one.After).join(", ")}</bdi>
                </span>
              )}
              <span class="quiet services-change-by">
                <bdi>{one.Author || one.Origin || w.anonymous}</bdi>
              </span>
            </summary>
            <Difference change={one} />
          </details>
        </li>
      ))}
    </ol>
  );
}

const TONES = { created: "good", changed: "info", deleted: "bad" } as const;

function Difference({ change }: { change: Change }) {
  const shown = (row: Change["Before"], name: string) =>
    row && name in row ? JSON.stringify(row[name], null, 1) : "";
  return (
    <table class="services-table">
      <caption class="unseen">{w.diff}</caption>
      <thead>
        <tr>
          <th scope="col">{w.fields}</th>
          {change.Before && <th scope="col">{w.before}</th>}
          {change.After && <th scope="col">{w.after}</th>}
        </tr>
      </thead>
      <tbody>
        {fields(change.Before, change.After).map((name) => (
          <tr key={name}>
            <th scope="row">
              <bdi>{name}</bdi>
            </th>
            {change.Before && (
              <td>
                <pre>
                  <bdi>{shown(change.Before, name)}</bdi>
                </pre>
              </td>
            )}
            {change.After && (
              <td>
                <pre>
                  <bdi>{shown(change.After, name)}</bdi>
                </pre>
              </td>
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
