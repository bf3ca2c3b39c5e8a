/** Sessions: what holds locks, on what it rests, and how it is released. */

import { useMemo } from "preact/hooks";
import { api } from "../live/api";
import { useLive } from "../live/live";
import type { HeldSession } from "../live/nodes";
import { go, to, useParam } from "../live/place";
import { matches } from "../logic/search";
import { span } from "../logic/time";
import { ActButton, quoted } from "../parts/act";
import { Command, Data, Empty, Facts, Loaded, Panel, Tags } from "../parts/basics";
import { Page } from "../parts/page";
import { Facet, SearchBox, Toolbar } from "../parts/search";
import type { PageProps } from "../routes";
import { words } from "../words";
import { Began, checksOf, release, SessionTable } from "./session-table";
import "./sessions.css";

const w = words.sessions;
const NANOSECONDS = 1e9;

export default function Sessions({ rest }: PageProps) {
  const [id] = rest;
  return id === undefined ? <List /> : <One key={id} id={id} />;
}

function List() {
  const live = useLive<HeldSession[]>("/v1/internal/ui/sessions");
  const [search] = useParam("q");
  const [held] = useParam("held");
  const all = live.value;
  const found = useMemo(
    () => (all ?? []).filter((one) => matches(search, one.ID, one.Name, one.Node, ...one.Keys)),
    [all, search],
  );
  const shown = useMemo(
    () => found.filter((one) => !held || (held === "yes") === one.Held > 0),
    [found, held],
  );
  const holding = found.filter((one) => one.Held > 0).length;
  return (
    <Page title={w.title}>
      <Loaded live={live}>
        {(sessions) =>
          sessions.length ? (
            <>
              <Toolbar said={words.parts.shown(shown.length, sessions.length, w.what)}>
                <SearchBox hint={w.hint} />
                <Facet
                  param="held"
                  label={w.holdingFacet}
                  choices={[
                    { value: "", text: w.all },
                    { value: "yes", text: w.holding, count: holding },
                    { value: "no", text: w.idle, count: found.length - holding },
                  ]}
                />
              </Toolbar>
              <SessionTable sessions={shown} />
              <Command text="meshctl session list" />
            </>
          ) : (
            <Empty title={w.empty} command={w.emptyCommand}>
              {w.emptyText}
            </Empty>
          )
        }
      </Loaded>
    </Page>
  );
}

function One({ id }: { id: string }) {
  const live = useLive<HeldSession[]>(api`/v1/internal/ui/session/${id}`);
  const session = live.value?.[0];
  const crumbs = [{ text: w.title, at: ["sessions"] }];
  if (!session)
    return (
      <Page title={live.loaded ? w.gone : id} crumbs={crumbs}>
        <Loaded live={live}>
          {() => (
            <Empty title={w.gone} command="meshctl session list">
              {w.goneText}
            </Empty>
          )}
        </Loaded>
      </Page>
    );
  const checks = checksOf(session);
  return (
    <Page
      title={session.Name || session.ID}
      crumbs={crumbs}
      actions={
        <ActButton action={release(session, () => go(to("sessions")))}>{w.release}</ActButton>
      }
    >
      <Panel>
        <Facts
          facts={[
            [
              w.session,
              <Data key="id" mono>
                {session.ID}
              </Data>,
            ],
            [
              w.node,
              <a key="node" href={to("nodes", session.Node, "sessions")}>
                <Data>{session.Node}</Data>
              </a>,
            ],
            [w.checks, checks.length ? <Tags tags={checks} max={20} /> : w.noChecks],
            [w.ttl, session.TTL || w.noTtl],
            [w.behavior, w.behaviors[session.Behavior] ?? session.Behavior],
            [w.lockDelay, span(session.LockDelay / NANOSECONDS)],
            [w.age, <Began key="age" session={session} />],
            [w.index, session.CreateIndex],
          ]}
        />
      </Panel>
      {session.Keys.length ? (
        <Panel title={w.heldKeys}>
          <ul class="session-keys">
            {session.Keys.map((key) => (
              <li key={key}>
                <a href={to("kv", key)}>
                  <Data mono>{key}</Data>
                </a>
              </li>
            ))}
          </ul>
          {session.Held > session.Keys.length && (
            <p class="quiet">{w.moreKeys(session.Held - session.Keys.length)}</p>
          )}
        </Panel>
      ) : (
        <Empty
          title={w.nothingHeld}
          command={`meshctl kv put --acquire --session ${quoted(session.ID)} locks/name value`}
        >
          {w.nothingHeldText}
        </Empty>
      )}
      <Command label={w.shell} text={`meshctl session info ${quoted(session.ID)}`} />
    </Page>
  );
}
