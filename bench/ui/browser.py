"""Chromium with its processor slowed down, and what it says of its own work."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--js-flags=--expose-gc",
]
USEFUL = """
(() => {
  const found = {inputs: []};
  window.measured = found;
  found.useful = new Promise((done) => { found.done = done; });
  const look = new MutationObserver(() => {
    if (!document.querySelector('main .row-link, main .int-cell')) return;
    look.disconnect();
    requestAnimationFrame(() => setTimeout(() => found.done(performance.now())));
  });
  look.observe(document, {childList: true, subtree: true});
  new PerformanceObserver((list) => {
    for (const one of list.getEntries())
      if (one.name === 'keydown' || one.name === 'input' || one.name === 'keyup')
        found.inputs.push([one.processingEnd - one.startTime, one.duration]);
  }).observe({type: 'event', durationThreshold: 16, buffered: true});
})()
"""
"""Notes when the first row of a list, or cell of a matrix, was painted, and how typing fared."""

QUIET_SECONDS = 0.4
QUIET_SHARE = 0.05
"""Of one processor: a browser that needs less does nothing."""
SETTLE_MAX_SECONDS = 20.0


class Window:
    """A page and the instruments on it."""

    def __init__(self, page: Page, instruments: CDPSession) -> None:
        self.page, self._instruments = page, instruments
        self._instruments.send("Performance.enable")

    def slow_down(self, times: float) -> None:
        """Have the processor be so many times slower."""
        self._instruments.send("Emulation.setCPUThrottlingRate", {"rate": times})

    def metric(self, name: str) -> float:
        """A figure of the browser's own, such as `TaskDuration` (seconds of the main thread)."""
        found = self._instruments.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in found if one["name"] == name))

    def heap_megabytes(self) -> float:
        """What the page's objects hold, after a collection."""
        self._instruments.send("HeapProfiler.collectGarbage")
        return self.metric("JSHeapUsedSize") / 1e6

    def transferred(self) -> dict[str, float]:
        """Kilobytes of code and styles that came over the wire, by file."""
        found: list[list[Any]] = self.page.evaluate(
            "performance.getEntriesByType('resource')"
            ".filter((one) => /\\.(js|css)$/.test(one.name))"
            ".map((one) => [one.name.split('/').pop(), one.encodedBodySize / 1000])"
        )
        return {str(name): float(size) for name, size in found}


class Chromium:
    """A browser that opens windows with nothing kept: no file, no code compiled before."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    @contextmanager
    def window(self, slower: float) -> Iterator[Window]:
        """Open one whose processor is so many times slower."""
        context = self._browser.new_context(viewport={"width": 1280, "height": 800})
        try:
            context.add_init_script(USEFUL)
            page = context.new_page()
            self._settle(page)
            made = Window(page, context.new_cdp_session(page))
            made.slow_down(slower)
            yield made
        finally:
            context.close()

    def _settle(self, page: Page) -> None:
        """Wait until the browser has made all that it makes with a window, such as its own menus.

        Those are pages, too, with hundreds of files, and would be drawn beside the one measured.
        """
        before, until = self._spent(), time.monotonic() + SETTLE_MAX_SECONDS
        while time.monotonic() < until:
            page.wait_for_timeout(QUIET_SECONDS * 1000)
            now = self._spent()
            if now - before < QUIET_SECONDS * QUIET_SHARE:
                return
            before = now

    def _spent(self) -> float:
        """Processor time of all processes of the browser, in seconds."""
        session = self._browser.new_browser_cdp_session()
        found = session.send("SystemInfo.getProcessInfo")["processInfo"]
        session.detach()
        return sum(float(one["cpuTime"]) for one in found)


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Debian's Chromium, without a window on the screen. Exits where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise SystemExit("chromium is not on PATH. Install: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield Chromium(browser)
        finally:
            browser.close()
