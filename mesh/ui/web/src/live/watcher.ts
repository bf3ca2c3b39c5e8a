/**
 * Follows many answers of the API over one connection (POST /v1/internal/ui/watch): each is told
 * again as soon as it is another. What is asked for may change at any time.
 */

export interface News {
  Path: string;
  Mark: string;
  Status: number;
  Body?: unknown;
}

/** News as the server tells it: of a long list maybe only what is another than before. */
export interface Told extends News {
  Splices?: Splice[];
}

/** Where rows of the list from before begin to differ, how many go, and what stands there now. */
export interface Splice {
  Start: number;
  Gone: number;
  Rows: unknown[];
}

export type Listener = (news: News) => void;

/** How the watcher reaches the server: news of what was asked, or an error. */
export type Asking = (
  asks: { Path: string; Mark: string }[],
  waitSeconds: number,
  signal: AbortSignal,
) => Promise<Told[]>;

export interface Timer {
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** A signal that is aborted then, or with the other one. */
  until(ms: number, signal: AbortSignal): AbortSignal;
}

const WAIT_SECONDS = 55;
/** So many asks the server takes at once (ASKS_MAX in mesh/http/watch.py). */
export const ASKS_MAX = 64;
/** How long a round lasts when others wait for their turn. */
const TURN_SECONDS = 2;
/** An answer that is not there so long after it should be will not come: the network lost it. */
export const LATE_MS = 10_000;
const RETRY_MS = [250, 500, 1000, 2000, 5000];

/** By this the server tells what this page began to ask for from what others did. */
const PAGE = [...crypto.getRandomValues(new Uint32Array(2))]
  .map((one) => one.toString(36))
  .join("");

interface Followed {
  listeners: Set<Listener>;
  /** Of what was told last, or one of its own until something is. */
  mark: string;
  last: News | null;
}

let begun = 0;

/**
 * The mark of who has nothing yet. With the same one the next round waits for what this one began;
 * with another one nothing is told that was read before.
 */
function nothing(): string {
  begun += 1;
  return `new:${PAGE}-${begun}`;
}

export class Watcher {
  private readonly followed = new Map<string, Followed>();
  private round: AbortController | null = null;
  private running = false;
  private changed = false;
  private failures = 0;

  constructor(
    private readonly asking: Asking,
    private readonly timer: Timer,
    /** Told whether the last try reached the server, and in which words not. */
    private readonly onConnection: (up: boolean, why: string) => void,
  ) {}

  /** Follow a path until the function returned is called. */
  follow(path: string, listener: Listener): () => void {
    let found = this.followed.get(path);
    if (!found) {
      found = { listeners: new Set(), mark: nothing(), last: null };
      this.followed.set(path, found);
      this.change();
    }
    found.listeners.add(listener);
    if (found.last) listener(found.last);
    return () => this.unfollow(path, listener);
  }

  /** Ask for this again at once, whatever mark it has. */
  refresh(path: string): void {
    const found = this.followed.get(path);
    if (!found) return;
    found.mark = nothing();
    this.change();
  }

  /** End the present round, and begin another, as when the page is shown again. */
  again(): void {
    this.failures = 0;
    this.change();
  }

  private unfollow(path: string, listener: Listener): void {
    const found = this.followed.get(path);
    if (!found) return;
    found.listeners.delete(listener);
    if (found.listeners.size === 0) {
      this.followed.delete(path);
      this.change();
    }
  }

  private change(): void {
    if (this.changed) return;
    this.changed = true;
    // One page asks for several things in a row: they go out together.
    queueMicrotask(() => {
      this.changed = false;
      this.round?.abort();
      if (!this.running) void this.run();
    });
  }

  private async run(): Promise<void> {
    if (this.running) return;
    this.running = true;
    while (this.followed.size > 0) {
      this.round = new AbortController();
      const signal = this.round.signal;
      const asks = [...this.followed]
        .slice(0, ASKS_MAX)
        .map(([path, one]) => ({ Path: path, Mark: one.mark }));
      const wait = this.followed.size > ASKS_MAX ? TURN_SECONDS : WAIT_SECONDS;
      try {
        const late = this.timer.until(wait * 1000 + LATE_MS, signal);
        const news: unknown = await this.asking(asks, wait, late);
        if (!Array.isArray(news)) throw new Error("no answer of a server of mesh");
        this.failures = 0;
        this.onConnection(true, "");
        for (const one of news as Told[]) this.tell(one);
        if (wait === TURN_SECONDS) this.nextTurn(asks);
      } catch (error) {
        if (signal.aborted) continue;
        // A server that begins anew counts from the beginning: waiting for an index would be long.
        for (const one of this.followed.values()) one.mark = nothing();
        this.onConnection(false, error instanceof Error ? error.message : String(error));
        const pause = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)] ?? 1000;
        this.failures += 1;
        await this.timer.sleep(pause, signal);
      }
    }
    this.running = false;
  }

  /** Have those wait that were asked for, and ask for the others first. */
  private nextTurn(asked: { Path: string }[]): void {
    for (const { Path: path } of asked) {
      const found = this.followed.get(path);
      if (!found) continue;
      this.followed.delete(path);
      this.followed.set(path, found);
    }
  }

  private tell(told: Told): void {
    const found = this.followed.get(told.Path);
    if (!found) return;
    const { Splices: splices, ...news } = told;
    if (splices) {
      const before = found.last?.Body;
      if (!Array.isArray(before)) {
        found.mark = nothing();
        return;
      }
      news.Body = spliced(before, splices);
    }
    found.mark = news.Mark;
    found.last = news;
    for (const listener of [...found.listeners]) listener(news);
  }
}

/** The list after these changes; rows that are the same are the same objects. */
export function spliced(before: readonly unknown[], splices: readonly Splice[]): unknown[] {
  const after: unknown[] = [];
  let at = 0;
  for (const { Start: start, Gone: gone, Rows: rows } of splices) {
    for (; at < start; at += 1) after.push(before[at]);
    for (const row of rows) after.push(row);
    at = start + gone;
  }
  for (; at < before.length; at += 1) after.push(before[at]);
  return after;
}
