/** Maintenance of a service or an instance, kept by the servers: begun, shown and ended. */

import { api, ask, query } from "../../live/api";
import { Time } from "../../parts/time";
import { ActButton, type Action, type Values, quoted } from "../../parts/act";
import { Facts, Panel } from "../../parts/basics";
import { words } from "../../words";

const w = words.services.maintenance;

/** A row of /v1/maintenance. */
export interface Maintained {
  Node: string;
  Service: string;
  ServiceID: string;
  Reason: string;
  Owner: string;
  Since: string;
  Until: string;
}

/** A service by its name, or an instance by its node and id. */
export type Target = { service: string } | { node: string; id: string };

function named(target: Target): string {
  return "service" in target ? w.ofService(target.service) : w.ofInstance(target.id, target.node);
}

function flags(target: Target): string {
  return "service" in target
    ? `--cluster --service ${quoted(target.service)}`
    : `--node ${quoted(target.node)} --service ${quoted(target.id)}`;
}

export function about(target: Target, every: readonly Maintained[]): Maintained | undefined {
  const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();
  return every.find((one) =>
    "service" in target
      ? same(one.Service, target.service)
      : same(one.Node, target.node) && one.ServiceID === target.id,
  );
}

export function begin(target: Target): Action {
  const given = (values: Values, name: string, flag: string) =>
    values[name]?.trim() ? ` --${flag} ${quoted(values[name].trim())}` : "";
  return {
    title: w.title(named(target)),
    text: "service" in target ? w.textService : w.textInstance,
    fields: [
      { name: "reason", label: w.reason, hint: w.reasonHint },
      { name: "for", label: w.until, hint: w.untilHint, usual: "1h" },
      { name: "owner", label: w.owner },
    ],
    verb: w.verb,
    command: (values) =>
      `meshctl maint --enable ${flags(target)}` +
      given(values, "for", "for") +
      given(values, "owner", "owner") +
      given(values, "reason", "reason"),
    run: async (values) => {
      const what =
        "service" in target
          ? { Service: target.service }
          : { Node: target.node, ServiceID: target.id };
      const body = {
        ...what,
        Reason: values.reason?.trim() ?? "",
        Owner: values.owner?.trim() ?? "",
        For: values.for?.trim() ?? "",
      };
      await ask("/v1/maintenance", { method: "PUT", body });
      return w.begun(named(target));
    },
  };
}

export function end(target: Target): Action {
  return {
    title: w.endTitle(named(target)),
    text: w.endText,
    verb: w.end,
    command: () => `meshctl maint --disable ${flags(target)}`,
    run: async () => {
      const path =
        "service" in target
          ? api`/v1/maintenance?service=${target.service}`
          : query("/v1/maintenance", { node: target.node, service_id: target.id });
      await ask(path, { method: "DELETE" });
      return w.ended(named(target));
    },
  };
}

/** That something is in maintenance: why, for whom, until when, and how to end it. */
export function MaintenancePanel({ one, target }: { one: Maintained; target: Target }) {
  return (
    <Panel
      tone="info"
      title={w.present(named(target))}
      aside={
        <ActButton action={end(target)} class="small">
          {w.end}
        </ActButton>
      }
    >
      <Facts
        facts={[
          [w.reason, one.Reason ? <bdi key="reason">{one.Reason}</bdi> : undefined],
          [w.by, one.Owner ? <bdi key="owner">{one.Owner}</bdi> : undefined],
          [w.since, <Time key="since" at={one.Since} />],
          [w.ends, one.Until ? <Time key="until" at={one.Until} /> : w.byHand],
        ]}
      />
    </Panel>
  );
}
