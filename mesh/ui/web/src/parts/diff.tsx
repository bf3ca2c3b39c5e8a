/** What differs between two texts, line by line: by sign and colour, never by colour alone. */

import { useMemo } from "preact/hooks";
import { changed, type DiffLine, parseUnified } from "../logic/diff";
import { words } from "../words";
import "./diff.css";

const SIGNS = { same: " ", added: "+", removed: "-", gap: "" };
const LINES_MAX = 2000;

/** A unified diff, such as the server gives. */
export function Diff({ unified, label }: { unified: string; label: string }) {
  const lines = useMemo(() => parseUnified(unified), [unified]);
  const counts = useMemo(() => changed(lines), [lines]);
  if (!lines.length) return <p class="quiet">{words.parts.unchanged}</p>;
  return (
    <figure class="diff">
      <figcaption>
        <span class="diff-added">+ {words.parts.linesAdded(counts.added)}</span>{" "}
        <span class="diff-removed">− {words.parts.linesRemoved(counts.removed)}</span>
      </figcaption>
      <div class="diff-lines" role="group" aria-label={label} tabIndex={0}>
        {lines.slice(0, LINES_MAX).map((line, i) => (
          <Line key={i} line={line} />
        ))}
      </div>
    </figure>
  );
}

function Line({ line }: { line: DiffLine }) {
  if (line.kind === "gap") return <div class="diff-gap">{line.text || "…"}</div>;
  return (
    <div class={`diff-line diff-${line.kind}`}>
      <span class="number" aria-hidden="true">
        {line.old ?? ""}
      </span>
      <span class="number" aria-hidden="true">
        {line.new ?? ""}
      </span>
      <span class="sign" aria-hidden="true">
        {SIGNS[line.kind]}
      </span>
      <span class="text">
        {line.kind !== "same" && <span class="unseen">{words.parts.line[line.kind]}</span>}
        <bdi>{line.text}</bdi>
      </span>
    </div>
  );
}
