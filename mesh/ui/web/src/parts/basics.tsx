/**
 * Small parts that every page uses.
 *
 * Those that lists have many of, and that keep nothing, are called as functions there: a component
 * for each would cost more than what it shows.
 */

import {
  CircleAlert,
  CircleCheck,
  CircleHelp,
  CircleX,
  Copy,
  type Icon,
  TriangleAlert,
  Wrench,
} from "./icons";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { isHere, scope } from "../live/api";
import type { Status } from "../logic/health";
import { words } from "../words";

const ICONS: Record<Status, Icon> = {
  passing: CircleCheck,
  warning: TriangleAlert,
  critical: CircleX,
  maintenance: Wrench,
  unknown: CircleHelp,
};

/** A status as sign, colour and word: never by colour alone. */
export function StatusBadge({
  status,
  text,
  bare,
}: {
  status: Status;
  /** In place of the status' name. */
  text?: string;
  /** Only the sign; its name is there for who cannot see it. */
  bare?: boolean;
}) {
  const said = text ?? words.parts.status[status];
  return (
    <span class={`status status-${status}`} title={bare ? said : undefined}>
      {ICONS[status]({ size: "1.05em", "aria-hidden": "true" })}
      <span class={bare ? "unseen" : undefined}>{said}</span>
    </span>
  );
}

/** Counts by status, those that are zero left out. */
export function Tally({ counts }: { counts: Partial<Record<Status, number>> }) {
  const some = (Object.keys(ICONS) as Status[]).filter((one) => (counts[one] ?? 0) > 0);
  return (
    <span class="tally">
      {some.map((one) => (
        <StatusBadge
          key={one}
          status={one}
          text={`${counts[one]} ${words.parts.status[one].toLowerCase()}`}
        />
      ))}
    </span>
  );
}

/** Tone of a badge or panel. */
export type Tone = "plain" | "good" | "warn" | "bad" | "info";

export function Badge({
  tone = "plain",
  title,
  children,
}: {
  tone?: Tone;
  title?: string;
  children: ComponentChildren;
}) {
  return (
    <span class={`badge tone-${tone}`} title={title}>
      {children}
    </span>
  );
}

/** Tags of a service and such: those beyond `max` are counted. */
export function Tags({ tags, max = 4 }: { tags: readonly string[]; max?: number }) {
  const rest = tags.slice(max);
  return (
    <span class="tags">
      {tags.slice(0, max).map((tag) => (
        <bdi key={tag} class="badge tone-plain">
          {tag}
        </bdi>
      ))}
      {rest.length > 0 && <Badge title={rest.join(", ")}>+{rest.length}</Badge>}
    </span>
  );
}

/** Names and values, as pairs. Pairs whose value is undefined are left out. */
export function Facts({ facts }: { facts: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => (
          <div key={name}>
            <dt>
              <bdi>{name}</bdi>
            </dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** A part of a page with a heading. */
export function Panel({
  title,
  aside,
  tone = "plain",
  children,
}: {
  title?: ComponentChildren;
  aside?: ComponentChildren;
  tone?: Tone;
  children: ComponentChildren;
}) {
  return (
    <section class={`panel tone-${tone}`}>
      {(title || aside) && (
        <header>
          {title && <h2>{title}</h2>}
          {aside && <div class="aside">{aside}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/** Text in the clipboard, and the button said so. */
export function CopyButton({ text, label }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
    } catch {
      setCopied(copyByHand(text)); // Pages that did not come by HTTPS have no newer clipboard.
    }
  };
  return (
    <button type="button" class="small ghost copy" onClick={copy}>
      <Copy size="1em" aria-hidden="true" />
      <span aria-live="polite">{copied ? words.shell.copied : (label ?? words.shell.copy)}</span>
    </button>
  );
}

function copyByHand(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/** A command to run in a shell, to be copied. It acts on the datacenter of where it is run. */
export function Command({ text, label }: { text: string; label?: string }) {
  return (
    <div class="command">
      {label && <span class="quiet">{label}</span>}
      {!isHere() && <span class="quiet">{words.shell.onNodeOf(scope.shown)}</span>}
      <code tabIndex={text.includes("\n") ? 0 : undefined}>
        <bdi dir="ltr">{text}</bdi>
      </code>
      <CopyButton text={text} />
    </div>
  );
}

/** What is shown where there is nothing: why, and the next command. */
export function Empty({
  title,
  children,
  command,
}: {
  title: string;
  children?: ComponentChildren;
  command?: string;
}) {
  return (
    <div class="empty">
      <p class="title">{title}</p>
      {children && <div class="text">{children}</div>}
      {command && <Command text={command} />}
    </div>
  );
}

/** What could not be shown or done, in the server's words. */
export function Failure({ error, title }: { error: string; title?: string }) {
  return (
    <div class="failure" role="alert">
      <CircleAlert size="1.2em" aria-hidden="true" />
      <div>
        {title && <strong>{title}</strong>}
        <div class="said">{error}</div>
      </div>
    </div>
  );
}

export function Loading() {
  return (
    <p class="loading quiet" role="status">
      {words.shell.loading}
    </p>
  );
}

/**
 * What a live answer comes to: loading, an error, or what `children` makes of it. An old value is
 * shown with the reason why it may be old.
 */
export function Loaded<T>({
  live,
  children,
}: {
  live: { value: T | undefined; loaded: boolean; error: string };
  children: (value: T) => ComponentChildren;
}) {
  if (live.value !== undefined)
    return (
      <>
        {live.error && <Failure error={words.parts.old(live.error)} />}
        {children(live.value)}
      </>
    );
  if (live.loaded) return <Failure title={words.shell.failed} error={live.error} />;
  return <Loading />;
}

/** A text from the cluster: shown as data, in its own direction, never as markup. */
export function Data({ children, mono }: { children: string; mono?: boolean }): JSX.Element {
  return <bdi class={mono ? "mono" : ""}>{children}</bdi>;
}
