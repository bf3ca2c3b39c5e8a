/** A prepared query written: the usual fields in a form, all of it as JSON. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, ask, reason } from "../../live/api";
import { useLive } from "../../live/live";
import { go, to } from "../../live/place";
import {
  BLANK,
  complete,
  fitsForm,
  flagsOf,
  type Form,
  fromForm,
  parse,
  type Query,
  toForm,
  toJson,
} from "../../logic/prepared";
import { type Field, Input, fed, quoted } from "../../parts/act";
import { Command, Failure } from "../../parts/basics";
import { CodeDiff, CodeEditor } from "../../parts/code";
import { Dialog } from "../../parts/dialog";
import { toast } from "../../parts/toast";
import { words } from "../../words";

const w = words.queries;
const f = w.fields;

const MAIN: Field[] = [
  { name: "name", label: f.name, hint: f.nameHint },
  { name: "service", label: f.service },
  { name: "tags", label: f.tags, hint: f.tagsHint },
  { name: "near", label: f.near, hint: f.nearHint },
  { name: "nearest", label: f.nearest, hint: f.nearestHint, kind: "number" },
  { name: "failover", label: f.failover, hint: f.failoverHint },
  { name: "ttl", label: f.ttl, hint: f.ttlHint },
  { name: "passing", label: f.passing, kind: "check" },
  { name: "template", label: f.template, kind: "check" },
];
const TEMPLATE: Field[] = [
  { name: "regexp", label: f.regexp, hint: f.regexpHint },
  { name: "removeEmpty", label: f.removeEmpty, kind: "check" },
];
const MORE: Field[] = [
  { name: "ignore", label: f.ignore, hint: f.ignoreHint },
  { name: "nodeMeta", label: f.nodeMeta, hint: f.metaHint },
  { name: "serviceMeta", label: f.serviceMeta, hint: f.metaHint },
  { name: "connect", label: f.connect, kind: "check" },
];

/** The command that writes the same: with flags where they can say it all. */
export function writeCommand(query: Query, id: string): string {
  const flags = id ? null : flagsOf(query);
  if (flags) {
    const words = flags.map(([name, value]) =>
      value ? `--${name} ${quoted(value)}` : `--${name}`,
    );
    return ["meshctl query create", ...words].join(" ");
  }
  const body = JSON.stringify(JSON.parse(toJson(query)));
  return fed(body, `meshctl query ${id ? `update ${id}` : "create"} -`);
}

export function EditDialog({ query, onClose }: { query?: Query; onClose: () => void }) {
  const [start, setStart] = useState(query ?? BLANK);
  const [form, setForm] = useState<Form>(() => toForm(start));
  const [text, setText] = useState(() => toJson(start));
  const [asJson, setAsJson] = useState(() => !fitsForm(start));
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const id = query?.ID ?? "";
  const meanwhile = useMeanwhile(id, query ?? BLANK);
  const services = useLive<Record<string, string[]>>("/v1/catalog/services").value;
  const names = useMemo(() => Object.keys(services ?? {}), [services]);
  const parsed = useMemo(() => attempt(text), [text]);
  const written = asJson ? parsed.query : fromForm(form, start);
  const turn = (json: boolean) => {
    if (json && written) setText(toJson(written));
    else if (!json && parsed.query) {
      setStart({ ...start, ...parsed.query });
      setForm(toForm(complete(parsed.query)));
    }
    setAsJson(json);
  };
  const save = async (event: Event) => {
    event.preventDefault();
    if (busy || !written) return;
    setBusy(true);
    setError("");
    try {
      const body = asJson ? text : toJson(written);
      if (await meanwhile.moved()) {
        setBusy(false);
        return;
      }
      if (id) await ask(api`/v1/query/${id}`, { method: "PUT", body });
      else {
        const { ID } = await ask<{ ID: string }>("/v1/query", { method: "POST", body });
        go(to("queries", ID));
      }
      toast((id ? w.saved : w.created)(written.Name || id));
      onClose();
    } catch (failed) {
      setError(reason(failed));
      setBusy(false);
    }
  };
  const take = (theirs: Query) => {
    meanwhile.see(theirs);
    setStart(theirs);
    setForm(toForm(theirs));
    setText(toJson(theirs));
  };
  const theirs = busy ? undefined : meanwhile.theirs;
  const mine = written ? toJson(written) : text;
  const inputs = (fields: Field[]) =>
    fields.map((field) => (
      <Input
        key={field.name}
        field={field.name === "service" ? { ...field, offers: names } : field}
        value={form[field.name] ?? ""}
        set={(value) => setForm({ ...form, [field.name]: value })}
      />
    ));
  return (
    <Dialog title={id ? w.editTitle(start.Name || id) : w.newTitle} onClose={onClose} wide>
      <form class="act" onSubmit={save}>
        <div class="facet" role="group" aria-label={w.view}>
          <button
            type="button"
            class="chip"
            aria-pressed={!asJson}
            disabled={asJson && (!parsed.query || !fitsForm(complete(parsed.query)))}
            onClick={() => turn(false)}
          >
            {w.asForm}
          </button>
          <button type="button" class="chip" aria-pressed={asJson} onClick={() => turn(true)}>
            {w.asJson}
          </button>
        </div>
        {asJson && parsed.query && !fitsForm(complete(parsed.query)) && <p>{w.jsonOnly}</p>}
        {theirs && (
          <Moved
            before={toJson(meanwhile.seen)}
            after={toJson(theirs)}
            take={() => take(theirs)}
            keep={() => meanwhile.see(theirs, true)}
          />
        )}
        {meanwhile.over && !theirs && (
          <div class="queries-moved">
            <p>{w.over}</p>
            <CodeDiff
              before={toJson(meanwhile.seen)}
              after={mine}
              labels={{ before: w.theirs, after: w.mine }}
            />
          </div>
        )}
        {asJson ? (
          <CodeEditor text={text} label={w.jsonLabel} syntax="json" onText={setText} />
        ) : (
          <>
            <div class="queries-form">{inputs(MAIN)}</div>
            {form.template === "yes" && <div class="queries-form">{inputs(TEMPLATE)}</div>}
            <details class="queries-more">
              <summary>{w.more}</summary>
              <div class="queries-form">{inputs(MORE)}</div>
            </details>
          </>
        )}
        {asJson && parsed.error && <p class="error">{parsed.error}</p>}
        {written && (
          <Command label={words.shell.sameAs} text={writeCommand(complete(written), id)} />
        )}
        {error && <Failure title={words.parts.refused} error={error} />}
        <footer>
          <button type="button" class="ghost" onClick={onClose}>
            {words.shell.cancel}
          </button>
          <button type="submit" class="primary" disabled={busy || !written || Boolean(theirs)}>
            {id ? w.save : w.create}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** What others make of the query while it is edited; there is no writing it only if it is as seen. */
function useMeanwhile(id: string, opened: Query) {
  const path = id ? api`/v1/query/${id}` : null;
  const live = useLive<Query[]>(path).value?.[0];
  /** The last version that was looked at, and whether it is to be replaced. */
  const [{ seen, over }, set] = useState({ seen: opened, over: false });
  /** As it was when it was about to be saved, which may be news. */
  const [asked, setAsked] = useState<Query | undefined>();
  const present = (live?.ModifyIndex ?? 0) < (asked?.ModifyIndex ?? 0) ? asked : live;
  return {
    seen,
    over,
    theirs: present && present.ModifyIndex !== seen.ModifyIndex ? present : undefined,
    see: (theirs: Query, over = false) => set({ seen: theirs, over }),
    /** Ask whether it is another than the one that was looked at. */
    moved: async (): Promise<boolean> => {
      if (path === null) return false;
      const [found] = await ask<Query[]>(path);
      setAsked(found);
      return found?.ModifyIndex !== seen.ModifyIndex;
    },
  };
}

/** Somebody else's change to the query, seen before anything is saved. */
function Moved({
  before,
  after,
  take,
  keep,
}: {
  before: string;
  after: string;
  take: () => void;
  keep: () => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => box.current?.scrollIntoView({ block: "nearest" }), []);
  return (
    <div class="queries-moved" role="alert" ref={box}>
      <p>
        <strong>{w.moved}</strong> {w.movedText}
      </p>
      <CodeDiff before={before} after={after} labels={{ before: w.seen, after: w.theirs }} />
      <p class="queries-choice">
        <button type="button" onClick={take}>
          {w.takeTheirs}
        </button>
        <button type="button" onClick={keep}>
          {w.keepMine}
        </button>
      </p>
    </div>
  );
}

function attempt(text: string): { query: Query | null; error: string } {
  try {
    return { query: parse(text), error: "" };
  } catch (error) {
    return { query: null, error: reason(error) };
  }
}
