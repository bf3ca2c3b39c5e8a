import { expect, test } from "vitest";
import { parts } from "./parts";
import { services } from "./services";

test.each([
  [0, 0, "nodes", "0 nodes"],
  [1, 1, "nodes", "1 node"],
  [0, 1, "services", "0 of 1 service"],
  [1, 2, "instances", "1 of 2 instances"],
  [1, 1, "revoked", "1 revoked"],
])("%i of %i %s", (shown, all, what, said) => {
  expect(parts.shown(shown, all, what)).toBe(said);
});

test("a service is not told to call itself", () => {
  expect(services.topology.emptyExample("db")).toContain('"name": "web"');
  expect(services.topology.emptyExample("web")).toContain('"name": "shop"');
});
