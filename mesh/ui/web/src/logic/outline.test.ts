import { expect, test } from "vitest";
import * as icons from "../parts/icons";
import { type Shape, outline } from "./outline";

test.each<[Shape, string]>([
  [["path", { d: "M1 2v3" }], "M1 2v3"],
  [["path", { d: "m1 2 3 4-5" }], "M1 2l3 4-5"],
  [["path", { d: "m-1.5-2h3" }], "M-1.5 -2h3"],
  [["line", { x1: "1", y1: "2", x2: "3", y2: "4" }], "M1 2L3 4"],
  [["circle", { cx: "12", cy: "12", r: "10" }], "M2 12a10 10 0 1 0 20 0a10 10 0 1 0 -20 0z"],
  [["ellipse", { cx: "12", cy: "5", rx: "9", ry: "3" }], "M3 5a9 3 0 1 0 18 0a9 3 0 1 0 -18 0z"],
  [
    ["rect", { x: "2", y: "3", width: "20", height: "8", rx: "2" }],
    "M4 3h16a2 2 0 0 1 2 2v4a2 2 0 0 1 -2 2h-16a2 2 0 0 1 -2 -2v-4a2 2 0 0 1 2 -2z",
  ],
])("%j", (shape, path) => {
  expect(outline([shape])).toBe(path);
});

test("every icon that the page has is drawn", () => {
  const all = Object.entries(icons);
  expect(all.length).toBeGreaterThan(30);
  for (const [name, icon] of all) {
    const path = (icon({}).props.children as { props: { d: string } }).props.d;
    expect(path, name).toMatch(/^M\d/);
    expect(path, name).not.toContain("NaN");
  }
});

test("what has no outline is told at once", () => {
  expect(() => outline([["text", {}]])).toThrow("no outline for <text>");
});
