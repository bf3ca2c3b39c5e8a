import { expect, test } from "vitest";
import {
  BLANK,
  complete,
  failoverOf,
  fitsForm,
  flagsOf,
  fromForm,
  parse,
  toForm,
  toJson,
} from "./prepared";

const full = complete({
  ID: "x",
  Name: "geo-",
  Session: "s",
  Template: { Type: "name_prefix_match", Regexp: "^geo-(.*)$", RemoveEmptyTags: true },
  Service: {
    ...BLANK.Service,
    Service: "${match(1)}",
    Tags: ["v1", "!canary"],
    NodeMeta: { rack: "1" },
    OnlyPassing: true,
    Failover: { NearestN: 2, Datacenters: ["dc2"], Targets: [] },
  },
  DNS: { TTL: "10s" },
  ModifyIndex: 7,
});

test("a form and back is the same query", () => {
  expect(fromForm(toForm(full), full)).toEqual(full);
  expect(fitsForm(full)).toBe(true);
});

test("what a form does not have stays as it was", () => {
  const changed = fromForm({ ...toForm(full), template: "", tags: " a , ,b" }, full);
  expect(changed.Session).toBe("s");
  expect(changed.Template.Type).toBe("");
  expect(changed.Service.Tags).toEqual(["a", "b"]);
  const odd = { ...full, Service: { ...full.Service, Tags: ["a,b"] } };
  expect(fitsForm(odd)).toBe(false);
});

test("JSON has neither id nor indexes, and must be an object", () => {
  expect(parse(toJson(full))).not.toHaveProperty("ModifyIndex");
  expect(() => parse("[]")).toThrow(/object/);
  expect(complete(parse('{"Name": "x", "Service": {"Service": "y"}}')).Service.Tags).toEqual([]);
});

test("flags say the same, or nothing when they cannot", () => {
  expect(flagsOf(full)).toContainEqual(["tag", "!canary"]);
  expect(flagsOf(full)).toContainEqual(["only-passing", ""]);
  expect(flagsOf(full)).toContainEqual(["failover-nearest", "2"]);
  const targets = { NearestN: 0, Datacenters: [], Targets: [{ Datacenter: "dc3" }] };
  const odd = { ...full, Service: { ...full.Service, Failover: targets } };
  expect(flagsOf(odd)).toBeNull();
  expect(failoverOf(odd)).toEqual(["dc3"]);
  expect(failoverOf(full)).toEqual(["nearest 2", "dc2"]);
});
