/** What was denied, and what dry runs would change, as sidecars saw it. */

import { useMemo } from "preact/hooks";
import { ask, query } from "../../live/api";
import { useLive } from "../../live/live";
import { toWith, useParam } from "../../live/place";
import { ruleAt } from "../../logic/intentions";
import { matches } from "../../logic/search";
import { instant } from "../../logic/time";
import { commandLine } from "../../logic/shell";
import { ActButton, type Action } from "../../parts/act";
import { Command, Data, Empty, Facts, Loaded, Panel, Tags } from "../../parts/basics";
import { SearchBox, Toolbar } from "../../parts/search";
import { Time } from "../../parts/time";
import { words } from "../../words";
import { intention, opening } from "./places";
import { Verdict } from "./signs";

const w = words.intentions;
const PATH = "/v1/connect/intentions/report";
const DENIED = query(PATH, { denied: "true" });

interface Refusal {
  Kind: "denied" | "would-deny" | "would-allow";
  Source: string;
  Destination: string;
  Rule: string;
  Entry: string;
  Count: number;
  First: string;
  Last: string;
  Examples: string[];
  Nodes: { Node: string; Count: number }[];
}

export function Report() {
  return (
    <>
      <Toolbar>
        <SearchBox label={w.report.service} />
      </Toolbar>
      <Part path={DENIED} title={w.report.deniedTitle} none={w.report.deniedNone} denied />
      <Part path={PATH} title={w.report.trialTitle} none={w.report.trialNone} denied={false} />
      <p class="quiet">{w.report.bounds}</p>
    </>
  );
}

function Part({
  path,
  title,
  none,
  denied,
}: {
  path: string;
  title: string;
  none: string;
  denied: boolean;
}) {
  const live = useLive<Refusal[]>(path);
  const [search] = useParam("q");
  const shown = useMemo(
    () =>
      (live.value ?? [])
        .filter((one) => matches(search, one.Source, one.Destination))
        .sort((a, b) => instant(b.Last) - instant(a.Last)),
    [live.value, search],
  );
  return (
    <section class="int-report" aria-label={title}>
      <h2>{title}</h2>
      <Loaded live={live}>
        {(all) =>
          all.length === 0 ? (
            <Empty title={none} {...(denied ? {} : { command: w.report.trialCommand })}>
              {denied ? undefined : w.report.trialHint}
            </Empty>
          ) : (
            <>
              {shown.length === 0 && <p class="quiet">{words.parts.nothingFound}</p>}
              <ul class="int-refusals">
                {shown.map((one) => (
                  <li key={[one.Kind, one.Source, one.Destination, one.Entry, one.Rule].join("\n")}>
                    <Seen one={one} />
                  </li>
                ))}
              </ul>
              <Command label={words.shell.sameAs} text={w.report.command(denied)} />
            </>
          )
        }
      </Loaded>
    </section>
  );
}

const SAID = {
  denied: ["deny", w.report.denied],
  "would-deny": ["deny", w.report.wouldDeny],
  "would-allow": ["allow", w.report.wouldAllow],
} as const;

function Seen({ one }: { one: Refusal }) {
  const [says, said] = SAID[one.Kind];
  const rule = ruleAt(one.Entry);
  const tried = one.Kind !== "denied";
  return (
    <Panel
      tone={tried ? "warn" : "bad"}
      title={
        <span class="int-pair">
          <bdi>{w.arrow(one.Source, one.Destination)}</bdi>
        </span>
      }
      aside={
        <>
          <Verdict says={says} text={said} />
          <strong>{w.report.calls(one.Count)}</strong>
        </>
      }
    >
      <Facts
        facts={[
          [w.report.last, <Time at={one.Last} />],
          [w.report.first, <Time at={one.First} />],
          [
            w.report.rule,
            <>
              <Data>{one.Rule}</Data>
            </>,
          ],
          [w.report.like, one.Examples.length ? <Tags tags={one.Examples} /> : undefined],
          [
            w.report.on,
            <Tags tags={one.Nodes.map((node) => `${node.Node} (${node.Count})`)} max={3} />,
          ],
        ]}
      />
      <div class="int-next">
        {tried && rule ? (
          <ActButton action={promotion(rule.source, rule.destination)}>
            {w.report.promote}
          </ActButton>
        ) : (
          !one.Source.includes("://") && (
            <a
              class="button"
              href={opening({
                source: one.Source,
                destination: one.Destination,
                action: rule?.permission === null || !rule ? "allow" : undefined,
              })}
            >
              {w.report.allow}
            </a>
          )
        )}
        {rule && (
          <a class="button" href={intention({ ...rule, dryRun: tried })}>
            {tried ? w.report.drop : w.report.edit}
          </a>
        )}
        <a class="button" href={trying(one)}>
          {w.report.tryIt}
        </a>
      </div>
    </Panel>
  );
}

function trying(one: Refusal): string {
  const [method = "", path = ""] = one.Examples[0]?.split(" ", 2) ?? [];
  return toWith(
    {
      from: one.Source,
      to: one.Destination,
      ...(method ? { method } : {}),
      ...(path ? { path } : {}),
    },
    "intentions",
    "try",
  );
}

/** Enforcing what was tried. */
export function promotion(source: string, destination: string, force = false): Action {
  return {
    title: w.editor.promoteTitle(source, destination),
    text: w.editor.promoteText,
    verb: w.editor.promote,
    command: () =>
      commandLine("meshctl intention promote", [source, destination], force ? ["--force"] : []),
    run: async () => {
      await ask(
        query("/v1/connect/intentions/promote", { source, destination, force: force && "true" }),
        { method: "PUT" },
      );
      return w.editor.promoted(source, destination);
    },
  };
}
