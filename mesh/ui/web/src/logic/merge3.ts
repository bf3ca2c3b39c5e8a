/** Two changes of one text made one, line by line. */

export interface Merged {
  text: string;
  /** How many places both changed differently: there the text has `mine`. */
  conflicts: number;
}

/** Lines compared at most: comparing takes up to the product of both sides'. */
export const LINES_MAX = 3000;

/** Merge two changes of `base`. Null when the texts are too long to be compared. */
export function merge(base: string, mine: string, theirs: string): Merged | null {
  const [b, m, t] = [base, mine, theirs].map(lines) as [string[], string[], string[]];
  if (Math.max(b.length, m.length, t.length) > LINES_MAX) return null;
  const [toMine, toTheirs] = [pairs(b, m), pairs(b, t)];
  const merged: string[] = [];
  let conflicts = 0;
  let [ib, im, it] = [0, 0, 0];
  const take = (eb: number, em: number, et: number) => {
    const [ob, om, ot] = [b.slice(ib, eb), m.slice(im, em), t.slice(it, et)];
    if (same(om, ob)) merged.push(...ot);
    else {
      merged.push(...om);
      if (!same(ot, ob) && !same(ot, om)) conflicts += 1;
    }
  };
  for (let i = 0; i < b.length; i++) {
    const [a, c] = [toMine[i] ?? -1, toTheirs[i] ?? -1];
    if (a < 0 || c < 0) continue;
    take(i, a, c);
    merged.push(b[i] ?? "");
    [ib, im, it] = [i + 1, a + 1, c + 1];
  }
  take(b.length, m.length, t.length);
  return { text: merged.join(""), conflicts };
}

/** Lines with their ends. */
function lines(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function same(a: string[], b: string[]): boolean {
  return a.length === b.length && a.every((line, i) => line === b[i]);
}

/** For each line of `a` which line of `b` it is, or -1: a longest common subsequence. */
function pairs(a: string[], b: string[]): number[] {
  const found = new Array<number>(a.length).fill(-1);
  let from = 0;
  let [endA, endB] = [a.length, b.length];
  while (from < endA && from < endB && a[from] === b[from]) found[from] = from++;
  while (endA > from && endB > from && a[endA - 1] === b[endB - 1]) found[--endA] = --endB;
  const [rows, columns] = [endA - from, endB - from];
  const width = columns + 1;
  const longest = new Uint16Array((rows + 1) * width);
  const at = (i: number, j: number) => longest[i * width + j] ?? 0;
  for (let i = rows - 1; i >= 0; i--)
    for (let j = columns - 1; j >= 0; j--)
      longest[i * width + j] =
        a[from + i] === b[from + j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  for (let i = 0, j = 0; i < rows && j < columns;) {
    if (a[from + i] === b[from + j]) found[from + i++] = from + j++;
    else if (at(i + 1, j) >= at(i, j + 1)) i++;
    else j++;
  }
  return found;
}
