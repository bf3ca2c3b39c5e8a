/** Every service: how well it is, how many instances it has, and whether it is in the mesh. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { query } from "../../live/api";
import { useLive } from "../../live/live";
import { place, to, useParam } from "../../live/place";
import { type Status, badness } from "../../logic/health";
import { isFilter } from "../../logic/search";
import { type Glance, type ServiceRow, fold, narrowed, tally } from "../../logic/services";
import { Badge, Empty, Loaded, StatusBadge, Tags } from "../../parts/basics";
import { Page } from "../../parts/page";
import { type Choice, Facet, SearchBox, Toolbar } from "../../parts/search";
import { type Column, Table } from "../../parts/table";
import { words } from "../../words";

const w = words.services;
const LIST = "/v1/internal/ui/service-list";
/** The same in more words, which filters are about. */
const FILTERED = "/v1/internal/ui/services";
const TYPING_MS = 250;

export function ServiceList() {
  const listed = useLive<Glance[]>(LIST);
  return (
    <Page title={words.shell.pages.services}>
      <Loaded live={listed}>{(value) => <Shown listed={value} />}</Loaded>
    </Page>
  );
}

function Shown({ listed }: { listed: Glance[] }) {
  const [search] = useParam("q");
  const [status] = useParam("status");
  const [kind] = useParam("kind");
  const [source] = useParam("source");
  const { passed, error } = useFilter(search);
  const rows = useMemo(() => fold(listed), [listed]);
  const found = useMemo(
    () => narrowed(rows, { search, passed, status, kind, source }),
    [rows, search, passed, status, kind, source],
  );
  if (!rows.length)
    return (
      <Empty title={w.empty} command={w.emptyCommand}>
        {w.emptyText}
      </Empty>
    );
  return (
    <>
      <Toolbar said={words.parts.shown(found.length, rows.length, w.what)}>
        <SearchBox hint={words.parts.filterHint} error={error} />
        <Facets rows={rows} />
      </Toolbar>
      <Table
        rows={found}
        columns={COLUMNS}
        id={(row) => row.name}
        href={(row) => to("services", row.name)}
        label={w.list}
        empty={<NothingFits />}
      />
    </>
  );
}

function NothingFits() {
  return (
    <Empty title={w.none}>
      <p>{w.noneText}</p>
      <p>
        <a href={to("services")}>{w.showAll}</a>
      </p>
    </Empty>
  );
}

/**
 * The services that pass a filter, as the server says; null when the search is no filter. While
 * there is no answer, or a refusal, the last ones stay.
 */
export function useFilter(search: string): { passed: Set<string> | null; error: string } {
  const wanted = isFilter(search) ? search.trim() : "";
  const settled = useSettled(wanted);
  const live = useLive<{ Name: string }[]>(settled ? query(FILTERED, { filter: settled }) : null);
  const last = useRef<Set<string> | null>(null);
  const passed = useMemo(
    () => (live.value ? new Set(live.value.map((one) => one.Name)) : null),
    [live.value],
  );
  if (!wanted) last.current = null;
  else if (passed && !live.error) last.current = passed;
  // Before the first answer to a filter everything is shown, which beats matching it as a text.
  return {
    passed: wanted ? (last.current ?? EVERYTHING) : null,
    error: wanted && settled === wanted ? live.error : "",
  };
}

/** Stands for all names. */
const EVERYTHING = new (class extends Set<string> {
  override has(): boolean {
    return true;
  }
})();

/** A text once nobody has typed for a moment. */
function useSettled(text: string): string {
  const [settled, set] = useState(text);
  useEffect(() => {
    if (text === settled) return;
    const timer = setTimeout(() => set(text), text ? TYPING_MS : 0);
    return () => clearTimeout(timer);
  }, [text, settled]);
  return settled;
}

function Facets({ rows }: { rows: ServiceRow[] }) {
  const choices = useMemo(() => {
    const { statuses, kinds, sources } = tally(rows);
    const choice = (counts: Record<string, number>, [value, text]: [string, string]) =>
      value ? { value, text, count: counts[value] ?? 0 } : { value, text };
    return {
      statuses: Object.entries(w.statuses)
        .map((one) => choice(statuses, one))
        .filter((one) => !one.value || one.value === "failing" || one.count),
      kinds: Object.entries(w.kinds)
        .map((one) => choice(kinds, one))
        .filter((one) => !one.value || one.count),
      sources,
    };
  }, [rows]);
  const sources = [
    { value: "", text: w.anySource },
    ...choices.sources.map((value) => ({ value, text: value })),
  ];
  return (
    <>
      <Facet param="status" label={w.status} choices={withChosen(choices.statuses, "status")} />
      {choices.kinds.length > 2 && (
        <Facet param="kind" label={w.kind} choices={withChosen(choices.kinds, "kind")} />
      )}
      {sources.length > 1 && <Facet param="source" label={w.source} choices={sources} />}
    </>
  );
}

/** What the address chooses stays to be seen, also when nothing has it any more. */
function withChosen(choices: Choice[], param: "status" | "kind"): Choice[] {
  const chosen = place.value.query.get(param) ?? "";
  if (choices.some((one) => one.value === chosen)) return choices;
  const texts: Record<string, string> = param === "status" ? w.statuses : w.kinds;
  return [...choices, { value: chosen, text: texts[chosen] ?? chosen, count: 0 }];
}

/** `1 of 3 instances critical`: the worst, and how many are so. */
export function InstancesHealth({
  health,
  status,
  instances,
  short,
}: {
  health: Partial<Record<Status, number>>;
  status: Status;
  instances: number;
  /** Under a heading that says it is about instances. */
  short?: boolean;
}) {
  if (!instances) return StatusBadge({ status: "unknown", text: w.noInstance });
  const count = health[status] ?? 0;
  const said = words.parts.status[status].toLowerCase();
  const text = count === instances ? w.all(count, said) : w.some(count, instances, said);
  const brief = count === instances ? w.allShort(count, said) : w.someShort(count, instances, said);
  return StatusBadge({ status, text: short ? brief : text });
}

const SIGNED: Status[] = ["critical", "warning", "maintenance", "passing"];

/** How many there are of each health: signs with numbers. */
function counted(counts: Partial<Record<Status, number>>) {
  return (
    <span class="services-counts">
      {SIGNED.filter((one) => counts[one]).map((one) => (
        <span key={one} title={`${counts[one]} ${words.parts.status[one].toLowerCase()}`}>
          {StatusBadge({ status: one, text: String(counts[one]) })}
          <span class="unseen"> {words.parts.status[one].toLowerCase()}</span>
        </span>
      ))}
    </span>
  );
}

/** Whether it is in the mesh, and that its sidecars are ill if they are. */
export function MeshBadge({ mesh, sidecars }: { mesh: ServiceRow["mesh"]; sidecars: Status }) {
  if (!mesh) return null;
  const ill = sidecars !== "unknown" && sidecars !== "passing";
  return (
    <span class="services-mesh">
      <Badge tone="info" title={mesh === "native" ? w.nativeTitle : w.inMeshTitle}>
        {mesh === "native" ? w.native : w.inMesh}
      </Badge>
      {ill && (
        <StatusBadge status={sidecars} bare text={w.sidecarIs(words.parts.status[sidecars])} />
      )}
    </span>
  );
}

const COLUMNS: Column<ServiceRow>[] = [
  {
    key: "name",
    title: w.columns.name,
    width: "minmax(8rem, 2fr)",
    order: (row) => row.name,
    cell: (row) => (
      <>
        <bdi>{row.name}</bdi>
        {row.kind && <span class="services-kind quiet"> {row.kind}</span>}
      </>
    ),
  },
  {
    key: "health",
    title: w.columns.health,
    width: "minmax(9rem, 1.2fr)",
    order: (row) => -badness(row.status) * 1e6 - row.instances,
    cell: ({ health, status, instances }) =>
      InstancesHealth({ health, status, instances, short: true }),
  },
  {
    key: "checks",
    title: w.columns.checks,
    width: "minmax(7rem, 1fr)",
    order: (row) => -(row.checks.critical ?? 0) * 1e6 - (row.checks.warning ?? 0),
    yields: 2,
    cell: (row) => counted(row.checks),
  },
  {
    key: "mesh",
    title: w.columns.mesh,
    width: "8rem",
    order: (row) => row.mesh,
    yields: 3,
    cell: ({ mesh, sidecars }) => MeshBadge({ mesh, sidecars }),
  },
  {
    key: "tags",
    title: w.columns.tags,
    width: "minmax(6rem, 1.5fr)",
    yields: 1,
    cell: ({ tags }) => Tags({ tags, max: 3 }),
  },
  {
    key: "source",
    title: w.columns.source,
    width: "6rem",
    order: (row) => row.sources.join(),
    yields: 1,
    cell: (row) => row.sources.length > 0 && <bdi>{row.sources.join(", ")}</bdi>,
  },
];
