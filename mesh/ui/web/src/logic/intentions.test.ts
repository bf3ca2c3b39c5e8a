import { describe, expect, test } from "vitest";
import {
  command,
  draftOf,
  type Entry,
  howOf,
  matched,
  pathOf,
  ruleAt,
  sourceOf,
  tidy,
  withDraft,
  withPath,
} from "./intentions";

const ENTRY: Entry = {
  Kind: "service-intentions",
  Name: "payments",
  Sources: [
    { Name: "web", Action: "allow", Precedence: 9, Type: "consul", LegacyID: "x", Owner: "deploy" },
    { Name: "*", Action: "deny", Precedence: 8, Type: "consul" },
  ],
  CreateIndex: 1,
  ModifyIndex: 2,
  Hash: 3,
};
const web = sourceOf(ENTRY, "WEB", false);
const ends = { source: "web", destination: "payments" };
const admin = { Action: "deny", HTTP: { PathPrefix: "/admin" } };

test("a draft changes its source, keeps what it does not show, and leaves the others", () => {
  const draft = draftOf(web, { ...ends, verdict: "deny", description: "not now" });
  expect(withDraft(ENTRY, draft, web)).toEqual({
    Kind: "service-intentions",
    Name: "payments",
    Sources: [
      { Name: "web", LegacyID: "x", Action: "deny", Description: "not now", Owner: "deploy" },
      { Name: "*", Action: "deny" },
    ],
  });
});

test("a new one comes last, and makes the entry if there is none", () => {
  const draft = draftOf(undefined, { source: "api", destination: "payments" });
  expect(withDraft(ENTRY, draft, undefined).Sources?.[2]).toEqual({ Name: "api", Action: "allow" });
  expect(withDraft(undefined, draft, undefined)).toEqual({
    Kind: "service-intentions",
    Name: "payments",
    Sources: [{ Name: "api", Action: "allow" }],
  });
});

test("a dry run stands beside the one that is enforced", () => {
  const draft = draftOf(undefined, { ...ends, verdict: "deny", dryRun: true });
  const made = withDraft(ENTRY, draft, undefined);
  expect(made.Sources?.map((one) => [one.Name, one.Action, one.DryRun])).toEqual([
    ["web", "allow", undefined],
    ["*", "deny", undefined],
    ["web", "deny", true],
  ]);
  expect(sourceOf(made, "web", true)).toBe(made.Sources?.[2]);
});

test("what says nothing is left out of permissions", () => {
  const http = {
    PathPrefix: "/a",
    Methods: [],
    Header: [{ Name: "x", Exact: "1", Invert: false }],
  };
  expect(tidy({ Action: "allow", HTTP: http, JWT: { Providers: [] } })).toEqual({
    Action: "allow",
    HTTP: { PathPrefix: "/a", Header: [{ Name: "x", Exact: "1" }] },
  });
  expect(tidy({ Action: "allow", HTTP: {} })).toEqual({ Action: "allow" });
});

describe("the command that does the same", () => {
  const requests = (...bodies: object[]) =>
    draftOf(undefined, {
      ...ends,
      verdict: "requests",
      permissions: bodies.map((body, id) => ({ id, body })),
    });

  test("allow and deny", () => {
    const draft = draftOf(undefined, { source: "*", destination: "pay ments", verdict: "deny" });
    expect(command(draft, undefined, undefined, false)).toBe(
      "meshctl intention deny '*' 'pay ments'",
    );
    const more = draftOf(web, { ...ends, description: "it's so", dryRun: false });
    expect(command(more, ENTRY, web, true)).toBe(
      "meshctl intention allow web payments --description 'it'\\''s so' --owner deploy --force",
    );
  });

  test("a permission before what decided so far", () => {
    const rest = { Action: "allow", HTTP: { PathPrefix: "/" } };
    expect(command(requests(admin, rest), ENTRY, web, false)).toBe(
      "meshctl intention deny web payments --path /admin",
    );
    const methods = { Action: "allow", HTTP: { PathExact: "/a", Methods: ["GET", "PUT"] } };
    const all = { Action: "deny", HTTP: { PathPrefix: "/" } };
    const draft = { ...requests(methods, all), source: "api" };
    expect(command(draft, ENTRY, undefined, false)).toBe(
      "meshctl intention allow api payments --path-exact /a --method GET --method PUT",
    );
  });

  test("what no such command says is written as an entry", () => {
    const found = command(requests(admin), ENTRY, web, false);
    expect(found).toMatch(/^meshctl config write - <<'EOF'\n\{/);
    expect(JSON.parse(found.split("\n").slice(1, -1).join("\n"))).toEqual(
      withDraft(ENTRY, requests(admin), web),
    );
  });
});

test.each([
  ["service-intentions/db Sources[web]", { destination: "db", source: "web", permission: null }],
  [
    "service-intentions/db Sources[*].Permissions[2]",
    { destination: "db", source: "*", permission: 2 },
  ],
  ["service-intentions/db JWT", null],
  ["", null],
])("where %j is", (place, found) => {
  expect(ruleAt(place)).toEqual(found);
});

test("a header is matched in one way", () => {
  const header = { Name: "x", Prefix: "a", Invert: true, IgnoreCase: true };
  expect(howOf(header)).toBe("Prefix");
  expect(matched(header, "Exact", "b")).toEqual({
    Name: "x",
    Exact: "b",
    Invert: true,
    IgnoreCase: true,
  });
  expect(matched(header, "Present", "")).toEqual({ Name: "x", Present: true, Invert: true });
});

test("there is one path at most", () => {
  const http = { PathPrefix: "/a", Methods: ["GET"] };
  expect(pathOf(http)).toEqual(["PathPrefix", "/a"]);
  expect(withPath(http, "PathExact", "/b")).toEqual({ Methods: ["GET"], PathExact: "/b" });
  expect(pathOf(withPath(http, "", ""))).toEqual(["", ""]);
});
