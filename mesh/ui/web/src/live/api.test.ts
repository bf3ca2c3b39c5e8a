import { afterEach, expect, test } from "vitest";
import { api, isHere, reaches, scope, scoped } from "./api";

afterEach(() => Object.assign(scope, { shown: "", local: "" }));

test.each([
  [api`/v1/kv/${"a/../b"}`, true],
  [api`/v1/kv/${"..."}`, true],
  [api`/v1/kv/${".hidden"}`, true],
  [`${api`/v1/kv/${"a"}`}?q=/../`, true],
  [api`/v1/kv/${".."}`, false],
  [api`/v1/agent/service/deregister/${"."}`, false],
  [api`/v1/query/${".."}/execute`, false],
  ["/v1/kv/%2E%2e", false],
  ["/v1/kv/..?recurse", false],
])("reaches %s: %s", (path, said) => {
  expect(reaches(path)).toBe(said);
});

test("another datacenter than the server's is asked for by name, but not of its agent", () => {
  Object.assign(scope, { shown: "dc2", local: "dc1" });
  expect(isHere()).toBe(false);
  expect(scoped("/v1/kv/a?raw")).toBe("/v1/kv/a?raw&dc=dc2");
  expect(scoped("/v1/kv/a?dc=dc3")).toBe("/v1/kv/a?dc=dc3");
  expect(scoped("/v1/agent/members")).toBe("/v1/agent/members");
  Object.assign(scope, { shown: "dc1", local: "dc1" });
  expect([isHere(), scoped("/v1/kv/a")]).toEqual([true, "/v1/kv/a"]);
});
