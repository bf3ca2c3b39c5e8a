/** The keyboard: what each key does anywhere on the page. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { go, to } from "../live/place";
import { ROUTES } from "../routes";
import { paletteOpen } from "./palette-state";

export const helpOpen = signal(false);
const CHORD_MS = 1500;

function typing(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

function row(step: 1 | -1): boolean {
  const links = [...document.querySelectorAll<HTMLElement>("main .row-link")];
  if (!links.length) return false;
  const at = links.indexOf(document.activeElement as HTMLElement);
  const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
  return next !== undefined;
}

/** What a plain key does; whether it did something. */
function plain(key: string): boolean {
  switch (key) {
    case "/": {
      const box = document.querySelector<HTMLElement>("main [data-search]");
      box?.focus();
      return box !== null;
    }
    case "?":
      helpOpen.value = true;
      return true;
    case "j":
      return row(1);
    case "k":
      return row(-1);
    default:
      return false;
  }
}

/** Have the keys work as long as the component is shown. */
export function useKeys(): void {
  useEffect(() => {
    let chord = 0;
    const pressed = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        paletteOpen.value = !paletteOpen.value;
        return;
      }
      // What is in a shadow root, as the editor, is not the target outside of it.
      const target = event.composedPath()[0] ?? null;
      if (event.ctrlKey || event.metaKey || event.altKey || typing(target)) return;
      if (target instanceof Element && target.closest("dialog, .cm-editor")) return;
      if (chord && Date.now() - chord < CHORD_MS) {
        chord = 0;
        const route = ROUTES.find((one) => one.letter === event.key);
        if (route) {
          event.preventDefault();
          go(route.key ? to(route.key) : to());
          return;
        }
      }
      chord = event.key === "g" ? Date.now() : 0;
      if (plain(event.key)) event.preventDefault();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}
