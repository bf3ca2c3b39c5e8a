/** The feature level: what the cluster writes, and whether it may rise. */

import { call } from "../live/api";
import { refresh, useLive } from "../live/live";
import { to } from "../live/place";
import { ActButton } from "../parts/act";
import { Badge, Command, Data, Loaded, Panel } from "../parts/basics";
import { words } from "../words";

const w = words.servers.upgrade;
const PATH = "/v1/operator/upgrade";

interface Level {
  Level: number;
  LevelMax: number;
  Servers: { Name: string; Status: string; LevelMin: number; LevelMax: number }[];
  WaitingFor: string[];
}

export function Upgrade() {
  const live = useLive<Level>(PATH);
  return <Loaded live={live}>{(found) => <Shown found={found} />}</Loaded>;
}

function Shown({ found }: { found: Level }) {
  const { Level: level, LevelMax: highest, WaitingFor: waiting } = found;
  const ready = level < highest && waiting.length === 0;
  const state =
    level >= highest
      ? w.highest
      : ready
        ? w.ready(highest)
        : w.waits(level + 1, waiting.join(", "));
  return (
    <>
      <Panel
        title={w.level}
        tone={ready ? "info" : level < highest ? "warn" : "plain"}
        aside={
          ready && (
            <ActButton
              class="danger"
              action={{
                title: w.finalize,
                text: w.finalizeText(highest),
                verb: w.finalize,
                danger: true,
                command: () => "meshctl operator upgrade finalize",
                run: async () => {
                  const { value } = await call<Level>(`${PATH}/finalize`, { method: "PUT" });
                  refresh(PATH);
                  return w.finalized(value.Level);
                },
              }}
            >
              {w.finalize}
            </ActButton>
          )
        }
      >
        <p class="servers-level">{w.at(level)}</p>
        <p class="servers-text">
          <bdi>{state}</bdi>
        </p>
        <Command text="meshctl operator upgrade status" />
      </Panel>
      <Panel title={w.servers}>
        <table class="simple">
          <thead>
            <tr>
              <th scope="col">{w.columns.name}</th>
              <th scope="col">{w.columns.status}</th>
              <th scope="col">{w.columns.levels}</th>
            </tr>
          </thead>
          <tbody>
            {found.Servers.map((one) => (
              <tr key={one.Name}>
                <td>
                  <a href={to("servers", "server", one.Name)}>
                    <Data>{one.Name}</Data>
                  </a>
                </td>
                <td>
                  <Badge tone={one.Status === "alive" ? "good" : "warn"}>{one.Status}</Badge>
                </td>
                <td>{w.levels(one.LevelMin, one.LevelMax)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Panel>
    </>
  );
}
