/** The certificates that the node shows which served this page, and when they end. */

import { isHere, scope } from "../live/api";
import { useLive } from "../live/live";
import { to } from "../live/place";
import { commandLine, quoted } from "../logic/shell";
import { Command, Data, Empty, Failure, Loaded, Panel } from "../parts/basics";
import { type Column, Table } from "../parts/table";
import { Time } from "../parts/time";
import { words } from "../words";
import { EndBadge } from "./certificates-end";

const w = words.certificates;

interface Leaf {
  Service: string;
  URI: string;
  SerialNumber: string;
  RootID: string;
  ValidAfter: string;
  ValidBefore: string;
  Trouble: string;
}

interface Held {
  Node: string;
  Leaves: Leaf[];
  Own: { Option: string; ValidBefore: string }[];
}

const COLUMNS: Column<Leaf>[] = [
  {
    key: "service",
    title: w.columns.service,
    width: "minmax(4rem, 1.5fr)",
    cell: (row) => (
      <span title={row.URI}>
        <Data>{row.Service}</Data>
      </span>
    ),
    order: (row) => row.Service,
  },
  {
    key: "state",
    title: w.columns.state,
    width: "minmax(5.5rem, 1fr)",
    cell: (row) => (
      <span title={row.Trouble}>
        <EndBadge from={row.ValidAfter} until={row.ValidBefore} />
      </span>
    ),
  },
  {
    key: "until",
    title: w.columns.until,
    width: "6rem",
    cell: (row) => <Time at={row.ValidBefore} />,
    order: (row) => row.ValidBefore,
  },
  {
    key: "from",
    title: w.columns.from,
    width: "8rem",
    cell: (row) => <Time at={row.ValidAfter} />,
    order: (row) => row.ValidAfter,
    yields: 2,
  },
  {
    key: "serial",
    title: w.columns.serial,
    width: "minmax(8rem, 2fr)",
    cell: (row) => <Data mono>{row.SerialNumber}</Data>,
    yields: 1,
  },
];

export function Leaves() {
  return isHere() ? (
    <Shown />
  ) : (
    <Empty title={w.leavesElsewhere(scope.shown)}>{w.leavesElsewhereText(scope.local)}</Empty>
  );
}

function Shown() {
  const live = useLive<Held>("/v1/internal/ui/certificates");
  return (
    <Loaded live={live}>
      {(held) => (
        <>
          <section class="ca-leaves">
            <h2>
              <bdi>{w.leaves(held.Node)}</bdi>
            </h2>
            <p class="quiet">{w.leavesText}</p>
            {held.Leaves.filter((one) => one.Trouble).map((one) => (
              <Failure key={one.Service} title={one.Service} error={one.Trouble} />
            ))}
            <Table
              label={w.leaves(held.Node)}
              rows={held.Leaves}
              columns={COLUMNS}
              id={(row) => row.Service}
              href={(row) => to("services", row.Service)}
              sort="until"
              empty={
                <Empty title={w.noLeaves} command="meshctl connect envoy --sidecar-for NAME">
                  {w.noLeavesText}
                </Empty>
              }
            />
            {held.Leaves.length > 0 && (
              <Command
                label={w.renew}
                text={commandLine("meshctl connect ca reissue", [
                  held.Leaves[0]?.Service ?? "NAME",
                ])}
              />
            )}
          </section>
          <Own held={held} />
        </>
      )}
    </Loaded>
  );
}

function Own({ held }: { held: Held }) {
  return (
    <Panel title={w.own}>
      {held.Own.length > 0 ? (
        <>
          <p class="quiet">{w.ownText}</p>
          <table class="simple">
            <thead>
              <tr>
                <th scope="col">{w.option}</th>
                <th scope="col">{w.columns.until}</th>
              </tr>
            </thead>
            <tbody>
              {held.Own.map((one) => (
                <tr key={one.Option}>
                  <td>
                    <Data mono>{one.Option}</Data>
                  </td>
                  <td>
                    <Time at={one.ValidBefore} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </>
      ) : (
        <Empty
          title={w.noOwn}
          command={`meshctl tls cert create --server --node ${quoted(held.Node)}`}
        >
          {w.noOwnText}
        </Empty>
      )}
    </Panel>
  );
}
