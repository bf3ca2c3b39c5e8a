import { expect, test } from "vitest";
import { entries, isFolder, jump, leaf, parent, search, steps } from "./keys";

test("folders are what slashes make, empty names among them", () => {
  expect(["", "a", "a/", "a/b", "a/b/", "a//b", "/"].map(parent)).toEqual([
    "",
    "",
    "",
    "a/",
    "a/",
    "a//",
    "",
  ]);
  expect(["a", "a/", "a/b/", "a//"].map(leaf)).toEqual(["a", "a/", "b/", "/"]);
  expect(steps("a/b/c").map((step) => step.folder)).toEqual(["a/", "a/b/"]);
  expect(steps("a/b/").map((step) => step.text)).toEqual(["a/"]);
  expect(["", "a/", "a"].map(isFolder)).toEqual([true, true, false]);
});

test("a listing shows folders first, and not the folder itself", () => {
  const rows = entries(["a/", "a/k", "a/z/", "a/b/"], "a/");
  expect(rows.map((row) => row.name)).toEqual(["z/", "b/", "k"]);
  expect(search(rows, " ")).toBe(rows);
  expect(search(rows, "Z").map((row) => row.path)).toEqual(["a/z/"]);
});

test("what was typed leads to the key, its folder, the only one, or a search", () => {
  expect(jump("a/b", ["a/b", "a/bc"])).toEqual({ path: "a/b", search: "" });
  expect(jump("a", ["a/"])).toEqual({ path: "a/", search: "" });
  expect(jump("a/co", ["a/color"])).toEqual({ path: "a/color", search: "" });
  expect(jump("a/", ["a/x", "a/y"])).toEqual({ path: "a/", search: "" });
  expect(jump("a/c", ["a/cd", "a/ce"])).toEqual({ path: "a/", search: "c" });
  expect(jump("zz", [])).toEqual({ path: "", search: "zz" });
});
