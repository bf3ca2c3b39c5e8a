/** The frame of a page: its name, where it lies, what can be done, and its tabs. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { place, to } from "../live/place";
import { words } from "../words";

/** A step on the way to a page: what it is called, and the parts of its address. */
export interface Crumb {
  text: string;
  at: string[];
}

export interface Tab {
  /** The last part of the address. */
  key: string;
  text: string;
  count?: number | undefined;
}

export function Page({
  title,
  badge,
  crumbs = [],
  actions,
  tabs,
  children,
}: {
  title: string;
  badge?: ComponentChildren;
  crumbs?: Crumb[];
  actions?: ComponentChildren;
  tabs?: { at: string[]; present: string; tabs: Tab[] };
  children: ComponentChildren;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · ${place.peek().dc} · ${words.shell.product}`;
  }, [title]);
  const row = useRef<HTMLElement>(null);
  // Where the tabs are wider than the screen, the present one is to be seen.
  useEffect(() => {
    const [bar, tab] = [row.current, row.current?.querySelector("[aria-current]")];
    if (!bar || !tab) return;
    const [outer, inner] = [bar.getBoundingClientRect(), tab.getBoundingClientRect()];
    if (inner.right > outer.right) bar.scrollLeft += inner.right - outer.right;
    else if (inner.left < outer.left) bar.scrollLeft -= outer.left - inner.left;
  }, [tabs?.present]);
  // Who cannot see the page change hears where they are now.
  useEffect(() => {
    if (document.activeElement === document.body) heading.current?.focus({ preventScroll: true });
  }, [title]);
  return (
    <div class="page">
      <header class="page-head">
        {crumbs.length > 0 && (
          <nav class="crumbs" aria-label="Breadcrumbs">
            <ol>
              {crumbs.map((crumb) => (
                <li key={crumb.at.join("/")}>
                  <a href={to(...crumb.at)}>
                    <bdi>{crumb.text}</bdi>
                  </a>
                </li>
              ))}
            </ol>
          </nav>
        )}
        <div class="title-row">
          <h1 tabIndex={-1} ref={heading}>
            <bdi>{title}</bdi>
          </h1>
          {badge}
          {actions && <div class="actions">{actions}</div>}
        </div>
        {tabs && (
          <nav class="tabs" aria-label={title} ref={row}>
            {tabs.tabs.map((tab) => (
              <a
                key={tab.key}
                href={to(...tabs.at, tab.key)}
                aria-current={tab.key === tabs.present ? "page" : undefined}
              >
                {tab.text}
                {tab.count !== undefined && <span class="count">{tab.count}</span>}
              </a>
            ))}
          </nav>
        )}
      </header>
      {children}
    </div>
  );
}
