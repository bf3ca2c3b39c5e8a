/** What the palette offers to do, beside leading somewhere. */

import { go, to, toWith } from "../live/place";
import { words } from "../words";

export interface Offered {
  id: string;
  text: string;
  run: () => void;
}

export function actions(): Offered[] {
  const w = words.palette.actions;
  const lead = (id: string, text: string, href: string): Offered => ({
    id: `do ${id}`,
    text,
    run: () => go(href),
  });
  return [
    lead("intention", w.intention, toWith({ new: "yes" }, "intentions", "list")),
    lead("try", w.tryIntention, to("intentions", "try")),
    lead("key", w.key, toWith({ new: "yes" }, "kv")),
    lead("query", w.preparedQuery, toWith({ new: "yes" }, "queries")),
    lead("snapshot", w.snapshot, to("servers", "snapshots")),
    lead("failing", w.failing, toWith({ status: "critical" }, "services")),
  ];
}
