/** The tags and metadata of all instances of a service. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { toWith } from "../../live/place";
import { type Entry, metaOf, tagsOf } from "../../logic/services";
import { quoted } from "../../logic/shell";
import { Empty, Panel } from "../../parts/basics";
import { words } from "../../words";

const w = words.services.tags;

export function TagsTab({ service, entries }: { service: string; entries: Entry[] }) {
  const tags = useMemo(() => tagsOf(entries), [entries]);
  const meta = useMemo(() => metaOf(entries), [entries]);
  const having = (field: string) => toWith({ q: field }, "services", service, "instances");
  if (!tags.length && !meta.length)
    return <Empty title={w.noTags} command={w.noTagsCommand(quoted(service))} />;
  return (
    <div class="grid">
      <Counted
        title={w.tags}
        none={w.noTags}
        columns={[w.tag]}
        rows={tags.map(([tag, count]) => [
          [
            <a key={tag} href={having(`Service.Tags contains ${JSON.stringify(tag)}`)}>
              <bdi>{tag}</bdi>
            </a>,
          ],
          count,
        ])}
      />
      <Counted
        title={w.meta}
        none={w.noMeta}
        columns={[w.key, w.value]}
        rows={meta.map(([key, value, count]) => [
          [<bdi key="key">{key}</bdi>, <bdi key="value">{value}</bdi>],
          count,
        ])}
      />
    </div>
  );
}

/** A table that ends with how many instances have what stands before. */
function Counted(props: {
  title: string;
  none: string;
  columns: string[];
  rows: [JSX.Element[], number][];
}) {
  return (
    <Panel title={props.title}>
      {props.rows.length ? (
        <table class="services-table">
          <thead>
            <tr>
              {props.columns.map((column) => (
                <th key={column} scope="col">
                  {column}
                </th>
              ))}
              <th scope="col" class="end">
                {w.instances}
              </th>
            </tr>
          </thead>
          <tbody>
            {props.rows.map(([cells, count], row) => (
              <tr key={row}>
                {cells.map((cell, column) => (
                  <td key={column}>{cell}</td>
                ))}
                <td class="end">{count}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ) : (
        <p class="quiet">{props.none}</p>
      )}
    </Panel>
  );
}
