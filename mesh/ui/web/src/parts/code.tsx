/** Texts with a syntax: edited, and compared. The editor itself comes when it is needed. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Editor } from "../code/codemirror";
import { reason } from "../live/api";
import type { Syntax } from "../logic/syntax";
import { words } from "../words";
import { Failure, Loading } from "./basics";
import { useNarrow } from "./narrow";
import "./code.css";

type Module = typeof import("../code/codemirror");

/** Texts longer than this are not compared in the page. */
export const COMPARED_MAX = 512 * 1024;

function useModule(): { module: Module | null; error: string } {
  const [state, setState] = useState<{ module: Module | null; error: string }>({
    module: null,
    error: "",
  });
  useEffect(() => {
    let shown = true;
    import("../code/codemirror").then(
      (module) => shown && setState({ module, error: "" }),
      (error) => shown && setState({ module: null, error: reason(error) }),
    );
    return () => {
      shown = false;
    };
  }, []);
  return state;
}

export function CodeEditor({
  text,
  label,
  syntax,
  original = null,
  onText,
  onSave = () => undefined,
}: {
  text: string;
  label: string;
  syntax: Syntax;
  /** With it each difference to it is shown, with a choice between the two. */
  original?: string | null;
  onText: (text: string) => void;
  onSave?: () => void;
}) {
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor | null>(null);
  /** What the editor said and has not come back yet: by then it may have said more. */
  const told = useRef<string[]>([]);
  const { module, error } = useModule();
  // What the editor calls and begins with is always that of the last rendering.
  const now = useRef({ text, label, syntax, original, onText, onSave });
  now.current = { text, label, syntax, original, onText, onSave };
  useEffect(() => {
    if (!module || !host.current) return;
    const made = module.edit(host.current, {
      ...now.current,
      originalButtons: { keep: words.code.keep, take: words.code.take },
      onText: (given) => {
        told.current.push(given);
        now.current.onText(given);
      },
      onSave: () => now.current.onSave(),
    });
    editor.current = made;
    return () => {
      editor.current = null;
      made.destroy();
    };
  }, [module]);
  useEffect(() => {
    const echo = told.current.indexOf(text);
    told.current.splice(0, echo < 0 ? told.current.length : echo + 1);
    if (echo < 0) editor.current?.setText(text);
  }, [text]);
  useEffect(() => editor.current?.setSyntax(syntax), [syntax]);
  useEffect(() => editor.current?.setOriginal(original), [original]);
  if (error) return <Failure title={words.shell.failed} error={error} />;
  return (
    <div class="code">
      {!module && <Loading />}
      <div class="code-host" ref={host} />
      <p class="hint quiet">{words.code.keys}</p>
    </div>
  );
}

export function CodeDiff({
  before,
  after,
  labels,
  unified,
}: {
  before: string;
  after: string;
  labels: { before: string; after: string };
  unified?: boolean;
}) {
  const host = useRef<HTMLDivElement>(null);
  const { module, error } = useModule();
  const small = useNarrow();
  const narrow = unified || small;
  const tooLong = before.length > COMPARED_MAX || after.length > COMPARED_MAX;
  const { before: left, after: right } = labels;
  useEffect(() => {
    if (!module || !host.current || tooLong) return;
    return module.diff(host.current, {
      before,
      after,
      labels: { before: left, after: right },
      narrow,
    });
  }, [module, before, after, left, right, narrow, tooLong]);
  if (tooLong) return <p class="quiet">{words.code.tooLong}</p>;
  if (before === after) return <p class="quiet">{words.code.noDifference}</p>;
  if (error) return <Failure title={words.shell.failed} error={error} />;
  return (
    <div class="code">
      <p class={narrow ? "code-sides" : "code-sides beside"}>
        <span class="before">
          <span aria-hidden="true">− </span>
          {left}
        </span>
        <span class="after">
          <span aria-hidden="true">+ </span>
          {right}
        </span>
      </p>
      {!module && <Loading />}
      <div class="code-host" ref={host} />
    </div>
  );
}
