/** A call between two services: what decides it, and how to decide otherwise. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, api, ask, query, reason } from "../../live/api";
import { to } from "../../live/place";
import type { Call } from "../../logic/topology";
import { ActDialog, type Values, commandLine } from "../../parts/act";
import { Failure } from "../../parts/basics";
import { words } from "../../words";
import { type Intention, intentionAt } from "./intentions";
import { Says } from "./topology";

const w = words.services.topology.change;
const verdicts = words.services.topology.verdicts;

export function CallDialog({ call, onClose }: { call: Call; onClose: () => void }) {
  const { source, destination, decision } = call;
  const seen = useRef<number | undefined>(undefined);
  const [failure, setFailure] = useState("");
  useEffect(() => {
    indexOf(destination).then(
      (index) => {
        seen.current = index;
      },
      (error) => setFailure(reason(error)),
    );
  }, [destination]);
  const run = async (values: Values) => {
    const wanted = values.action === "allow" ? "allow" : "deny";
    const cas = seen.current ?? (await indexOf(destination));
    const body = { Action: wanted, Description: values.description?.trim() ?? "" };
    const path = query("/v1/connect/intentions/exact", { source, destination });
    if (!(await ask<boolean>(`${path}&cas=${cas}`, { method: "PUT", body }))) {
      seen.current = await indexOf(destination);
      throw new Error(w.meanwhile(await present(source, destination)));
    }
    return w.done(source, destination, verdicts[wanted]);
  };
  return (
    <ActDialog
      action={{
        title: w.title(source, destination),
        text: (
          <>
            <Present call={call} />
            {failure && <Failure error={failure} />}
          </>
        ),
        fields: [
          {
            name: "action",
            label: w.says,
            kind: "select",
            choices: [
              { value: "allow", text: w.allow },
              { value: "deny", text: w.deny },
            ],
            usual: decision.Verdict === "allow" ? "deny" : "allow",
          },
          { name: "description", label: w.description },
        ],
        verb: w.verb,
        command: (values) =>
          commandLine(
            `meshctl intention ${values.action}`,
            [source, destination],
            values.description?.trim() ? ["--description", values.description.trim()] : [],
          ),
        run,
      }}
      onClose={onClose}
    />
  );
}

function Present({ call: { source, destination, decision } }: { call: Call }) {
  const named = decision.SourceName !== "";
  return (
    <div class="services-present">
      <p>
        {w.now} <Says verdict={decision.Verdict} /> <bdi class="quiet">{decision.Rule}</bdi>
      </p>
      {decision.Permissions.length > 0 && (
        <>
          <p class="quiet">{w.permissions}</p>
          <ol class="services-permissions">
            {decision.Permissions.map((one, i) => (
              <li key={i}>
                <code>
                  <bdi>{one}</bdi>
                </code>
              </li>
            ))}
          </ol>
          {decision.HasExact && <p>{w.replaces(decision.Permissions.length)}</p>}
        </>
      )}
      {named && !decision.HasExact && <p>{w.wildcard}</p>}
      <p>
        {named ? (
          <a href={intentionAt(decision.SourceName, decision.DestinationName)}>{w.open}</a>
        ) : (
          <a href={to("intentions")} aria-label={`${w.all}: ${source}, ${destination}`}>
            {w.all}
          </a>
        )}
      </p>
    </div>
  );
}

/** The index at which what is said about a destination was changed last; 0 when nothing is. */
async function indexOf(destination: string): Promise<number> {
  try {
    const path = api`/v1/config/service-intentions/${destination}`;
    return (await ask<{ ModifyIndex: number }>(path)).ModifyIndex;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return 0;
    throw error;
  }
}

/** What the intention between the two says now. */
async function present(source: string, destination: string): Promise<string> {
  try {
    const one = await ask<Intention>(
      query("/v1/connect/intentions/exact", { source, destination }),
    );
    return one.Action
      ? verdicts[one.Action].toLowerCase()
      : words.services.intentions.permissions(one.Permissions?.length ?? 0);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return w.nothing;
    throw error;
  }
}
