/** A prepared query: what it asks, and what it finds. */

import { Pencil, Trash2 } from "../../parts/icons";
import { useState } from "preact/hooks";
import { api, ask } from "../../live/api";
import { useLive } from "../../live/live";
import { go, to } from "../../live/place";
import { failoverOf, isTemplate, type Query, toJson } from "../../logic/prepared";
import { ActDialog } from "../../parts/act";
import {
  Badge,
  Command,
  Data,
  Empty,
  Facts,
  Failure,
  Loading,
  Panel,
  Tags,
} from "../../parts/basics";
import { Page } from "../../parts/page";
import { words } from "../../words";
import { EditDialog } from "./edit";
import { Execute } from "./execute";
import { nameOf } from "./list";

const w = words.queries;

export function QueryDetail({ id }: { id: string }) {
  const live = useLive<Query[]>(api`/v1/query/${id}`);
  const query = live.value?.[0];
  /** As it was when this was begun: what is typed stays though others delete it. */
  const [edited, setEdited] = useState<Query | null>(null);
  const [deleting, setDeleting] = useState(false);
  return (
    <Page
      title={query ? nameOf(query) : id}
      crumbs={[{ text: words.shell.pages.queries, at: ["queries"] }]}
      badge={query && isTemplate(query) && <Badge tone="info">{w.kinds.template}</Badge>}
      actions={
        query && (
          <>
            <button type="button" class="ghost" onClick={() => setDeleting(true)}>
              <Trash2 size="1.1em" aria-hidden="true" />
              {w.delete}
            </button>
            <button type="button" class="primary" onClick={() => setEdited(query)}>
              <Pencil size="1.1em" aria-hidden="true" />
              {w.edit}
            </button>
          </>
        )
      }
    >
      {!live.loaded && <Loading />}
      {!query && live.status === 404 && (
        <Empty title={w.absent} command="meshctl query list">
          <p>{w.absentText}</p>
        </Empty>
      )}
      {!query && live.error && live.status !== 404 && (
        <Failure title={words.shell.failed} error={live.error} />
      )}
      {query && (
        <>
          <Panel title={w.details}>
            <Details query={query} />
          </Panel>
          <Execute query={query} />
          <details class="queries-more">
            <summary>{w.json}</summary>
            <div class="queries-stack">
              <pre class="queries-json" tabIndex={0} role="region" aria-label={w.json}>
                <bdi>{toJson(query)}</bdi>
              </pre>
              <Command text={`meshctl query get ${id} --format json`} />
            </div>
          </details>
        </>
      )}
      {edited && <EditDialog query={edited} onClose={() => setEdited(null)} />}
      {deleting && query && (
        <ActDialog
          onClose={() => setDeleting(false)}
          action={{
            title: w.deleteTitle,
            text: <bdi>{w.deleteText(nameOf(query))}</bdi>,
            verb: w.delete,
            danger: true,
            command: () => `meshctl query delete ${id}`,
            run: async () => {
              await ask(api`/v1/query/${id}`, { method: "DELETE" });
              go(to("queries"));
              return w.deleted(nameOf(query));
            },
          }}
        />
      )}
    </Page>
  );
}

/** What a query asks, without what it leaves open. */
export function Details({ query }: { query: Query }) {
  const { Service: service, Template: template } = query;
  const failover = failoverOf(query);
  const text = (value: string) => (value ? <Data>{value}</Data> : undefined);
  const meta = (given: Record<string, string>) =>
    Object.keys(given).length ? (
      <Tags tags={Object.entries(given).map(([name, value]) => `${name}=${value}`)} max={8} />
    ) : undefined;
  return (
    <Facts
      facts={[
        [
          w.service,
          service.Service.includes("${") ? (
            <Data mono>{service.Service}</Data>
          ) : (
            <a href={to("services", service.Service)}>
              <bdi>{service.Service}</bdi>
            </a>
          ),
        ],
        [w.tags, service.Tags.length ? <Tags tags={service.Tags} max={12} /> : undefined],
        [w.failover, failover.length ? text(failover.join(" → ")) : w.noFailover],
        [w.onlyPassing, service.OnlyPassing ? w.passingOnly : w.passingToo],
        [w.near, text(service.Near)],
        [w.ttl, text(query.DNS.TTL)],
        [w.regexp, template.Regexp ? <Data mono>{template.Regexp}</Data> : undefined],
        [w.ignore, text(service.IgnoreCheckIDs.join(", "))],
        [w.nodeMeta, meta(service.NodeMeta)],
        [w.serviceMeta, meta(service.ServiceMeta)],
        [w.connect, service.Connect ? w.connectYes : undefined],
        [w.session, query.Session ? <Data mono>{query.Session}</Data> : undefined],
        [w.token, text(query.Token)],
        [w.id, query.ID ? <Data mono>{query.ID}</Data> : undefined],
        [w.modifyIndex, query.ModifyIndex],
      ]}
    />
  );
}
