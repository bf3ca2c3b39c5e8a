/** What was done, said for a moment at the edge of the page. */

import { signal } from "@preact/signals";

interface Said {
  id: number;
  text: string;
}

const SHOWN_MS = 6000;
const shown = signal<Said[]>([]);
let last = 0;

export function toast(text: string): void {
  last += 1;
  const one = { id: last, text };
  shown.value = [...shown.value.slice(-2), one];
  setTimeout(() => {
    shown.value = shown.value.filter((other) => other !== one);
  }, SHOWN_MS);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.value.map((one) => (
        <p key={one.id}>{one.text}</p>
      ))}
    </div>
  );
}
