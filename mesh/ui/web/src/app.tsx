/** The shell: which page is shown, what leads to the others, and whether the cluster is heard. */

import { signal, useSignal } from "@preact/signals";
import { Menu, Search, Settings as SettingsIcon, WifiOff } from "./parts/icons";
import type { ComponentType } from "preact";
import { useEffect, useErrorBoundary, useRef } from "preact/hooks";
import { ask, isHere, reason, scope } from "./live/api";
import { connection, expectLive, useLive } from "./live/live";
import { BASE, dc, go, parts, place, to } from "./live/place";
import { Failure, Loading } from "./parts/basics";
import { Page } from "./parts/page";
import { Toasts } from "./parts/toast";
import { type PageProps, ROUTES, type Route } from "./routes";
import { Help } from "./shell/help";
import { helpOpen, useKeys } from "./shell/keys";
import { Palette, paletteOpen } from "./shell/palette";
import { Settings } from "./shell/settings";
import { words } from "./words";

const DATACENTERS = "/v1/catalog/datacenters";
const drawer = signal(false);
/** Which datacenter the server is in, as it wrote into the page; empty if it did not. */
const written = document.querySelector<HTMLMetaElement>("meta[name=datacenter]")?.content ?? "";
scope.local = written;
/** Whether it is known which datacenter the server is in. */
const ready = signal(written !== "");
const settingsOpen = signal(false);

export function App() {
  const failed = useSignal("");
  scope.shown = dc.value;
  useEffect(() => {
    void start().catch((error) => {
      failed.value = reason(error);
    });
  }, [failed]);
  useKeys();
  if (failed.value && !ready.value)
    return <Failure title={words.shell.failed} error={failed.value} />;
  if (!dc.value || !ready.value) return <Loading />;
  return (
    <div class={drawer.value ? "shell drawer-open" : "shell"}>
      <a class="skip" href="#content" onClick={focusContent}>
        {words.shell.skip}
      </a>
      <TopBar />
      <Navigation />
      {drawer.value && (
        <button
          type="button"
          class="shade"
          aria-label={words.shell.close}
          onClick={() => {
            drawer.value = false;
          }}
        />
      )}
      <main id="content" tabIndex={-1}>
        <Connection />
        <Shown />
      </main>
      {paletteOpen.value && <Palette />}
      {helpOpen.value && <Help />}
      {settingsOpen.value && (
        <Settings
          onClose={() => {
            settingsOpen.value = false;
          }}
        />
      )}
      <Toasts />
    </div>
  );
}

/** A link to `#content` would lead to the base of the page, not into it. */
function focusContent(event: Event): void {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

/** Learn which datacenter the server is in, and go there if the address names none. */
async function start(): Promise<void> {
  if (!scope.local) {
    const self = await ask<{ Config: { Datacenter: string } }>("/v1/agent/self");
    scope.local = self.Config.Datacenter;
  }
  if (!place.peek().dc) go(`${BASE}${encodeURIComponent(scope.local)}`, { replace: true });
  ready.value = true;
}

function TopBar() {
  const datacenters = useLive<string[]>(DATACENTERS).value ?? [];
  return (
    <header class="topbar">
      <button
        type="button"
        class="plain only-narrow"
        aria-expanded={drawer.value}
        onClick={() => {
          drawer.value = !drawer.value;
        }}
      >
        <Menu size="1.4em" aria-hidden="true" />
        <span class="unseen">{words.shell.menu}</span>
      </button>
      <a class="brand" href={to()}>
        <Mark />
        {words.shell.product}
      </a>
      {datacenters.length > 1 ? (
        <select
          aria-label={words.shell.datacenter}
          value={dc.value}
          onChange={(event) => go(`${BASE}${encodeURIComponent(event.currentTarget.value)}`)}
        >
          {[...new Set([dc.value, ...datacenters])].map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      ) : (
        <span class="quiet" title={words.shell.datacenter}>
          {dc.value}
        </span>
      )}
      <span class="grow" />
      <button
        type="button"
        class="ghost palette-button"
        onClick={() => {
          paletteOpen.value = true;
        }}
      >
        <Search size="1.1em" aria-hidden="true" />
        <span class="unseen-narrow">{words.shell.palette}</span>
        <kbd class="not-narrow">Ctrl K</kbd>
      </button>
      <button
        type="button"
        class="plain"
        title={words.shell.settings}
        onClick={() => {
          settingsOpen.value = true;
        }}
      >
        <SettingsIcon size="1.3em" aria-hidden="true" />
        <span class="unseen">{words.shell.settings}</span>
      </button>
    </header>
  );
}

/** As in public/mark.svg, which is a document of its own, and takes longer to show. */
function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
      <rect width="32" height="32" rx="7" />
      <path d="M9 9 23 9 16 23Z" />
      <circle cx="9" cy="9" r="3.4" />
      <circle cx="23" cy="9" r="3.4" />
      <circle cx="16" cy="23" r="3.4" />
    </svg>
  );
}

function Navigation() {
  const present = parts.value[0] ?? "";
  const groups = Object.entries(words.shell.groups) as [Route["group"], string][];
  return (
    <nav class="nav" aria-label={words.shell.navigation}>
      {groups.map(([group, title]) => (
        <div key={group}>
          <h2 id={`nav-${group}`}>{title}</h2>
          <ul aria-labelledby={`nav-${group}`}>
            {ROUTES.filter((route) => route.group === group).map((route) => (
              <li key={route.key}>
                <a
                  href={route.key ? to(route.key) : to()}
                  aria-current={route.key === present ? "page" : undefined}
                  onClick={() => {
                    drawer.value = false;
                  }}
                >
                  {route.icon({ size: "1.15em", "aria-hidden": "true" })}
                  {route.text}
                </a>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </nav>
  );
}

function Connection() {
  const { up, since, why } = connection.value;
  return (
    <div aria-live="assertive" class="connection-place">
      {!up && (
        <p class="lost">
          <WifiOff size="1.2em" aria-hidden="true" />
          {words.shell.lost(new Date(since).toLocaleTimeString(), why)}
        </p>
      )}
    </div>
  );
}

const loaded = signal<Record<string, ComponentType<PageProps>>>({});
const failures = signal<Record<string, string>>({});

function load(route: Route): void {
  route.load().then(
    (module) => {
      loaded.value = { ...loaded.peek(), [route.key]: module.default };
    },
    (error) => {
      failures.value = { ...failures.peek(), [route.key]: reason(error) };
    },
  );
}

// The page comes along with what it shows.
const first = ROUTES.find((one) => one.key === (parts.peek()[0] ?? ""));
if (first) {
  load(first);
  scope.shown = dc.peek();
  if (ready.peek() && isHere() && dc.peek() && first.shows && parts.peek().length < 2)
    for (const path of [DATACENTERS, ...first.shows]) expectLive(path);
}

/** A page, or what it failed of: the rest of the UI goes on. */
function Guarded({ page: Module, rest }: PageProps & { page: ComponentType<PageProps> }) {
  const [error, again] = useErrorBoundary();
  const failed = useRef("");
  const at = parts.value.join("\0");
  if (error && !failed.current) failed.current = at;
  useEffect(() => {
    if (!error || failed.current === at) return;
    failed.current = "";
    again();
  }, [error, at, again]);
  return error ? (
    <Failure title={words.shell.failed} error={reason(error)} />
  ) : (
    <Module rest={rest} />
  );
}

function Shown() {
  const [key = "", ...rest] = parts.value;
  const route = ROUTES.find((one) => one.key === key);
  const Module = loaded.value[key];
  useEffect(() => {
    if (route && !loaded.peek()[route.key]) load(route);
  }, [route]);
  if (!route)
    return (
      <Page title={words.shell.notFound}>
        <p>{words.shell.notFoundText}</p>
        <p>
          <a href={to()}>{words.shell.home}</a>
        </p>
      </Page>
    );
  // What is open or half done belongs to its datacenter.
  if (Module) return <Guarded key={`${place.value.dc}/${key}`} page={Module} rest={rest} />;
  const failure = failures.value[key];
  return failure ? <Failure title={words.shell.failed} error={failure} /> : <Loading />;
}
