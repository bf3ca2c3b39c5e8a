/** History: who changed what and when, what differs, and the way back. */

import { useMemo } from "preact/hooks";
import { query } from "../live/api";
import { useLive } from "../live/live";
import { useParam } from "../live/place";
import { useSettled } from "../live/steady";
import { Input, commandLine, quoted } from "../parts/act";
import { Command } from "../parts/basics";
import { Page } from "../parts/page";
import { Facet, SearchBox, Toolbar } from "../parts/search";
import type { PageProps } from "../routes";
import { words } from "../words";
import { Changes } from "./changes";
import { Past } from "./history-one";
import "./history.css";

const w = words.history;
const KINDS = Object.keys(w.kinds);
const SINCES = Object.keys(w.sinces);

export default function History({ rest }: PageProps) {
  const [kind, key] = rest;
  if (kind === undefined) return <List />;
  return <Past key={rest.join("/")} kind={kind} name={key ?? ""} />;
}

function List() {
  const [kind] = useParam("kind");
  const [search] = useParam("q");
  const [who, setWho] = useParam("who");
  const [since] = useParam("since");
  const name = useSettled(search, 250);
  const author = useSettled(who, 250).trim();
  const path = query("/v1/history", { kind, prefix: name || undefined, author, since });
  const known = useLive<{ Author: string }[]>(query("/v1/history", { limit: 100 })).value;
  const authors = useMemo(
    () => [...new Set(["anonymous", ...(known ?? []).map((one) => one.Author)])].filter(Boolean),
    [known],
  );
  const isFiltered = Boolean(kind || name || author || since);
  return (
    <Page title={w.title}>
      <p class="quiet">{w.intro}</p>
      <Toolbar>
        <SearchBox label={w.prefix} hint={w.prefixHint} />
        <div class="history-who">
          <Input field={{ name: "who", label: w.who, offers: authors }} value={who} set={setWho} />
        </div>
        <Facet
          param="since"
          label={w.since}
          choices={SINCES.map((value) => ({ value, text: w.sinces[value] ?? value }))}
        />
        <Facet
          param="kind"
          label={w.kind}
          choices={KINDS.map((value) => ({ value, text: w.kinds[value] ?? value }))}
        />
      </Toolbar>
      {name && !kind && <p class="quiet">{w.onlyKeys}</p>}
      <Changes path={path} filtered={isFiltered} />
      <Command text={command(kind, name, author, since)} />
    </Page>
  );
}

function command(kind: string, prefix: string, author: string, since: string): string {
  const said = [
    "meshctl history",
    kind ? kind !== "kv" && `--kind ${quoted(kind)}` : !prefix && "--kind all",
    author && `--author ${quoted(author)}`,
    since && `--since ${quoted(since)}`,
    prefix && "--recurse",
  ];
  return commandLine(said.filter(Boolean).join(" "), prefix ? [prefix] : []);
}
