/** Who calls a service and whom it calls, drawn and as a list, with what decides each call. */

import { Ban, Check, type Icon, ListChecks } from "../../parts/icons";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../../live/api";
import { useLive } from "../../live/live";
import { to } from "../../live/place";
import {
  BOX,
  type Call,
  type Layout,
  SELF,
  type Topology,
  type Verdict,
  boxId,
  callsOf,
  curve,
  drawn,
  laidOut,
  tip,
} from "../../logic/topology";
import { Badge, Command, Empty, Loaded, Panel, StatusBadge } from "../../parts/basics";
import { words } from "../../words";
import { CallDialog } from "./call";

const w = words.services.topology;
const DRAWN_MAX = 16;
const LISTED = 100;
/** Below this many pixels the list alone says more. */
const WIDTH_MIN = 620;
const HTTP = ["http", "http2", "grpc"];
const ICONS: Record<Verdict, Icon> = { allow: Check, deny: Ban, requests: ListChecks };

export function TopologyTab({ service }: { service: string }) {
  const live = useLive<Topology>(api`/v1/internal/ui/service-topology/${service}?kind=`);
  return <Loaded live={live}>{(value) => <Shown service={service} topology={value} />}</Loaded>;
}

function Shown({ service, topology }: { service: string; topology: Topology }) {
  const calls = useMemo(() => callsOf(service, topology), [service, topology]);
  const [changing, setChanging] = useState<Call | null>(null);
  // What is said of the call may change while its dialog is open.
  const changed = changing && (calls.find((call) => boxId(call) === boxId(changing)) ?? changing);
  if (!calls.length)
    return (
      <Empty title={w.empty(service)}>
        <p>{w.emptyText}</p>
        <Command text={w.emptyExample(service)} />
      </Empty>
    );
  return (
    <div class="services-stack">
      <Graph service={service} calls={calls} change={setChanging} />
      <p class="quiet">
        {w.protocol} {topology.Protocol}. {w.protocolText(HTTP.includes(topology.Protocol))}
        {topology.TransparentProxy && ` ${w.transparent}`}
      </p>
      <Panel title={w.table}>
        <List calls={calls} change={setChanging} />
      </Panel>
      {changed && <CallDialog call={changed} onClose={() => setChanging(null)} />}
    </div>
  );
}

/** The library that lays out, once it is here. */
function useDagre(): unknown {
  const [dagre, set] = useState<unknown>(null);
  useEffect(() => {
    void import("@dagrejs/dagre").then((module) => set(() => module));
  }, []);
  return dagre;
}

function useWidth() {
  const element = useRef<HTMLDivElement>(null);
  const [width, set] = useState(0);
  useEffect(() => {
    const watched = element.current;
    if (!watched) return;
    const observer = new ResizeObserver(([entry]) => set(entry?.contentRect.width ?? 0));
    observer.observe(watched);
    return () => observer.disconnect();
  }, []);
  return { element, width };
}

function Graph({
  service,
  calls,
  change,
}: {
  service: string;
  calls: Call[];
  change: (call: Call) => void;
}) {
  const dagre = useDagre();
  const { element, width } = useWidth();
  const some = useMemo(() => drawn(calls, DRAWN_MAX), [calls]);
  const layout = useMemo(() => (dagre ? laidOut(dagre, some.calls) : null), [dagre, some]);
  const wide = width >= WIDTH_MIN;
  return (
    <div ref={element}>
      {wide && layout && (
        <figure class="services-graph">
          <figcaption class="unseen">{w.graph(service)}</figcaption>
          <Drawing service={service} layout={layout} room={width} change={change} />
        </figure>
      )}
      {wide && some.left > 0 && <p class="quiet">{w.left(some.left)}</p>}
    </div>
  );
}

function Drawing({
  service,
  layout,
  room,
  change,
}: {
  service: string;
  layout: Layout;
  room: number;
  change: (call: Call) => void;
}) {
  const scale = Math.min(1, (room - 34) / layout.width);
  const at = (x: number, y: number) => ({ left: `${x}px`, top: `${y}px` });
  return (
    <div style={{ height: `${layout.height * scale}px`, width: `${layout.width * scale}px` }}>
      <div
        class="services-drawing"
        style={{
          width: `${layout.width}px`,
          height: `${layout.height}px`,
          transform: `scale(${scale})`,
        }}
      >
        <svg width={layout.width} height={layout.height} aria-hidden="true">
          {layout.lines.map(({ call, points }) => (
            <g key={boxId(call)} class={`services-line is-${call.decision.Verdict}`}>
              <path d={curve(points)} />
              <path class="services-tip" d={tip(points[2])} />
            </g>
          ))}
        </svg>
        {layout.boxes.map((box) => (
          <div
            key={box.id}
            class={box.id === SELF ? "services-box is-self" : "services-box"}
            style={{ ...at(box.x, box.y), width: `${BOX.width}px`, height: `${BOX.height}px` }}
          >
            {box.id === SELF ? (
              <strong>
                <bdi>{service}</bdi>
              </strong>
            ) : (
              <BoxOf call={layout.lines.find((line) => boxId(line.call) === box.id)?.call} />
            )}
          </div>
        ))}
        {layout.lines.map(({ call, points: [, label] }) => (
          <button
            key={boxId(call)}
            type="button"
            class={`services-label is-${call.decision.Verdict}`}
            style={at(label.x, label.y)}
            title={call.decision.Rule}
            aria-label={w.edge(call.source, call.destination, w.verdicts[call.decision.Verdict])}
            onClick={() => change(call)}
          >
            <Says verdict={call.decision.Verdict} />
          </button>
        ))}
      </div>
    </div>
  );
}

function BoxOf({ call }: { call: Call | undefined }) {
  if (!call) return null;
  return (
    <>
      <a href={to("services", call.other)}>
        <bdi>{call.other}</bdi>
      </a>
      <Health call={call} />
    </>
  );
}

function Health({ call }: { call: Call }) {
  if (!call.instances) return <StatusBadge status="unknown" text={w.noInstance} />;
  return (
    <StatusBadge
      status={call.status}
      text={`${words.parts.status[call.status]}, ${words.services.instances(call.instances)}`}
    />
  );
}

export function Says({ verdict }: { verdict: Verdict }) {
  const Icon = ICONS[verdict];
  return (
    <span class={`services-says is-${verdict}`}>
      <Icon size="1em" aria-hidden="true" />
      {w.verdicts[verdict]}
    </span>
  );
}

function List({ calls, change }: { calls: Call[]; change: (call: Call) => void }) {
  const [most, setMost] = useState(LISTED);
  return (
    <div class="services-scroll">
      <table class="services-table">
        <thead>
          <tr>
            <th scope="col">{w.columns.source}</th>
            <th scope="col">{w.columns.destination}</th>
            <th scope="col">{w.columns.decision}</th>
            <th scope="col" class="services-wide">
              {w.columns.rule}
            </th>
            <th scope="col" class="services-wide">
              {w.columns.health}
            </th>
          </tr>
        </thead>
        <tbody>
          {calls.slice(0, most).map((call) => (
            <tr key={boxId(call)}>
              <td>
                <End name={call.source} call={call.side === "down" ? call : null} />
              </td>
              <td>
                <End name={call.destination} call={call.side === "up" ? call : null} />
              </td>
              <td>
                <button
                  type="button"
                  class="small ghost"
                  aria-label={w.edge(
                    call.source,
                    call.destination,
                    w.verdicts[call.decision.Verdict],
                  )}
                  onClick={() => change(call)}
                >
                  <Says verdict={call.decision.Verdict} />
                </button>
              </td>
              <td class="services-wide">
                <bdi>{call.decision.Rule}</bdi>
                {call.known !== "proxy-registration" && (
                  <>
                    {" "}
                    <Badge>{w.known[call.known]}</Badge>
                  </>
                )}
              </td>
              <td class="services-wide">
                <Health call={call} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {calls.length > most && (
        <button type="button" onClick={() => setMost(most + LISTED)}>
          {words.services.instance.more(Math.min(LISTED, calls.length - most))}
        </button>
      )}
    </div>
  );
}

function End({ name, call }: { name: string; call: Call | null }) {
  return call ? (
    <span>
      <a href={to("services", name)}>
        <bdi>{name}</bdi>
      </a>{" "}
      <span class="services-narrow">
        <StatusBadge status={call.status} bare />
      </span>
    </span>
  ) : (
    <strong>
      <bdi>{name}</bdi>
    </strong>
  );
}
