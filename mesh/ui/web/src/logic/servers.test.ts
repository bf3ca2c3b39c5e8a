import { expect, test } from "vitest";
import { changedFlags, figure, type Raft, rowsOf, type AutopilotState } from "./servers";

const peer = (ID: string, more = {}) => ({
  ID,
  Node: ID.toUpperCase(),
  Address: `10.0.0.1:${ID}`,
  Leader: false,
  Voter: true,
  LastIndex: 90,
  Barred: false,
  ...more,
});

test("the leader comes first, and others by name with how far they are behind", () => {
  const raft: Raft = {
    Servers: [peer("b"), peer("c", { Leader: true, LastIndex: 100 }), peer("a")],
    Index: 3,
    CommitIndex: 100,
  };
  const rows = rowsOf(raft, undefined);
  expect(rows.map((one) => [one.name, one.role, one.lag])).toEqual([
    ["C", "leader", 0],
    ["A", "voter", 10],
    ["B", "voter", 10],
  ]);
  expect(rows[0]?.healthy).toBeUndefined();
});

test("health is joined by id, and who lost its vote by hand is told from who has none yet", () => {
  const raft: Raft = {
    Servers: [peer("a", { Voter: false, Barred: true }), peer("b", { Voter: false, LastIndex: 0 })],
    Index: 1,
    CommitIndex: 5,
  };
  const state = {
    Servers: { a: { Healthy: false, Reason: "slow", Version: "1.2:x", Status: "non-voter" } },
  } as unknown as AutopilotState;
  const [a, b] = rowsOf(raft, state);
  expect([a?.role, a?.healthy, a?.reason, a?.version]).toEqual(["barred", false, "slow", "1.2"]);
  expect([b?.role, b?.lag]).toEqual(["follows", undefined]);
});

test("without either there are no rows", () => {
  expect(rowsOf(undefined, undefined)).toEqual([]);
});

test("figures are texts for people", () => {
  expect(figure("LastIndex", 12345)).toBe("12,345");
  expect(figure("Log", [1, 20])).toBe("1 to 20");
  expect(figure("Sync", { count: 3, p50: 0.00123, p99: 0.01, max: 0.5 })).toBe(
    "median 1.2 ms, 99 % within 10 ms, worst 500 ms",
  );
  expect(figure("Sync", { count: 0, p50: 0, p99: 0, max: 0 })).toBe("–");
  expect(figure("DiskFree", 73_805_426_688)).toBe("73.8 GB");
  expect(figure("LastContact", 0.0972)).toBe("97.2 ms");
  expect(figure("Connected", ["s2", "s3"])).toBe("s2, s3");
  expect(figure("DiskLow", false)).toBe("no");
  expect(figure("X", null)).toBe("–");
  expect(figure("X", { a: 1 })).toBe('{"a":1}');
});

test("only what is changed becomes a flag", () => {
  expect(changedFlags({ MinQuorum: "0", X: "1" }, { MinQuorum: "3", X: "1" })).toBe(
    "--min-quorum=3",
  );
});
