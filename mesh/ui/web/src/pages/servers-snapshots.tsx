/** Snapshots: those the servers take by themselves, and one to take away now. */

import { scope } from "../live/api";
import { useLive } from "../live/live";
import { download } from "../live/download";
import { bytes, span } from "../logic/time";
import { ActButton, type Action } from "../parts/act";
import { Badge, Command, Data, Empty, Facts, Failure, Loaded, Panel } from "../parts/basics";
import { Time } from "../parts/time";
import { words } from "../words";

const w = words.servers.snapshots;

interface Kept {
  Name: string;
  Time: string;
  Size: number;
  Index: number;
  Digest: string;
  Verified: string;
}

interface Schedule {
  Server: string;
  Leader: boolean;
  Directory: string;
  IntervalSeconds: number;
  Retain: number;
  LastTime: string;
  Problem: string;
  Kept: Kept[];
  Error: string;
}

export function Snapshots() {
  const live = useLive<Schedule[]>("/v1/operator/snapshots?stale");
  return (
    <>
      <Panel
        title={w.now}
        aside={
          <ActButton class="primary" action={saving()}>
            {w.now}
          </ActButton>
        }
      >
        <p>{w.nowText}</p>
      </Panel>
      <Loaded live={live}>{(found) => <Schedules found={found} />}</Loaded>
      <Panel title={w.restore}>
        <p class="servers-text">{w.restoreText}</p>
        <Command text="meshctl snapshot restore backup.snap" />
      </Panel>
    </>
  );
}

function saving(): Action {
  const dc = scope.shown || scope.local;
  return {
    title: w.now,
    text: w.nowText,
    fields: [{ name: "stale", label: w.stale, kind: "check" }],
    verb: w.verb,
    command: ({ stale }) => `meshctl snapshot save ${stale ? "--stale " : ""}backup.snap`,
    run: async ({ stale }) => {
      const { name, size } = await download(
        `/v1/snapshot${stale ? "?stale" : ""}`,
        (headers) => `mesh-${dc}-${headers.get("X-Consul-Index") ?? "now"}.snap`,
        w.cut,
      );
      return w.saved(name, bytes(size));
    },
  };
}

function Schedules({ found }: { found: Schedule[] }) {
  if (!found.some((one) => one.IntervalSeconds > 0 || one.Error))
    return (
      <Panel title={w.scheduled}>
        <Empty title={w.none} command="meshctl operator snapshots">
          <p>{w.noneText}</p>
          <pre class="servers-config">{w.config}</pre>
        </Empty>
      </Panel>
    );
  return (
    <>
      {found.map((one) => (
        <ScheduleOf key={one.Server} one={one} />
      ))}
    </>
  );
}

function ScheduleOf({ one }: { one: Schedule }) {
  return (
    <Panel
      title={
        <>
          {w.scheduled}: <bdi>{one.Server}</bdi>
        </>
      }
      aside={
        one.IntervalSeconds > 0 && (
          <Badge tone={one.Leader ? "good" : "plain"}>{one.Leader ? w.leads : w.stands}</Badge>
        )
      }
    >
      {one.Error && <Failure title={w.unasked} error={one.Error} />}
      {one.Problem && <Failure title={w.problem} error={one.Problem} />}
      {one.IntervalSeconds > 0 && (
        <Facts
          facts={[
            [w.facts.interval, span(one.IntervalSeconds)],
            [w.facts.directory, <Data mono>{one.Directory}</Data>],
            [w.facts.retain, String(one.Retain)],
            [w.facts.last, <Time at={one.LastTime} />],
          ]}
        />
      )}
      {!one.Error && one.Kept.length === 0 && <p class="quiet servers-text">{w.noneKept}</p>}
      {one.Kept.length > 0 && <KeptTable kept={one.Kept} label={one.Server} />}
    </Panel>
  );
}

function KeptTable({ kept, label }: { kept: Kept[]; label: string }) {
  const c = w.columns;
  return (
    <div class="servers-scroll" tabIndex={0} role="group" aria-label={label}>
      <table class="simple">
        <thead>
          <tr>
            <th scope="col">{c.name}</th>
            <th scope="col">{c.time}</th>
            <th scope="col">{c.size}</th>
            <th scope="col">{c.index}</th>
            <th scope="col">{c.verified}</th>
          </tr>
        </thead>
        <tbody>
          {kept.map((one) => (
            <tr key={one.Name}>
              <td title={one.Digest}>
                <Data mono>{one.Name}</Data>
              </td>
              <td>
                <Time at={one.Time} />
              </td>
              <td>{bytes(one.Size)}</td>
              <td>{one.Index.toLocaleString("en")}</td>
              <td>{one.Verified ? <Time at={one.Verified} /> : w.unverified}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
