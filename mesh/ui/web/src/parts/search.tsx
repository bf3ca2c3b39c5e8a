/** The search line of a page: text, or a filter of the API; kept in the address. */

import { Search, X } from "./icons";
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { useParam } from "../live/place";
import { words } from "../words";

export function SearchBox({
  param = "q",
  label = words.parts.search,
  hint,
  error,
}: {
  param?: string;
  label?: string;
  hint?: string;
  /** Why the server refused what was typed. */
  error?: string;
}) {
  const [value, set] = useParam(param);
  const id = useId();
  return (
    <div class="search">
      <Search size="1.1em" aria-hidden="true" />
      <input
        type="search"
        data-search
        aria-label={label}
        placeholder={hint ?? label}
        value={value}
        spellcheck={false}
        autocomplete="off"
        aria-invalid={error ? true : undefined}
        aria-describedby={error ? id : undefined}
        onInput={(event) => set(event.currentTarget.value)}
      />
      {value && (
        <button type="button" class="plain" title={words.parts.clear} onClick={() => set("")}>
          <X size="1.1em" aria-hidden="true" />
          <span class="unseen">{words.parts.clear}</span>
        </button>
      )}
      {error && (
        <p class="error" id={id} role="alert">
          {error}
        </p>
      )}
    </div>
  );
}

export interface Choice {
  value: string;
  text: string;
  count?: number;
}

/** A choice that narrows a list, kept in the address; the first one is the usual one. */
export function Facet({
  param,
  label,
  choices,
}: {
  param: string;
  label: string;
  choices: Choice[];
}) {
  const [value, set] = useParam(param, choices[0]?.value ?? "");
  return (
    <div class="facet" role="group" aria-label={label}>
      {choices.map((choice) => (
        <button
          key={choice.value}
          type="button"
          class="chip"
          aria-pressed={choice.value === value}
          onClick={() => set(choice.value)}
        >
          {choice.text}
          {choice.count !== undefined && <span class="count">{choice.count}</span>}
        </button>
      ))}
    </div>
  );
}

/** Search, facets and the number of rows, above a list. */
export function Toolbar({ children, said }: { children: ComponentChildren; said?: string }) {
  return (
    <div class="toolbar">
      {children}
      {said && (
        <span class="said quiet" aria-live="polite">
          {said}
        </span>
      )}
    </div>
  );
}
