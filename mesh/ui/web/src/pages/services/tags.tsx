/** The tags and metadata of all instances of a service. */

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
      <Panel title={w.tags}>
        {tags.length ? (
          <table class="services-table">
            <thead>
              <tr>
                <th scope="col">{w.tag}</th>
                <th scope="col" class="end">
                  {w.instances}
                </th>
              </tr>
            </thead>
            <tbody>
              {tags.map(([tag, count]) => (
                <tr key={tag}>
                  <td>
                    <a href={having(`Service.Tags contains ${JSON.stringify(tag)}`)}>
                      <bdi>{tag}</bdi>
                    </a>
                  </td>
                  <td class="end">{count}</td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <p class="quiet">{w.noTags}</p>
        )}
      </Panel>
      <Panel title={w.meta}>
        {meta.length ? (
          <table class="services-table">
            <thead>
              <tr>
                <th scope="col">{w.key}</th>
                <th scope="col">{w.value}</th>
                <th scope="col" class="end">
                  {w.instances}
                </th>
              </tr>
            </thead>
            <tbody>
              {meta.map(([key, value, count]) => (
                <tr key={JSON.stringify([key, value])}>
                  <td>
                    <bdi>{key}</bdi>
                  </td>
                  <td>
                    <bdi>{value}</bdi>
                  </td>
                  <td class="end">{count}</td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <p class="quiet">{w.noMeta}</p>
        )}
      </Panel>
    </div>
  );
}
