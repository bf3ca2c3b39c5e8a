/** Doing something to the cluster: what, with which values, how from a shell, and what became of it. */

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { reason } from "../live/api";
import { words } from "../words";
import { Command, Failure } from "./basics";
import { Dialog } from "./dialog";
import { toast } from "./toast";

export type Values = Record<string, string>;

export interface Field {
  name: string;
  label: string;
  /** A select when there are choices; `check` is "yes" or "". */
  kind?: "text" | "area" | "number" | "check" | "select";
  choices?: { value: string; text: string }[];
  usual?: string;
  hint?: string;
  required?: boolean;
  /** Nothing is done before exactly this is typed. */
  exact?: string;
  /** Offered while typing. */
  offers?: string[];
}

export interface Action {
  title: string;
  /** What it does, and to what. */
  text?: ComponentChildren;
  fields?: Field[];
  /** What the button says. */
  verb: string;
  danger?: boolean;
  /** The command of meshctl that does the same. */
  command?: (values: Values) => string;
  /** Do it. What it throws is shown; what it returns is said when it is done. */
  run: (values: Values) => Promise<string | void>;
}

export { commandLine, fed, quoted } from "../logic/shell";

/** A button that opens the dialog of an action, as it was then: what changes meanwhile is not mixed in. */
export function ActButton({
  action,
  children,
  class: given = "",
}: {
  action: Action;
  children: ComponentChildren;
  class?: string;
}) {
  const [opened, setOpened] = useState<Action | null>(null);
  return (
    <>
      <button type="button" class={given} onClick={() => setOpened(action)}>
        {children}
      </button>
      {opened && <ActDialog action={opened} onClose={() => setOpened(null)} />}
    </>
  );
}

export function ActDialog({ action, onClose }: { action: Action; onClose: () => void }) {
  const fields = action.fields ?? [];
  const [values, setValues] = useState<Values>(() =>
    Object.fromEntries(fields.map((field) => [field.name, field.usual ?? ""])),
  );
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const gone = useRef(false);
  useEffect(
    () => () => {
      gone.current = true;
    },
    [],
  );
  const ready = fields.every((one) => !one.exact || values[one.name] === one.exact);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy || !ready) return;
    setBusy(true);
    setError("");
    try {
      toast((await action.run(values)) || `${action.title}: ${words.shell.done}`);
      if (!gone.current) onClose();
    } catch (failed) {
      if (gone.current) toast(`${action.title}: ${words.parts.refused} ${reason(failed)}`);
      else setError(reason(failed));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog title={action.title} onClose={onClose}>
      <form class="act" onSubmit={submit}>
        {action.text && <div class="text">{action.text}</div>}
        {fields.map((field) => (
          <Input
            key={field.name}
            field={field}
            value={values[field.name] ?? ""}
            set={(value) => setValues({ ...values, [field.name]: value })}
          />
        ))}
        {action.command && <Command label={words.shell.sameAs} text={action.command(values)} />}
        {error && <Failure title={words.parts.refused} error={error} />}
        <footer>
          <button type="button" class="ghost" onClick={onClose}>
            {words.shell.cancel}
          </button>
          <button
            type="submit"
            class={action.danger ? "danger" : "primary"}
            disabled={busy || !ready}
          >
            {action.verb}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** A labelled input. */
export function Input({
  field,
  value,
  set,
  error,
}: {
  field: Field;
  value: string;
  set: (value: string) => void;
  error?: string;
}) {
  const id = useId();
  const said = error ? `${id}-error` : field.hint ? `${id}-hint` : undefined;
  const common = {
    id,
    name: field.name,
    required: field.required,
    "aria-describedby": said,
    "aria-invalid": error ? true : undefined,
  };
  return (
    <div class={`field field-${field.kind ?? "text"}`}>
      {field.kind === "check" ? (
        <label for={id}>
          <input
            {...common}
            type="checkbox"
            checked={value === "yes"}
            onChange={(event) => set(event.currentTarget.checked ? "yes" : "")}
          />{" "}
          {field.label}
        </label>
      ) : (
        <label for={id}>{field.label}</label>
      )}
      {field.kind === "select" && (
        <select {...common} value={value} onChange={(event) => set(event.currentTarget.value)}>
          {field.choices?.map((choice) => (
            <option key={choice.value} value={choice.value}>
              {choice.text}
            </option>
          ))}
        </select>
      )}
      {field.kind === "area" && (
        <textarea
          {...common}
          rows={4}
          value={value}
          onInput={(event) => set(event.currentTarget.value)}
        />
      )}
      {(!field.kind || field.kind === "text" || field.kind === "number") && (
        <input
          {...common}
          type={field.kind ?? "text"}
          value={value}
          autocomplete="off"
          spellcheck={false}
          list={field.offers ? `${id}-list` : undefined}
          onInput={(event) => set(event.currentTarget.value)}
        />
      )}
      {field.offers && (
        <datalist id={`${id}-list`}>
          {field.offers.slice(0, 200).map((offer) => (
            <option key={offer} value={offer} />
          ))}
        </datalist>
      )}
      {field.hint && !error && (
        <p class="hint" id={`${id}-hint`}>
          {field.hint}
        </p>
      )}
      {error && (
        <p class="error" id={`${id}-error`}>
          {error}
        </p>
      )}
    </div>
  );
}
