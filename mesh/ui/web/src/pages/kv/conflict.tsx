/** Somebody else changed the key while it is edited: what they did, and what to do about it. */

import { query } from "../../live/api";
import { useLive } from "../../live/live";
import type { Draft } from "../../logic/draft";
import { merge, type Merged } from "../../logic/merge3";
import { Panel } from "../../parts/basics";
import { CodeDiff } from "../../parts/code";
import { Time } from "../../parts/time";
import { words } from "../../words";
import type { Present } from "./common";
import type { Change } from "./versions";

const w = words.kv;

export function Conflict({
  name,
  theirs,
  draft,
  onKeep,
  onTake,
  onMerge,
}: {
  name: string;
  theirs: Present | null;
  draft: Draft;
  onKeep: () => void;
  onTake: () => void;
  onMerge: (merged: Merged) => void;
}) {
  const last = useLive<Change[]>(query("/v1/history", { key: name, limit: 1 })).value?.[0];
  const mine = draft.text;
  const [base, text] = [draft.base.text, theirs?.text ?? null];
  const mergeBoth = () => {
    if (base === null || text === null) return;
    onMerge(merge(base, mine, text) ?? { text: mine, conflicts: 1 });
  };
  return (
    <div role="alert">
      <Panel tone="warn" title={theirs ? w.conflict : w.conflictDeleted}>
        <div class="kv-stack">
          {last && (
            <p>
              <bdi>{w.conflictBy(last.Origin)}</bdi> <Time at={last.Time} />
            </p>
          )}
          <p>{theirs ? w.conflictText : w.conflictDeletedText}</p>
          {base !== null && text !== null && (
            <CodeDiff
              before={base}
              after={text}
              labels={{ before: w.theirBase, after: w.theirNow }}
            />
          )}
          {theirs && theirs.flags !== draft.base.flags && (
            <p>{w.flagsChange(draft.base.flags, theirs.flags)}</p>
          )}
          <div class="kv-buttons">
            {text !== null && base !== null && (
              <button type="button" class="primary" onClick={mergeBoth}>
                {w.merge}
              </button>
            )}
            <button type="button" onClick={onKeep}>
              {w.keepMine}
            </button>
            <button type="button" onClick={onTake}>
              {theirs ? w.takeTheirs : w.letDeleted}
            </button>
          </div>
        </div>
      </Panel>
    </div>
  );
}
