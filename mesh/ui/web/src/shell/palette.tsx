/** The command palette: anything by its name, from the keyboard. */

import { Boxes, Database, HardDrive, type Icon, Zap } from "../parts/icons";
import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import { query } from "../live/api";
import { useLive } from "../live/live";
import { go, to } from "../live/place";
import { closeness } from "../logic/search";
import { Dialog } from "../parts/dialog";
import { ROUTES } from "../routes";
import { words } from "../words";
import { actions } from "./actions";
import { paletteOpen } from "./palette-state";

export { paletteOpen };

interface Offer {
  id: string;
  text: string;
  kind: string;
  icon: Icon;
  run: () => void;
}

const SHOWN_MAX = 40;

const leads =
  (...parts: string[]) =>
  () =>
    go(to(...parts));

function useOffers(typed: string): Offer[] {
  const services = useLive<Record<string, string[]>>("/v1/catalog/services").value;
  const nodes = useLive<{ Node: string }[]>("/v1/catalog/nodes").value;
  const prefix = typed.includes("/") ? typed.slice(0, typed.lastIndexOf("/") + 1) : "";
  const keys = useLive<string[]>(
    query(`/v1/kv/${prefix.split("/").map(encodeURIComponent).join("/")}`, {
      keys: true,
      separator: "/",
    }),
  ).value;
  return useMemo(() => {
    const { kinds } = words.palette;
    return [
      ...ROUTES.map((route) => ({
        id: `page ${route.key}`,
        text: route.text,
        kind: kinds.page,
        icon: route.icon,
        run: route.key ? leads(route.key) : leads(),
      })),
      ...actions().map((one) => ({ ...one, kind: kinds.action, icon: Zap })),
      ...Object.keys(services ?? {}).map((name) => ({
        id: `service ${name}`,
        text: name,
        kind: kinds.service,
        icon: Boxes,
        run: leads("services", name),
      })),
      ...(nodes ?? []).map(({ Node }) => ({
        id: `node ${Node}`,
        text: Node,
        kind: kinds.node,
        icon: HardDrive,
        run: leads("nodes", Node),
      })),
      ...(Array.isArray(keys) ? keys : []).map((key) => ({
        id: `key ${key}`,
        text: key,
        kind: kinds.key,
        icon: Database,
        run: leads("kv", key),
      })),
    ];
  }, [services, nodes, keys]);
}

export function Palette() {
  const [typed, setTyped] = useState("");
  const [chosen, setChosen] = useState(0);
  const list = useRef<HTMLUListElement>(null);
  const id = useId();
  const offers = useOffers(typed);
  const found = useMemo(
    () =>
      offers
        .map((offer) => [closeness(typed, offer.text), offer] as const)
        .filter(([score]) => score > 0)
        .sort(([a], [b]) => b - a)
        .slice(0, SHOWN_MAX)
        .map(([, offer]) => offer),
    [offers, typed],
  );
  const at = Math.min(chosen, found.length - 1);
  const close = () => {
    paletteOpen.value = false;
  };
  const open = (offer: Offer | undefined) => {
    if (!offer) return;
    close();
    offer.run();
  };
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [at, typed]);
  const pressed = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (event.key === "Enter") open(found[at]);
    else if (step && found.length) setChosen(Math.min(Math.max(at + step, 0), found.length - 1));
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title={words.shell.palette} onClose={close}>
      <div class="palette">
        <input
          type="text"
          role="combobox"
          aria-expanded="true"
          aria-controls={id}
          aria-autocomplete="list"
          aria-label={words.shell.palette}
          aria-activedescendant={found[at] ? `${id}-${at}` : undefined}
          placeholder={words.shell.paletteHint}
          value={typed}
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => {
            setTyped(event.currentTarget.value);
            setChosen(0);
          }}
          onKeyDown={pressed}
        />
        <ul id={id} role="listbox" aria-label={words.shell.palette} ref={list}>
          {found.map((offer, i) => (
            <li
              key={offer.id}
              id={`${id}-${i}`}
              role="option"
              aria-selected={i === at}
              onClick={() => open(offer)}
            >
              <offer.icon size="1.1em" aria-hidden="true" />
              <bdi>{offer.text}</bdi>
              <span class="quiet">{offer.kind}</span>
            </li>
          ))}
        </ul>
        {!found.length && <p class="quiet">{words.shell.paletteNone}</p>}
      </div>
    </Dialog>
  );
}
