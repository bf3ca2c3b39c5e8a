import { expect, test } from "vitest";
import { merge } from "./merge3";

const base = "a\nb\nc\nd\n";

test("changes in different places are both kept", () => {
  expect(merge(base, "a\nB\nc\nd\n", "a\nb\nc\nD\ne\n")).toEqual({
    text: "a\nB\nc\nD\ne\n",
    conflicts: 0,
  });
  expect(merge(base, base, "x\n")).toEqual({ text: "x\n", conflicts: 0 });
  expect(merge("", "", "x")).toEqual({ text: "x", conflicts: 0 });
});

test("the same change twice is one", () => {
  expect(merge(base, "a\nX\nc\nd\n", "a\nX\nc\nd\n")).toEqual({
    text: "a\nX\nc\nd\n",
    conflicts: 0,
  });
});

test("a place that both changed has mine, and is counted", () => {
  expect(merge(base, "a\nM\nc\nd\n", "a\nT\nc\nd2\n")).toEqual({
    text: "a\nM\nc\nd2\n",
    conflicts: 1,
  });
  expect(merge("red", "blue", "green")).toEqual({ text: "blue", conflicts: 1 });
});

test("what one deleted stays deleted", () => {
  expect(merge(base, "a\nd\n", "a\nb\nc\nd\ne\n")).toEqual({ text: "a\nd\ne\n", conflicts: 0 });
});

test("very long texts are left alone", () => {
  expect(merge("x\n".repeat(3001), "", "")).toBeNull();
});
