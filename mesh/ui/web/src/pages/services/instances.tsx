/** The instances of a service, each with its checks. */

import { ChevronRight } from "../../parts/icons";
import { useMemo, useState } from "preact/hooks";
import { api, query } from "../../live/api";
import { useLive } from "../../live/live";
import { to, useParam } from "../../live/place";
import { type Status, badness } from "../../logic/health";
import { isFilter, matches } from "../../logic/search";
import { type Entry, type InstanceRow, instancesOf } from "../../logic/services";
import { ActButton, quoted } from "../../parts/act";
import { Badge, Empty, StatusBadge, Tags } from "../../parts/basics";
import { type Choice, Facet, SearchBox, Toolbar } from "../../parts/search";
import { words } from "../../words";
import { Checks } from "./checks";
import { DeregisterButton } from "./deregister";
import { type Maintained, about, begin, end } from "./maintenance";

const w = words.services.instance;
const SHOWN = 100;

export function Instances({
  service,
  entries,
  maintained,
}: {
  service: string;
  entries: Entry[];
  maintained: readonly Maintained[];
}) {
  const proxies = useLive<Entry[]>(api`/v1/health/connect/${service}`).value;
  const [search] = useParam("q");
  const [status] = useParam("status");
  const [order] = useParam("order");
  const filter = isFilter(search) ? search.trim() : "";
  const passing = useLive<Entry[]>(
    filter ? query(api`/v1/health/service/${service}`, { filter }) : null,
  );
  const rows = useMemo(() => instancesOf(entries, proxies ?? []), [entries, proxies]);
  const passed = useMemo(
    () =>
      filter && passing.value && !passing.error
        ? new Set(passing.value.map((one) => `${one.Node.Node}/${one.Service.ID}`))
        : null,
    [filter, passing.value, passing.error],
  );
  const found = useMemo(
    () =>
      rows
        .filter((row) => !status || row.status === status)
        .filter((row) =>
          filter
            ? !passed || passed.has(`${row.node}/${row.id}`)
            : matches(search, row.id, row.node, row.address, ...(row.entry.Service.Tags ?? [])),
        )
        .sort(ORDERS[order] ?? worstFirst),
    [rows, status, search, filter, passed, order],
  );
  const [most, setMost] = useState(SHOWN);
  if (!rows.length)
    return (
      <Empty
        title={words.services.unknown(service)}
        command={words.services.unknownCommand(quoted(service))}
      >
        {words.services.unknownText}
      </Empty>
    );
  return (
    <>
      <Toolbar said={words.parts.shown(found.length, rows.length, w.what)}>
        <SearchBox label={w.search} hint={w.hint} error={filter ? passing.error : ""} />
        <Facet param="status" label={words.services.status} choices={statuses(rows)} />
        {rows.length > 1 && <Facet param="order" label={w.sort} choices={orders()} />}
      </Toolbar>
      <ul class="services-instances" aria-label={w.list(service)}>
        {found.slice(0, most).map((row) => (
          <Instance
            key={`${row.node}/${row.id}`}
            service={service}
            row={row}
            maintained={maintained}
          />
        ))}
      </ul>
      {!found.length && <p class="quiet">{words.parts.nothingFound}</p>}
      {found.length > most && (
        <p>
          <button type="button" onClick={() => setMost(most + SHOWN)}>
            {w.more(Math.min(SHOWN, found.length - most))}
          </button>
        </p>
      )}
    </>
  );
}

const byText = (text: (row: InstanceRow) => string) => (a: InstanceRow, b: InstanceRow) =>
  text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0;
const byId = byText((row) => row.id);
const worstFirst = (a: InstanceRow, b: InstanceRow) =>
  badness(b.status) - badness(a.status) || byId(a, b);
const ORDERS: Record<string, (a: InstanceRow, b: InstanceRow) => number> = {
  id: byId,
  node: byText((row) => `${row.node}/${row.id}`),
};

function orders(): Choice[] {
  return Object.entries(w.sorts).map(([value, text]) => ({ value, text }));
}

function statuses(rows: readonly InstanceRow[]): Choice[] {
  const found: Status[] = ["critical", "warning", "maintenance", "passing"];
  return [
    { value: "", text: words.services.statuses[""] },
    ...found
      .map((value) => ({
        value,
        text: words.parts.status[value],
        count: rows.filter((row) => row.status === value).length,
      }))
      .filter((one) => one.count > 0),
  ];
}

function Instance({
  service,
  row,
  maintained,
}: {
  service: string;
  row: InstanceRow;
  maintained: readonly Maintained[];
}) {
  const [open, setOpen] = useState(false);
  const target = { node: row.node, id: row.id };
  const resting = about(target, maintained);
  const checks = [...row.own, ...row.ofNode];
  return (
    <li class={`services-instance is-${row.status}`}>
      <div class="services-instance-head">
        <StatusBadge status={row.status} />
        <a
          class="services-instance-id"
          href={to("services", service, "instances", row.node, row.id)}
        >
          <bdi>{row.id}</bdi>
        </a>
        <span>
          <span class="quiet">{words.services.one.node.toLowerCase()} </span>
          <a href={to("nodes", row.node)}>
            <bdi>{row.node}</bdi>
          </a>
        </span>
        <code>
          <bdi>{row.address}</bdi>
        </code>
        {row.nodeStatus !== "passing" && (
          <StatusBadge
            status={row.nodeStatus}
            text={`${w.columns.nodeHealth.toLowerCase()}: ${words.parts.status[row.nodeStatus].toLowerCase()}`}
          />
        )}
        <SidecarBadge row={row} />
        <Tags tags={row.entry.Service.Tags ?? []} />
        <span class="services-instance-acts">
          <ActButton action={resting ? end(target) : begin(target)} class="small ghost">
            {resting ? words.services.maintenance.end : words.services.maintenance.begin}
          </ActButton>
          <DeregisterButton entry={row.entry} />
        </span>
      </div>
      {checks.length ? (
        <>
          <button
            type="button"
            class="plain services-toggle"
            aria-expanded={open}
            onClick={() => setOpen(!open)}
          >
            <ChevronRight size="1.1em" aria-hidden="true" />
            <span>
              {words.services.checks(checks.length)} <span class="unseen">{w.of(row.id)}</span>
            </span>
            <bdi class="quiet">{failing(row)}</bdi>
          </button>
          {open && <Checks checks={checks} />}
        </>
      ) : (
        <p class="quiet">{w.noChecks}</p>
      )}
    </li>
  );
}

/** The names of the checks that do not pass. */
function failing(row: InstanceRow): string {
  return [...row.own, ...row.ofNode]
    .filter((check) => check.Status !== "passing")
    .map((check) => check.Name || check.CheckID)
    .join(", ");
}

export function SidecarBadge({ row }: { row: InstanceRow }) {
  if (row.native) return <Badge tone="info">{words.services.native}</Badge>;
  if (!row.sidecar) return null;
  return (
    <Badge tone="info" title={row.sidecar.Service.ID}>
      {w.sidecar}
    </Badge>
  );
}
