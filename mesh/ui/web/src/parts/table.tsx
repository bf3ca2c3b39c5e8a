/** Lists of any length: only the rows in sight are in the page. */

import { ArrowDown, ArrowUp } from "./icons";
import { Component, type ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { useParam } from "../live/place";
import { density } from "../live/settings";
import { words } from "../words";

export interface Column<T> {
  key: string;
  title: string;
  /** CSS grid track, such as `2fr` or `8rem`. */
  width: string;
  cell: (row: T) => ComponentChildren;
  /** By what rows are sorted, if they can be by this. */
  order?: (row: T) => string | number;
  /** Left out on screens narrower than this: 0 is for walls, then 1 goes first, 3 last, absent never. */
  yields?: 0 | 1 | 2 | 3;
  align?: "end";
}

const HEIGHTS = { cosy: 44, dense: 32 };

/** Rows sorted as the address says (`?sort=key` or `-key`), by the order of a column. */
export function sorted<T>(rows: readonly T[], columns: Column<T>[], sort: string): readonly T[] {
  const key = sort.replace(/^-/, "");
  const order = columns.find((column) => column.key === key)?.order;
  if (!order) return rows;
  const sign = sort.startsWith("-") ? -1 : 1;
  return rows
    .map((row) => [order(row), row] as const)
    .sort(([a], [b]) => sign * compare(a, b))
    .map(([, row]) => row);
}

function compare(a: string | number, b: string | number): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const [left, right] = [String(a), String(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

export function Table<T>({
  rows,
  columns,
  id,
  href,
  label,
  sort: usual = "",
  empty,
}: {
  rows: readonly T[];
  columns: Column<T>[];
  /** What tells a row from the others. */
  id: (row: T) => string;
  /** Where a row leads. */
  href?: (row: T) => string;
  /** What the table lists, for who cannot see it. */
  label: string;
  sort?: string;
  empty?: ComponentChildren;
}) {
  const [sort, setSort] = useParam("sort", usual);
  const body = useRef<HTMLDivElement>(null);
  const ordered = useMemo(() => sorted(rows, columns, sort), [rows, columns, sort]);
  const height = HEIGHTS[density.value as keyof typeof HEIGHTS] ?? HEIGHTS.cosy;
  const [from, to] = useWindow(body, ordered.length, height);
  const tracks = (level: number) =>
    columns
      .filter((column) => (column.yields ?? 9) > level)
      .map((column) => column.width)
      .join(" ");
  if (!rows.length) return <>{empty ?? <p class="quiet">{words.parts.nothingFound}</p>}</>;
  return (
    <div
      class="table"
      role="table"
      aria-label={label}
      aria-rowcount={rows.length + 1}
      style={{
        "--tracks": tracks(-1),
        "--tracks-0": tracks(0),
        "--tracks-1": tracks(1),
        "--tracks-2": tracks(2),
        "--tracks-3": tracks(3),
        "--row": `${height}px`,
      }}
    >
      <Head columns={columns} sort={sort} setSort={setSort} />
      <div
        role="rowgroup"
        class="rows"
        ref={body}
        style={{ height: `${ordered.length * height}px` }}
      >
        {ordered.slice(from, to).map((row, i) => (
          <Row
            key={id(row)}
            row={row}
            columns={columns as Column<never>[]}
            index={from + i}
            height={height}
            href={href as ((row: unknown) => string) | undefined}
          />
        ))}
      </div>
    </div>
  );
}

interface RowProps {
  row: unknown;
  // A column of whatever the rows of this table are.
  columns: Column<never>[];
  index: number;
  height: number;
  href: ((row: unknown) => string) | undefined;
}

/** A row, made anew only when it is another, or what it shows changes. */
class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps, state: unknown): boolean {
    const { row, columns, index, height } = this.props;
    return (
      // A signal that a cell reads has changed.
      state !== this.state ||
      next.row !== row ||
      next.columns !== columns ||
      next.index !== index ||
      next.height !== height
    );
  }

  override render() {
    const { row, columns, index, height, href } = this.props;
    return (
      <div
        role="row"
        aria-rowindex={index + 2}
        class={href ? "row linked" : "row"}
        style={{ transform: `translateY(${index * height}px)` }}
      >
        {columns.map((column, i) => (
          <div key={column.key} role="cell" class={classes(column)}>
            {i === 0 && href ? (
              <a class="row-link" href={href(row)}>
                {column.cell(row as never)}
              </a>
            ) : (
              column.cell(row as never)
            )}
          </div>
        ))}
      </div>
    );
  }
}

function classes<T>(column: Column<T>): string {
  return `cell${column.yields === undefined ? "" : ` yields-${column.yields}`}${column.align ? " end" : ""}`;
}

function Head<T>({
  columns,
  sort,
  setSort,
}: {
  columns: Column<T>[];
  sort: string;
  setSort: (sort: string) => void;
}) {
  return (
    <div role="rowgroup" class="head">
      <div role="row" class="row" aria-rowindex={1}>
        {columns.map((column) => {
          const up = sort === column.key;
          const down = sort === `-${column.key}`;
          return (
            <div
              key={column.key}
              role="columnheader"
              class={classes(column)}
              aria-sort={up ? "ascending" : down ? "descending" : undefined}
            >
              {column.order ? (
                <button
                  type="button"
                  class="plain"
                  title={words.parts.sortBy(column.title)}
                  onClick={() => setSort(up ? `-${column.key}` : column.key)}
                >
                  {column.title}
                  {up && <ArrowUp size="1em" aria-hidden="true" />}
                  {down && <ArrowDown size="1em" aria-hidden="true" />}
                </button>
              ) : (
                column.title
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

const BEYOND = 8;
/** Rows out of sight are made so much later than the first ones are painted. */
const REST_MS = 100;
/** By so many rows the part in the page moves: scrolling makes rows in lots. */
const STEP = 4;

/** From which row to which, of so many of one height, the page has them: those in sight and some. */
function useWindow(
  body: { current: HTMLElement | null },
  count: number,
  height: number,
): [number, number] {
  const [from, setFrom] = useState(0);
  const [all, setAll] = useState(false);
  const sight = Math.ceil(window.innerHeight / height);
  const shown = all || from > 0 ? sight + 2 * BEYOND + STEP : sight;
  useEffect(() => {
    let later = 0;
    const frame = requestAnimationFrame(() => {
      later = setTimeout(() => setAll(true), REST_MS);
    });
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(later);
    };
  }, []);
  useLayoutEffect(() => {
    let top = 0;
    const look = () => {
      const first = Math.floor((window.scrollY - top) / height) - BEYOND;
      setFrom(Math.max(Math.floor(first / STEP) * STEP, 0));
    };
    const measure = () => {
      if (body.current) top = body.current.getBoundingClientRect().top + window.scrollY;
      look();
    };
    const sizes = new ResizeObserver(measure);
    sizes.observe(document.body);
    window.addEventListener("scroll", look, { passive: true });
    window.addEventListener("resize", measure);
    return () => {
      sizes.disconnect();
      window.removeEventListener("scroll", look);
      window.removeEventListener("resize", measure);
    };
  }, [body, height]);
  const first = Math.min(from, Math.max(count - shown + BEYOND, 0));
  return [first, Math.min(first + shown, count)];
}
