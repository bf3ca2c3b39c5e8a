/** What a prepared query finds, and what it is for a name. */

import { useState } from "preact/hooks";
import { api, ask, query as withParams, reason } from "../../live/api";
import { to } from "../../live/place";
import { type CheckLike, type Status, statusOf, worst } from "../../logic/health";
import { isTemplate, type Query } from "../../logic/prepared";
import { Input, commandLine, quoted } from "../../parts/act";
import { Badge, Command, Data, Empty, Failure, Panel, StatusBadge, Tags } from "../../parts/basics";
import { type Column, Table } from "../../parts/table";
import { words } from "../../words";
import { Details } from "./detail";
import { nameOf } from "./list";

const w = words.queries;

interface Instance {
  Node: { Node: string; Address: string; Datacenter: string };
  Service: { ID: string; Service: string; Address: string; Port: number; Tags: string[] };
  Checks: CheckLike[];
}

interface Execution {
  Service: string;
  Nodes: Instance[];
  Datacenter: string;
  Failovers: number;
}

type Outcome =
  | { kind: "found"; name: string; found: Execution }
  | { kind: "explained"; name: string; query: Query };

function healthOf(row: Instance): Status {
  return row.Checks.length ? worst(row.Checks.map(statusOf)) : "passing";
}

const COLUMNS: Column<Instance>[] = [
  {
    key: "instance",
    title: w.instance,
    width: "minmax(0, 1fr)",
    cell: (row) => <Data>{row.Service.ID}</Data>,
  },
  {
    key: "health",
    title: w.health,
    width: "8rem",
    cell: (row) => <StatusBadge status={healthOf(row)} />,
  },
  {
    key: "node",
    title: w.node,
    width: "minmax(0, 1fr)",
    cell: (row) => <Data>{`${row.Node.Node} · ${row.Node.Datacenter}`}</Data>,
    yields: 3,
  },
  {
    key: "address",
    title: w.address,
    width: "minmax(0, 1fr)",
    cell: (row) => (
      <Data mono>{`${row.Service.Address || row.Node.Address}:${row.Service.Port}`}</Data>
    ),
    yields: 2,
  },
  {
    key: "tags",
    title: w.tags,
    width: "minmax(0, 1fr)",
    cell: (row) => <Tags tags={row.Service.Tags} />,
    yields: 1,
  },
];

export function Execute({ query }: { query: Query }) {
  const template = isTemplate(query);
  const [name, setName] = useState(nameOf(query));
  const [near, setNear] = useState("");
  const [limit, setLimit] = useState("");
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const [error, setError] = useState("");
  const attempt = async (trying: () => Promise<Outcome>) => {
    setError("");
    try {
      setOutcome(await trying());
    } catch (failed) {
      setOutcome(null);
      setError(reason(failed));
    }
  };
  const execute = (event: Event) => {
    event.preventDefault();
    const path = withParams(api`/v1/query/${name}/execute`, { near, limit });
    void attempt(async () => ({ kind: "found", name, found: await ask<Execution>(path) }));
  };
  const explain = () =>
    attempt(async () => {
      const path = api`/v1/query/${name}/explain`;
      const { Query } = await ask<{ Query: Query }>(path);
      return { kind: "explained", name, query: Query };
    });
  const options = `${near ? ` --near ${quoted(near)}` : ""}${limit ? ` --limit ${quoted(limit)}` : ""}`;
  return (
    <Panel title={w.execute}>
      <div class="queries-stack">
        <form class="queries-try" onSubmit={execute}>
          <Input
            field={{
              name: "name",
              label: w.executeName,
              required: true,
              ...(template ? { hint: w.templateHint(query.Name) } : {}),
            }}
            value={name}
            set={setName}
          />
          <Input
            field={{ name: "near", label: w.executeNear, offers: ["_agent", "_ip"] }}
            value={near}
            set={setNear}
          />
          <Input
            field={{ name: "limit", label: w.executeLimit, kind: "number" }}
            value={limit}
            set={setLimit}
          />
          <div class="queries-buttons">
            <button type="submit" class="primary">
              {w.run}
            </button>
            <button type="button" onClick={() => void explain()} disabled={!name}>
              {w.explain}
            </button>
          </div>
        </form>
        <Command
          text={
            outcome?.kind === "explained"
              ? commandLine("meshctl query explain", [name])
              : commandLine(`meshctl query execute${options}`, [name])
          }
        />
        {error && <Failure title={words.parts.refused} error={error} />}
        <div aria-live="polite" class="queries-stack">
          {outcome?.kind === "found" && <Found found={outcome.found} />}
          {outcome?.kind === "explained" && (
            <>
              <h3>{w.explained(outcome.name)}</h3>
              <p class="quiet">
                <bdi>{w.explainedBy(nameOf(outcome.query))}</bdi>
              </p>
              <Details query={outcome.query} />
            </>
          )}
        </div>
      </div>
    </Panel>
  );
}

function Found({ found }: { found: Execution }) {
  if (!found.Nodes.length)
    return (
      <Empty title={w.noneFound} command={commandLine("meshctl services nodes", [found.Service])}>
        <p>
          {w.noneFoundText}{" "}
          <a href={to("services", found.Service)}>
            <bdi>{found.Service}</bdi>
          </a>
        </p>
      </Empty>
    );
  return (
    <>
      <p class="queries-found">
        <strong>{w.found(found.Nodes.length, found.Datacenter)}</strong>
        {found.Failovers > 0 && <Badge tone="warn">{w.failovers(found.Failovers)}</Badge>}
      </p>
      <Table
        rows={found.Nodes}
        columns={COLUMNS}
        id={(row) => `${row.Node.Node}/${row.Service.ID}`}
        href={(row) =>
          to("services", row.Service.Service, "instances", row.Node.Node, row.Service.ID)
        }
        label={w.results}
      />
    </>
  );
}
