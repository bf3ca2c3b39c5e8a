/** What the reader of this browser prefers; kept here and sent nowhere. */

import { effect, signal } from "@preact/signals";

function stored(name: string, usual: string, allowed: string[]) {
  const key = `mesh.${name}`;
  let found: string | null = null;
  try {
    found = localStorage.getItem(key);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  let kept = found !== null && allowed.includes(found) ? found : usual;
  const made = signal(kept);
  effect(() => {
    document.documentElement.dataset[name] = made.value;
    if (made.value === kept) return;
    kept = made.value;
    try {
      localStorage.setItem(key, kept);
    } catch {
      // As above.
    }
  });
  return made;
}

export const theme = stored("theme", "system", ["system", "light", "dark"]);
export const density = stored("density", "cosy", ["cosy", "dense"]);

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(dark.matches);
dark.addEventListener("change", () => {
  systemDark.value = dark.matches;
});

effect(() => {
  const chosen = theme.value === "system" ? (systemDark.value ? "dark" : "light") : theme.value;
  document.documentElement.dataset["scheme"] = chosen;
});
