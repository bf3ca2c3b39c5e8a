/** Changes in a list, the latest first, with those before them when asked for. */

import { useMemo, useRef, useState } from "preact/hooks";
import { call, query, reason } from "../live/api";
import { useLive } from "../live/live";
import { toWith } from "../live/place";
import { became, type Change, merged, summary } from "../logic/changes";
import { Badge, Data, Empty, Failure, Loaded, type Tone } from "../parts/basics";
import { type Column, Table } from "../parts/table";
import { Time } from "../parts/time";
import { words } from "../words";

const w = words.history;
const PAGE = 50;
const TONES: Record<string, Tone> = { created: "good", changed: "plain", deleted: "bad" };

export function Changes({ path, filtered }: { path: string; filtered?: boolean }) {
  const live = useLive<Change[]>(query(path, { limit: PAGE }));
  // Those of the path before stay until there are those of this one.
  const shown = useRef<{ path: string; first: Change[] } | null>(null);
  if (live.value) shown.current = { path, first: live.value };
  const { current } = shown;
  return (
    <Loaded live={{ ...live, value: current ?? undefined }}>
      {(one) => (
        <Pages key={one.path} path={one.path} first={one.first} filtered={filtered ?? false} />
      )}
    </Loaded>
  );
}

function Pages({ path, first, filtered }: { path: string; first: Change[]; filtered: boolean }) {
  // What was shown stays when later changes push it out of the latest page.
  const known = useRef<Change[]>([]);
  const [older, setOlder] = useState<Change[]>([]);
  const [end, setEnd] = useState(first.length < PAGE);
  const [floor, setFloor] = useState(0);
  const [state, setState] = useState({ busy: false, error: "" });
  const rows = useMemo(() => {
    known.current = merged(merged(known.current, older), first);
    return known.current;
  }, [first, older]);
  const more = async () => {
    setState({ busy: true, error: "" });
    try {
      const before = rows.at(-1)?.ID;
      const found = await call<Change[]>(query(path, { limit: 2 * PAGE, before }));
      setOlder(found.value);
      setEnd(!found.headers.get("X-Mesh-History-Next"));
      setFloor(Number(found.headers.get("X-Mesh-History-Floor") ?? 0));
      setState({ busy: false, error: "" });
    } catch (error) {
      setState({ busy: false, error: reason(error) });
    }
  };
  if (!rows.length)
    return filtered ? (
      <p class="quiet">{w.nothing}</p>
    ) : (
      <Empty title={w.empty} command={w.emptyCommand}>
        {w.emptyText}
      </Empty>
    );
  return (
    <>
      <Table
        rows={rows}
        columns={COLUMNS}
        id={(row) => String(row.ID)}
        href={(row) =>
          toWith(
            { from: String(row.Index - 1), to: String(row.Index) },
            "history",
            row.Kind,
            row.Key,
          )
        }
        label={w.title}
      />
      {state.error && <Failure error={state.error} />}
      {end ? (
        <p class="quiet changes-end">
          {w.end} {floor > 0 && w.floor(floor)}
        </p>
      ) : (
        <p class="changes-end">
          <button type="button" disabled={state.busy} onClick={() => void more()}>
            {state.busy ? w.looking : w.earlier}
          </button>
        </p>
      )}
    </>
  );
}

export function What({ change }: { change: Change }) {
  const what = became(change);
  return (
    <Badge tone={TONES[what] ?? "plain"}>
      {w.changes[what]}
      {change.Reverts > 0 && w.reverted(change.Reverts)}
    </Badge>
  );
}

const COLUMNS: Column<Change>[] = [
  {
    key: "what",
    title: w.what,
    width: "minmax(8rem, 4fr)",
    cell: (row) => (
      <>
        <span class="quiet">{w.one[row.Kind] ?? row.Kind}</span> <Data>{row.Key}</Data>
      </>
    ),
  },
  {
    key: "change",
    title: w.change,
    width: "6.5rem",
    yields: 3,
    cell: (row) => <What change={row} />,
  },
  {
    key: "now",
    title: w.now,
    width: "minmax(5rem, 1.5fr)",
    yields: 2,
    cell: (row) => (
      <span class="quiet">
        <Data>{summary(row)}</Data>
      </span>
    ),
  },
  {
    key: "by",
    title: w.by,
    width: "3.5rem",
    yields: 1,
    cell: (row) => (row.Author ? <Data mono>{row.Author}</Data> : <span class="quiet">–</span>),
  },
  {
    key: "from",
    title: w.from,
    width: "minmax(6rem, 0.8fr)",
    yields: 1,
    cell: (row) => (
      <span title={row.Op}>
        <Data mono>{row.Origin || "–"}</Data>
      </span>
    ),
  },
  { key: "when", title: w.when, width: "6rem", cell: (row) => <Time at={row.Time} /> },
  {
    key: "index",
    title: w.index,
    width: "4.5rem",
    align: "end",
    yields: 2,
    cell: (row) => row.Index,
  },
];
