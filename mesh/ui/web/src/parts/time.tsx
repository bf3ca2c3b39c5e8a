import { signal } from "@preact/signals";
import { exact, instant, relative } from "../logic/time";
import { words } from "../words";

/** Now, in ms, for everything that says how long ago something was. */
const now = signal(Date.now());
setInterval(() => {
  now.value = Date.now();
}, 5000);

/** A moment: how long ago, and exactly when on hover. */
export function Time({ at }: { at: string | number | undefined }) {
  const then = instant(at);
  if (Number.isNaN(then)) return <span class="quiet">{words.parts.ago.unknown}</span>;
  return (
    <time dateTime={new Date(then).toISOString()} title={exact(then)}>
      {relative(then, Math.max(now.value, Date.now()))}
    </time>
  );
}
