/** Who may call whom: callers are rows, what is called are columns. */

import { FlaskConical } from "../../parts/icons";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { useLive } from "../../live/live";
import { go, useParam } from "../../live/place";
import {
  ANY,
  type Axes,
  axis,
  Decisions,
  inSight,
  type Matrix,
  named,
  step,
} from "../../logic/matrix";
import { Empty, Loaded } from "../../parts/basics";
import { useNarrow } from "../../parts/narrow";
import { Facet, SearchBox, Toolbar } from "../../parts/search";
import { words } from "../../words";
import { MATRIX, opening } from "./places";
import { ByDestination } from "./bydestination";
import { explained, nameOf, sign } from "./signs";

const w = words.intentions;
const ROW = 40;
const NAMES = 208;
const ROOMY = 112;
const TIGHT = 40;
const PAGE_ROWS = 10;

export function MatrixView() {
  const live = useLive<Matrix>(MATRIX);
  return <Loaded live={live}>{(matrix) => <Shown matrix={matrix} />}</Loaded>;
}

function Shown({ matrix }: { matrix: Matrix }) {
  const [from] = useParam("from");
  const [to] = useParam("to");
  const [scope] = useParam("services", "meshed");
  const narrow = useNarrow();
  const decisions = useMemo(() => new Decisions(matrix), [matrix]);
  const { names, hidden } = useMemo(() => named(matrix, scope === "all"), [matrix, scope]);
  const sources = useMemo(() => axis(names, from), [names, from]);
  const destinations = useMemo(() => axis(names, to), [names, to]);
  const shown = { sources, destinations };
  const bare = !from && !to && shown.sources.length < 2;
  return (
    <>
      <Toolbar said={w.matrix.shown(shown.sources.length, shown.destinations.length)}>
        <SearchBox param="from" label={w.matrix.from} />
        <SearchBox param="to" label={w.matrix.to} />
        <Facet
          param="services"
          label={w.matrix.scope}
          choices={[
            { value: "meshed", text: w.matrix.meshed },
            { value: "all", text: w.matrix.all },
          ]}
        />
      </Toolbar>
      {bare && (
        <Empty title={w.matrix.noneTitle} command={w.matrix.noneCommand}>
          {w.matrix.noneText}
        </Empty>
      )}
      {shown.sources.length === 0 || shown.destinations.length === 0 ? (
        <p class="quiet">{w.matrix.nothing}</p>
      ) : narrow ? (
        <ByDestination decisions={decisions} shown={shown} from={from} />
      ) : (
        <Grid decisions={decisions} shown={shown} />
      )}
      <Legend matrix={matrix} hidden={hidden} keys={!narrow} />
    </>
  );
}

function Legend({ matrix, hidden, keys }: { matrix: Matrix; hidden: number; keys: boolean }) {
  return (
    <section class="int-legend quiet" aria-label={w.matrix.legend}>
      <ul>
        <li class="int-allow">
          {sign("allow")} {w.says.allow}
        </li>
        <li class="int-deny">
          {sign("deny")} {w.says.deny}
        </li>
        <li class="int-requests">
          {sign("requests")} {w.says.requests}
        </li>
        {keys && (
          <>
            <li>
              <span class="int-sample int-exact" aria-hidden="true" /> {w.matrix.exact}
            </li>
            <li>
              <span class="int-sample int-wildcard" aria-hidden="true" /> {w.matrix.wildcard}
            </li>
            <li>
              <span class="int-sample int-default" aria-hidden="true" /> {w.matrix.default}
            </li>
            <li>
              <span class="int-sample int-called" aria-hidden="true" /> {w.matrix.calls}
            </li>
          </>
        )}
        <li>
          <FlaskConical size="1.1em" aria-hidden="true" /> {w.matrix.trial}
        </li>
      </ul>
      <p>
        {matrix.DefaultAllow ? w.matrix.defaultAllow : w.matrix.defaultDeny}
        {hidden > 0 && ` ${w.matrix.hidden(hidden)}.`}
        {keys && ` ${w.matrix.keys}`}
      </p>
    </section>
  );
}

interface At {
  row: number;
  column: number;
}

function Grid({ decisions, shown }: { decisions: Decisions; shown: Axes }) {
  const { sources, destinations } = shown;
  const box = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [offset, setOffset] = useState({ top: 0, left: 0 });
  const [chosen, setActive] = useState<At>({ row: 0, column: 0 });
  const moved = useRef(false);
  const active = {
    row: Math.min(chosen.row, sources.length - 1),
    column: Math.min(chosen.column, destinations.length - 1),
  };
  useLayoutEffect(() => {
    const element = box.current;
    const around = element?.parentElement;
    if (!element || !around) return;
    const measure = () => {
      // The box itself is as wide as its cells are made.
      const [width, height] = [around.clientWidth, element.clientHeight];
      setSize((size) =>
        size.width === width && size.height === height ? size : { width, height },
      );
    };
    // At once too: what is made for another size would be made again.
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    observer.observe(around);
    return () => observer.disconnect();
  }, []);
  // What a search leaves begins at the top.
  useLayoutEffect(() => box.current?.scrollTo(box.current.scrollLeft, 0), [sources]);
  // With the rendering itself: an effect that comes later could belong to the one before.
  useLayoutEffect(() => {
    if (!moved.current) return;
    moved.current = false;
    box.current
      ?.querySelector<HTMLElement>('[role="gridcell"][tabindex="0"]')
      ?.focus({ preventScroll: true });
  });
  const roomy = destinations.length * ROOMY <= size.width - NAMES;
  const width = roomy ? ROOMY : TIGHT;
  const head = roomy ? ROW : 132;
  const rows = withActive(
    inSight(offset.top, size.height, ROW, sources.length),
    active.row,
    sources.length,
  );
  const [first, end] = inSight(offset.left, size.width, width, destinations.length);
  const columns = useMemo(
    () => withActive([first, end], active.column, destinations.length),
    [first, end, active.column, destinations.length],
  );
  const open = (at: At, action?: "allow" | "deny") => {
    const [source, destination] = [sources[at.row], destinations[at.column]];
    if (source === undefined || destination === undefined) return;
    const cell = decisions.cell(source, destination);
    const usual = cell.Says === "allow" ? "deny" : "allow";
    go(
      opening({
        source,
        destination,
        action: action ?? (cell.By === "exact" ? undefined : usual),
      }),
    );
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.altKey || event.metaKey) return;
    const to = step(
      event.key,
      event.ctrlKey,
      active,
      sources.length,
      destinations.length,
      PAGE_ROWS,
    );
    if (to) {
      event.preventDefault();
      moved.current = true;
      setActive(to);
      show(box.current, to, width, head);
      return;
    }
    if (event.ctrlKey) return;
    const keys: Record<string, () => void> = {
      Enter: () => open(active),
      " ": () => open(active),
      a: () => open(active, "allow"),
      d: () => open(active, "deny"),
    };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };
  const full = { width: NAMES + destinations.length * width, height: head + sources.length * ROW };
  return (
    <div
      class={roomy ? "int-matrix int-roomy" : "int-matrix"}
      ref={box}
      onScroll={(event) =>
        setOffset({ top: event.currentTarget.scrollTop, left: event.currentTarget.scrollLeft })
      }
    >
      <div
        role="grid"
        aria-label={w.matrix.label}
        aria-rowcount={sources.length + 1}
        aria-colcount={destinations.length + 1}
        class="int-grid"
        style={{ width: `${full.width}px`, height: `${full.height}px` }}
        onKeyDown={pressed}
        onClick={(event) => {
          const found = (event.target as Element).closest<HTMLElement>("[data-column]");
          if (!found) return;
          const at = { row: Number(found.dataset.row), column: Number(found.dataset.column) };
          setActive(at);
          open(at);
        }}
      >
        <div
          role="row"
          aria-rowindex={1}
          class="int-head"
          style={{ width: `${full.width}px`, height: `${head}px` }}
        >
          <div role="columnheader" aria-colindex={1} class="int-corner">
            {w.matrix.corner}
          </div>
          {columns.map((at) => (
            <div
              key={destinations[at]}
              role="columnheader"
              aria-colindex={at + 2}
              class="int-column"
              style={{ left: `${NAMES + at * width}px`, width: `${width}px` }}
            >
              <Name of={destinations[at] ?? ""} end="destination" />
            </div>
          ))}
        </div>
        {rows.map((at) => (
          <Row
            key={sources[at]}
            at={at}
            top={head + at * ROW}
            width={width}
            total={full.width}
            roomy={roomy}
            source={sources[at] ?? ""}
            destinations={destinations}
            columns={columns}
            decisions={decisions}
            active={active.row === at ? active.column : -1}
          />
        ))}
      </div>
    </div>
  );
}

function Row({
  at,
  top,
  width,
  total,
  roomy,
  source,
  destinations,
  columns,
  decisions,
  active,
}: {
  at: number;
  top: number;
  width: number;
  total: number;
  roomy: boolean;
  source: string;
  destinations: string[];
  columns: number[];
  decisions: Decisions;
  active: number;
}) {
  // What moves or scrolls elsewhere leaves a row as it is.
  const cells = useMemo(
    () =>
      columns.map((column) => {
        const destination = destinations[column] ?? "";
        const cell = decisions.cell(source, destination);
        const calls = decisions.calls(source, destination);
        const said = explained(cell) + (calls ? `, ${w.matrix.upstream}` : "");
        return (
          <div
            key={destination}
            role="gridcell"
            aria-colindex={column + 2}
            aria-label={`${w.arrow(nameOf(source, "source"), nameOf(destination, "destination"))}: ${said}`}
            title={`${w.arrow(source, destination)}\n${said}\n${cell.Rule}`}
            tabIndex={column === active ? 0 : -1}
            class={`int-cell int-${cell.Says} int-${cell.By}${calls ? " int-called" : ""}`}
            style={{ left: `${NAMES + column * width}px`, width: `${width}px` }}
            data-row={at}
            data-column={column}
          >
            <span class="int-face" aria-hidden="true">
              {sign(cell.Says, "1.15em")}
              {roomy && <span>{w.says[cell.Says]}</span>}
              {cell.Trial && <FlaskConical size="0.9em" class="int-trial" />}
            </span>
          </div>
        );
      }),
    [columns, source, destinations, decisions, width, roomy, active, at],
  );
  return (
    <div
      role="row"
      aria-rowindex={at + 2}
      class="int-row"
      style={{ top: `${top}px`, width: `${total}px`, height: `${ROW}px` }}
    >
      <div role="rowheader" aria-colindex={1} class="int-name">
        <Name of={source} end="source" />
      </div>
      {cells}
    </div>
  );
}

function Name({ of, end }: { of: string; end: "source" | "destination" }) {
  const said = nameOf(of, end);
  return (
    <span class="int-label" title={said}>
      {of === ANY ? <em>{w.others}</em> : <bdi>{of}</bdi>}
    </span>
  );
}

/** The places in sight and the active one, which must not vanish under the focus. */
function withActive([first, end]: [number, number], active: number, count: number): number[] {
  const found: number[] = [];
  if (active < first && active >= 0) found.push(active);
  for (let at = first; at < end; at += 1) found.push(at);
  if (active >= end && active < count) found.push(active);
  return found;
}

/** Scroll a cell into what the sticky names leave free. */
function show(box: HTMLElement | null, at: At, width: number, head: number): void {
  if (!box) return;
  const top = at.row * ROW;
  const left = at.column * width;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW + head > box.scrollTop + box.clientHeight)
    box.scrollTop = top + ROW + head - box.clientHeight;
  if (left < box.scrollLeft) box.scrollLeft = left;
  else if (left + width + NAMES > box.scrollLeft + box.clientWidth)
    box.scrollLeft = left + width + NAMES - box.clientWidth;
}
