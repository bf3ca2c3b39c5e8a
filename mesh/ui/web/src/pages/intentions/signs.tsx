/** How it is shown what a rule says. */

import { FlaskConical } from "../../parts/icons";
import { verdictOf } from "../../logic/intentions";
import type { Permission } from "../../logic/intentions";
import type { Cell, Says } from "../../logic/matrix";
import { Badge, type Tone } from "../../parts/basics";
import { words } from "../../words";

const w = words.intentions;
const SIGNS: Record<Says, string> = {
  allow: "M20 6 9 17l-5-5",
  deny: "M22 12a10 10 0 1 1-20 0 10 10 0 0 1 20 0ZM5 5l14 14",
  requests: "M3 6h18M7 12h10M10 18h4",
};
const TONES: Record<Says, Tone> = { allow: "good", deny: "bad", requests: "info" };

/** A sign drawn as simply as can be: a matrix has hundreds of them in sight. */
export function sign(says: Says, size = "1.1em") {
  return (
    <svg class="int-sign" viewBox="0 0 24 24" width={size} height={size} aria-hidden="true">
      <path d={SIGNS[says]} />
    </svg>
  );
}

/** What holds, as sign and word. */
export function Verdict({ says, text }: { says: Says; text?: string }) {
  return (
    <span class={`int-verdict int-${says}`}>
      {sign(says)}
      {text ?? w.says[says]}
    </span>
  );
}

/** What an intention says, as a badge; permissions are counted. */
export function Action({ one }: { one: { Action?: string; Permissions?: Permission[] } }) {
  const says = verdictOf(one);
  return (
    <Badge tone={TONES[says]}>
      {sign(says, "1em")}{" "}
      {says === "requests" ? w.list.permissions(one.Permissions?.length ?? 0) : w.verb[says]}
    </Badge>
  );
}

export function DryRun() {
  return (
    <Badge tone="warn">
      <FlaskConical size="1em" aria-hidden="true" /> <span class="unseen-narrow">{w.dryRun}</span>
    </Badge>
  );
}

/** All about a cell, in words. */
export function explained(cell: Cell): string {
  const said: string[] = [w.says[cell.Says], w.matrix.by[cell.By]];
  if (cell.Permissions) said.push(w.matrix.permissions(cell.Permissions));
  if (cell.Token) said.push(w.matrix.token);
  if (cell.Trial) said.push(w.matrix.wouldBe(w.says[cell.Trial].toLowerCase()));
  return said.join(", ");
}

export function nameOf(service: string, end: "source" | "destination"): string {
  if (service !== "*") return service;
  return end === "source" ? w.anySource : w.anyDestination;
}
