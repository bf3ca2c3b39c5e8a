/** All intentions, by precedence. */

import { useMemo } from "preact/hooks";
import { query } from "../../live/api";
import { useLive } from "../../live/live";
import { useParam } from "../../live/place";
import { type Listed, managedBy, verdictOf } from "../../logic/intentions";
import { isFilter, matches } from "../../logic/search";
import { instant } from "../../logic/time";
import { Badge, Data, Empty, Failure, Loaded } from "../../parts/basics";
import { Facet, SearchBox, Toolbar } from "../../parts/search";
import { type Column, Table } from "../../parts/table";
import { Time } from "../../parts/time";
import { words } from "../../words";
import { LIST, opening } from "./places";
import { Action, DryRun } from "./signs";

const w = words.intentions;
const HISTORY = query("/v1/history", {
  kind: "config",
  prefix: "service-intentions/",
  limit: 200,
});

interface Change {
  Index: number;
  Time: string;
}

export function List() {
  const [search] = useParam("q");
  const [says] = useParam("says", "all");
  const filter = isFilter(search);
  const live = useLive<Listed[]>(LIST);
  const filtered = useLive<Listed[]>(filter ? query(LIST, { filter: search }) : null);
  const history = useLive<Change[]>(HISTORY);
  const times = useMemo(
    () => new Map((history.value ?? []).map((one) => [one.Index, one.Time])),
    [history.value],
  );
  const refused = filter ? filtered.error : "";
  return (
    <>
      <Loaded live={live}>
        {(all) => {
          if (!all.length)
            return (
              <Empty title={w.list.noneTitle} command={w.list.noneCommand}>
                {w.list.noneText}
              </Empty>
            );
          const found = filter ? (filtered.value ?? (refused ? [] : all)) : all;
          const rows = found.filter((one) => fits(one, filter ? "" : search, says));
          return (
            <>
              <Toolbar said={words.parts.shown(rows.length, all.length, w.list.what)}>
                <SearchBox hint={w.list.hint} />
                <Facet
                  param="says"
                  label={w.list.facet}
                  choices={(["all", "allow", "deny", "requests", "dry"] as const).map((value) => ({
                    value,
                    text: w.list[value],
                    count: all.filter((one) => fits(one, "", value)).length,
                  }))}
                />
              </Toolbar>
              {refused && <Failure error={refused} />}
              <Table
                rows={rows}
                columns={columns(times)}
                id={(one) => `${one.SourceName} ${one.DestinationName} ${one.DryRun ?? false}`}
                href={(one) =>
                  opening({
                    source: one.SourceName,
                    destination: one.DestinationName,
                    dryRun: Boolean(one.DryRun),
                  })
                }
                label={w.list.label}
              />
            </>
          );
        }}
      </Loaded>
    </>
  );
}

function fits(one: Listed, search: string, says: string): boolean {
  if (says === "dry" ? !one.DryRun : says !== "all" && verdictOf(one) !== says) return false;
  return matches(
    search,
    one.SourceName,
    one.DestinationName,
    one.Description ?? "",
    managedBy(one),
    w.verb[verdictOf(one)],
  );
}

function columns(times: Map<number, string>): Column<Listed>[] {
  const changed = (one: Listed) =>
    Number.isNaN(instant(one.UpdatedAt)) ? times.get(one.ModifyIndex) : one.UpdatedAt;
  return [
    {
      key: "source",
      title: w.list.source,
      width: "minmax(min(7rem, 24vw), 2fr)",
      cell: (one) => <Data>{one.SourceName}</Data>,
      order: (one) => one.SourceName,
    },
    {
      key: "destination",
      title: w.list.destination,
      width: "minmax(min(7rem, 24vw), 2fr)",
      cell: (one) => (
        <>
          <span class="quiet">→ </span>
          <Data>{one.DestinationName}</Data>
        </>
      ),
      order: (one) => one.DestinationName,
    },
    {
      key: "says",
      title: w.list.action,
      width: "minmax(6.5rem, 2.8fr)",
      cell: (one) => (
        <span class="int-badges">
          <Action one={one} />
          {one.DryRun && <DryRun />}
        </span>
      ),
      order: (one) => verdictOf(one),
    },
    {
      key: "precedence",
      title: w.list.precedence,
      width: "5.5rem",
      cell: (one) => one.Precedence,
      order: (one) => -one.Precedence,
      align: "end",
      yields: 2,
    },
    {
      key: "description",
      title: w.list.description,
      width: "minmax(0, 2fr)",
      cell: (one) =>
        one.Description ? (
          <span title={one.Description}>
            <Data>{one.Description}</Data>
          </span>
        ) : (
          <span class="quiet">–</span>
        ),
      yields: 1,
    },
    {
      key: "managed",
      title: w.list.managed,
      width: "6.5rem",
      cell: (one) =>
        managedBy(one) ? (
          <Badge>
            <Data>{managedBy(one)}</Data>
          </Badge>
        ) : (
          <span class="quiet">{w.list.people}</span>
        ),
      order: managedBy,
      yields: 2,
    },
    {
      key: "changed",
      title: w.list.changed,
      width: "7rem",
      cell: (one) => {
        const at = changed(one);
        return at ? <Time at={at} /> : <span class="quiet">{w.list.index(one.ModifyIndex)}</span>;
      },
      order: (one) => -one.ModifyIndex,
      yields: 3,
    },
  ];
}
