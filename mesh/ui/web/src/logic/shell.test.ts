import { expect, test } from "vitest";
import { commandLine, fed, quoted } from "./shell";

test.each([
  ["web", "web"],
  ["a/b_c-1.2:3@4,5+6%7=8", "a/b_c-1.2:3@4,5+6%7=8"],
  ["", "''"],
  ["=ls", "'=ls'"],
  ["~root", "'~root'"],
  ["$(reboot)", "'$(reboot)'"],
  ["`reboot`; !x", "'`reboot`; !x'"],
  ["it's", "'it'\\''s'"],
  ["two\nlines", "'two\nlines'"],
  ["\x1b[201~\nid", "$'\\x1b[201~\\nid'"],
  ["\t'\\", "$'\\x09\\'\\\\'"],
  ["a\u202eb\u2066c", "$'a\\u202eb\\u2066c'"],
])("quoted %j", (word, said) => {
  expect(quoted(word)).toBe(said);
});

test("an argument that looks like a flag comes last, behind two dashes", () => {
  expect(commandLine("meshctl intention allow", ["web", "a b"], ["--force"])).toBe(
    "meshctl intention allow web 'a b' --force",
  );
  expect(commandLine("meshctl kv delete", ["-recurse"], ["--cas"])).toBe(
    "meshctl kv delete --cas -- -recurse",
  );
});

test("a text is fed to a command as it is", () => {
  expect(fed('{"a":"\\n"}', "meshctl txn -")).toBe(`printf '%s' '{"a":"\\n"}' | meshctl txn -`);
});
