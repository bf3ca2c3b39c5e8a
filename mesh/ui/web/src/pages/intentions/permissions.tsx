/** The permissions of an intention: which requests are allowed or denied, in their order. */

import { ArrowDown, ArrowUp, Plus, Trash2 } from "../../parts/icons";
import { useId, useRef } from "preact/hooks";
import { useLive } from "../../live/live";
import {
  type Claim,
  conditions,
  type Draft,
  type HeaderMatch,
  howOf,
  HOWS,
  type How,
  type HttpMatch,
  matched,
  type PathHow,
  pathOf,
  PATHS,
  type Permission,
  type Provider,
  withPath,
  without,
} from "../../logic/intentions";
import { words } from "../../words";

const w = words.intentions.permissions;
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
type Rows = Draft["permissions"];

export function Permissions({
  rows,
  set,
  faulty,
}: {
  rows: Rows;
  set: (rows: Rows) => void;
  /** The number of the one that the server refused; null for none. */
  faulty: number | null;
}) {
  const list = useRef<HTMLOListElement>(null);
  const next = Math.max(-1, ...rows.map((row) => row.id)) + 1;
  const move = (at: number, by: number, button: string) => {
    const moved = [...rows];
    const [one] = moved.splice(at, 1);
    if (!one) return;
    moved.splice(at + by, 0, one);
    set(moved);
    // The button moves with what it moved; at an end the other one goes on.
    requestAnimationFrame(() => {
      const item = list.current?.children[at + by];
      const same = item?.querySelector<HTMLButtonElement>(`[data-move="${button}"]`);
      const other = item?.querySelector<HTMLButtonElement>("[data-move]:not(:disabled)");
      (same?.disabled ? other : same)?.focus();
    });
  };
  return (
    <fieldset class="int-permissions">
      <legend>{w.title}</legend>
      <p class="hint quiet">{w.order}</p>
      <ol ref={list}>
        {rows.map((row, at) => (
          <li key={row.id} class={at === faulty ? "int-faulty" : ""}>
            <header>
              <h3>{w.one(at + 1)}</h3>
              <span class="quiet int-said">
                <bdi>{conditions(row.body)}</bdi>
              </span>
              <button
                type="button"
                class="plain"
                data-move="up"
                title={w.up(at + 1)}
                aria-label={w.up(at + 1)}
                disabled={at === 0}
                onClick={() => move(at, -1, "up")}
              >
                <ArrowUp size="1.1em" aria-hidden="true" />
              </button>
              <button
                type="button"
                class="plain"
                data-move="down"
                title={w.down(at + 1)}
                aria-label={w.down(at + 1)}
                disabled={at === rows.length - 1}
                onClick={() => move(at, 1, "down")}
              >
                <ArrowDown size="1.1em" aria-hidden="true" />
              </button>
              <button
                type="button"
                class="plain"
                title={w.remove(at + 1)}
                aria-label={w.remove(at + 1)}
                onClick={() => set(rows.filter((one) => one !== row))}
              >
                <Trash2 size="1.1em" aria-hidden="true" />
              </button>
            </header>
            <One
              body={row.body}
              set={(body) => set(rows.map((one) => (one === row ? { ...row, body } : one)))}
            />
          </li>
        ))}
      </ol>
      <button
        type="button"
        class="ghost"
        onClick={() =>
          set([...rows, { id: next, body: { Action: "allow", HTTP: { PathPrefix: "/" } } }])
        }
      >
        <Plus size="1.1em" aria-hidden="true" />
        {w.add}
      </button>
    </fieldset>
  );
}

function One({ body, set }: { body: Permission; set: (body: Permission) => void }) {
  const http = body.HTTP ?? {};
  const [how, path] = pathOf(http);
  const withHttp = (changed: HttpMatch) => set({ ...body, HTTP: changed });
  return (
    <div class="int-one">
      <Labelled label={w.action}>
        {(id) => (
          <select
            id={id}
            value={body.Action ?? "allow"}
            onChange={(event) => set({ ...body, Action: event.currentTarget.value })}
          >
            <option value="allow">{w.allow}</option>
            <option value="deny">{w.deny}</option>
          </select>
        )}
      </Labelled>
      <Labelled label={w.path}>
        {(id) => (
          <span class="int-joined">
            <select
              id={id}
              value={how}
              onChange={(event) =>
                withHttp(withPath(http, event.currentTarget.value as PathHow, path))
              }
            >
              {(["", ...PATHS] as const).map((one) => (
                <option key={one} value={one}>
                  {w.paths[one]}
                </option>
              ))}
            </select>
            {how && (
              <input
                aria-label={w.pathValue}
                value={path}
                spellcheck={false}
                autocomplete="off"
                onInput={(event) => withHttp(withPath(http, how, event.currentTarget.value))}
              />
            )}
          </span>
        )}
      </Labelled>
      <Methods
        methods={http.Methods ?? []}
        set={(methods) => withHttp({ ...http, Methods: methods })}
      />
      <Headers
        headers={http.Header ?? []}
        set={(headers) => withHttp({ ...http, Header: headers })}
      />
      <Tokens
        providers={body.JWT?.Providers ?? []}
        set={(providers) => set({ ...body, JWT: { ...body.JWT, Providers: providers } })}
      />
    </div>
  );
}

function Labelled({
  label,
  children,
}: {
  label: string;
  children: (id: string) => preact.ComponentChildren;
}) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(id)}
    </div>
  );
}

function Methods({ methods, set }: { methods: string[]; set: (methods: string[]) => void }) {
  const others = methods.filter((one) => !METHODS.includes(one));
  return (
    <div class="field" role="group" aria-label={w.methods}>
      <span class="int-title">
        {w.methods} <span class="quiet">({w.methodsHint})</span>
      </span>
      <span class="int-chips">
        {METHODS.map((one) => (
          <button
            key={one}
            type="button"
            class="chip"
            aria-pressed={methods.includes(one)}
            onClick={() =>
              set(methods.includes(one) ? methods.filter((x) => x !== one) : [...methods, one])
            }
          >
            {one}
          </button>
        ))}
        {others.map((one) => (
          <button
            key={one}
            type="button"
            class="chip"
            aria-pressed
            onClick={() => set(methods.filter((x) => x !== one))}
          >
            <bdi>{one}</bdi>
          </button>
        ))}
        <input
          class="int-short"
          aria-label={w.otherMethods}
          placeholder={w.otherMethods}
          spellcheck={false}
          autocomplete="off"
          onChange={(event) => {
            const more = event.currentTarget.value.toUpperCase().split(/[\s,]+/);
            event.currentTarget.value = "";
            set([...new Set([...methods, ...more.filter(Boolean)])]);
          }}
        />
      </span>
    </div>
  );
}

function Headers({
  headers,
  set,
}: {
  headers: HeaderMatch[];
  set: (headers: HeaderMatch[]) => void;
}) {
  const change = (at: number, header: HeaderMatch) =>
    set(headers.map((one, i) => (i === at ? header : one)));
  return (
    <div class="int-list" role="group" aria-label={w.headers}>
      {headers.length > 0 && <span class="int-title">{w.headers}</span>}
      {headers.map((header, at) => {
        const how = howOf(header);
        const value = how === "Present" ? "" : (header[how] ?? "");
        return (
          <div key={at} class="int-condition" role="group" aria-label={w.header(at + 1)}>
            <input
              aria-label={w.headerName}
              placeholder={w.headerName}
              value={header.Name ?? ""}
              spellcheck={false}
              autocomplete="off"
              onInput={(event) => change(at, { ...header, Name: event.currentTarget.value })}
            />
            <label class="int-tick">
              <input
                type="checkbox"
                checked={Boolean(header.Invert)}
                onChange={(event) => change(at, { ...header, Invert: event.currentTarget.checked })}
              />{" "}
              {w.invert}
            </label>
            <select
              aria-label={w.how}
              value={how}
              onChange={(event) =>
                change(at, matched(header, event.currentTarget.value as How, value))
              }
            >
              {HOWS.map((one) => (
                <option key={one} value={one}>
                  {w.hows[one]}
                </option>
              ))}
            </select>
            {how !== "Present" && (
              <input
                aria-label={w.value}
                placeholder={w.value}
                value={value}
                spellcheck={false}
                autocomplete="off"
                onInput={(event) => change(at, matched(header, how, event.currentTarget.value))}
              />
            )}
            {how !== "Present" && how !== "Regex" && (
              <label class="int-tick">
                <input
                  type="checkbox"
                  checked={Boolean(header.IgnoreCase)}
                  onChange={(event) =>
                    change(at, { ...header, IgnoreCase: event.currentTarget.checked })
                  }
                />{" "}
                {w.ignoreCase}
              </label>
            )}
            <Remove
              label={w.removeHeader(at + 1)}
              run={() => set(headers.filter((_, i) => i !== at))}
            />
          </div>
        );
      })}
      <Add label={w.addHeader} run={() => set([...headers, { Name: "", Present: true }])} />
    </div>
  );
}

function Tokens({
  providers,
  set,
}: {
  providers: Provider[];
  set: (providers: Provider[]) => void;
}) {
  const known = useLive<{ Name: string }[]>("/v1/config/jwt-provider").value ?? [];
  const id = useId();
  const change = (at: number, provider: Provider) =>
    set(providers.map((one, i) => (i === at ? provider : one)));
  return (
    <div class="int-list" role="group" aria-label={w.tokens}>
      {providers.length > 0 && <span class="int-title">{w.tokens}</span>}
      <datalist id={id}>
        {known.map((one) => (
          <option key={one.Name} value={one.Name} />
        ))}
      </datalist>
      {providers.map((provider, at) => (
        <div key={at} class="int-token" role="group" aria-label={w.token(at + 1)}>
          <div class="int-condition">
            <input
              aria-label={w.provider}
              placeholder={w.provider}
              list={id}
              value={provider.Name ?? ""}
              autocomplete="off"
              onInput={(event) => change(at, { ...provider, Name: event.currentTarget.value })}
            />
            <Remove
              label={w.removeToken(at + 1)}
              run={() => set(providers.filter((_, i) => i !== at))}
            />
          </div>
          <Claims
            claims={provider.VerifyClaims ?? []}
            set={(claims) => change(at, withClaims(provider, claims))}
          />
        </div>
      ))}
      <Add label={w.addToken} run={() => set([...providers, { Name: known[0]?.Name ?? "" }])} />
    </div>
  );
}

function withClaims(provider: Provider, claims: Claim[]): Provider {
  const rest = without(provider, "VerifyClaims");
  return claims.length ? { ...rest, VerifyClaims: claims } : rest;
}

function Claims({ claims, set }: { claims: Claim[]; set: (claims: Claim[]) => void }) {
  const change = (at: number, claim: Claim) =>
    set(claims.map((one, i) => (i === at ? claim : one)));
  return (
    <>
      {claims.map((claim, at) => (
        <div key={at} class="int-condition int-claim">
          <input
            aria-label={`${w.claimPath} (${w.claimPathHint})`}
            placeholder={`${w.claimPath} (${w.claimPathHint})`}
            value={(claim.Path ?? []).join(",")}
            spellcheck={false}
            autocomplete="off"
            onInput={(event) =>
              change(at, {
                ...claim,
                Path: event.currentTarget.value.split(",").map((step) => step.trim()),
              })
            }
          />
          <input
            aria-label={w.claimValue}
            placeholder={w.claimValue}
            value={claim.Value ?? ""}
            spellcheck={false}
            autocomplete="off"
            onInput={(event) => change(at, { ...claim, Value: event.currentTarget.value })}
          />
          <Remove label={w.removeClaim} run={() => set(claims.filter((_, i) => i !== at))} />
        </div>
      ))}
      <Add label={w.addClaim} run={() => set([...claims, { Path: [], Value: "" }])} />
    </>
  );
}

function Add({ label, run }: { label: string; run: () => void }) {
  return (
    <button type="button" class="small ghost" onClick={run}>
      <Plus size="1em" aria-hidden="true" />
      {label}
    </button>
  );
}

function Remove({ label, run }: { label: string; run: () => void }) {
  return (
    <button type="button" class="plain" title={label} aria-label={label} onClick={run}>
      <Trash2 size="1.1em" aria-hidden="true" />
    </button>
  );
}
