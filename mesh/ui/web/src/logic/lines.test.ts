import { expect, test } from "vitest";
import { changed } from "./lines";

const SIGNS = { same: " ", gone: "-", new: "+", skipped: "@" };
const told = (before: string, after: string, around?: number) =>
  changed(before, after, around).map((line) => SIGNS[line.kind] + line.text);

test.each([
  ["a\nb\nc", "a\nB\nc", [" a", "-b", "+B", " c"]],
  ["", "a\nb", ["+a", "+b"]],
  ["a", "", ["-a"]],
  ["a\nb", "a\nb", [" a", " b"]],
  ["a\nb\nc\nd", "a\nx\nc\ny\nd", [" a", "-b", "+x", " c", "+y", " d"]],
])("%j to %j", (before, after, lines) => {
  expect(told(before, after)).toEqual(lines);
});

test("what stays is left out but for what is near", () => {
  expect(told("1\n2\n3\n4\n5\n6", "1\n2\n3\nx\n5\n6", 1)).toEqual([
    "@2",
    " 3",
    "-4",
    "+x",
    " 5",
    "@1",
  ]);
  expect(told("a", "a", 1)).toEqual(["@1"]);
});

test("what is too long to compare is replaced", () => {
  const many = (letter: string) => Array.from({ length: 2000 }, (_, i) => letter + i).join("\n");
  expect(changed(many("a"), many("b")).length).toBe(4000);
});
