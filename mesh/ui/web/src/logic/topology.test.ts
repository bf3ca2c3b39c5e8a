import * as dagre from "@dagrejs/dagre";
import { expect, test } from "vitest";
import {
  type Neighbour,
  type Topology,
  type Verdict,
  BOX,
  SELF,
  boxId,
  callsOf,
  curve,
  drawn,
  laidOut,
} from "./topology";

function neighbour(name: string, verdict: Verdict = "allow", more: Partial<Neighbour> = {}) {
  return {
    Name: name,
    InstanceCount: 1,
    InstanceHealth: { Passing: 1, Warning: 0, Critical: 0, Maintenance: 0 },
    Source: "proxy-registration",
    Intention: { Verdict: verdict, Rule: "", Permissions: [] },
    ...more,
  } as unknown as Neighbour;
}

function topology(down: Neighbour[], up: Neighbour[]): Topology {
  return { Protocol: "tcp", TransparentProxy: false, Downstreams: down, Upstreams: up };
}

const ILL = { Passing: 0, Warning: 0, Critical: 1, Maintenance: 0 };

test("callers come first, then by whether they are denied or ill", () => {
  const calls = callsOf(
    "web",
    topology(
      [neighbour("shop")],
      [
        neighbour("a"),
        neighbour("b", "allow", { InstanceHealth: ILL }),
        neighbour("c", "deny"),
        neighbour("d", "deny", { Source: "default-allow" }),
        neighbour("none", "allow", { InstanceCount: 0 }),
      ],
    ),
  );
  expect(calls.map((call) => call.other)).toEqual(["shop", "c", "b", "none", "a", "d"]);
  expect(calls[0]).toMatchObject({ source: "shop", destination: "web", side: "down" });
  expect(calls[2]).toMatchObject({ source: "web", destination: "b", status: "critical" });
  expect(calls[3]).toMatchObject({ status: "unknown" });
});

test("of many calls some are drawn, of each side", () => {
  const many = Array.from({ length: 30 }, (_, i) => neighbour(`s${i}`));
  const found = drawn(callsOf("web", topology(many, many)), 10);
  expect([found.calls.length, found.left]).toEqual([20, 40]);
  expect(found.calls.filter((call) => call.side === "up")).toHaveLength(10);
});

test("callers stand on the left, who is called on the right, and nothing lies over another", () => {
  const both = [neighbour("both"), neighbour("one")];
  const calls = callsOf("web", topology(both, both));
  const layout = laidOut(dagre, calls);
  const at = new Map(layout.boxes.map((box) => [box.id, box]));
  const self = at.get(SELF)?.x ?? 0;
  for (const call of calls) {
    const x = at.get(boxId(call))?.x ?? Number.NaN;
    if (call.side === "down") expect(x).toBeLessThan(self - BOX.width);
    else expect(x).toBeGreaterThan(self + BOX.width);
  }
  for (const one of layout.boxes)
    for (const other of layout.boxes)
      if (one !== other)
        expect(
          Math.abs(one.x - other.x) >= BOX.width || Math.abs(one.y - other.y) >= BOX.height,
        ).toBe(true);
  expect(layout.lines.map((line) => line.call)).toEqual(calls);
  const rows = layout.boxes.filter((box) => box.id.startsWith("down:"));
  expect(rows.map((box) => box.id)).toEqual(["down:both", "down:one"]);
  expect(rows[0]?.y).toBeLessThan(rows[1]?.y ?? 0);
});

test("a line goes through its points", () => {
  expect(curve([])).toBe("");
  expect(
    curve([
      { x: 0, y: 0 },
      { x: 10, y: 4.25 },
    ]),
  ).toBe("M0,0 C5,0 5,4.3 10,4.3");
});
