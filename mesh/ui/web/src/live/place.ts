/** Where the page is: its address as data, and how it changes without a new load. */

import { computed, signal } from "@preact/signals";
import { useCallback, useMemo } from "preact/hooks";
import { part, type Place, read } from "../logic/address";

/** The path under which the UI lies, with a slash at its end. */
export const BASE = new URL(document.baseURI).pathname;

const here = () => read(location.pathname, location.search, BASE);

export const place = signal<Place>(here());
/** Parts of it by themselves: who shows these has nothing to do when a search is typed. */
export const dc = computed(() => place.value.dc);
const path = computed(() => place.value.parts.map(encodeURIComponent).join("/"));
export const parts = computed(() =>
  path.value ? path.value.split("/").map(decodeURIComponent) : [],
);

window.addEventListener("popstate", () => {
  clearTimeout(settling);
  settling = 0;
  place.value = here();
});

/** The address of a page in the datacenter shown: `to("services", name)`. */
export function to(...parts: string[]): string {
  return `${BASE}${[place.peek().dc, ...parts].map(part).join("/")}`;
}

/** The same with query parameters. */
export function toWith(query: Record<string, string>, ...parts: string[]): string {
  return `${to(...parts)}?${new URLSearchParams(query)}`;
}

/** Show the page at an address of the UI. */
export function go(href: string, options: { replace?: boolean } = {}): void {
  settle();
  if (options.replace) history.replaceState(null, "", href);
  else history.pushState(null, "", href);
  place.value = here();
  if (!options.replace) window.scrollTo(0, 0);
}

const SETTLING_MS = 200;
let settling = 0;

/** Have the address say what the place is. */
function settle(): void {
  if (!settling) return;
  clearTimeout(settling);
  settling = 0;
  const text = place.peek().query.toString();
  history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
}

window.addEventListener("pagehide", settle);

/** Follow links of the UI without a new load, as long as nothing else was meant. */
export function followLinks(): void {
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.("a");
    if (!link || link.target || link.hasAttribute("download")) return;
    const url = new URL(link.href, document.baseURI);
    if (url.origin !== location.origin || !url.pathname.startsWith(BASE)) return;
    if (url.hash && url.pathname === location.pathname) return;
    event.preventDefault();
    go(url.pathname + url.search);
  });
}

/** A parameter of the address, for what shall survive a reload and be sent to others. */
export function useParam(name: string, usual = ""): [string, (value: string) => void] {
  const found = useMemo(() => computed(() => place.value.query.get(name) ?? usual), [name, usual]);
  const set = useCallback(
    (wanted: string) => {
      const query = new URLSearchParams(place.peek().query);
      if (wanted === usual) query.delete(name);
      else query.set(name, wanted);
      place.value = { ...place.peek(), query };
      // Browsers are slow to change the address, and what is typed changes it with each key.
      clearTimeout(settling);
      settling = setTimeout(settle, SETTLING_MS);
    },
    [name, usual],
  );
  return [found.value, set];
}
