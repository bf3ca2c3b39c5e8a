import { expect, test } from "vitest";
import { part, read, tabOf } from "./address";

test.each([
  ["/ui/", "", []],
  ["/ui/dc1", "dc1", []],
  ["/ui/dc1/services/web", "dc1", ["services", "web"]],
  ["/ui/dc1/kv/a%2Fb%20c/edit", "dc1", ["kv", "a/b c", "edit"]],
  ["/ui/dc1/services/%E0%A4%A", "dc1", ["services", "%E0%A4%A"]],
  ["/elsewhere", "", []],
])("%s", (path, dc, parts) => {
  const found = read(path, "?q=1", "/ui/");
  expect([found.dc, found.parts]).toEqual([dc, parts]);
  expect(found.query.get("q")).toBe("1");
});

test.each(["web", "a/b", "..", ".", "~..", "~~.", "...", "~", ".a", "%2e", "ä b?#"])(
  "a part %s comes back from an address",
  (text) => {
    const { pathname } = new URL(`http://mesh/ui/dc1/${part(text)}/x`);
    expect(read(pathname, "", "/ui/").parts).toEqual([text, "x"]);
  },
);

test("an address that names no tab means the first", () => {
  expect(tabOf(["value", "history"], "history")).toBe("history");
  expect(tabOf(["value", "history"], "nosuch")).toBe("value");
  expect(tabOf(["value", "history"], undefined)).toBe("value");
});
