import { expect, test } from "vitest";
import { horizon, rootRows, type Roots, spent, stepFlags, stepQuery } from "./certificates";

const DAY = 86_400_000;
const at = (days: number) => new Date(Date.UTC(2026, 0, 1) + days * DAY).toISOString();
const now = (days: number) => Date.parse(at(days));

test("a life is over at its end, and before that near it", () => {
  expect(spent(at(0), at(100), now(25))).toBe(0.25);
  expect(horizon(at(0), at(3650), now(100))).toBe("good");
  expect(horizon(at(0), at(3650), now(3600))).toBe("soon");
  expect(horizon(at(0), at(3), now(2.5))).toBe("good");
  expect(horizon(at(0), at(3), now(2.9))).toBe("soon");
  expect(horizon(at(0), at(3), now(3))).toBe("over");
  expect(horizon("", "", now(0))).toBe("over");
});

test("roots have the standing that the rotation gives them", () => {
  const root = (ID: string, Active: boolean) => ({ ID, Active }) as Roots["Roots"][number];
  const roots = { ActiveRootID: "a", TrustDomain: "d", Roots: [root("a", true), root("b", false)] };
  const rows = rootRows(roots, {
    Phase: "prepared",
    Workloads: 4,
    Roots: [{ ID: "b", Standing: "prepared", Believed: 3, Leaves: 0 }],
    Waiting: [],
    Next: "",
  });
  expect(rows.map((one) => [one.standing, one.believed, one.workloads])).toEqual([
    ["active", undefined, 4],
    ["prepared", 3, 4],
  ]);
  expect(rootRows(roots, undefined)[1]?.standing).toBe("past");
});

test("a step goes on without all when told so", () => {
  expect([stepFlags({}), stepQuery({})]).toEqual(["", {}]);
  expect(stepFlags({ threshold: "95" })).toBe(" --threshold 95%");
  expect(stepQuery({ threshold: "95" })).toEqual({ threshold: "0.95" });
  expect(stepFlags({ threshold: "95", force: "yes" })).toBe(" --force");
  expect(stepQuery({ force: "yes" })).toEqual({ force: true });
});
