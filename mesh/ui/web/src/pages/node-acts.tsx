/** What can be done to a node. */

import { api, ask, query } from "../live/api";
import { refresh } from "../live/live";
import { go, to } from "../live/place";
import { exact, instant } from "../logic/time";
import { type Action, commandLine, quoted } from "../parts/act";
import { words } from "../words";

const w = words.nodes;

export function beginMaintenance(node: string): Action {
  const m = w.maintenance;
  return {
    title: m.title(node),
    text: m.text,
    fields: [
      { name: "reason", label: m.reason, hint: m.reasonHint },
      { name: "expiry", label: m.expiry, hint: m.expiryHint, offers: ["30m", "2h", "8h", "24h"] },
      { name: "owner", label: m.owner },
    ],
    verb: m.verb,
    command: ({ reason, expiry, owner }) =>
      [
        `meshctl maint --enable --node ${quoted(node)}`,
        expiry && `--for ${quoted(expiry)}`,
        reason && `--reason ${quoted(reason)}`,
        owner && `--owner ${quoted(owner)}`,
      ]
        .filter(Boolean)
        .join(" "),
    run: async ({ reason, expiry, owner }) => {
      const body = { Node: node, Reason: reason, For: expiry?.trim(), Owner: owner };
      const begun = await ask<{ Instances: number; Until: string }>("/v1/maintenance", {
        method: "PUT",
        body,
      });
      const until = instant(begun.Until);
      return m.begun(node, begun.Instances, Number.isNaN(until) ? "" : exact(until));
    },
  };
}

export function endMaintenance(node: string): Action {
  const m = w.maintenance;
  return {
    title: m.endTitle(node),
    text: m.endText,
    verb: m.end,
    command: () => `meshctl maint --disable --node ${quoted(node)}`,
    run: async () => {
      await ask(query("/v1/maintenance", { node }), { method: "DELETE" });
      return m.ended(node);
    },
  };
}

/** End what the agent of this very node keeps: only the agent asked can do that. */
export function endOwnMaintenance(node: string): Action {
  const m = w.maintenance;
  return {
    title: m.endTitle(node),
    text: m.endText,
    verb: m.end,
    command: () => "meshctl maint --disable",
    run: async () => {
      await ask("/v1/agent/maintenance?enable=false", { method: "PUT" });
      return m.ended(node);
    },
  };
}

export function forceLeave(node: string): Action {
  const l = w.leave;
  return {
    title: l.title(node),
    text: l.text,
    fields: [{ name: "prune", label: l.prune, kind: "check" }],
    verb: l.verb,
    danger: true,
    command: ({ prune }) => commandLine(`meshctl force-leave${prune ? " --prune" : ""}`, [node]),
    run: async ({ prune }) => {
      const path = api`/v1/agent/force-leave/${node}`;
      await ask(query(path, { prune: prune === "yes" }), { method: "PUT" });
      refresh("/v1/agent/members");
      return l.done(node);
    },
  };
}

export function deregister(node: string): Action {
  const d = w.deregister;
  const body = { Node: node };
  return {
    title: d.title(node),
    text: d.text,
    verb: d.verb,
    danger: true,
    command: () =>
      `curl -X PUT --data ${quoted(JSON.stringify(body))} ${location.origin}/v1/catalog/deregister`,
    run: async () => {
      await ask("/v1/catalog/deregister", { method: "PUT", body });
      go(to("nodes"));
      return d.done(node);
    },
  };
}
