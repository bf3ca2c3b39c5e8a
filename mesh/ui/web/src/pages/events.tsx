/** Events: what agents were told, and how to tell them something. */

import { useMemo } from "preact/hooks";
import { api, ask, isHere, query, scope } from "../live/api";
import { useLive } from "../live/live";
import { useSelf } from "../live/nodes";
import { useParam } from "../live/place";
import { payload } from "../logic/payload";
import { matches } from "../logic/search";
import { type Action, ActButton, commandLine, quoted } from "../parts/act";
import { Badge, Command, Data, Empty, Loaded } from "../parts/basics";
import { Bytes } from "../parts/long";
import { Page } from "../parts/page";
import { SearchBox, Toolbar } from "../parts/search";
import type { PageProps } from "../routes";
import { words } from "../words";
import "./events.css";

const w = words.events;

interface Event {
  ID: string;
  Name: string;
  Payload: string | null;
  NodeFilter: string;
  ServiceFilter: string;
  TagFilter: string;
  LTime: number;
}

const FIRE: Action = {
  title: w.fireTitle,
  text: w.fireText,
  fields: [
    { name: "name", label: w.fieldName, required: true },
    { name: "payload", label: w.fieldPayload, kind: "area" },
    { name: "node", label: w.fieldNode, hint: w.regexHint },
    { name: "service", label: w.fieldService },
    { name: "tag", label: w.fieldTag },
  ],
  verb: w.fireVerb,
  command: ({ name, payload: text, node, service, tag }) =>
    commandLine(
      [
        `meshctl event --name ${quoted(name || "NAME")}`,
        node && `--node ${quoted(node)}`,
        service && `--service ${quoted(service)}`,
        tag && `--tag ${quoted(tag)}`,
      ]
        .filter(Boolean)
        .join(" "),
      text ? [text] : [],
    ),
  run: async ({ name = "", payload: body = "", node, service, tag }) => {
    const path = api`/v1/event/fire/${name}`;
    await ask(query(path, { node, service, tag }), { method: "PUT", body });
    return w.fired(name);
  },
};

export default function Events(_: PageProps) {
  return (
    <Page
      title={w.title}
      actions={
        <ActButton action={FIRE} class="primary">
          {w.fire}
        </ActButton>
      }
    >
      {isHere() ? (
        <Heard />
      ) : (
        <Empty title={w.elsewhere(scope.shown)} command={w.emptyCommand}>
          {w.elsewhereText(scope.local)}
        </Empty>
      )}
    </Page>
  );
}

function Heard() {
  const self = useSelf();
  const live = useLive<Event[]>("/v1/event/list");
  const [search] = useParam("q");
  const events = useMemo(() => [...(live.value ?? [])].reverse(), [live.value]);
  const shown = useMemo(
    () =>
      events.filter((one) => matches(search, one.Name, payload(one.Payload).text ?? "", one.ID)),
    [events, search],
  );
  return (
    <>
      <p class="quiet">{w.intro(self)}</p>
      <Loaded live={live}>
        {() =>
          events.length ? (
            <>
              <Toolbar said={words.parts.shown(shown.length, events.length, w.what)}>
                <SearchBox hint={w.hint} />
              </Toolbar>
              {!shown.length && <p class="quiet">{words.parts.nothingFound}</p>}
              <ul class="events">
                {shown.map((event) => (
                  <li key={event.ID}>
                    <Shown event={event} />
                  </li>
                ))}
              </ul>
              <Command text="meshctl watch -type event" />
            </>
          ) : (
            <Empty title={w.empty} command={w.emptyCommand}>
              {w.emptyText}
            </Empty>
          )
        }
      </Loaded>
    </>
  );
}

function Shown({ event }: { event: Event }) {
  const filters: [string, string][] = [
    [w.node, event.NodeFilter],
    [w.service, event.ServiceFilter],
    [w.tag, event.TagFilter],
  ];
  const some = filters.filter(([, value]) => value);
  return (
    <article class="event">
      <header>
        <h2>
          <Data>{event.Name}</Data>
        </h2>
        {some.map(([name, value]) => (
          <Badge key={name} tone="info">
            {name} <Data mono>{value}</Data>
          </Badge>
        ))}
        <span class="about quiet">
          <span>
            {w.ltime}: {event.LTime}
          </span>
          <Data mono>{event.ID}</Data>
        </span>
      </header>
      <Bytes base64={event.Payload} />
    </article>
  );
}
