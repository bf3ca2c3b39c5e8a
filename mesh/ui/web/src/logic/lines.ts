/** What differs between two texts, line by line. */

export interface Line {
  kind: "same" | "gone" | "new" | "skipped";
  text: string;
}

const CELLS_MAX = 1_000_000;

/** The lines of both; of those that stay only `around` beside a change, if that is given. */
export function changed(before: string, after: string, around = Infinity): Line[] {
  const old = before ? before.split("\n") : [];
  const now = after ? after.split("\n") : [];
  let head = 0;
  while (head < old.length && head < now.length && old[head] === now[head]) head += 1;
  let tail = 0;
  while (
    tail < old.length - head &&
    tail < now.length - head &&
    old[old.length - 1 - tail] === now[now.length - 1 - tail]
  )
    tail += 1;
  const lines: Line[] = [
    ...old.slice(0, head).map((text): Line => ({ kind: "same", text })),
    ...middle(old.slice(head, old.length - tail), now.slice(head, now.length - tail)),
    ...old.slice(old.length - tail).map((text): Line => ({ kind: "same", text })),
  ];
  return near(lines, around);
}

/** By the longest common subsequence; what is too long for that is told as replaced. */
function middle(old: string[], now: string[]): Line[] {
  const gone = (text: string): Line => ({ kind: "gone", text });
  const fresh = (text: string): Line => ({ kind: "new", text });
  if (old.length * now.length > CELLS_MAX) return [...old.map(gone), ...now.map(fresh)];
  const width = now.length + 1;
  const best = new Uint32Array((old.length + 1) * width);
  const at = (i: number, j: number) => best[i * width + j] ?? 0;
  for (let i = old.length - 1; i >= 0; i -= 1)
    for (let j = now.length - 1; j >= 0; j -= 1)
      best[i * width + j] =
        old[i] === now[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < old.length || j < now.length) {
    const [left, right] = [old[i], now[j]];
    if (left !== undefined && left === right) {
      lines.push({ kind: "same", text: left });
      i += 1;
      j += 1;
    } else if (left !== undefined && (right === undefined || at(i + 1, j) >= at(i, j + 1))) {
      lines.push(gone(left));
      i += 1;
    } else if (right !== undefined) {
      lines.push(fresh(right));
      j += 1;
    }
  }
  return lines;
}

function near(lines: Line[], around: number): Line[] {
  if (around === Infinity) return lines;
  const kept = new Set<number>();
  lines.forEach((line, at) => {
    if (line.kind === "same") return;
    for (let i = at - around; i <= at + around; i += 1) kept.add(i);
  });
  const found: Line[] = [];
  let skipped = 0;
  const tell = () => {
    if (skipped) found.push({ kind: "skipped", text: String(skipped) });
    skipped = 0;
  };
  lines.forEach((line, at) => {
    if (!kept.has(at)) {
      skipped += 1;
      return;
    }
    tell();
    found.push(line);
  });
  tell();
  return found;
}
