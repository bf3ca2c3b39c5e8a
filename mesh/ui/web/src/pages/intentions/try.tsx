/** What would happen to a call: asked of the servers, who decide as the sidecar does. */

import { query } from "../../live/api";
import { useLive } from "../../live/live";
import { useParam } from "../../live/place";
import { isSame, type Listed, ruleAt } from "../../logic/intentions";
import { commandLine } from "../../logic/shell";
import { Command, Data, Facts, Loaded, Panel } from "../../parts/basics";
import { Input } from "../../parts/act";
import { words } from "../../words";
import { ServiceInput } from "./ends";
import { intention } from "./places";
import { Action, DryRun, Verdict } from "./signs";

const w = words.intentions;
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

interface Checked {
  Allowed: boolean;
  Reason: string;
  Rule: string;
  Stale?: boolean;
}

interface Call {
  source: string;
  destination: string;
  method: string;
  path: string;
  headers: string[];
}

export function Try() {
  const [source, setSource] = useParam("from");
  const [destination, setDestination] = useParam("to");
  const [method, setMethod] = useParam("method");
  const [path, setPath] = useParam("path");
  const [headers, setHeaders] = useParam("headers");
  const call = {
    source: source.trim(),
    destination: destination.trim(),
    method,
    path,
    headers: headers.split("\n").filter((line) => line.trim()),
  };
  return (
    <div class="int-try">
      <Panel title={w.try.label}>
        <p class="quiet">{w.try.text}</p>
        <form class="int-call" onSubmit={(event) => event.preventDefault()}>
          <ServiceInput
            name="from"
            label={w.try.source}
            value={source}
            set={setSource}
            wildcard={false}
          />
          <ServiceInput
            name="to"
            label={w.try.destination}
            value={destination}
            set={setDestination}
            wildcard={false}
          />
          <Input
            field={{
              name: "method",
              label: w.try.method,
              kind: "select",
              choices: [
                { value: "", text: w.try.connection },
                ...METHODS.map((value) => ({ value, text: value })),
              ],
            }}
            value={method}
            set={setMethod}
          />
          <Input
            field={{ name: "path", label: w.try.path, hint: w.try.pathHint }}
            value={path}
            set={setPath}
          />
          <Input
            field={{ name: "headers", label: w.try.headers, kind: "area", hint: w.try.headersHint }}
            value={headers}
            set={setHeaders}
          />
        </form>
      </Panel>
      {call.source && call.destination ? (
        <Outcome call={call} />
      ) : (
        <Panel tone="info">
          <p>{w.try.waiting}</p>
        </Panel>
      )}
    </div>
  );
}

function isAbout(one: Listed, source: string): boolean {
  return one.SourceName === "*" || isSame(one.SourceName, source);
}

function asked(call: Call, dryRun: boolean): string {
  const path = query("/v1/connect/intentions/check", {
    source: call.source,
    destination: call.destination,
    method: call.method,
    path: call.path,
    "dry-run": dryRun && "true",
  });
  return [path, ...call.headers.map((one) => `header=${encodeURIComponent(one)}`)].join("&");
}

function command(call: Call): string {
  const said: string[] = [];
  if (call.method) said.push("--method", call.method);
  if (call.path) said.push("--path", call.path);
  for (const header of call.headers) said.push("--header", header);
  return commandLine("meshctl intention check", [call.source, call.destination], said);
}

function Outcome({ call }: { call: Call }) {
  const enforced = useLive<Checked>(asked(call, false));
  const match = useLive<Record<string, Listed[]>>(
    query("/v1/connect/intentions/match", {
      by: "destination",
      name: call.destination,
      "dry-run": "true",
    }),
  );
  const rules = Object.values(match.value ?? {})[0] ?? [];
  const isTried = rules.some((one) => one.DryRun && isAbout(one, call.source));
  const tried = useLive<Checked>(isTried ? asked(call, true) : null);
  return (
    <div class="int-outcome">
      <Loaded live={enforced}>
        {(found) => (
          <Panel
            tone={found.Allowed ? "good" : "bad"}
            title={<Verdict says={found.Allowed ? "allow" : "deny"} />}
          >
            <Because found={found} dryRun={false} />
          </Panel>
        )}
      </Loaded>
      {tried.value && (
        <Panel
          tone="warn"
          title={
            <>
              {w.try.dryTitle}: <Verdict says={tried.value.Allowed ? "allow" : "deny"} />
            </>
          }
        >
          <Because found={tried.value} dryRun />
        </Panel>
      )}
      <Command label={words.shell.sameAs} text={command(call)} />
      <Ladder call={call} rules={rules} deciding={enforced.value?.Rule ?? ""} />
    </div>
  );
}

function Because({ found, dryRun }: { found: Checked; dryRun: boolean }) {
  const rule = ruleAt(found.Rule);
  return (
    <Facts
      facts={[
        [w.try.because, <Data>{found.Reason}</Data>],
        [
          w.try.rule,
          rule ? (
            <a href={intention({ ...rule, dryRun })}>
              <Data>{found.Rule}</Data>
            </a>
          ) : (
            <Data>{found.Rule || w.try.byDefault}</Data>
          ),
        ],
        ["", found.Stale ? w.try.stale : undefined],
      ]}
    />
  );
}

/** All rules about the destination as they are asked, and which of them decides. */
function Ladder({ call, rules, deciding }: { call: Call; rules: Listed[]; deciding: string }) {
  if (!rules.length) return null;
  const at = ruleAt(deciding);
  const place = rules.findIndex(
    (one) =>
      at !== null &&
      !one.DryRun &&
      one.SourceName.toLowerCase() === at.source.toLowerCase() &&
      one.DestinationName.toLowerCase() === at.destination.toLowerCase(),
  );
  return (
    <Panel title={w.try.ladder}>
      <ol class="int-ladder">
        {rules.map((one, i) => {
          const said = !isAbout(one, call.source)
            ? w.try.skipped
            : one.DryRun
              ? w.try.notEnforced
              : i === place
                ? w.try.decides
                : place >= 0 && i > place
                  ? w.try.below
                  : "";
          return (
            <li
              key={`${one.SourceName} ${one.DestinationName} ${one.DryRun ?? false}`}
              class={i === place ? "" : "quiet"}
              aria-current={i === place ? "true" : undefined}
            >
              <a
                href={intention({
                  source: one.SourceName,
                  destination: one.DestinationName,
                  dryRun: Boolean(one.DryRun),
                })}
              >
                <bdi>{w.arrow(one.SourceName, one.DestinationName)}</bdi>
              </a>
              <Action one={one} />
              {one.DryRun && <DryRun />}
              <span class={i === place ? "int-decides" : ""}>{said}</span>
            </li>
          );
        })}
      </ol>
    </Panel>
  );
}
