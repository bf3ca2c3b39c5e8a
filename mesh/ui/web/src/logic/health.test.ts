import { expect, test } from "vitest";
import { badness, statusOf, worst } from "./health";

test("a maintenance check is maintenance, and outranks a failure", () => {
  const statuses = [
    statusOf({ CheckID: "tcp", Status: "critical" }),
    statusOf({ CheckID: "_service_maintenance:web", Status: "critical" }),
  ];
  expect(statuses).toEqual(["critical", "maintenance"]);
  expect(worst(statuses)).toBe("maintenance");
});

test("the worst of none is unknown, and what is not known is unknown", () => {
  expect(worst([])).toBe("unknown");
  expect(statusOf({ CheckID: "a", Status: "odd" })).toBe("unknown");
  expect(badness("critical")).toBeGreaterThan(badness("warning"));
});
