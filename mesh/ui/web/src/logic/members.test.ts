import { expect, test } from "vitest";
import type { Member } from "../live/nodes";
import { isWell, keyEnd, matrix, signOf, statusOfMember } from "./members";

const member = (some: Partial<Member>) => ({ Status: 1, Frozen: false, ...some }) as Member;

test.each([
  [member({}), "alive", "passing"],
  [member({ Gossip: { State: "suspect" } as Member["Gossip"] & object }), "alive", "warning"],
  [member({ Status: 3 }), "left", "unknown"],
  [member({ Status: 4 }), "failed", "critical"],
  [member({ Status: 4, Frozen: true }), "failed", "warning"],
  [member({ Status: 9 }), "none", "unknown"],
])("what a member is %#", (one, status, sign) => {
  expect([statusOfMember(one), signOf(one)]).toEqual([status, sign]);
});

test("keys show no more than tells them apart", () => {
  expect(keyEnd("5vyDVzPOHPwDMm29hRGvlw==")).toBe("Gvlw");
});

test("paths make a matrix", () => {
  const found = matrix([
    { Source: "a", Target: "b", Shown: "0.4 ms" },
    { Source: "b", Target: "a", Shown: "no UDP" },
  ]);
  expect(found.get("b")?.get("a")).toBe("no UDP");
  expect(["0.4 ms", "0.4 ms -15%", "no UDP", "?"].map(isWell)).toEqual([true, false, false, false]);
});
