/** What is wrong now, since when, and what to do next. */

import { CircleAlert, CircleCheck, Info, type Icon, TriangleAlert } from "../parts/icons";
import { useMemo, useState } from "preact/hooks";
import { useLive } from "../live/live";
import { to, useParam } from "../live/place";
import {
  bySeverity,
  bySubject,
  type Cluster,
  type Finding,
  idOf,
  mood,
  type Now,
  SEVERITIES,
  type Severity,
  type Step,
} from "../logic/now";
import { Badge, CopyButton, Loaded, type Tone } from "../parts/basics";
import { Page } from "../parts/page";
import { Facet } from "../parts/search";
import { Time } from "../parts/time";
import type { PageProps } from "../routes";
import { words } from "../words";
import "./now.css";

const w = words.now;
const FIRST = 12;
const ICONS: Record<Severity, Icon> = {
  critical: CircleAlert,
  warning: TriangleAlert,
  info: Info,
};
const TONES: Record<Severity, Tone> = { critical: "bad", warning: "warn", info: "info" };

export default function NowPage(_: PageProps) {
  const live = useLive<Now>("/v1/internal/ui/now");
  return (
    <Page title={w.title}>
      <div class="now">
        <Loaded live={live}>{(now) => <Shown now={now} />}</Loaded>
      </div>
    </Page>
  );
}

function Shown({ now }: { now: Now }) {
  const [subject] = useParam("of");
  const groups = useMemo(
    () => bySeverity(now.Findings.filter((one) => !subject || one.Subject === subject)),
    [now, subject],
  );
  const subjects = useMemo(() => bySubject(now.Findings), [now]);
  return (
    <>
      <Mood findings={now.Findings} />
      <Tiles cluster={now.Cluster} />
      {subjects.length > 1 && (
        <Facet
          param="of"
          label={w.about}
          choices={[
            { value: "", text: w.every, count: now.Findings.length },
            ...subjects.map(([value, count]) => ({
              value,
              text: subjectText(value, count),
              count,
            })),
          ]}
        />
      )}
      {SEVERITIES.filter((one) => groups[one].length > 0).map((severity) => (
        <Section key={severity} severity={severity} findings={groups[severity]} />
      ))}
      <footer class="quiet now-foot">
        {now.More > 0 && <p>{w.more(now.More)}</p>}
        <p>
          {w.checked} {now.Unasked.length > 0 && w.unasked(now.Unasked.join(", "))}
        </p>
      </footer>
    </>
  );
}

function subjectText(subject: string, count: number): string {
  return w.subjects[subject]?.[count === 1 ? 0 : 1] ?? subject;
}

function Mood({ findings }: { findings: readonly Finding[] }) {
  const how = mood(findings);
  const { critical, warning } = bySeverity(findings);
  const Icon = how === "good" ? CircleCheck : how === "warn" ? TriangleAlert : CircleAlert;
  const title =
    how === "good" ? w.good : how === "bad" ? w.bad(critical.length) : w.warn(warning.length);
  const beside = how === "good" ? w.goodText : sentence(how === "bad" ? critical : warning);
  return (
    <div class={`now-mood tone-${how}`} role="status">
      <Icon aria-hidden="true" />
      <div>
        <p class="title">{title}</p>
        <p class="beside">
          {beside}
          {how === "bad" && warning.length > 0 && ` ${w.alsoWarn(warning.length)}.`}
        </p>
      </div>
    </div>
  );
}

/** `2 services, 1 node.` */
function sentence(findings: readonly Finding[]): string {
  const said = bySubject(findings).map(
    ([subject, count]) => `${count} ${subjectText(subject, count)}`,
  );
  return `${said.join(", ")}.`;
}

/** Its name, value and text, where it leads, and whether all is well with it. */
type Tile = [string, number | string, string, string, boolean];

function Tiles({ cluster: c }: { cluster: Cluster }) {
  const health = (name: string, all: number, passing: number, place: string): Tile => [
    name,
    all,
    w.passing(passing, all),
    to(place),
    all === passing,
  ];
  const tiles: Tile[] = [
    health(w.tiles.nodes, c.Nodes, c.NodesPassing, "nodes"),
    health(w.tiles.services, c.Services, c.ServicesPassing, "services"),
    health(w.tiles.instances, c.Instances, c.InstancesPassing, "services"),
    health(w.tiles.checks, c.Checks, c.ChecksPassing, "nodes"),
    [
      w.tiles.servers,
      c.Servers,
      [w.leader(c.Leader), ...(c.Servers > 1 ? [w.spare(c.FailureTolerance)] : [])].join(", "),
      to("servers"),
      c.Leader !== "",
    ],
    [w.tiles.version, c.Version, w.asked(c.Node), to("servers", "upgrade"), true],
  ];
  return (
    <section aria-label={w.cluster}>
      <ul class="now-tiles">
        {tiles.map(([name, value, text, href, good]) => (
          <li key={name}>
            <a href={href} class={good ? "" : "not-good"}>
              <span class="name">{name}</span>
              <span class="value">{value}</span>
              <span class="text">
                <bdi>{text}</bdi>
              </span>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Section({ severity, findings }: { severity: Severity; findings: Finding[] }) {
  const [all, setAll] = useState(false);
  const shown = all ? findings : findings.slice(0, FIRST);
  return (
    <section class={`now-section tone-${TONES[severity]}`}>
      <h2>
        {w.sections[severity]} <span class="count">{findings.length}</span>
      </h2>
      <ul>
        {shown.map((one) => (
          <Card key={idOf(one)} finding={one} />
        ))}
      </ul>
      {shown.length < findings.length && (
        <button type="button" class="ghost" onClick={() => setAll(true)}>
          {w.showAll(findings.length)}
        </button>
      )}
    </section>
  );
}

function Card({ finding: one }: { finding: Finding }) {
  const Icon = ICONS[one.Severity];
  const path = one.Next.find((step) => step.Path.length > 0)?.Path;
  return (
    <li class="now-card">
      <header>
        <Icon class="sign" aria-hidden="true" />
        <h3>
          <span class="quiet">{subjectText(one.Subject, 1)}</span>{" "}
          {path ? (
            <a href={to(...path)}>
              <bdi>{one.Name}</bdi>
            </a>
          ) : (
            <bdi>{one.Name}</bdi>
          )}
        </h3>
        <Badge tone={TONES[one.Severity]}>{w.kinds[one.Kind] ?? one.Kind}</Badge>
        {one.Since && (
          <span class="since quiet">
            {one.SinceAtLeast ? w.atLeast : w.began} <Time at={one.Since} />
          </span>
        )}
      </header>
      <p class="detail">
        <bdi>{one.Detail}</bdi>
      </p>
      <ul class="steps" aria-label={w.next}>
        {one.Next.map((step) => (
          <NextStep key={step.Text} step={step} />
        ))}
      </ul>
    </li>
  );
}

function NextStep({ step }: { step: Step }) {
  return (
    <li>
      {step.Path.length > 0 ? (
        <a href={to(...step.Path)}>
          <bdi>{step.Text}</bdi>
        </a>
      ) : (
        <bdi>{step.Text}</bdi>
      )}
      {step.Command && (
        <span class="do">
          <code>
            <bdi dir="ltr">{step.Command}</bdi>
          </code>
          <CopyButton text={step.Command} />
        </span>
      )}
    </li>
  );
}
