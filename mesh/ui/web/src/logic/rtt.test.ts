import { expect, test } from "vitest";
import { type Coordinate, distances, estimate, milliseconds, spread } from "./rtt";

const at = (x: number, height = 0, adjustment = 0): Coordinate => ({
  Vec: [x, 0, 0],
  Error: 0.1,
  Adjustment: adjustment,
  Height: height,
});

test("a round trip is the distance, the heights of both, and their adjustments", () => {
  expect(estimate(at(0, 0.001), at(0.003, 0.002))).toBeCloseTo(0.006);
  expect(estimate(at(0, 0, 0.0005), at(0.003, 0, 0.0005))).toBeCloseTo(0.004);
});

test("adjustments that would make it negative are left out", () => {
  expect(estimate(at(0, 0, -1), at(0.003, 0, -1))).toBeCloseTo(0.003);
});

test("from one node to the others, the nearest first", () => {
  const places = [
    { Node: "far", Coord: at(0.03) },
    { Node: "here", Coord: at(0) },
    { Node: "near", Coord: at(0.001) },
    { Node: "mid", Coord: at(0.005) },
  ];
  const found = distances(places, "HERE");
  expect(found?.map((one) => one.node)).toEqual(["near", "mid", "far"]);
  expect(spread(found ?? [])).toEqual({ min: 0.001, median: 0.005, max: 0.03 });
  expect(distances(places, "unknown")).toBeNull();
});

test("the middle of an even number is between the two in the middle", () => {
  const some = [1, 2, 4, 8].map((seconds) => ({ node: String(seconds), seconds, error: 0 }));
  expect(spread(some)).toEqual({ min: 1, median: 3, max: 8 });
  expect(spread([])).toBeNull();
});

test("milliseconds", () => {
  expect([0.00042, 0.0314, 0.25].map(milliseconds)).toEqual(["0.42 ms", "31.4 ms", "250 ms"]);
});
