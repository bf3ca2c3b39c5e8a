/** The value of a key: edited, reviewed and saved; nobody is overwritten unseen. */

import { Upload } from "../../parts/icons";
import { useMemo, useRef, useState } from "preact/hooks";
import { hexRows, sizeText, textOf } from "../../logic/bytes";
import { NOTHING, type Version } from "../../logic/draft";
import { guess, jsonError, type Syntax, SYNTAXES } from "../../logic/syntax";
import { Input } from "../../parts/act";
import { Empty, Panel } from "../../parts/basics";
import { CodeEditor } from "../../parts/code";
import { words } from "../../words";
import { areFlags, EDITED_MAX, type Present } from "./common";
import { Conflict } from "./conflict";
import type { Editing } from "./draft";
import { Review } from "./review";

const w = words.kv;
const SHOWN_BYTES = 4096;

export function Value({
  name,
  present,
  editing,
}: {
  name: string;
  present: Present | null;
  editing: Editing;
}) {
  const { draft } = editing;
  const theirs: Version = present ?? NOTHING;
  const [forced, setForced] = useState(false);
  const [review, setReview] = useState<{ bytes: Uint8Array | null } | null>(null);
  const [merging, setMerging] = useState<{ original: string; conflicts: number } | null>(null);
  const [chosen, setChosen] = useState<Syntax | "">("");
  const text = draft?.text ?? theirs.text;
  const size = present?.bytes.length ?? 0;
  const isLarge = !forced && !draft && size > EDITED_MAX;
  const guessed = useMemo(() => guess(name, theirs.text ?? ""), [name, theirs.text]);
  const syntax = chosen || guessed;
  const flags = draft?.flags ?? theirs.flags;
  const flagsError = areFlags(flags) ? "" : w.flagsBad;
  const ready = editing.dirty && !editing.conflict && !flagsError;
  const begin = () => {
    if (ready) setReview({ bytes: null });
  };
  const drop = () => {
    setMerging(null);
    editing.drop();
  };
  return (
    <div class="kv-value">
      {!present && !editing.conflict && (
        <Empty title={w.absent(name)}>
          <p>{w.absentText}</p>
        </Empty>
      )}
      {editing.conflict && draft && (
        <Conflict
          theirs={present}
          draft={draft}
          onKeep={() => {
            setMerging(null);
            editing.rebase(theirs);
          }}
          onTake={drop}
          onMerge={(merged) => {
            setMerging({ original: theirs.text ?? "", conflicts: merged.conflicts });
            editing.rebase(theirs, merged.text);
          }}
          name={name}
        />
      )}
      <Panel
        title={w.value}
        aside={
          <>
            {text !== null && !isLarge && <SyntaxChoice syntax={syntax} set={setChosen} />}
            <Replace onBytes={(bytes) => setReview({ bytes })} />
          </>
        }
      >
        {merging && editing.dirty && !editing.conflict && (
          <p class="kv-note tone-info" role="status">
            {w.merged(merging.conflicts)} {w.mergedNote}
          </p>
        )}
        {text === null && present && <Binary bytes={present.bytes} />}
        {text !== null && isLarge && present && (
          <Large text={text} size={size} onEdit={() => setForced(true)} />
        )}
        {text !== null && !isLarge && (
          <CodeEditor
            text={text}
            label={w.valueOf(name)}
            syntax={syntax}
            original={merging && editing.dirty && !editing.conflict ? merging.original : null}
            onText={(given) => editing.change({ text: given })}
            onSave={begin}
          />
        )}
        {text !== null && !isLarge && syntax === "json" && <JsonNote text={text} />}
        {text !== null && (
          <div class="kv-foot">
            <Input
              field={{ name: "flags", label: w.flags, hint: w.flagsHint }}
              value={flags}
              set={(given) => editing.change({ flags: given.trim() })}
              error={flagsError}
            />
            <div class="kv-buttons">
              {editing.dirty && (
                <button type="button" class="ghost" onClick={drop}>
                  {w.discard}
                </button>
              )}
              <button type="button" class="primary" disabled={!ready} onClick={begin}>
                {w.review}
              </button>
            </div>
          </div>
        )}
      </Panel>
      {review && (
        <Review
          name={name}
          before={present}
          after={
            review.bytes
              ? { bytes: review.bytes, text: textOf(review.bytes), flags: theirs.flags }
              : { bytes: null, text: text ?? "", flags }
          }
          stale={editing.conflict}
          onClose={() => setReview(null)}
          onSaved={() => {
            setMerging(null);
            if (review.bytes) editing.drop();
            else editing.saved(theirs);
          }}
        />
      )}
    </div>
  );
}

function SyntaxChoice({ syntax, set }: { syntax: Syntax; set: (syntax: Syntax) => void }) {
  return (
    <label class="kv-syntax">
      <span class="quiet">{w.syntax}</span>
      <select value={syntax} onChange={(event) => set(event.currentTarget.value as Syntax)}>
        {SYNTAXES.map((one) => (
          <option key={one} value={one}>
            {w.syntaxes[one]}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A file in place of the value. */
function Replace({ onBytes }: { onBytes: (bytes: Uint8Array) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const read = async (file: File | undefined) => {
    if (file) onBytes(new Uint8Array(await file.arrayBuffer()));
    if (input.current) input.current.value = "";
  };
  return (
    <>
      <button type="button" onClick={() => input.current?.click()}>
        <Upload size="1.1em" aria-hidden="true" />
        {w.replace}
      </button>
      <input
        ref={input}
        type="file"
        class="kv-file"
        aria-label={w.replaceFile}
        tabIndex={-1}
        onChange={(event) => void read(event.currentTarget.files?.[0])}
      />
    </>
  );
}

function JsonNote({ text }: { text: string }) {
  const error = useMemo(() => (text.trim() ? jsonError(text) : ""), [text]);
  return (
    <div aria-live="polite">{error && <p class="kv-note tone-warn">{w.notJson(error)}</p>}</div>
  );
}

function Binary({ bytes }: { bytes: Uint8Array }) {
  const [most, setMost] = useState(SHOWN_BYTES);
  const rows = useMemo(() => hexRows(bytes, most), [bytes, most]);
  return (
    <div class="kv-stack">
      <p>{w.binary(sizeText(bytes.length))}</p>
      <pre class="kv-hex" tabIndex={0} role="region" aria-label={w.hexLabel}>
        {rows}
      </pre>
      {bytes.length > most && (
        <button type="button" onClick={() => setMost(most * 4)}>
          {w.hexMore}
        </button>
      )}
    </div>
  );
}

function Large({ text, size, onEdit }: { text: string; size: number; onEdit: () => void }) {
  return (
    <div class="kv-stack">
      <p>{w.large(sizeText(size))}</p>
      <p class="quiet">{w.first(sizeText(SHOWN_BYTES))}</p>
      <pre class="kv-hex wraps" tabIndex={0} role="region" aria-label={w.start}>
        <bdi>{text.slice(0, SHOWN_BYTES)}</bdi>
      </pre>
      <button type="button" onClick={onEdit}>
        {w.editLarge}
      </button>
    </div>
  );
}
