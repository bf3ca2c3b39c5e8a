import { expect, test } from "vitest";
import { changed, parseUnified } from "./diff";

const TEXT = `--- app/config at index 10
+++ app/config at index 12
@@ -1,4 +1,4 @@
 {
-  "size": 3
+  "size": 4
 }
@@ -20,2 +20,3 @@
 a
+--- not a header
\\ No newline at end of file
`;

test("a unified diff as lines with their numbers", () => {
  const lines = parseUnified(TEXT);
  expect(lines.map((line) => line.kind)).toEqual([
    "same",
    "removed",
    "added",
    "same",
    "gap",
    "same",
    "added",
    "gap",
  ]);
  expect(lines[1]).toEqual({ kind: "removed", text: '  "size": 3', old: 2 });
  expect(lines[2]).toEqual({ kind: "added", text: '  "size": 4', new: 2 });
  expect(lines[6]).toMatchObject({ text: "--- not a header", new: 21 });
  expect(changed(lines)).toEqual({ added: 2, removed: 1 });
});

test("no difference has no lines", () => {
  expect(parseUnified("")).toEqual([]);
});
