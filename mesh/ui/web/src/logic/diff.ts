/** Differences line by line: as the server gives them (unified), as lines to be shown. */

export type LineKind = "same" | "added" | "removed" | "gap";

export interface DiffLine {
  kind: LineKind;
  text: string;
  /** Its number in the old and the new text, where it is there. */
  old?: number;
  new?: number;
}

const HUNK = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/;

/** The lines of a unified diff; file headers are left out, and hunks are parted by gaps. */
export function parseUnified(text: string): DiffLine[] {
  const lines: DiffLine[] = [];
  let old = 0;
  let fresh = 0;
  let within = false;
  for (const line of text.replace(/\n$/, "").split("\n")) {
    const hunk = HUNK.exec(line);
    if (hunk) {
      [old, fresh] = [Number(hunk[1]), Number(hunk[2])];
      if (within || old > 1 || fresh > 1) lines.push({ kind: "gap", text: line });
      within = true;
    } else if (within && line.startsWith("+")) {
      lines.push({ kind: "added", text: line.slice(1), new: fresh });
      fresh += 1;
    } else if (within && line.startsWith("-")) {
      lines.push({ kind: "removed", text: line.slice(1), old });
      old += 1;
    } else if (within && line.startsWith(" ")) {
      lines.push({ kind: "same", text: line.slice(1), old, new: fresh });
      old += 1;
      fresh += 1;
    } else if (within && line.startsWith("\\")) {
      lines.push({ kind: "gap", text: line.slice(1).trim() });
    }
  }
  return lines;
}

/** How many lines were added and removed. */
export function changed(lines: readonly DiffLine[]): { added: number; removed: number } {
  const count = (kind: LineKind) => lines.filter((line) => line.kind === kind).length;
  return { added: count("added"), removed: count("removed") };
}
