/** The intentions that are about a service, as the one called and as the one that calls. */

import { api } from "../../live/api";
import { useLive } from "../../live/live";
import { to, toWith } from "../../live/place";
import { quoted } from "../../logic/shell";
import { Badge, Empty, Loaded, Panel, StatusBadge } from "../../parts/basics";
import { words } from "../../words";

const w = words.services.intentions;

/** A row of /v1/connect/intentions/match. */
export interface Intention {
  SourceName: string;
  DestinationName: string;
  Action?: "allow" | "deny";
  Permissions?: unknown[];
  Description?: string;
  DryRun?: boolean;
  Precedence: number;
}

type Matched = Record<string, Intention[]>;

export function IntentionsTab({ service, allow }: { service: string; allow: boolean }) {
  const path = (by: string) =>
    `${api`/v1/connect/intentions/match?by=${by}&name=${service}`}&dry-run`;
  const incoming = useLive<Matched>(path("destination"));
  const outgoing = useLive<Matched>(path("source"));
  return (
    <div class="services-stack">
      {[incoming, outgoing].map((live, i) => (
        <Panel
          key={i}
          title={i ? w.from(service) : w.to(service)}
          aside={i ? undefined : <a href={to("intentions", "list")}>{w.all}</a>}
        >
          <Loaded live={live}>
            {(value) => (
              <List
                rows={(value[service] ?? []).filter((one) => !i || !isSelf(one, service))}
                none={{ allow, command: w.noneCommand(quoted(service), !i) }}
              />
            )}
          </Loaded>
        </Panel>
      ))}
    </div>
  );
}

/** Whether it is about who calls the service: `*` is the service itself too. */
function isSelf(one: Intention, service: string): boolean {
  return one.DestinationName.toLowerCase() === service.toLowerCase();
}

/** The address of an intention in the pages about all of them. */
export function intentionAt(source: string, destination: string): string {
  return toWith({ q: `${source} ${destination}` }, "intentions", "list");
}

function List({ rows, none }: { rows: Intention[]; none: { allow: boolean; command: string } }) {
  if (!rows.length)
    return (
      <Empty title={w.none} command={none.command}>
        {w.noneText(none.allow)}
      </Empty>
    );
  return (
    <>
      <table class="services-table">
        <thead>
          <tr>
            <th scope="col">{w.source}</th>
            <th scope="col">{w.destination}</th>
            <th scope="col">{w.says}</th>
            <th scope="col" class="end services-wide">
              {w.precedence}
            </th>
            <th scope="col" class="services-wide">
              {w.why}
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((one) => (
            <tr key={`${one.SourceName}/${one.DestinationName}/${one.DryRun}`}>
              <td>
                <a href={intentionAt(one.SourceName, one.DestinationName)}>
                  <bdi>{one.SourceName === "*" ? w.everybody : one.SourceName}</bdi>
                </a>
              </td>
              <td>
                <bdi>{one.DestinationName === "*" ? w.everybody : one.DestinationName}</bdi>
              </td>
              <td>
                <Says one={one} />
              </td>
              <td class="end services-wide">{one.Precedence}</td>
              <td class="services-wide">
                <bdi>{one.Description ?? ""}</bdi>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="quiet">{w.order}</p>
    </>
  );
}

function Says({ one }: { one: Intention }) {
  const verdicts = words.services.topology.verdicts;
  return (
    <span class="tags">
      {one.Action ? (
        <StatusBadge
          status={one.Action === "allow" ? "passing" : "critical"}
          text={one.Action === "allow" ? verdicts.allow : verdicts.deny}
        />
      ) : (
        <Badge tone="info">{w.permissions(one.Permissions?.length ?? 0)}</Badge>
      )}
      {one.DryRun && <Badge tone="warn">{w.dryRun}</Badge>}
    </span>
  );
}
