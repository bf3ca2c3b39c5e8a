/** The checks of a node and of what runs there, the worst first. */

import { useMemo, useState } from "preact/hooks";
import type { Check } from "../live/nodes";
import { to, useParam } from "../live/place";
import { badness, MAINTENANCE_PREFIXES, type Status, statusOf } from "../logic/health";
import { matches } from "../logic/search";
import { Data, Empty, StatusBadge } from "../parts/basics";
import { Long } from "../parts/long";
import { Since, useDates } from "../parts/since";
import { Facet, SearchBox, Toolbar } from "../parts/search";
import { words } from "../words";

const w = words.nodes;
const c = w.check;
const SHOWN = 50;

export function Checks({ checks }: { checks: Check[] }) {
  const [search] = useParam("q");
  const [status] = useParam("status");
  const [shown, setShown] = useState(SHOWN);
  const since = useDates(checks[0]?.Node ?? "");
  const ordered = useMemo(
    () =>
      checks
        .map((check) => ({ check, status: statusOf(check) }))
        .sort(
          (a, b) =>
            badness(b.status) - badness(a.status) || (a.check.CheckID < b.check.CheckID ? -1 : 1),
        ),
    [checks],
  );
  const found = ordered.filter(
    (one) =>
      (!status || one.status === status) &&
      matches(search, one.check.Name, one.check.CheckID, one.check.ServiceName, one.check.Output),
  );
  if (!checks.length)
    return (
      <Empty title={c.none} command={c.noneCommand}>
        {c.noneText}
      </Empty>
    );
  const rest = found.length - shown;
  return (
    <>
      <Toolbar said={words.parts.shown(found.length, checks.length, w.tabs.checks.toLowerCase())}>
        <SearchBox />
        <Statuses statuses={ordered.map((one) => one.status)} />
      </Toolbar>
      {!found.length && <p class="quiet">{words.parts.nothingFound}</p>}
      <ul class="node-checks">
        {found.slice(0, shown).map((one) => (
          <li key={one.check.CheckID}>
            <Shown check={one.check} status={one.status} since={since(one.check)} />
          </li>
        ))}
      </ul>
      {rest > 0 && (
        <p>
          <button type="button" onClick={() => setShown(shown + 10 * SHOWN)}>
            {c.more(Math.min(rest, 10 * SHOWN))}
          </button>
        </p>
      )}
    </>
  );
}

function Statuses({ statuses }: { statuses: Status[] }) {
  const [present] = useParam("status");
  const some = (["critical", "warning", "maintenance", "passing", "unknown"] as Status[]).filter(
    (one) => one === present || statuses.includes(one),
  );
  if (some.length < 2) return null;
  return (
    <Facet
      param="status"
      label={w.health}
      choices={[
        { value: "", text: w.all },
        ...some.map((one) => ({
          value: one,
          text: words.parts.status[one],
          count: statuses.filter((other) => other === one).length,
        })),
      ]}
    />
  );
}

/** How a check comes to its status. */
function kindOf(check: Check): string {
  if (check.CheckID === "serfHealth") return c.kinds.gossip;
  if (MAINTENANCE_PREFIXES.some((prefix) => check.CheckID.startsWith(prefix)))
    return c.kinds.maintenance;
  return check.Type || c.kinds.other;
}

function Shown({ check, status, since }: { check: Check; status: Status; since: string }) {
  const about: [string, string | undefined][] = [
    [c.kind, kindOf(check)],
    [c.interval, check.Interval],
    [c.timeout, check.Timeout],
    [c.id, check.CheckID],
  ];
  return (
    <article class="node-check">
      <header>
        <StatusBadge status={status} />
        <h2>
          <Data>{check.Name || check.CheckID}</Data>
        </h2>
        {check.ServiceName ? (
          <a href={to("services", check.ServiceName, "instances", check.Node, check.ServiceID)}>
            <Data>{check.ServiceID}</Data>
          </a>
        ) : (
          <span class="quiet">{c.node}</span>
        )}
        <Since at={since} />
        <span class="about">
          {about
            .filter(([, value]) => value)
            .map(([name, value]) => (
              <span key={name}>
                {name}: <Data>{value ?? ""}</Data>
              </span>
            ))}
        </span>
      </header>
      {check.Notes && (
        <p>
          <Data>{check.Notes}</Data>
        </p>
      )}
      {check.Output ? <Long text={check.Output} /> : <p class="quiet">{c.noOutput}</p>}
    </article>
  );
}
