/** How far a node is from all others, by network coordinates. */

import { useMemo } from "preact/hooks";
import { useLive } from "../live/live";
import { to } from "../live/place";
import { type Distance, distances, milliseconds, type Place, spread } from "../logic/rtt";
import { Command, Data, Empty, Loaded, Panel } from "../parts/basics";
import { commandLine } from "../parts/act";
import { type Column, Table } from "../parts/table";
import { words } from "../words";
import { RttChart } from "./rtt-chart";

const d = words.nodes.distance;
const OFF = 401;

export function RoundTrips({ node }: { node: string }) {
  const live = useLive<Place[]>("/v1/coordinate/nodes");
  const found = useMemo(() => distances(live.value ?? [], node), [live.value, node]);
  if (live.status === OFF) return <Empty title={d.off}>{live.error}</Empty>;
  return (
    <Loaded live={live}>
      {() =>
        found?.length ? (
          <Shown node={node} found={found} />
        ) : (
          <Empty title={found ? d.alone : d.unknown} command={commandLine("meshctl rtt", [node])}>
            {d.unknownText}
          </Empty>
        )
      }
    </Loaded>
  );
}

function Shown({ node, found }: { node: string; found: Distance[] }) {
  const middle = spread(found);
  if (!middle) return null;
  const [min, median, max] = [middle.min, middle.median, middle.max].map(milliseconds) as [
    string,
    string,
    string,
  ];
  return (
    <>
      <Panel>
        <div class="node-rtt">
          <dl class="figures">
            {[
              [d.min, min],
              [d.median, median],
              [d.max, max],
              [d.count, found.length],
            ].map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
          <RttChart found={found} label={d.chart(min, median, max, found.length)} />
          <p class="quiet">{d.explained}</p>
        </div>
      </Panel>
      <Table
        rows={found}
        columns={COLUMNS}
        id={(row) => row.node}
        href={(row) => to("nodes", row.node, "rtt")}
        label={d.table}
        sort="rtt"
      />
      <Command text={commandLine("meshctl rtt", [node, found[0]?.node ?? ""])} />
    </>
  );
}

const COLUMNS: Column<Distance>[] = [
  {
    key: "node",
    title: words.nodes.name,
    width: "minmax(8rem, 3fr)",
    cell: (row) => <Data>{row.node}</Data>,
    order: (row) => row.node,
  },
  {
    key: "rtt",
    title: words.nodes.rtt,
    width: "minmax(6rem, 1fr)",
    align: "end",
    cell: (row) => milliseconds(row.seconds),
    order: (row) => row.seconds,
  },
  {
    key: "error",
    title: d.error,
    width: "minmax(5rem, 1fr)",
    align: "end",
    yields: 3,
    cell: (row) => <span title={d.errorHint}>{row.error.toFixed(2)}</span>,
    order: (row) => row.error,
  },
];
