/** Who may call whom, as the server tells it (mesh/ui/matrix.py): looked up, and cut to size. */

import { words } from "../words";
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
  /** How many there are, dry runs too. */
  Intentions: number;
  /** Those of rules for just two services name neither them nor the rule, and stand for many. */
  Cells: Cell[];
  /** By numbers of cells. The one of `*` holds for all destinations without a row. */
  Rows: { Destination: string; Others: number; Sources: Record<string, number> }[];
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

/** A row to look things up in: made when it is first asked for. */
interface Row {
  others: number;
  sources: Map<string, number>;
}

/** The matrix to look things up in. Services have the same name in any case. */
export class Decisions {
  private readonly told = new Map<string, Matrix["Rows"][number]>();
  private readonly rows = new Map<string, Row>();
  private readonly calling = new Map<string, Set<string>>();

  constructor(readonly matrix: Matrix) {
    for (const row of matrix.Rows) this.told.set(row.Destination.toLowerCase(), row);
    for (const one of matrix.Services)
      if (one.Calls.length)
        this.calling.set(
          one.Name.toLowerCase(),
          new Set(one.Calls.map((name) => name.toLowerCase())),
        );
  }

  /** What holds between two; of `*` and another the rule for just these is exact too. */
  cell(source: string, destination: string): Cell {
    const row = this.row(destination.toLowerCase());
    const cell = row && this.matrix.Cells[row.sources.get(source.toLowerCase()) ?? row.others];
    if (!cell) return NOTHING;
    if (cell.By === "exact") return { ...cell, ...ends(cell, source, destination) };
    const exact = isSame(cell.Source, source) && isSame(cell.Destination, destination);
    return exact ? { ...cell, By: "exact" } : cell;
  }

  private row(destination: string): Row | undefined {
    const told = this.told.get(destination) ?? this.told.get(ANY);
    if (!told) return undefined;
    let found = this.rows.get(told.Destination);
    if (!found) {
      const sources = Object.entries(told.Sources);
      found = {
        others: told.Others,
        sources: new Map(sources.map(([name, at]) => [name.toLowerCase(), at])),
      };
      this.rows.set(told.Destination, found);
    }
    return found;
  }

  /** Whether a sidecar of the source has the destination as an upstream. */
  calls(source: string, destination: string): boolean {
    return this.calling.get(source.toLowerCase())?.has(destination.toLowerCase()) ?? false;
  }
}

function ends(
  { Says: says, Permissions: permissions }: Cell,
  source: string,
  destination: string,
): Pick<Cell, "Source" | "Destination" | "Rule"> {
  const rule = words.intentions.matrix.rule(source, destination, permissions ? "requests" : says);
  return { Source: source, Destination: destination, Rule: rule };
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
  const exact = matrix.Cells.map((cell) => cell.By === "exact");
  for (const cell of matrix.Cells) note(names, cell.Source);
  for (const row of matrix.Rows) {
    note(names, row.Destination);
    for (const name in row.Sources) if (exact[row.Sources[name] ?? -1]) note(names, name);
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
