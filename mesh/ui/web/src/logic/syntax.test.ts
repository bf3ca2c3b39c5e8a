import { expect, test } from "vitest";
import { guess, jsonError } from "./syntax";

test("a name's ending says it, else the text does", () => {
  expect(guess("a.yml", "{}")).toBe("yaml");
  expect(guess("a.txt", "{}")).toBe("plain");
  expect(guess("a", '  {"a": 1}')).toBe("json");
  expect(guess("a", "a: 1\nb:\n  - c\n")).toBe("yaml");
  expect(guess("a", "---\nfoo")).toBe("yaml");
  expect(guess("a", 'service "web" {\n  port = 1\n}')).toBe("hcl");
  expect(guess("a", '# x\nname = "web"\nport = 80')).toBe("hcl");
  expect(guess("a", "red")).toBe("plain");
  expect(guess("a", "")).toBe("plain");
  expect(guess("a", "http://10.0.0.1:80")).toBe("plain");
});

test("JSON that is none says where", () => {
  expect(jsonError('{"a": 1}')).toBe("");
  expect(jsonError('{"a": }')).toMatch(/JSON/);
});
