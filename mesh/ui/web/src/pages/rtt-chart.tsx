/** Round trips as dots, the nearest node first. The library comes when a chart is shown. */

import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import { type Distance, milliseconds } from "../logic/rtt";
import { words } from "../words";

const HEIGHT = 220;
const NARROWEST = 160;

export function RttChart({ found, label }: { found: Distance[]; label: string }) {
  const element = useRef<HTMLDivElement>(null);
  const made = useRef<uPlot | null>(null);
  const latest = useRef(found);
  latest.current = found;
  const [pointed, setPointed] = useState<number | null>(null);
  useEffect(() => {
    const at = element.current;
    if (!at) return;
    let gone = false;
    const observer = new ResizeObserver(() => {
      made.current?.setSize({ width: width(at), height: HEIGHT });
    });
    const scheme = new MutationObserver(() => made.current?.redraw(false));
    void load().then((Plot) => {
      if (gone) return;
      made.current = new Plot(options(at, setPointed), data(latest.current), at);
      observer.observe(at);
      scheme.observe(document.documentElement, { attributeFilter: ["data-scheme"] });
    });
    return () => {
      gone = true;
      observer.disconnect();
      scheme.disconnect();
      made.current?.destroy();
      made.current = null;
    };
  }, []);
  useEffect(() => {
    made.current?.setData(data(found));
  }, [found]);
  const node = pointed === null ? undefined : found[pointed];
  return (
    <div>
      <div ref={element} class="rtt-chart" role="img" aria-label={label}>
        <span class="dots" />
        <span class="lines" />
      </div>
      <p class="rtt-said quiet" aria-hidden="true">
        {node ? (
          <bdi>{`${node.node}: ${milliseconds(node.seconds)}`}</bdi>
        ) : (
          words.nodes.distance.hover
        )}
      </p>
    </div>
  );
}

async function load(): Promise<typeof uPlot> {
  const [module] = await Promise.all([import("uplot"), import("uplot/dist/uPlot.min.css")]);
  return module.default;
}

function width(at: HTMLElement): number {
  return Math.max(at.clientWidth, NARROWEST);
}

function data(found: Distance[]): uPlot.AlignedData {
  return [found.map((_, i) => i + 1), found.map((one) => one.seconds * 1000)];
}

/** Colours as the page has them now: a canvas knows no variables of style sheets. */
function colour(at: HTMLElement, of: string): string {
  const from = of ? at.querySelector(of) : at;
  return getComputedStyle(from ?? at).color;
}

function options(at: HTMLElement, point: (index: number | null) => void): uPlot.Options {
  const text = () => colour(at, "");
  const lines = { stroke: () => colour(at, ".lines"), width: 1 };
  return {
    width: width(at),
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 11 } },
    scales: {
      x: { time: false, range: (_plot, min, max) => [min - 0.5, max + 0.5] },
      y: { range: (_plot, _min, max) => [0, max * 1.1 || 1] },
    },
    axes: [
      {
        stroke: text,
        grid: { show: false },
        ticks: lines,
        label: words.nodes.distance.axis,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000],
      },
      {
        stroke: text,
        grid: lines,
        ticks: lines,
        size: 70,
        values: (_plot, splits) => splits.map((value) => `${value} ms`),
      },
    ],
    series: [
      {},
      {
        paths: () => null,
        points: {
          show: true,
          size: 7,
          stroke: () => colour(at, ".dots"),
          fill: () => colour(at, ".dots"),
        },
      },
    ],
    hooks: { setCursor: [(plot) => point(plot.cursor.idx ?? null)] },
  };
}
