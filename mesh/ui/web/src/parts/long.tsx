/** Texts of any length and bytes of any kind: the beginning, and the rest when asked for. */

import { useState } from "preact/hooks";
import { payload } from "../logic/payload";
import { bytes } from "../logic/time";
import { words } from "../words";

const SHOWN_MAX = 2000;

/** A text as it is, its end hidden when it is long. */
export function Long({ text, max = SHOWN_MAX }: { text: string; max?: number }) {
  const [whole, setWhole] = useState(false);
  const cut = !whole && text.length > max;
  return (
    <>
      <pre class="long" dir="auto" tabIndex={text.length > 500 ? 0 : undefined}>
        {cut ? `${text.slice(0, max)}…` : text}
      </pre>
      {cut && (
        <p>
          <button type="button" class="small" onClick={() => setWhole(true)}>
            {words.parts.showAll(bytes(text.length))}
          </button>
        </p>
      )}
    </>
  );
}

/** Bytes out of the API: a text, or what can be said of what is none. */
export function Bytes({ base64 }: { base64: string | null | undefined }) {
  const found = payload(base64);
  if (!found.bytes && !found.text) return <span class="quiet">{words.parts.emptyValue}</span>;
  if (found.text !== null) return <Long text={found.text} />;
  return (
    <>
      <p class="quiet">{words.parts.binary(bytes(found.bytes))}</p>
      <pre class="long mono">{found.hex}</pre>
    </>
  );
}
