/** Who may call whom, as the server tells it (mesh/ui/matrix.py): looked up, and cut to size. */

import { matches } from "./search";

export type Says = "allow" | "deny" | "requests";

/** What holds for calls of one service to another, and by which rule. */
export interface Cell {
  Says: Says;
  By: "exact" | "wildcard" | "default";
  Rule: string;
  /** The ends of the intention that decides; empty for the default. */
  Source: string;
  Destination: string;
  Permissions: number;
  Token: boolean;
  /** What would hold if dry runs were enforced; empty when none is about this. */
  Trial: Says | "";
}

export interface Matrix {
  DefaultAllow: boolean;
  /** The one of `*` holds for all destinations without a row. */
  Rows: { Destination: string; Others: Cell; Sources: Record<string, Cell> }[];
  Services: { Name: string; Kind: string; Meshed: boolean; Calls: string[] }[];
}

export const ANY = "*";

export const NOTHING: Cell = {
  Says: "deny",
  By: "default",
  Rule: "",
  Source: "",
  Destination: "",
  Permissions: 0,
  Token: false,
  Trial: "",
};

function isSame(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

/** The matrix to look things up in. Services have the same name in any case. */
export class Decisions {
  private readonly rows = new Map<string, Matrix["Rows"][number]>();
  private readonly calling = new Map<string, Set<string>>();

  constructor(readonly matrix: Matrix) {
    for (const row of matrix.Rows) this.rows.set(row.Destination.toLowerCase(), row);
    for (const one of matrix.Services)
      if (one.Calls.length)
        this.calling.set(
          one.Name.toLowerCase(),
          new Set(one.Calls.map((name) => name.toLowerCase())),
        );
  }

  /** What holds between two; of `*` and another the rule for just these is exact too. */
  cell(source: string, destination: string): Cell {
    const row = this.rows.get(destination.toLowerCase()) ?? this.rows.get(ANY);
    if (!row) return NOTHING;
    const name = source.toLowerCase();
    const own = Object.hasOwn(row.Sources, name) ? row.Sources[name] : undefined;
    const cell = own ?? row.Others;
    const exact = isSame(cell.Source, source) && isSame(cell.Destination, destination);
    return exact && cell.By !== "exact" ? { ...cell, By: "exact" } : cell;
  }

  /** Whether a sidecar of the source has the destination as an upstream. */
  calls(source: string, destination: string): boolean {
    return this.calling.get(source.toLowerCase())?.has(destination.toLowerCase()) ?? false;
  }
}

export interface Names {
  /** By name. */
  names: string[];
  /** How many services there are that are not shown since they are not in the mesh. */
  hidden: number;
}

/** Who may be a row or a column: services in the mesh and those that intentions name, or all. */
export function named(matrix: Matrix, all: boolean): Names {
  const names = new Map<string, string>();
  let hidden = 0;
  for (const row of matrix.Rows) {
    note(names, row.Destination);
    note(names, row.Others.Source);
    for (const cell of Object.values(row.Sources)) note(names, cell.Source);
  }
  for (const one of matrix.Services) {
    if (all || one.Meshed || names.has(one.Name.toLowerCase()))
      names.set(one.Name.toLowerCase(), one.Name);
    else hidden += 1;
  }
  names.delete(ANY);
  return { names: [...names.values()].sort((a, b) => (a < b ? -1 : 1)), hidden };
}

/** One axis: `*` and all of them, or those that fit what is searched. */
export function axis(names: readonly string[], search: string): string[] {
  const wanted = search.trim();
  if (!wanted || wanted === ANY) return wanted ? [ANY] : [ANY, ...names];
  return names.filter((name) => matches(wanted, name));
}

export interface Axes {
  sources: string[];
  destinations: string[];
}

function note(names: Map<string, string>, name: string): void {
  if (name && !names.has(name.toLowerCase())) names.set(name.toLowerCase(), name);
}

/** Which of so many things of one size are in sight, from the first to before the last. */
export function inSight(
  offset: number,
  extent: number,
  size: number,
  count: number,
  beyond = 2,
): [number, number] {
  const first = Math.max(0, Math.floor(offset / size) - beyond);
  return [Math.min(first, count), Math.min(count, Math.ceil((offset + extent) / size) + beyond)];
}

/** Where a key of the arrows and such leads in a grid; null when it leads nowhere. */
export function step(
  key: string,
  control: boolean,
  at: { row: number; column: number },
  rows: number,
  columns: number,
  page: number,
): { row: number; column: number } | null {
  const end = { row: rows - 1, column: columns - 1 };
  const moves: Record<string, { row: number; column: number }> = {
    ArrowUp: { ...at, row: at.row - 1 },
    ArrowDown: { ...at, row: at.row + 1 },
    ArrowLeft: { ...at, column: at.column - 1 },
    ArrowRight: { ...at, column: at.column + 1 },
    PageUp: { ...at, row: at.row - page },
    PageDown: { ...at, row: at.row + page },
    Home: { row: control ? 0 : at.row, column: 0 },
    End: { row: control ? end.row : at.row, column: end.column },
  };
  const to = moves[key];
  if (!to) return null;
  return {
    row: Math.max(0, Math.min(end.row, to.row)),
    column: Math.max(0, Math.min(end.column, to.column)),
  };
}
