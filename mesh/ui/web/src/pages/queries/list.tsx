/** All prepared queries. */

import { Plus } from "../../parts/icons";
import { useMemo } from "preact/hooks";
import { useLive } from "../../live/live";
import { to, useParam } from "../../live/place";
import { failoverOf, isTemplate, type Query } from "../../logic/prepared";
import { matches } from "../../logic/search";
import { Badge, Data, Empty, Loaded, Tags } from "../../parts/basics";
import { Page } from "../../parts/page";
import { Facet, SearchBox, Toolbar } from "../../parts/search";
import { type Column, Table } from "../../parts/table";
import { words } from "../../words";
import { EditDialog } from "./edit";

const w = words.queries;
type Kind = keyof typeof w.kinds;

function kindOf(query: Query): Kind {
  if (isTemplate(query)) return "template";
  return query.Session ? "session" : "query";
}

/** What a query is called: by its id when it has no name. */
export function nameOf(query: Query): string {
  return query.Name || query.ID || "";
}

const COLUMNS: Column<Query>[] = [
  {
    key: "name",
    title: w.name,
    width: "minmax(0, 1.4fr)",
    cell: (row) =>
      row.Name || isTemplate(row) ? (
        <Data>{row.Name || "*"}</Data>
      ) : (
        <span class="mono">{row.ID?.slice(0, 8)} …</span>
      ),
    order: (row) => row.Name.toLowerCase(),
  },
  {
    key: "kind",
    title: w.kind,
    width: "7.5rem",
    cell: (row) => <Badge tone={isTemplate(row) ? "info" : "plain"}>{w.kinds[kindOf(row)]}</Badge>,
    order: kindOf,
    yields: 2,
  },
  {
    key: "service",
    title: w.service,
    width: "minmax(0, 1fr)",
    cell: (row) => <Data>{row.Service.Service}</Data>,
    order: (row) => row.Service.Service,
  },
  {
    key: "tags",
    title: w.tags,
    width: "minmax(0, 1fr)",
    cell: (row) => <Tags tags={row.Service.Tags} max={3} />,
    yields: 2,
  },
  {
    key: "failover",
    title: w.failover,
    width: "minmax(0, 1fr)",
    cell: (row) => {
      const found = failoverOf(row);
      return found.length ? (
        <Data>{found.join(" → ")}</Data>
      ) : (
        <span class="quiet">{w.noFailover}</span>
      );
    },
    order: (row) => failoverOf(row).length,
    yields: 1,
  },
];

export function QueryList() {
  const live = useLive<Query[]>("/v1/query");
  const [wanted] = useParam("q");
  const [kind] = useParam("kind");
  const [creating, setCreating] = useParam("new");
  const rows = live.value;
  const found = useMemo(
    () =>
      (rows ?? []).filter(
        (row) =>
          (!kind || kindOf(row) === kind) &&
          matches(wanted, row.Name, row.ID ?? "", row.Service.Service, ...row.Service.Tags),
      ),
    [rows, wanted, kind],
  );
  return (
    <Page
      title={words.shell.pages.queries}
      actions={
        <button type="button" class="primary" onClick={() => setCreating("yes")}>
          <Plus size="1.1em" aria-hidden="true" />
          {w.new}
        </button>
      }
    >
      <Loaded live={live}>
        {(all) =>
          all.length ? (
            <>
              <Toolbar said={w.count(found.length, all.length)}>
                <SearchBox />
                <Facet
                  param="kind"
                  label={w.kind}
                  choices={[
                    { value: "", text: w.all },
                    ...(["query", "template", "session"] as const).map((one) => ({
                      value: one,
                      text: w.kinds[one],
                      count: all.filter((row) => kindOf(row) === one).length,
                    })),
                  ]}
                />
              </Toolbar>
              <Table
                rows={found}
                columns={COLUMNS}
                id={(row) => row.ID ?? ""}
                href={(row) => to("queries", row.ID ?? "")}
                label={w.list}
                sort="name"
              />
            </>
          ) : (
            <Empty
              title={w.emptyTitle}
              command="meshctl query create --name stable-web --service web --tag '!canary'"
            >
              <p>{w.emptyText}</p>
            </Empty>
          )
        }
      </Loaded>
      {creating === "yes" && <EditDialog onClose={() => setCreating("")} />}
    </Page>
  );
}
