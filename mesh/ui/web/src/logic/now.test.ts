import { expect, test } from "vitest";
import { bySeverity, bySubject, type Finding, idOf, mood, type Severity } from "./now";

const finding = (Severity: Severity, Subject = "service", Name = "web"): Finding => ({
  Kind: "failing",
  Severity,
  Subject,
  Name,
  Since: "",
  SinceAtLeast: false,
  Detail: "",
  Next: [],
});

test("what is only to be known does not spoil the mood", () => {
  expect(mood([])).toBe("good");
  expect(mood([finding("info")])).toBe("good");
  expect(mood([finding("info"), finding("warning")])).toBe("warn");
  expect(mood([finding("warning"), finding("critical")])).toBe("bad");
});

test("findings are counted by severity and by what they are about", () => {
  const all = [finding("critical"), finding("info", "node"), finding("info", "node", "n2")];
  expect(bySeverity(all).info).toHaveLength(2);
  expect(bySubject(all)).toEqual([
    ["node", 2],
    ["service", 1],
  ]);
  expect(bySubject([finding("info", "b"), finding("info", "a")]).map(([name]) => name)).toEqual([
    "a",
    "b",
  ]);
});

test("findings of one name and different severities are different", () => {
  expect(new Set([finding("critical"), finding("info")].map(idOf)).size).toBe(2);
});
