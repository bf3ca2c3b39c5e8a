import { expect, test } from "vitest";
import { badness, nodeStatus, statusOf, worst } from "./health";

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

test("what one instance rests from, and what is broken meanwhile, is not said of its node", () => {
  const gossip = { CheckID: "serfHealth", Status: "passing", ServiceID: "" };
  const rests = { CheckID: "_service_maintenance:a", Status: "critical", ServiceID: "a" };
  const broken = { CheckID: "tcp", Status: "critical", ServiceID: "a" };
  const slow = { CheckID: "slow", Status: "warning", ServiceID: "b" };
  const node = { CheckID: "_node_maintenance", Status: "critical", ServiceID: "" };
  expect(nodeStatus([gossip, rests, broken])).toBe("passing");
  expect(nodeStatus([gossip, broken])).toBe("critical");
  expect(nodeStatus([gossip, rests, slow])).toBe("warning");
  expect(nodeStatus([gossip, node, slow])).toBe("maintenance");
  expect(nodeStatus([])).toBe("passing");
});
