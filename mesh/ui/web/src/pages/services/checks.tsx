/** Checks with what they say. */

import { useState } from "preact/hooks";
import { statusOf } from "../../logic/health";
import type { Check } from "../../logic/services";
import { bytes } from "../../logic/time";
import { StatusBadge } from "../../parts/basics";
import { Since, useDates } from "../../parts/since";
import { words } from "../../words";

const w = words.services.check;
const OUTPUT_MAX = 2000;

/** Checks with their output, the worst open. */
export function Checks({ checks, of }: { checks: readonly Check[]; of?: string }) {
  const since = useDates(checks[0]?.Node ?? "");
  return (
    <ul class="services-checks">
      {checks.map((check) => (
        <li key={`${check.ServiceID}/${check.CheckID}`}>
          <OneCheck check={check} of={of} since={since(check)} />
        </li>
      ))}
    </ul>
  );
}

function OneCheck({ check, of, since }: { check: Check; of: string | undefined; since: string }) {
  const status = statusOf(check);
  const facts: [string, string | number | undefined][] = [
    [w.type, check.Type],
    [w.interval, check.Interval],
    [w.timeout, check.Timeout],
    [w.exposed, check.ExposedPort || undefined],
  ];
  const known = facts.filter(([, value]) => value);
  return (
    <details open={status !== "passing"}>
      <summary>
        <StatusBadge status={status} />
        <strong>
          <bdi>{check.Name || check.CheckID}</bdi>
        </strong>
        <Since at={since} />
        <span class="quiet">{of ?? (check.ServiceID ? w.ofInstance : w.ofNode)}</span>
        <code class="services-check-id quiet">
          <bdi>{check.CheckID}</bdi>
        </code>
      </summary>
      <div class="services-check-body">
        {check.Notes && (
          <p>
            <span class="quiet">{w.notes}: </span>
            <bdi>{check.Notes}</bdi>
          </p>
        )}
        <Output text={check.Output} />
        {known.length > 0 && (
          <p class="quiet services-check-facts">
            {known.map(([name, value]) => (
              <span key={name}>
                {name} <bdi>{value}</bdi>
              </span>
            ))}
          </p>
        )}
      </div>
    </details>
  );
}

/** What a check printed; of a long one the first part, until more is wanted. */
export function Output({ text }: { text: string }) {
  const [all, setAll] = useState(false);
  if (!text.trim()) return <p class="quiet">{w.noOutput}</p>;
  const long = text.length > OUTPUT_MAX;
  return (
    <>
      <pre class="services-output" tabIndex={0} role="region" aria-label={w.output}>
        <bdi>{long && !all ? text.slice(0, OUTPUT_MAX) : text}</bdi>
      </pre>
      {long && !all && (
        <p>
          <span class="quiet">{w.showsPart(bytes(text.length))} </span>
          <button type="button" class="small ghost" onClick={() => setAll(true)}>
            {w.more}
          </button>
        </p>
      )}
    </>
  );
}
