/** How near its end a certificate is, as sign, word and colour. */

import { horizon } from "../logic/certificates";
import { StatusBadge } from "../parts/basics";
import { words } from "../words";

const STATUS = { good: "passing", soon: "warning", over: "critical" } as const;

export function EndBadge({ from, until }: { from: string; until: string }) {
  const state = horizon(from, until, Date.now());
  return <StatusBadge status={STATUS[state]} text={words.certificates.states[state]} />;
}
