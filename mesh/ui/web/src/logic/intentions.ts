/** Intentions as sources of service-intentions entries, and how they are edited. */

import { commandLine } from "./shell";

export interface HeaderMatch {
  Name?: string;
  Present?: boolean;
  Exact?: string;
  Prefix?: string;
  Suffix?: string;
  Contains?: string;
  Regex?: string;
  Invert?: boolean;
  IgnoreCase?: boolean;
}

export interface HttpMatch {
  PathExact?: string;
  PathPrefix?: string;
  PathRegex?: string;
  Header?: HeaderMatch[];
  Methods?: string[];
}

export interface Claim {
  Path?: string[];
  Value?: string;
}

export interface Provider {
  Name?: string;
  VerifyClaims?: Claim[];
}

export interface Permission {
  Action?: string;
  HTTP?: HttpMatch;
  JWT?: { Providers?: Provider[] };
}

/** A source of an entry; what is not known here is kept as it is. */
export interface Source {
  Name: string;
  Action?: string;
  Permissions?: Permission[];
  Description?: string;
  DryRun?: boolean;
  Owner?: string;
  Precedence?: number;
  Type?: string;
  [more: string]: unknown;
}

export interface Entry {
  Kind: string;
  Name: string;
  Sources?: Source[];
  ModifyIndex?: number;
  CreateIndex?: number;
  Hash?: number;
  [more: string]: unknown;
}

/** An intention as the older API lists it. */
export interface Listed {
  ID?: string;
  SourceName: string;
  DestinationName: string;
  Description?: string;
  Action?: string;
  Permissions?: Permission[];
  DryRun?: boolean;
  Owner?: string;
  Meta?: Record<string, string>;
  Precedence: number;
  UpdatedAt: string;
  ModifyIndex: number;
}

export type Verdict = "allow" | "deny" | "requests";

/** What is edited. Permissions carry a number, so that they stay the same when they move. */
export interface Draft {
  source: string;
  destination: string;
  description: string;
  verdict: Verdict;
  permissions: { id: number; body: Permission }[];
  dryRun: boolean;
  owner: string;
}

export const KIND = "service-intentions";
const DERIVED = ["CreateIndex", "ModifyIndex", "Hash"];

export function isSame(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

/** The same but for these. */
export function without<T extends object>(from: T, ...names: string[]): T {
  return Object.fromEntries(Object.entries(from).filter(([name]) => !names.includes(name))) as T;
}

/** The source of an entry that is about these callers, enforced or tried. */
export function sourceOf(
  entry: Entry | undefined,
  name: string,
  dryRun: boolean,
): Source | undefined {
  return entry?.Sources?.find((one) => isSame(one.Name, name) && Boolean(one.DryRun) === dryRun);
}

/** A source without what follows from the rest, as it is compared, shown and written. */
export function plain(source: Source): Source {
  return without(source, "Precedence", "Type");
}

/** The draft that a source begins as. */
export function draftOf(source: Source | undefined, given: Partial<Draft>): Draft {
  const permissions = (source?.Permissions ?? []).map((body, id) => ({ id, body }));
  const verdict = source ? verdictOf(source) : "allow";
  return {
    source: "",
    destination: "",
    description: source?.Description ?? "",
    verdict,
    permissions,
    dryRun: Boolean(source?.DryRun),
    owner: source?.Owner ?? "",
    ...given,
  };
}

export function verdictOf(one: { Action?: string; Permissions?: Permission[] }): Verdict {
  if (one.Permissions?.length) return "requests";
  return one.Action === "deny" ? "deny" : "allow";
}

/** The source as the draft has it; what the editor does not show stays as in `old`. */
export function written(draft: Draft, old: Source | undefined): Source {
  const shown = ["Action", "Permissions", "Description", "DryRun", "Owner"];
  const kept = without(plain(old ?? { Name: draft.source }), ...shown);
  const requests = draft.verdict === "requests";
  return {
    ...kept,
    Name: old?.Name ?? draft.source,
    ...(requests
      ? { Permissions: draft.permissions.map(({ body }) => tidy(body)) }
      : { Action: draft.verdict }),
    ...(draft.description ? { Description: draft.description } : {}),
    ...(draft.dryRun ? { DryRun: true } : {}),
    ...(draft.owner ? { Owner: draft.owner } : {}),
  };
}

/** A permission without what says nothing. */
export function tidy(permission: Permission): Permission {
  const http = permission.HTTP ?? {};
  const conditions = Object.fromEntries(
    Object.entries(http)
      .filter(([, value]) => value !== "" && !(Array.isArray(value) && value.length === 0))
      .map(([name, value]) => [name, name === "Header" ? http.Header?.map(tidyHeader) : value]),
  );
  const providers = permission.JWT?.Providers ?? [];
  return {
    ...(permission.Action ? { Action: permission.Action } : {}),
    ...(Object.keys(conditions).length ? { HTTP: conditions } : {}),
    ...(providers.length ? { JWT: { Providers: providers } } : {}),
  };
}

function tidyHeader(header: HeaderMatch): HeaderMatch {
  return Object.fromEntries(
    Object.entries(header).filter(([, value]) => value !== "" && value !== false),
  );
}

/** The entry without what the server derives. */
export function body(entry: Entry): Entry {
  const rest = without(entry, ...DERIVED);
  return rest.Sources ? { ...rest, Sources: rest.Sources.map(plain) } : rest;
}

/**
 * The entry after the draft is saved: the source takes the place of `old`, of the one that has
 * the same name and is tried or enforced as it is, or comes last.
 */
export function withDraft(entry: Entry | undefined, draft: Draft, old: Source | undefined): Entry {
  const base: Entry = entry ? body(entry) : { Kind: KIND, Name: draft.destination };
  const replaced = old ?? sourceOf(entry, draft.source, draft.dryRun);
  const made = written(draft, replaced);
  const sources = [...(entry?.Sources ?? [])];
  const at = replaced ? sources.indexOf(replaced) : -1;
  const next = sources.map(plain);
  if (at >= 0) next[at] = made;
  else next.push(made);
  return { ...base, Sources: next };
}

/** As it is shown and compared. */
export function text(value: unknown): string {
  return value === undefined ? "" : JSON.stringify(value, null, 2);
}

/** The command of meshctl that saves the draft, given what is there before. */
export function command(
  draft: Draft,
  entry: Entry | undefined,
  old: Source | undefined,
  force: boolean,
): string {
  const before = old ?? sourceOf(entry, draft.source, draft.dryRun);
  const moved = old !== undefined && Boolean(old.DryRun) !== draft.dryRun;
  const unsaid = Boolean(before?.Description) && !draft.description;
  if (!moved && !unsaid) {
    const rule = ruleWords(draft, entry, before);
    if (rule) {
      const { verb, flags } = rule;
      if (draft.description) flags.push("--description", draft.description);
      if (draft.dryRun) flags.push("--dry-run");
      if (draft.owner) flags.push("--owner", draft.owner);
      if (force) flags.push("--force");
      return commandLine(`meshctl intention ${verb}`, [draft.source, draft.destination], flags);
    }
  }
  const document = text(withDraft(entry, draft, old));
  return `meshctl config write ${force ? "--force " : ""}- <<'EOF'\n${document}\nEOF`;
}

/** `intention allow` and its like, if the draft is what that would come to; else null. */
function ruleWords(
  draft: Draft,
  entry: Entry | undefined,
  before: Source | undefined,
): { verb: string; flags: string[] } | null {
  if (draft.verdict !== "requests") return { verb: draft.verdict, flags: [] };
  const [first, ...rest] = draft.permissions.map(({ body: one }) => tidy(one));
  const asked = [draft.source, "*"].flatMap((name) => [
    draft.dryRun ? sourceOf(entry, name, true) : undefined,
    sourceOf(entry, name, false),
  ]);
  const decided = before ?? asked.find((one) => one !== undefined);
  if (!first?.HTTP || first.JWT || !decided) return null;
  const all = { Action: decided.Action, HTTP: { PathPrefix: "/" } };
  const went = (decided.Permissions ?? [all]).filter((one) => text(one.HTTP) !== text(first.HTTP));
  const flags = httpWords(first.HTTP);
  if (!flags || text(went) !== text(rest)) return null;
  return { verb: first.Action ?? "allow", flags };
}

function httpWords(http: HttpMatch): string[] | null {
  const words: string[] = [];
  if (http.PathPrefix) words.push("--path", http.PathPrefix);
  if (http.PathExact) words.push("--path-exact", http.PathExact);
  if (http.PathRegex) words.push("--path-regex", http.PathRegex);
  for (const method of http.Methods ?? []) words.push("--method", method);
  for (const header of http.Header ?? []) {
    const { Name: name = "", Present, Exact, ...more } = header;
    if (Object.keys(more).length) return null;
    if (Present) words.push("--header", name);
    else words.push("--header", `${name}: ${Exact ?? ""}`);
  }
  return words;
}

/** Where a rule stands, from how the server names it; null for the default and others. */
export function ruleAt(
  place: string,
): { destination: string; source: string; permission: number | null } | null {
  const found = /^service-intentions\/(.+?) Sources\[(.+?)\](?:\.Permissions\[(\d+)\])?$/s.exec(
    place,
  );
  if (!found) return null;
  const [, destination = "", source = "", number] = found;
  return { destination, source, permission: number === undefined ? null : Number(number) };
}

/** Which requests a permission is about, in a line; empty for all. */
export function conditions(permission: Permission): string {
  const http = permission.HTTP ?? {};
  const said: string[] = [];
  if (http.Methods?.length) said.push(http.Methods.join(", "));
  if (http.PathExact) said.push(http.PathExact);
  if (http.PathPrefix) said.push(`${http.PathPrefix}…`);
  if (http.PathRegex) said.push(`~ ${http.PathRegex}`);
  for (const header of http.Header ?? []) said.push(header.Name ?? "");
  for (const provider of permission.JWT?.Providers ?? []) said.push(`JWT ${provider.Name ?? ""}`);
  return said.join(" · ");
}

/** Who manages an intention, beside people: its owner, or the tool that its metadata names. */
export function managedBy(one: Listed): string {
  return one.Owner || one.Meta?.["external-source"] || "";
}

export const HOWS = ["Present", "Exact", "Prefix", "Suffix", "Contains", "Regex"] as const;
export type How = (typeof HOWS)[number];

/** The way in which a header is matched. */
export function howOf(header: HeaderMatch): How {
  return HOWS.find((how) => header[how] !== undefined && header[how] !== false) ?? "Present";
}

/** The header matched in another way, or by another value. */
export function matched(header: HeaderMatch, how: How, value: string): HeaderMatch {
  const next: HeaderMatch = { Name: header.Name ?? "" };
  if (how === "Present") next.Present = true;
  else next[how] = value;
  if (header.Invert) next.Invert = true;
  if (header.IgnoreCase && how !== "Present" && how !== "Regex") next.IgnoreCase = true;
  return next;
}

export const PATHS = ["PathPrefix", "PathExact", "PathRegex"] as const;
export type PathHow = (typeof PATHS)[number] | "";

export function pathOf(http: HttpMatch | undefined): [PathHow, string] {
  const how = PATHS.find((one) => http?.[one] !== undefined) ?? "";
  return [how, how ? (http?.[how] ?? "") : ""];
}

/** The conditions with another path. */
export function withPath(http: HttpMatch | undefined, how: PathHow, value: string): HttpMatch {
  const rest = without(http ?? {}, ...PATHS);
  return how ? { ...rest, [how]: value } : rest;
}
