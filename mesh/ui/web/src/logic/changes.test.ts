import { expect, test } from "vitest";
import { became, type Change, fields, merged, placeOf, summary, isOf, type Row } from "./changes";

const change = (some: Partial<Change>): Change => ({
  ID: 1,
  Index: 10,
  Time: "2026-11-22T12:00:00Z",
  Kind: "kv",
  Key: "app/color",
  Op: "kv.set",
  Author: "",
  Origin: "dev/http/127.0.0.1",
  Reverts: 0,
  Before: null,
  After: { Value: btoa("blue") },
  ...some,
});

test("what became of it", () => {
  expect(became(change({}))).toBe("created");
  expect(became(change({ Before: {} }))).toBe("changed");
  expect(became(change({ Before: {}, After: null }))).toBe("deleted");
});

test("keys show their value in a line, cut, and binary as its size", () => {
  expect(summary(change({}))).toBe("blue");
  expect(summary(change({ After: { Value: btoa("a\n  b") } }))).toBe("a b");
  expect(summary(change({ After: { Value: btoa("x".repeat(5000)) } }))).toHaveLength(161);
  expect(summary(change({ After: { Value: btoa("\u0000\u0001") } }))).toBe("2 B binary");
  expect(summary(change({ After: null }))).toBe("");
});

test("other things show which fields changed", () => {
  const before = { Node: "a", Port: 1, ModifyIndex: 4 };
  expect(fields(before, { Node: "a", Port: 2, ModifyIndex: 5 })).toEqual(["Port"]);
  expect(fields(null, { Node: "a", Tags: [], Port: 0, CreateIndex: 3 })).toEqual(["Node"]);
});

test.each([
  ["kv", "a/b c", ["kv", "a/b c"]],
  ["node", "n1", ["nodes", "n1"]],
  ["config", "service-intentions/web", ["intentions", "list"]],
  ["config", "proxy-defaults/global", null],
  ["maintenance", "n1/", ["nodes", "n1"]],
  ["maintenance", "/web", ["services", "web"]],
  ["history", "", null],
])("the page of %s %s", (kind, key, parts) => {
  expect(placeOf(change({ Kind: kind, Key: key }))).toEqual(parts);
});

test("the page of an instance is under its service", () => {
  const one = { Kind: "service", Key: "n1/web-1", Before: { Name: "web" }, After: null };
  expect(placeOf(change(one))).toEqual(["services", "web", "instances", "n1", "web-1"]);
});

test("pages of changes join without doubles", () => {
  const [one, two, three] = [1, 2, 3].map((ID) => change({ ID }));
  if (!one || !two || !three) throw new Error("three");
  expect(merged([three, two], [two, one]).map((each) => each.ID)).toEqual([3, 2, 1]);
});

test("a change is a service's by the name before or after", () => {
  const named = (before: Row | null, after: Row | null) => ({ Before: before, After: after });
  expect(isOf(named(null, { Name: "Web" }), "web")).toBe(true);
  expect(isOf(named({ Name: "web" }, { Name: "db" }), "web")).toBe(true);
  expect(isOf(named({ Name: 7 }, null), "web")).toBe(false);
});
