/** The editor of one intention: over whichever view is shown, opened by the address. */

import { TriangleAlert } from "../../parts/icons";
import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import { ask, query, reason } from "../../live/api";
import { refresh, useFresh, useLive } from "../../live/live";
import { go, place } from "../../live/place";
import {
  body,
  command,
  type Draft,
  draftOf,
  type Entry,
  type Source,
  sourceOf,
  plain,
  text,
  type Verdict as Says,
  withDraft,
} from "../../logic/intentions";
import { changed, type Line } from "../../logic/lines";
import { Decisions, type Matrix } from "../../logic/matrix";
import { commandLine } from "../../logic/shell";
import { ActButton, type Action, Input } from "../../parts/act";
import { Command, Failure } from "../../parts/basics";
import { Dialog } from "../../parts/dialog";
import { toast } from "../../parts/toast";
import { words } from "../../words";
import { ServiceInput } from "./ends";
import { Permissions } from "./permissions";
import { closed, entryOf, MATRIX, type Opening } from "./places";
import { promotion } from "./report";
import { Verdict } from "./signs";

const w = words.intentions.editor;
const SETTLED_MS = 250;
const AROUND = 2;
const SAYS: Says[] = ["allow", "deny", "requests"];

export function Editor() {
  const { query: given } = place.value;
  if (!given.has("new") && !given.has("edit")) return null;
  const action = given.get("action") as Says | null;
  const opened = {
    source: given.get("source") ?? "",
    destination: given.get("destination") ?? "",
    dryRun: given.has("dry-run"),
    action: action && SAYS.includes(action) ? action : undefined,
  };
  return <Opened key={JSON.stringify(opened)} given={opened} />;
}

const close = () => go(closed(), { replace: true });

function Opened({ given }: { given: Opening }) {
  const live = useFresh<Entry>(given.destination ? entryOf(given.destination) : null);
  if (given.destination && !live.loaded) return null;
  return <Form given={given} first={live.value} />;
}

/** The value a moment after it was last changed. */
function useSettled(value: string): string {
  const [settled, set] = useState(value);
  useEffect(() => {
    if (settled === value) return;
    const timer = setTimeout(() => set(value), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [value, settled]);
  return settled;
}

/** What there is about the two ends, as it was when the editing began. */
interface Base {
  /** About which ends. */
  key: string;
  source: string;
  index: number;
}

function Form({ given, first }: { given: Opening; first: Entry | undefined }) {
  const [found] = useState(() => sourceOf(first, given.source ?? "", Boolean(given.dryRun)));
  const [draft, setDraft] = useState<Draft>(() => begun(found, given));
  const [force, setForce] = useState(false);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const [base, setBase] = useState<Base | null>(null);
  const id = useId();

  const destination = useSettled(draft.destination.trim());
  const live = useFresh<Entry>(destination ? entryOf(destination) : null);
  const entry = live.value;
  const loaded = live.loaded && (live.value !== undefined || live.status === 404);
  const settled = loaded && destination === draft.destination.trim();
  const tried = found ? Boolean(given.dryRun) : draft.dryRun;
  const target = sourceOf(entry, draft.source.trim(), tried);
  const present = target ? text(plain(target)) : "";
  const key = JSON.stringify([destination, draft.source.trim(), tried]).toLowerCase();
  const index = entry?.ModifyIndex ?? 0;
  useEffect(() => {
    if (settled && base?.key !== key) setBase({ key, source: present, index });
  }, [settled, base, key, present, index]);
  const known = settled && base?.key === key;
  const meanwhile = known && base.source !== present;

  const clean = { ...draft, source: draft.source.trim(), destination: draft.destination.trim() };
  const complete = clean.source !== "" && clean.destination !== "";
  const after = complete ? withDraft(entry, clean, target) : undefined;
  const lines = changed(entry ? text(body(entry)) : "", after ? text(after) : "", AROUND);
  const differs = lines.some((line) => line.kind === "gone" || line.kind === "new");
  const empty = draft.verdict === "requests" && draft.permissions.length === 0;
  const faulty = /\bPermissions\[(\d+)\]/.exec(error)?.[1];
  const save = async (event: Event) => {
    event.preventDefault();
    if (busy || !after || !known || meanwhile || !differs || empty) return;
    setBusy(true);
    setError("");
    try {
      const path = query("/v1/config", { cas: String(index), force: force && "true" });
      const done = await ask<boolean>(path, { method: "PUT", body: after });
      if (done) {
        toast(w.saved(clean.source, clean.destination));
        close();
      } else {
        setError(w.race);
        refresh(entryOf(destination));
      }
    } catch (failed) {
      setError(reason(failed));
    } finally {
      setBusy(false);
    }
  };
  const set = (change: Partial<Draft>) => {
    setError("");
    setDraft({ ...draft, ...change });
  };
  return (
    <Dialog wide title={found ? w.edit(found.Name, clean.destination) : w.make} onClose={close}>
      <form id={id} class="act int-editor" onSubmit={save}>
        {meanwhile && base && (
          <Meanwhile
            before={base.source}
            present={present}
            theirs={() => {
              if (!target) {
                close();
                return;
              }
              setDraft(draftOf(target, ends(clean)));
              setBase({ key, source: present, index });
            }}
            mine={() => setBase({ key, source: present, index })}
          />
        )}
        {!found && (
          <div class="int-ends">
            <ServiceInput
              name="source"
              label={w.source}
              hint={w.endsHint}
              value={draft.source}
              set={(source) => set({ source })}
            />
            <ServiceInput
              name="destination"
              label={w.destination}
              hint={w.endsHint}
              value={draft.destination}
              set={(to) => set({ destination: to })}
            />
          </div>
        )}
        {complete && <Now source={clean.source} destination={clean.destination} />}
        {known && !found && target && !meanwhile && (
          <p class="int-note">
            {w.exists}{" "}
            <button
              type="button"
              class="small"
              onClick={() => setDraft(draftOf(target, { ...ends(clean), dryRun: tried }))}
            >
              {w.load}
            </button>
          </p>
        )}
        <VerdictInput value={draft.verdict} set={(verdict) => set(asked(draft, verdict))} />
        {draft.verdict === "requests" && (
          <Permissions
            rows={draft.permissions}
            set={(permissions) => set({ permissions })}
            faulty={faulty === undefined ? null : Number(faulty)}
          />
        )}
        <Input
          field={{ name: "description", label: w.description, hint: w.descriptionHint }}
          value={draft.description}
          set={(description) => set({ description })}
        />
        <Input
          field={{ name: "dryRun", label: w.dryRun, kind: "check" }}
          value={draft.dryRun ? "yes" : ""}
          set={(value) => set({ dryRun: value === "yes" })}
        />
        <details class="int-more" open={Boolean(found?.Owner)}>
          <summary>{w.more}</summary>
          <Input
            field={{ name: "owner", label: w.owner, hint: w.ownerHint }}
            value={draft.owner}
            set={(owner) => set({ owner })}
          />
        </details>
        {target?.Owner && (
          <Input
            field={{ name: "force", label: w.force(target.Owner), kind: "check" }}
            value={force ? "yes" : ""}
            set={(value) => setForce(value === "yes")}
          />
        )}
        {known && !meanwhile && base && index !== base.index && base.index !== 0 && (
          <p class="int-note" role="status">
            {w.others}
          </p>
        )}
        <Changes
          lines={lines}
          said={!complete ? w.ends : empty ? w.noPermissions : differs ? "" : w.nothing}
        />
        {complete && !empty && (
          <Command label={words.shell.sameAs} text={command(clean, entry, target, force)} />
        )}
        {live.loaded && !loaded && <Failure title={w.unknown} error={live.error} />}
        {error && <Failure title={words.parts.refused} error={error} />}
      </form>
      <div class="int-foot int-end">
        {found && target && <Removing of={target} destination={clean.destination} force={force} />}
        <span class="grow" />
        <button type="button" class="ghost" onClick={close}>
          {words.shell.cancel}
        </button>
        <button
          type="submit"
          form={id}
          class="primary"
          disabled={busy || !known || meanwhile || !differs || empty || !complete}
        >
          {w.save}
        </button>
      </div>
    </Dialog>
  );
}

function ends({ source, destination }: { source: string; destination: string }): Partial<Draft> {
  return { source, destination };
}

/** What the editor begins with: what is there, and what the address asks for. */
function begun(found: Source | undefined, given: Opening): Draft {
  const draft = draftOf(found, {
    source: found?.Name ?? given.source ?? "",
    destination: given.destination ?? "",
    ...(found ? {} : { dryRun: Boolean(given.dryRun) }),
  });
  return given.action ? asked(draft, given.action) : draft;
}

/** The draft with another verdict; permissions begin with one for all requests. */
function asked(draft: Draft, verdict: Says): Draft {
  const begins = verdict === "requests" && draft.permissions.length === 0;
  const permission = { Action: "allow", HTTP: { PathPrefix: "/" } };
  return {
    ...draft,
    verdict,
    permissions: begins ? [{ id: 0, body: permission }] : draft.permissions,
  };
}

/** What holds between the two at present. */
function Now({ source, destination }: { source: string; destination: string }) {
  const matrix = useLive<Matrix>(MATRIX).value;
  const decisions = useMemo(() => matrix && new Decisions(matrix), [matrix]);
  if (!decisions) return null;
  const cell = decisions.cell(source, destination);
  return (
    <p class="int-now">
      <span class="quiet">{w.now}</span> <Verdict says={cell.Says} />{" "}
      <span class="quiet">
        <bdi>{cell.Rule}</bdi>
      </span>
    </p>
  );
}

function VerdictInput({ value, set }: { value: Says; set: (value: Says) => void }) {
  return (
    <fieldset class="int-choose">
      <legend>{w.verdict}</legend>
      {SAYS.map((one) => (
        <label key={one} class={`int-choice int-${one}`}>
          <input
            type="radio"
            name="verdict"
            value={one}
            checked={value === one}
            onChange={() => set(one)}
          />
          <span>
            <strong>{w.verdicts[one][0]}</strong> <span class="quiet">{w.verdicts[one][1]}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

/** Somebody else's change to what is being edited, seen before anything is saved. */
function Meanwhile({
  before,
  present,
  theirs,
  mine,
}: {
  before: string;
  present: string;
  theirs: () => void;
  mine: () => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => box.current?.scrollIntoView({ block: "nearest" }), []);
  return (
    <div class="int-meanwhile" role="alert" ref={box}>
      <p>
        <TriangleAlert size="1.1em" aria-hidden="true" />{" "}
        <strong>{present ? w.meanwhile : w.gone}</strong>
      </p>
      <Diff lines={changed(before, present)} />
      <p class="int-foot">
        <button type="button" onClick={theirs}>
          {w.theirs}
        </button>
        <button type="button" onClick={mine}>
          {w.mine}
        </button>
      </p>
    </div>
  );
}

function Changes({ lines, said }: { lines: Line[]; said: string }) {
  return (
    <section class="int-changes">
      <h3>{w.changes}</h3>
      {said ? <p class="quiet">{said}</p> : <Diff lines={lines} />}
    </section>
  );
}

const MARKS = { same: " ", gone: "−", new: "+", skipped: "…" };

function Diff({ lines }: { lines: Line[] }) {
  return (
    <pre class="int-diff" tabIndex={0}>
      {lines.map((line, i) => (
        <span key={i} class={`int-line int-line-${line.kind}`}>
          {MARKS[line.kind]} {line.kind === "skipped" ? w.unchanged(line.text) : line.text}
          {"\n"}
        </span>
      ))}
    </pre>
  );
}

function Removing({ of, destination, force }: { of: Source; destination: string; force: boolean }) {
  const dryRun = Boolean(of.DryRun);
  const removal: Action = {
    title: w.deleteTitle(of.Name, destination),
    text: w.deleteText,
    verb: w.delete,
    danger: true,
    command: () =>
      commandLine(
        "meshctl intention delete",
        [of.Name, destination],
        [...(dryRun ? ["--dry-run"] : []), ...(force ? ["--force"] : [])],
      ),
    run: async () => {
      const path = query("/v1/connect/intentions/exact", {
        source: of.Name,
        destination,
        "dry-run": dryRun && "true",
        force: force && "true",
      });
      await ask(path, { method: "DELETE" });
      close();
      return w.deleted(of.Name, destination);
    },
  };
  const enforce = promotion(of.Name, destination, force);
  const promote: Action = {
    ...enforce,
    run: async (values) => {
      const said = await enforce.run(values);
      close();
      return said;
    },
  };
  return (
    <>
      <ActButton action={removal}>{w.delete} …</ActButton>
      {dryRun && <ActButton action={promote}>{w.promote} …</ActButton>}
    </>
  );
}
