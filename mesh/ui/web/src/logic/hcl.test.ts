import { StringStream } from "@codemirror/language";
import { expect, test } from "vitest";
import { startState, token } from "./hcl";

/** The tokens of a text that have a kind. */
function tokens(text: string): [string, string][] {
  const state = startState();
  return text.split("\n").flatMap((line) => {
    const stream = new StringStream(line, 2, 2);
    const found: [string, string][] = [];
    while (!stream.eol()) {
      stream.start = stream.pos;
      const kind = token(stream, state);
      if (kind) found.push([stream.current(), kind]);
    }
    return found;
  });
}

test("blocks, names, values and comments are told apart", () => {
  expect(tokens('service "web" { # x\n  port = 80\n  "a" = true\n}')).toEqual([
    ["service", "typeName"],
    ['"web"', "string"],
    ["# x", "comment"],
    ["port", "propertyName"],
    ["80", "number"],
    ['"a"', "propertyName"],
    ["true", "bool"],
  ]);
});

test("comments and heredocs go over lines, and text without an end is no endless loop", () => {
  expect(tokens("/* a\nb */ c\n")).toEqual([
    ["/* a", "comment"],
    ["b */", "comment"],
    ["c", "typeName"],
  ]);
  expect(tokens("x = <<EOF\nport = 1\nEOF\ny = 1").map(([, kind]) => kind)).toEqual([
    "propertyName",
    "string",
    "string",
    "string",
    "propertyName",
    "number",
  ]);
  expect(tokens('a == "open ${b}')).toContainEqual(['"open ${b}', "string"]);
});
