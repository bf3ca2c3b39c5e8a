import { describe, expect, test } from "vitest";
import { ASKS_MAX, type News, spliced, type Told, Watcher } from "./watcher";

interface Round {
  asks: { Path: string; Mark: string }[];
  wait: number;
  answer: (news: Told[]) => void;
  fail: (why: string) => void;
  signal: AbortSignal;
}

/** A watcher whose server is this test. */
function watched() {
  const rounds: Round[] = [];
  const connections: [boolean, string][] = [];
  const pauses: number[] = [];
  const times: { ms: number; over: () => void }[] = [];
  const watcher = new Watcher(
    (asks, wait, signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => reject(new Error("aborted")));
        rounds.push({
          asks,
          wait,
          signal,
          answer: resolve,
          fail: (why) => reject(new Error(why)),
        });
      }),
    {
      sleep: async (ms) => {
        pauses.push(ms);
      },
      until: (ms, signal) => {
        const late = new AbortController();
        times.push({ ms, over: () => late.abort() });
        return AbortSignal.any([late.signal, signal]);
      },
    },
    (up, why) => connections.push([up, why]),
  );
  const settled = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
  const last = () => {
    const found = rounds.at(-1);
    if (!found) throw new Error("no round");
    return found;
  };
  return { watcher, rounds, connections, pauses, times, settled, last };
}

const news = (Path: string, Mark: string, Body: unknown): News => ({
  Path,
  Mark,
  Status: 200,
  Body,
});

const NEW: unknown = expect.stringMatching(/^new:\w+-\d+$/);

describe("Watcher", () => {
  test("asks for all that a page follows in one round", async () => {
    const { watcher, rounds, settled } = watched();
    watcher.follow("/a", () => {});
    watcher.follow("/b", () => {});
    await settled();
    expect(rounds.map((one) => one.asks.map((ask) => ask.Path))).toEqual([["/a", "/b"]]);
  });

  test("tells news, and asks with its mark next", async () => {
    const { watcher, settled, last } = watched();
    const heard: unknown[] = [];
    watcher.follow("/a", (one) => heard.push(one.Body));
    await settled();
    last().answer([news("/a", "index:7", 1)]);
    await settled();
    expect(heard).toEqual([1]);
    expect(last().asks).toEqual([{ Path: "/a", Mark: "index:7" }]);
  });

  test("a new path ends the round, and keeps the marks of the others", async () => {
    const { watcher, rounds, settled, last } = watched();
    watcher.follow("/a", () => {});
    await settled();
    last().answer([news("/a", "index:7", 1)]);
    await settled();
    watcher.follow("/b", () => {});
    await settled();
    expect(rounds.at(-2)?.signal.aborted).toBe(true);
    expect(last().asks).toEqual([
      { Path: "/a", Mark: "index:7" },
      { Path: "/b", Mark: NEW },
    ]);
  });

  test("nothing is asked when nobody follows", async () => {
    const { watcher, rounds, settled, last } = watched();
    const stop = watcher.follow("/a", () => {});
    await settled();
    stop();
    await settled();
    expect(last().signal.aborted).toBe(true);
    expect(rounds.length).toBe(1);
    watcher.follow("/a", () => {});
    await settled();
    expect(rounds.length).toBe(2);
  });

  test("a lost connection is told with its reason, tried again ever later, and found again", async () => {
    const { watcher, connections, pauses, settled, last } = watched();
    watcher.follow("/a", () => {});
    await settled();
    last().fail("refused");
    await settled();
    last().fail("refused");
    await settled();
    last().answer([]);
    await settled();
    expect(connections).toEqual([
      [false, "refused"],
      [false, "refused"],
      [true, ""],
    ]);
    expect(pauses).toEqual([250, 500]);
  });

  test("an answer that never comes is a lost connection", async () => {
    const { watcher, connections, times, settled, rounds } = watched();
    watcher.follow("/a", () => {});
    await settled();
    expect(times[0]?.ms).toBeGreaterThan(55_000);
    times[0]?.over();
    await settled();
    expect(connections).toEqual([[false, "aborted"]]);
    expect(rounds.length).toBe(2);
  });

  test("what is no list of news is a lost connection too, and not asked for at once again", async () => {
    const { watcher, connections, pauses, settled, last } = watched();
    watcher.follow("/a", () => {});
    await settled();
    last().answer("<html>Sign in</html>" as unknown as Told[]);
    await settled();
    expect([connections[0]?.[0], pauses]).toEqual([false, [250]]);
  });

  test("a server that may have begun anew is asked for everything anew", async () => {
    const { watcher, settled, last } = watched();
    watcher.follow("/a", () => {});
    await settled();
    last().answer([news("/a", "index:7", 1)]);
    await settled();
    last().fail("refused");
    await settled();
    expect(last().asks).toEqual([{ Path: "/a", Mark: NEW }]);
  });

  test("two listeners of a path share the ask; one that goes leaves the other", async () => {
    const { watcher, rounds, settled, last } = watched();
    const heard: string[] = [];
    const stop = watcher.follow("/a", () => heard.push("first"));
    watcher.follow("/a", () => heard.push("second"));
    await settled();
    expect(rounds.length).toBe(1);
    stop();
    last().answer([news("/a", "x", 0)]);
    await settled();
    expect(heard).toEqual(["second"]);
  });

  test("who comes later to a path is told what is known at once", async () => {
    const { watcher, settled, last } = watched();
    watcher.follow("/a", () => {});
    await settled();
    last().answer([news("/a", "index:7", 1)]);
    await settled();
    const heard: unknown[] = [];
    watcher.follow("/a", (one) => heard.push(one.Body));
    expect(heard).toEqual([1]);
  });

  test("refresh asks anew for what has a mark", async () => {
    const { watcher, settled, last } = watched();
    watcher.follow("/a", () => {});
    await settled();
    last().answer([news("/a", "index:7", 1)]);
    await settled();
    watcher.refresh("/a");
    await settled();
    expect(last().asks).toEqual([{ Path: "/a", Mark: NEW }]);
  });

  test("what was not told is asked for by the mark it was begun with, after a refresh not", async () => {
    const { watcher, settled, last } = watched();
    watcher.follow("/a", () => {});
    watcher.follow("/slow", () => {});
    await settled();
    const mark = last().asks[1]?.Mark;
    last().answer([news("/a", "index:7", 1)]);
    await settled();
    expect(last().asks[1]).toEqual({ Path: "/slow", Mark: mark });
    watcher.refresh("/slow");
    await settled();
    expect(last().asks[1]).toEqual({ Path: "/slow", Mark: NEW });
    expect(last().asks[1]?.Mark).not.toBe(mark);
  });

  test("what is too much for one round takes turns, and is no lost connection", async () => {
    const { watcher, rounds, connections, settled, last } = watched();
    const heard = new Set<string>();
    const paths = Array.from({ length: ASKS_MAX * 2 + 5 }, (_, at) => `/${at}`);
    for (const path of paths) watcher.follow(path, (one) => heard.add(one.Path));
    for (let turn = 0; turn < 3; turn += 1) {
      await settled();
      expect(last().asks.length).toBe(ASKS_MAX);
      expect(last().wait).toBeLessThan(10);
      last().answer(last().asks.map((one) => news(one.Path, "index:7", 1)));
    }
    await settled();
    expect([...heard].sort()).toEqual([...paths].sort());
    expect(rounds.length).toBe(4);
    expect(connections.every(([up]) => up)).toBe(true);
  });

  test("splices are of the list told before, and its other rows stay the same objects", async () => {
    const { watcher, settled, last } = watched();
    const heard: unknown[] = [];
    watcher.follow("/a", (one) => heard.push(one.Body));
    await settled();
    const rows = [{ a: 1 }, { b: 1 }, { c: 1 }];
    last().answer([news("/a", "1", rows)]);
    await settled();
    last().answer([
      { Path: "/a", Mark: "2", Status: 200, Splices: [{ Start: 1, Gone: 1, Rows: [{ b: 2 }] }] },
    ]);
    await settled();
    expect(heard[1]).toEqual([{ a: 1 }, { b: 2 }, { c: 1 }]);
    expect((heard[1] as unknown[])[2]).toBe(rows[2]);
    expect(last().asks).toEqual([{ Path: "/a", Mark: "2" }]);
  });

  test("splices of a list that is not known have it told whole", async () => {
    const { watcher, settled, last } = watched();
    const heard: unknown[] = [];
    watcher.follow("/a", (one) => heard.push(one.Body));
    await settled();
    last().answer([{ Path: "/a", Mark: "2", Status: 200, Splices: [] }]);
    await settled();
    expect(heard).toEqual([]);
    expect(last().asks).toEqual([{ Path: "/a", Mark: NEW }]);
  });
});

test.each([
  [[], "abcdef"],
  [[[0, 1, ["A"]]], "Abcdef"],
  [[[5, 1, ["F", "G"]]], "abcdeFG"],
  [
    [
      [0, 2, []],
      [4, 0, ["x"]],
    ],
    "cdxef",
  ],
  [[[0, 6, []]], ""],
] as [[number, number, string[]][], string][])("spliced %j", (given, after) => {
  const splices = given.map(([Start, Gone, Rows]) => ({ Start, Gone, Rows }));
  expect(spliced([..."abcdef"], splices).join("")).toBe(after);
});
