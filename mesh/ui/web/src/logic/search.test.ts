import { expect, test } from "vitest";
import { closeness, isFilter, matches } from "./search";

test.each([
  ["web", false],
  ["in the morning", true],
  ['Name == "web"', true],
  ['Tags contains "v1"', true],
  ["ChecksCritical != 0", true],
  ["Tags is empty", true],
  ["payments contains", true],
  ["==", true],
])("filter or text: %s", (search, filter) => {
  expect(isFilter(search)).toBe(filter);
});

test("all words, anywhere, in any case", () => {
  expect(matches("WEB v2", "web-frontend", "v2 canary")).toBe(true);
  expect(matches("web v3", "web-frontend", "v2 canary")).toBe(false);
  expect(matches("  ", "x")).toBe(true);
});

test("the best fit is the whole word at the beginning, then inside, then letters in order", () => {
  const names = ["cobweb", "web", "the-web", "weather-bureau", "nothing"];
  const found = names
    .map((name) => [closeness("web", name), name] as const)
    .filter(([score]) => score > 0)
    .sort(([a], [b]) => b - a)
    .map(([, name]) => name);
  expect(found).toEqual(["web", "the-web", "cobweb", "weather-bureau"]);
});
