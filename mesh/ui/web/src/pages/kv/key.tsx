/** A key: its value, who has locked it, and what it was before. */

import { Download, Trash2 } from "../../parts/icons";
import { useMemo, useState } from "preact/hooks";
import { api, ApiError, ask, query, scoped } from "../../live/api";
import { useLive } from "../../live/live";
import { go } from "../../live/place";
import { NOTHING } from "../../logic/draft";
import { leaf, parent } from "../../logic/keys";
import { ActDialog, commandLine } from "../../parts/act";
import { Badge, Failure, Loading } from "../../parts/basics";
import { Page } from "../../parts/page";
import { words } from "../../words";
import { at, crumbs, type Pair, presentOf, title, useFlags } from "./common";
import { useDraft } from "./draft";
import { Side } from "./side";
import { Value } from "./value";
import { Versions } from "./versions";

const w = words.kv;

export function KeyPage({ name, tab }: { name: string; tab: string }) {
  const live = useLive<Pair[]>(api`/v1/kv/${name}`);
  const pair = live.value?.[0];
  const flags = useFlags(pair);
  const present = useMemo(() => (pair && flags ? presentOf(pair, flags) : null), [pair, flags]);
  const missing = live.status === 404;
  const known = present ?? (missing ? NOTHING : undefined);
  const editing = useDraft(name, known);
  const [deleting, setDeleting] = useState(false);
  return (
    <Page
      title={title(name)}
      crumbs={crumbs(name)}
      badge={editing.dirty && <Badge tone="warn">{w.unsaved}</Badge>}
      tabs={{
        at: ["kv", name],
        present: tab,
        tabs: [
          { key: "value", text: w.tabs.value },
          { key: "history", text: w.tabs.history },
        ],
      }}
      actions={
        present && (
          <>
            <a
              class="button"
              href={scoped(query(api`/v1/kv/${name}`, { raw: true }))}
              download={leaf(name)}
            >
              <Download size="1.1em" aria-hidden="true" />
              {w.download}
            </a>
            <button type="button" class="ghost" onClick={() => setDeleting(true)}>
              <Trash2 size="1.1em" aria-hidden="true" />
              {w.delete}
            </button>
          </>
        )
      }
    >
      {live.error && !missing && (
        <Failure
          title={present ? "" : words.shell.failed}
          error={present ? words.parts.old(live.error) : live.error}
        />
      )}
      {!live.loaded && <Loading />}
      {known && tab === "value" && (
        <div class="kv-columns">
          <Value name={name} present={present} editing={editing} />
          <Side name={name} present={present} />
        </div>
      )}
      {known && tab === "history" && <Versions name={name} present={present} />}
      {deleting && present && (
        <DeleteKey name={name} index={present.index} onClose={() => setDeleting(false)} />
      )}
    </Page>
  );
}

function DeleteKey({
  name,
  index: shown,
  onClose,
}: {
  name: string;
  index: number;
  onClose: () => void;
}) {
  // What is deleted is what was shown when this was asked for.
  const [index] = useState(shown);
  return (
    <ActDialog
      onClose={onClose}
      action={{
        title: w.deleteKey,
        text: <bdi>{w.deleteKeyText(name)}</bdi>,
        verb: w.delete,
        danger: true,
        command: () => commandLine(`meshctl kv delete --cas --modify-index ${index}`, [name]),
        run: async () => {
          const path = query(api`/v1/kv/${name}`, { cas: index });
          if (!(await ask<boolean>(path, { method: "DELETE" })))
            throw new ApiError(409, w.changedMeanwhile(name));
          go(at(parent(name)));
          return w.deleted(name);
        },
      }}
    />
  );
}
