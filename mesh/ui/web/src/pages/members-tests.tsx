/** What is asked of all members when somebody wants to know: answers, paths between them, keys. */

import { useCallback, useEffect, useState } from "preact/hooks";
import { ApiError, ask, reason } from "../live/api";
import { to } from "../live/place";
import { isWell, keyEnd, matrix } from "../logic/members";
import { Command, Data, Empty, Failure, Panel, StatusBadge } from "../parts/basics";
import { words } from "../words";

const w = words.members;

/** Something that is asked for by a button, since it costs the cluster something. */
function useAsked<T>(path: string) {
  const [state, setState] = useState<{
    value?: T;
    error: string;
    status: number;
    busy: boolean;
  }>({ error: "", status: 0, busy: false });
  const run = useCallback(async () => {
    setState((before) => ({ ...before, busy: true, error: "" }));
    try {
      setState({ value: await ask<T>(path), error: "", status: 200, busy: false });
    } catch (failed) {
      const status = failed instanceof ApiError ? failed.status : 0;
      setState({ error: reason(failed), status, busy: false });
    }
  }, [path]);
  return { ...state, run };
}

function RunButton({
  busy,
  run,
  text,
  running,
}: {
  busy: boolean;
  run: () => Promise<void>;
  text: string;
  running: string;
}) {
  return (
    <div class="members-run">
      <button type="button" class="primary" disabled={busy} onClick={() => void run()}>
        {text}
      </button>
      <span role="status" class="quiet">
        {busy && running}
      </span>
    </div>
  );
}

function Names({ names }: { names: string[] }) {
  return (
    <p class="members-names">
      {names.map((name) => (
        <a key={name} href={to("members", "list", name)}>
          <Data>{name}</Data>
        </a>
      ))}
    </p>
  );
}

interface Reachability {
  Node: string;
  Acknowledged: string[];
  Missing: string[];
  Strangers: string[];
  Advice: string[];
}

export function Reach() {
  const r = w.reach;
  const { value, error, busy, run } = useAsked<Reachability>("/v1/agent/reachability");
  return (
    <>
      <p class="quiet">{r.intro}</p>
      <RunButton busy={busy} run={run} text={r.run} running={r.running} />
      {error && <Failure error={error} />}
      {value && (
        <Panel tone={value.Missing.length ? "bad" : "good"}>
          {!value.Missing.length && (
            <p>
              <StatusBadge status="passing" text={r.all(value.Acknowledged.length)} />
            </p>
          )}
          {value.Missing.length > 0 && (
            <>
              <h2>{r.missing}</h2>
              <Names names={value.Missing} />
            </>
          )}
          <h2>{r.acknowledged}</h2>
          <Names names={value.Acknowledged} />
          {value.Strangers.length > 0 && (
            <>
              <h2>{r.strangers}</h2>
              <Names names={value.Strangers} />
            </>
          )}
          {value.Advice.length > 0 && (
            <>
              <h2>{r.advice}</h2>
              <ul class="members-advice">
                {value.Advice.map((line) => (
                  <li key={line}>
                    <Data>{line}</Data>
                  </li>
                ))}
              </ul>
            </>
          )}
        </Panel>
      )}
      <Command text={r.command} />
    </>
  );
}

interface Report {
  Healthy: boolean;
  Asker: string;
  Total: number;
  Members: { Name: string; Silent: string }[];
  Paths: { Source: string; Target: string; Shown: string }[];
  Findings: { Kind: string; Fault: boolean; Text: string }[];
}

export function Doctor() {
  const d = w.doctor;
  const { value, error, busy, run } = useAsked<Report>("/v1/agent/doctor/network");
  return (
    <>
      <p class="quiet">{d.intro}</p>
      <RunButton busy={busy} run={run} text={d.run} running={d.running} />
      {error && <Failure error={error} />}
      {value && <Diagnosis report={value} />}
      <Command text={d.command} />
    </>
  );
}

function Diagnosis({ report }: { report: Report }) {
  const d = w.doctor;
  const faults = report.Findings.filter((one) => one.Fault);
  const others = report.Findings.filter((one) => !one.Fault);
  return (
    <>
      <Panel
        tone={report.Healthy ? "good" : "bad"}
        title={report.Healthy ? d.healthy : d.faults(faults.length)}
        aside={<span class="quiet">{d.took(report.Members.length, report.Total)}</span>}
      >
        {faults.length > 0 && (
          <ol class="members-advice">
            {faults.map((one) => (
              <li key={one.Text}>
                <Data>{one.Text}</Data>
              </li>
            ))}
          </ol>
        )}
        {others.length > 0 && (
          <>
            <h3>{d.notes}</h3>
            <ul class="members-advice">
              {others.map((one) => (
                <li key={one.Text}>
                  <Data>{one.Text}</Data>
                </li>
              ))}
            </ul>
          </>
        )}
        {report.Members.filter((one) => one.Silent).map((one) => (
          <p key={one.Name} class="quiet">
            <Data>{d.silent(one.Name, one.Silent)}</Data>
          </p>
        ))}
      </Panel>
      <Matrix report={report} />
    </>
  );
}

function Matrix({ report }: { report: Report }) {
  const d = w.doctor;
  const rows = matrix(report.Paths);
  const names = report.Members.map((one) => one.Name);
  return (
    <div class="members-matrix" role="region" aria-label={d.matrix} tabIndex={0}>
      <table>
        <caption>{d.matrix}</caption>
        <thead>
          <tr>
            <th scope="col">{d.from}</th>
            {names.map((name) => (
              <th key={name} scope="col">
                <Data>{name}</Data>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {names.map((source) => (
            <tr key={source}>
              <th scope="row">
                <Data>{source}</Data>
              </th>
              {names.map((target) => {
                const shown = source === target ? "–" : (rows.get(source)?.get(target) ?? "?");
                return (
                  <td key={target} class={source === target || isWell(shown) ? "" : "ill"}>
                    {shown}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface Keyring {
  WAN: boolean;
  Datacenter: string;
  Messages: Record<string, string> | null;
  Keys: Record<string, number>;
  PrimaryKeys: Record<string, number>;
  NumNodes: number;
}

export function Keys() {
  const k = w.keys;
  const { value, error, busy, run } = useAsked<Keyring[]>("/v1/operator/keyring");
  useEffect(() => void run(), [run]);
  const isPlain = /not encrypted/i.test(error);
  return (
    <>
      <p class="quiet">{k.intro}</p>
      <RunButton busy={busy} run={run} text={k.load} running={k.loading} />
      {isPlain && (
        <Empty title={k.plain} command={k.plainCommand}>
          {k.plainText}
        </Empty>
      )}
      {error && !isPlain && <Failure error={error} />}
      {value?.map((pool) => (
        <Pool key={`${pool.WAN}${pool.Datacenter}`} pool={pool} />
      ))}
      <Command text={k.command} />
    </>
  );
}

function Pool({ pool }: { pool: Keyring }) {
  const k = w.keys;
  const messages = Object.entries(pool.Messages ?? {});
  return (
    <Panel title={k.pool(pool.WAN, pool.Datacenter)}>
      <table class="members-keys">
        <thead>
          <tr>
            <th scope="col">{k.key}</th>
            <th scope="col">{k.members}</th>
            <th scope="col">{k.primary}</th>
          </tr>
        </thead>
        <tbody>
          {Object.entries(pool.Keys).map(([key, count]) => (
            <tr key={key}>
              <th scope="row" class="mono">
                {k.ending(keyEnd(key))}
              </th>
              <td>{k.of(count, pool.NumNodes)}</td>
              <td>{k.of(pool.PrimaryKeys[key] ?? 0, pool.NumNodes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {messages.length > 0 && (
        <>
          <h3>{k.messages}</h3>
          <ul class="members-advice">
            {messages.map(([name, text]) => (
              <li key={name}>
                <Data>{`${name}: ${text}`}</Data>
              </li>
            ))}
          </ul>
        </>
      )}
    </Panel>
  );
}
