/** What saving would change, before it is saved. */

import { useState } from "preact/hooks";
import { reason } from "../../live/api";
import { sizeText } from "../../logic/bytes";
import { Command, Failure } from "../../parts/basics";
import { CodeDiff } from "../../parts/code";
import { Dialog } from "../../parts/dialog";
import { toast } from "../../parts/toast";
import { words } from "../../words";
import { type Present, putCommand, write } from "./common";

const w = words.kv;

export interface After {
  /** The bytes to write when they are not those of the text. */
  bytes: Uint8Array | null;
  text: string | null;
  flags: string;
}

export function Review({
  name,
  before,
  after,
  stale,
  onClose,
  onSaved,
}: {
  name: string;
  before: Present | null;
  after: After;
  /** Somebody changed the key since: the page has to be looked at first. */
  stale: boolean;
  onClose: () => void;
  onSaved: () => void;
}) {
  const [from] = useState(before);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const index = from?.index ?? 0;
  const flags = from?.flags ?? "0";
  const text = from ? from.text : "";
  const moved = !busy && (stale || (before?.index ?? 0) !== index);
  const save = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      await write(name, after.bytes ?? after.text ?? "", after.flags, index);
      onSaved();
      toast(w.saved(name));
      onClose();
    } catch (failed) {
      setError(reason(failed));
      setBusy(false);
    }
  };
  return (
    <Dialog title={w.reviewTitle} onClose={onClose} wide>
      <form class="act" onSubmit={save}>
        {text !== null && after.text !== null ? (
          <CodeDiff
            before={text}
            after={after.text}
            labels={{ before: w.before(index), after: w.after }}
          />
        ) : (
          <p>{w.binaryTo(sizeText(from?.bytes.length ?? 0), sizeOf(after))}</p>
        )}
        {after.flags !== flags && <p>{w.flagsChange(flags, after.flags)}</p>}
        <Command
          label={words.shell.sameAs}
          text={putCommand(name, after.bytes ? null : after.text, after.flags, index)}
        />
        {error && <Failure title={words.parts.refused} error={error} />}
        {moved && !error && <Failure error={w.changedMeanwhile(name)} />}
        <footer>
          <button type="button" class="ghost" onClick={onClose}>
            {words.shell.cancel}
          </button>
          <button type="submit" class="primary" disabled={busy || moved}>
            {w.save}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function sizeOf(after: After): string {
  return sizeText(after.bytes?.length ?? new TextEncoder().encode(after.text ?? "").length);
}
