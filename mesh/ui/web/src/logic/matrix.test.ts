import { expect, test } from "vitest";
import { axis, type Cell, Decisions, inSight, type Matrix, named, NOTHING, step } from "./matrix";

const cell = (more: Partial<Cell>): Cell => ({ ...NOTHING, ...more });
const service = (Name: string, Meshed = true, Calls: string[] = []) => ({
  Name,
  Kind: "",
  Meshed,
  Calls,
});

const MATRIX: Matrix = {
  DefaultAllow: true,
  Intentions: 4,
  Cells: [
    cell({ Says: "allow" }),
    cell({ By: "wildcard", Source: "cron", Destination: "*" }),
    cell({ By: "wildcard", Source: "*", Destination: "Payments" }),
    cell({ Says: "allow", By: "exact" }),
    cell({ Says: "requests", By: "exact", Permissions: 2 }),
  ],
  Rows: [
    { Destination: "*", Others: 0, Sources: { cron: 1 } },
    { Destination: "Payments", Others: 2, Sources: { Web: 3, cron: 2, api: 4 } },
  ],
  Services: [service("Web", true, ["payments"]), service("api"), service("legacy", false)],
};

test.each([
  ["web", "payments", "allow", "exact"],
  ["WEB", "PAYMENTS", "allow", "exact"],
  ["api", "payments", "requests", "exact"],
  ["none", "payments", "deny", "wildcard"],
  ["cron", "api", "deny", "wildcard"],
  ["web", "api", "allow", "default"],
  ["constructor", "api", "allow", "default"],
  ["*", "payments", "deny", "exact"],
  ["cron", "*", "deny", "exact"],
  ["*", "*", "allow", "default"],
])("%s to %s: %s by %s", (source, destination, says, by) => {
  const found = new Decisions(MATRIX).cell(source, destination);
  expect([found.Says, found.By]).toEqual([says, by]);
});

test("a cell for just two services has them and the rule", () => {
  const decisions = new Decisions(MATRIX);
  expect(decisions.cell("Web", "Payments")).toEqual({
    ...cell({ Says: "allow", By: "exact", Source: "Web", Destination: "Payments" }),
    Rule: 'the intention from "Web" to "Payments" says allow',
  });
  expect(decisions.cell("api", "Payments").Rule).toMatch(/has permissions/);
});

test("who calls whom follows from upstreams, in any case", () => {
  const decisions = new Decisions(MATRIX);
  expect(decisions.calls("web", "PAYMENTS")).toBe(true);
  expect(decisions.calls("payments", "web")).toBe(false);
});

test("there are the mesh and what intentions name; all when told so", () => {
  const some = named(MATRIX, false);
  expect(some).toEqual({ names: ["Payments", "Web", "api", "cron"], hidden: 1 });
  expect(named(MATRIX, true).names).toContain("legacy");
});

test.each([
  ["", ["*", "Payments", "Web", "api", "cron"]],
  [" we ", ["Web"]],
  ["*", ["*"]],
  ["nobody", []],
])("an axis searched for %j", (search, found) => {
  expect(axis(named(MATRIX, false).names, search)).toEqual(found);
});

test("only what is in sight is shown, and some around it", () => {
  expect(inSight(0, 100, 10, 1000, 2)).toEqual([0, 12]);
  expect(inSight(500, 100, 10, 1000, 2)).toEqual([48, 62]);
  expect(inSight(9990, 100, 10, 1000, 2)).toEqual([997, 1000]);
  expect(inSight(500, 100, 10, 0, 2)).toEqual([0, 0]);
});

test("arrows and their like stay in the grid", () => {
  const at = { row: 1, column: 1 };
  expect(step("ArrowDown", false, at, 3, 3, 10)).toEqual({ row: 2, column: 1 });
  expect(step("PageDown", false, at, 3, 3, 10)).toEqual({ row: 2, column: 1 });
  expect(step("ArrowLeft", false, { row: 0, column: 0 }, 3, 3, 10)).toEqual({ row: 0, column: 0 });
  expect(step("End", true, at, 3, 3, 10)).toEqual({ row: 2, column: 2 });
  expect(step("Home", false, at, 3, 3, 10)).toEqual({ row: 1, column: 0 });
  expect(step("x", false, at, 3, 3, 10)).toBe(null);
});
