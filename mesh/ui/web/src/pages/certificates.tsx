/** The authority of the mesh, its rotations with proof, and the certificates that end. */

import { ChevronRight } from "../parts/icons";
import { call, query } from "../live/api";
import { refresh, useLive } from "../live/live";
import { tabOf } from "../logic/address";
import {
  horizon,
  rootRows,
  type RootRow,
  type Roots,
  type Rotation,
  spent,
  type Standing,
  stepFlags,
  stepQuery,
} from "../logic/certificates";
import { ActButton, type Action, type Field, type Values, fed } from "../parts/act";
import { Badge, CopyButton, Data, Empty, Facts, Loaded, Panel, type Tone } from "../parts/basics";
import { Page } from "../parts/page";
import { Time } from "../parts/time";
import type { PageProps } from "../routes";
import { words } from "../words";
import { EndBadge } from "./certificates-end";
import { Leaves } from "./certificates-leaves";
import { RevokedList } from "./certificates-revoked";
import "./certificates.css";

const w = words.certificates;
const TABS = ["authority", "leaves", "revoked"] as const;
const ROOTS = "/v1/connect/ca/roots";
const ROTATION = "/v1/connect/ca/rotation";
const CONFIG = "/v1/connect/ca/configuration";
const TONES: Record<Standing, Tone> = { active: "good", prepared: "info", past: "plain" };

export default function Certificates({ rest }: PageProps) {
  const tab = tabOf(TABS, rest[0]);
  return (
    <Page
      title={w.title}
      tabs={{
        at: ["certificates"],
        present: tab,
        tabs: TABS.map((key) => ({
          key,
          text: w.tabs[key],
        })),
      }}
    >
      {tab === "leaves" ? <Leaves /> : tab === "revoked" ? <RevokedList /> : <Authority />}
    </Page>
  );
}

function Authority() {
  const live = useLive<Roots>(ROOTS);
  return (
    <Loaded live={live}>
      {(roots) =>
        roots.TrustDomain ? (
          <Founded roots={roots} />
        ) : (
          <Empty title={w.none} command="meshctl operator upgrade status">
            {w.noneText}
          </Empty>
        )
      }
    </Loaded>
  );
}

function Founded({ roots }: { roots: Roots }) {
  const rotation = useLive<Rotation>(ROTATION);
  const rows = rootRows(roots, rotation.value);
  const active = rows.find((one) => one.standing === "active");
  return (
    <>
      <Loaded live={rotation}>
        {(found) => <RotationPanel rotation={found} active={active} />}
      </Loaded>
      <section class="ca-roots">
        <h2>{w.roots}</h2>
        <div class="ca-cards">
          {rows.map((one) => (
            <RootCard key={one.ID} root={one} />
          ))}
        </div>
      </section>
      <Configuration domain={roots.TrustDomain} />
    </>
  );
}

const hasEnded = (root: RootRow) => horizon(root.NotBefore, root.NotAfter, Date.now()) === "over";

function RootCard({ root }: { root: RootRow }) {
  const part = Math.round(spent(root.NotBefore, root.NotAfter, Date.now()) * 100);
  const f = w.facts;
  return (
    <article class={`panel ca-root ${hasEnded(root) ? "ended" : root.standing}`}>
      <header>
        <h3>
          <Data>{root.Name}</Data>
        </h3>
        <div class="aside">
          <Badge tone={hasEnded(root) ? "plain" : TONES[root.standing]}>
            {w.standing[root.standing]}
          </Badge>
          <EndBadge from={root.NotBefore} until={root.NotAfter} />
        </div>
      </header>
      <p class="quiet">{hasEnded(root) ? w.endedRoot : w.standingText[root.standing]}</p>
      <meter
        min={0}
        max={100}
        value={Number.isNaN(part) ? 100 : part}
        aria-label={w.life(part)}
        title={w.life(part)}
      />
      <Facts
        facts={[
          [f.until, <Time at={root.NotAfter} />],
          [f.from, <Time at={root.NotBefore} />],
          [f.key, `${root.PrivateKeyType.toUpperCase()} ${root.PrivateKeyBits}`],
          [f.between, w.between(root.IntermediateCerts?.length ?? 0)],
          [f.believed, root.believed !== undefined && w.of(root.believed, root.workloads)],
          [f.leaves, root.leaves !== undefined && w.of(root.leaves, root.workloads)],
        ]}
      />
      <div class="ca-print">
        <span class="quiet">{f.fingerprint}</span>
        <code>
          <bdi>{root.ID}</bdi>
        </code>
        <CopyButton text={root.ID} />
      </div>
      <details>
        <summary>{w.pem}</summary>
        <pre class="ca-pem">{root.RootCert}</pre>
        <CopyButton text={root.RootCert} />
      </details>
    </article>
  );
}

function RotationPanel({
  rotation: r,
  active,
}: {
  rotation: Rotation;
  active: RootRow | undefined;
}) {
  const present = { steady: 0, prepared: 1, activated: 2 }[r.Phase];
  if (active && hasEnded(active)) return <Ended />;
  return (
    <Panel
      title={
        <>
          {w.rotation}{" "}
          <Badge tone={r.Phase === "steady" ? "good" : "info"}>{w.phases[r.Phase]}</Badge>
        </>
      }
      tone={r.Phase === "steady" ? "plain" : "info"}
      aside={<Steps phase={r.Phase} />}
    >
      <ol class="ca-steps" aria-label={w.stepsTitle}>
        {w.steps.map((step, i) => (
          <li
            key={step}
            class={i < present ? "done" : i === present ? "present" : ""}
            aria-current={i === present ? "step" : undefined}
          >
            <span class="number">{i + 1}</span> {step}
            {i < 2 && <ChevronRight size="1em" aria-hidden="true" />}
          </li>
        ))}
      </ol>
      <p>{w.phaseText[r.Phase]}</p>
      <p>
        <span class="quiet">{w.nextIs}:</span> <bdi>{r.Next}</bdi>.
      </p>
      {r.Phase !== "steady" && r.Waiting.length > 0 && <Waiting names={r.Waiting} />}
    </Panel>
  );
}

function Ended() {
  return (
    <Panel
      title={w.endedTitle}
      tone="bad"
      aside={
        <ActButton class="danger" action={step("recover", w.recover, w.recoverText, [], true)}>
          {w.recover}
        </ActButton>
      }
    >
      <p>{w.endedText}</p>
    </Panel>
  );
}

function Waiting({ names }: { names: string[] }) {
  const shown = names.slice(0, 50);
  return (
    <div class="ca-waiting">
      <h3>{w.waits}</h3>
      <ul>
        {shown.map((name) => (
          <li key={name}>
            <Data>{name}</Data>
          </li>
        ))}
      </ul>
      {names.length > shown.length && (
        <p class="quiet">{w.waitsMore(names.length - shown.length)}</p>
      )}
    </div>
  );
}

const SURE: Field[] = [
  { name: "threshold", label: w.threshold, kind: "number", usual: "100" },
  { name: "force", label: w.force, kind: "check" },
];

function Steps({ phase }: { phase: Rotation["Phase"] }) {
  if (phase === "steady") return <ActButton action={preparing()}>{w.prepare}</ActButton>;
  if (phase === "activated")
    return (
      <ActButton class="primary" action={step("retire", w.retire, w.retireText, SURE)}>
        {w.retire}
      </ActButton>
    );
  return (
    <>
      <ActButton action={takingBack()}>{w.takeBack}</ActButton>
      <ActButton class="primary" action={step("activate", w.activate, w.activateText, SURE)}>
        {w.activate}
      </ActButton>
    </>
  );
}

function step(
  name: "activate" | "retire" | "recover",
  title: string,
  text: string,
  fields: Field[],
  danger = false,
): Action {
  const [path, verb] =
    name === "recover"
      ? ["/v1/connect/ca/recover", "meshctl connect ca recover"]
      : [`${ROTATION}/${name}`, `meshctl connect ca rotate ${name}`];
  return {
    title,
    text,
    fields,
    verb: title,
    danger,
    command: (values) => `${verb}${stepFlags(values)}`,
    run: (values) => put(query(path, stepQuery(values))),
  };
}

async function put(path: string, body: unknown = {}): Promise<string> {
  const { value } = await call<{ Next: string }>(path, { method: "PUT", body });
  for (const one of [ROOTS, ROTATION, CONFIG]) refresh(one);
  return w.said(value?.Next ?? "");
}

function takingBack(): Action {
  return {
    title: w.takeBack,
    text: w.takeBackText,
    verb: w.takeBack,
    danger: true,
    command: () => "meshctl connect ca rotate retire --force",
    run: () => put(query(`${ROTATION}/retire`, { force: true })),
  };
}

function preparing(): Action {
  const keys = {
    "": w.keys.same,
    "ec 256": w.keys.ec256,
    "ec 384": w.keys.ec384,
    "rsa 4096": w.keys.rsa4096,
  };
  const key = (values: Values): [string, string] => {
    const [type = "", bits = ""] = (values["key"] ?? "").split(" ");
    return [type, bits];
  };
  return {
    title: w.prepare,
    text: w.prepareText,
    fields: [
      {
        name: "key",
        label: w.keyType,
        kind: "select",
        choices: Object.entries(keys).map(([value, text]) => ({ value, text })),
      },
    ],
    verb: w.prepare,
    command: (values) => {
      const [type, bits] = key(values);
      return `meshctl connect ca rotate prepare${type ? ` --key-type ${type} --key-bits ${bits}` : ""}`;
    },
    run: (values) => {
      const [type, bits] = key(values);
      const config = type ? { PrivateKeyType: type, PrivateKeyBits: Number(bits) } : {};
      return put(`${ROTATION}/prepare`, { Config: config });
    },
  };
}

interface Config {
  Provider: string;
  Config: Record<string, string | number | boolean>;
  ModifyIndex: number;
}

function Configuration({ domain }: { domain: string }) {
  const live = useLive<Config>(CONFIG);
  return (
    <Panel
      title={w.config}
      aside={
        live.value && (
          <ActButton class="small" action={changing(live.value)}>
            {w.change}
          </ActButton>
        )
      }
    >
      <Loaded live={live}>
        {(found) => (
          <Facts
            facts={[
              [w.domain, <Data mono>{domain}</Data>],
              [w.provider, found.Provider],
              ...Object.entries(w.configNames).map(
                ([name, label]): [string, string | undefined] => [
                  label,
                  found.Config[name] === undefined
                    ? undefined
                    : name === "PrivateKeyType"
                      ? w.bits(
                          String(found.Config[name]),
                          String(found.Config["PrivateKeyBits"] ?? ""),
                        )
                      : String(found.Config[name]),
                ],
              ),
            ]}
          />
        )}
      </Loaded>
      <p class="quiet ca-note">{w.noKeys}</p>
    </Panel>
  );
}

function changing(found: Config): Action {
  const usual = String(found.Config["LeafCertTTL"] ?? "72h");
  const body = (values: Values) => ({
    Provider: found.Provider,
    Config: { LeafCertTTL: values["ttl"] ?? usual },
  });
  return {
    title: w.change,
    text: w.changeText,
    fields: [{ name: "ttl", label: w.ttl, usual, required: true }],
    verb: words.shell.save,
    command: (values) =>
      fed(JSON.stringify(body(values)), "meshctl connect ca set-config --config-file -"),
    run: async (values) => {
      const { value } = await call<boolean>(query(CONFIG, { cas: found.ModifyIndex }), {
        method: "PUT",
        body: body(values),
      });
      refresh(CONFIG);
      if (!value) throw new Error(w.conflict);
      return w.changed;
    },
  };
}
