import { expect, test } from "vitest";
import { bytes, instant, relative, span } from "./time";

const NOW = Date.parse("2026-11-22T12:00:00Z");

test.each([
  [0, "now"],
  [-30_000, "30 sec. ago"],
  [-59_600, "1 min. ago"],
  [-3_600_000, "1 hr. ago"],
  [86_400_000 * 2, "in 2 days"],
])("relative %i", (offset, said) => {
  expect(relative(NOW + offset, NOW)).toBe(said);
});

test.each([
  [0.0025, "2.5 ms"],
  [1.5, "1.5 s"],
  [90, "1 min 30 s"],
  [3600, "1 h"],
  [12_000, "3 h 20 min"],
  [259_200, "3 d"],
])("span %d", (seconds, said) => {
  expect(span(seconds)).toBe(said);
});

test("instants come as text, seconds and ms, and the zero time is none", () => {
  expect(instant("2026-11-22T12:00:00Z")).toBe(NOW);
  expect(instant(NOW / 1000)).toBe(NOW);
  expect(instant(NOW)).toBe(NOW);
  expect(instant("0001-01-01T00:00:00Z")).toBeNaN();
  expect(instant("")).toBeNaN();
});

test("bytes", () => {
  expect([0, 999, 1000, 123_456_789].map(bytes)).toEqual(["0 B", "999 B", "1.00 KB", "123 MB"]);
});
