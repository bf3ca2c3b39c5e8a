/**
 * CodeMirror as the pages use it. Heavy: only `parts/code.tsx` loads it, when there is something
 * to edit. It lives in a shadow root, where its styles are adopted style sheets: the page's policy
 * allows no others.
 */

import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { json } from "@codemirror/lang-json";
import { yaml } from "@codemirror/lang-yaml";
import {
  bracketMatching,
  HighlightStyle,
  indentOnInput,
  StreamLanguage,
  syntaxHighlighting,
} from "@codemirror/language";
import { MergeView, unifiedMergeView } from "@codemirror/merge";
import { Compartment, EditorState, type Extension, Transaction } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { startState, token } from "../logic/hcl";
import type { Syntax } from "../logic/syntax";

const hcl = StreamLanguage.define({ name: "hcl", startState, token });

function language(syntax: Syntax): Extension {
  if (syntax === "json") return json();
  if (syntax === "yaml") return yaml();
  return syntax === "hcl" ? hcl : [];
}

const colours = syntaxHighlighting(
  HighlightStyle.define([
    { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--accent)" },
    { tag: [tags.string, tags.special(tags.string)], color: "var(--good)" },
    { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--info)" },
    { tag: [tags.keyword, tags.typeName, tags.function(tags.variableName)], color: "var(--fix)" },
    { tag: tags.comment, color: "var(--quiet)", fontStyle: "italic" },
    { tag: tags.invalid, color: "var(--bad)" },
  ]),
);

const look = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "var(--raised)", fontSize: "0.875rem" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-content": { caretColor: "var(--text)" },
  ".cm-line": { unicodeBidi: "plaintext" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
    { backgroundColor: "var(--accent-soft) !important" },
  ".cm-activeLine": { backgroundColor: "transparent" },
  "&.cm-focused .cm-activeLine": { boxShadow: "inset 2px 0 var(--accent)" },
  ".cm-gutters": {
    color: "var(--quiet)",
    backgroundColor: "var(--sunken)",
    borderRight: "1px solid var(--line)",
  },
  ".cm-matchingBracket": { backgroundColor: "var(--accent-soft) !important" },
  ".cm-specialChar": { color: "var(--bad)" },
  "&.cm-merge-b .cm-changedLine, .cm-insertedLine, &.cm-merge-b .cm-inlineChangedLine": {
    backgroundColor: "var(--good-soft) !important",
  },
  "&.cm-merge-a .cm-changedLine, .cm-deletedChunk, .cm-deletedLine": {
    backgroundColor: "var(--bad-soft) !important",
  },
  "&.cm-merge-b .cm-changedText, .cm-insertedLine .cm-changedText": {
    background: "linear-gradient(var(--good), var(--good)) bottom/100% 2px no-repeat !important",
  },
  "&.cm-merge-a .cm-changedText, .cm-deletedChunk .cm-deletedText": {
    background: "linear-gradient(var(--bad), var(--bad)) bottom/100% 2px no-repeat !important",
  },
  "ins.cm-insertedLine, del.cm-deletedLine": { textDecoration: "none" },
  ".cm-collapsedLines": {
    color: "var(--quiet)",
    background: "var(--sunken)",
    fontFamily: "var(--font)",
    // Not every machine has a font with the sign that is usual here.
    "&:before, &:after": { content: '"…" !important' },
  },
  ".cm-deletedChunk .cm-chunkButtons": { display: "flex", gap: "0.4rem", padding: "0.2rem" },
  ".cm-deletedChunk button": {
    minHeight: "1.6rem",
    padding: "0 0.6rem",
    border: "1px solid var(--line-strong) !important",
    borderRadius: "0.3rem",
    color: "var(--text) !important",
    background: "var(--raised) !important",
    font: "0.8125rem var(--font)",
    cursor: "pointer",
  },
});

const sized = EditorView.theme({
  "&": { maxHeight: "min(65vh, 44rem)" },
  ".cm-content": { minHeight: "11rem" },
});
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  :host { display: block; overflow: hidden; }
  .cm-mergeView { max-height: min(60vh, 40rem); }
  .cm-mergeViewEditors { gap: 1px; background: var(--line-strong); }
`);

function root(host: HTMLElement): ShadowRoot {
  const made = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  if (!made.adoptedStyleSheets.includes(sheet)) made.adoptedStyleSheets.push(sheet);
  return made;
}

/** Texts are given back with the ends of lines that they came with. */
function ends(text: string): string {
  return text.includes("\r\n") && !/(^|[^\r])\n|\r(?!\n)/.test(text) ? "\r\n" : "\n";
}

const shared = (label: string): Extension => [
  lineNumbers(),
  highlightSpecialChars(),
  EditorView.lineWrapping,
  EditorView.perLineTextDirection.of(true),
  EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" }),
  look,
];

export interface EditorOptions {
  text: string;
  label: string;
  syntax: Syntax;
  /** Shown as deleted where the text differs from it, each place with a way back to it. */
  original: string | null;
  originalButtons: { keep: string; take: string };
  onText: (text: string) => void;
  onSave: () => void;
}

export interface Editor {
  setText(text: string): void;
  setSyntax(syntax: Syntax): void;
  setOriginal(original: string | null): void;
  focus(): void;
  destroy(): void;
}

/**
 * Typing over a selection is not left to the browser: it would keep the look of what was there by
 * an inline style, which the page's policy refuses, aloud.
 */
const typingOver = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { inputType, data } = event;
    const { main } = view.state.selection;
    if (inputType !== "insertText" || !data || main.empty || view.composing) return false;
    event.preventDefault();
    view.dispatch(view.state.replaceSelection(data), { userEvent: "input.type" });
    return true;
  },
});

/** An editor in this element, as long as nobody destroys it. */
export function edit(host: HTMLElement, options: EditorOptions): Editor {
  const [languages, merging, breaks] = [new Compartment(), new Compartment(), new Compartment()];
  const separator = (text: string) => EditorState.lineSeparator.of(ends(text));
  const text = () => view.state.sliceDoc();
  const view = new EditorView({
    parent: root(host),
    root: root(host),
    state: EditorState.create({
      doc: options.text,
      extensions: [
        shared(options.label),
        sized,
        typingOver,
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        highlightActiveLine(),
        colours,
        keymap.of([
          { key: "Mod-s", preventDefault: true, run: () => (options.onSave(), true) },
          indentWithTab,
          ...historyKeymap,
          ...defaultKeymap,
        ]),
        breaks.of(separator(options.text)),
        languages.of(language(options.syntax)),
        merging.of(unified(options.original, options.originalButtons)),
        EditorView.updateListener.of((update) => {
          const ours = update.transactions.some((one) => one.annotation(Transaction.remote));
          if (update.docChanged && !ours) options.onText(text());
        }),
      ],
    }),
  });
  return {
    setText(wanted) {
      if (wanted === text()) return;
      view.dispatch({ effects: breaks.reconfigure(separator(wanted)) });
      view.dispatch({
        changes: { from: 0, to: view.state.doc.length, insert: view.state.toText(wanted) },
        annotations: Transaction.remote.of(true),
      });
    },
    setSyntax: (syntax) => view.dispatch({ effects: languages.reconfigure(language(syntax)) }),
    setOriginal: (original) =>
      view.dispatch({
        effects: merging.reconfigure(unified(original, options.originalButtons)),
      }),
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}

function unified(original: string | null, buttons: EditorOptions["originalButtons"]): Extension {
  if (original === null) return [];
  return unifiedMergeView({
    original,
    syntaxHighlightDeletions: false,
    mergeControls: (type, action) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = type === "accept" ? buttons.keep : buttons.take;
      button.onclick = action;
      return button;
    },
  });
}

export interface DiffOptions {
  before: string;
  after: string;
  labels: { before: string; after: string };
  /** One below the other, rather than side by side. */
  narrow: boolean;
}

/** Show what differs between two texts; the function returned takes it away again. */
export function diff(host: HTMLElement, options: DiffOptions): () => void {
  const still = [EditorState.readOnly.of(true), EditorState.lineSeparator.of("\n")];
  const collapse = { margin: 3, minSize: 8 };
  const limit = { scanLimit: 1000, timeout: 200 };
  if (options.narrow) {
    const view = new EditorView({
      parent: root(host),
      root: root(host),
      doc: options.after,
      extensions: [
        shared(options.labels.after),
        still,
        EditorView.theme({ "&": { maxHeight: "min(60vh, 40rem)" } }),
        unifiedMergeView({
          original: options.before,
          mergeControls: false,
          syntaxHighlightDeletions: false,
          collapseUnchanged: collapse,
          diffConfig: limit,
        }),
      ],
    });
    return () => view.destroy();
  }
  const view = new MergeView({
    parent: root(host),
    root: root(host),
    a: { doc: options.before, extensions: [shared(options.labels.before), still] },
    b: { doc: options.after, extensions: [shared(options.labels.after), still] },
    collapseUnchanged: collapse,
    diffConfig: limit,
  });
  return () => view.destroy();
}
