"""A real browser on the pages of a real cluster, and what every page is looked at for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as Late

TOP = Path(__file__).parent.parent.parent
WEB = TOP / "mesh" / "ui" / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = TOP / "docs" / "ui"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
]
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PATIENCE_MS = 20_000
_RUN_AXE = """
async (tags) => {
  // Colours follow the scheme within some frames, not all with the same one.
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const colours = () =>
    [...document.querySelectorAll("body *")].map((one) => getComputedStyle(one).color).join();
  for (let before = "", calm = 0, frames = 0; calm < 3 && frames < 60; frames += 1) {
    await frame();
    const now = colours();
    calm = now === before ? calm + 1 : 0;
    before = now;
  }
  const found = await axe.run(document, { runOnly: tags, resultTypes: ["violations"] });
  return found
    .violations.map((one) => [one.id, one.help, one.nodes.map(
      (node) => [node.html.slice(0, 200), node.failureSummary])]);
}
"""

Scheme: TypeAlias = Literal["light", "dark"]


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window; skips where there is none."""
    if not CHROMIUM:
        pytest.skip("needs chromium")
    if not AXE.exists():
        pytest.skip("needs the packages of mesh/ui/web (npm)")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def window(made: Browser, **options: Any) -> Iterator[Page]:
    """A new window with nothing remembered. Errors in its console fail the test, once it closes.

    So does any request that leaves the server the page came from.
    """
    options = {"viewport": DESK, "reduced_motion": "reduce", "locale": "en-GB"} | options
    context = made.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    problems: list[str] = []
    hosts: set[str] = set()
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda said: _note(problems, said))
    page.on("request", lambda one: hosts.add("/".join(one.url.split("/")[:3])))
    try:
        yield page
    finally:
        context.close()
    assert not problems, problems
    assert len([one for one in hosts if one.startswith("http")]) <= 1, hosts


def _note(problems: list[str], said: Any) -> None:
    # The browser itself notes each response of 400 and above: pages show these, and go on.
    if said.type in {"error", "warning"} and "Failed to load resource" not in said.text:
        problems.append(f"{said.type}: {said.text}")


def visit(page: Page, url: str) -> None:
    """Open a page and wait until it shows what it is."""
    page.goto(url)
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def violations(page: Page) -> list[Any]:
    """What axe finds against WCAG 2.2 AA in the page as it is now."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE.read_text() + "\n;undefined")
    found: list[Any] = page.evaluate(_RUN_AXE, TAGS)
    return found


def accessible(page: Page) -> None:
    """Hold the page against axe, in light and in dark."""
    schemes: tuple[Scheme, ...] = ("dark", "light")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        # Colours may follow the scheme a few frames late: what is found twice counts.
        found = violations(page) and violations(page)
        assert not found, (scheme, found)


def fits(page: Page) -> None:
    """The page needs no scrolling sideways on a small phone; back to the desk after that."""
    before = page.viewport_size
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    # What scripts lay out follows the size some frames later.
    with suppress(Late):
        page.wait_for_function(
            "wide => document.documentElement.scrollWidth <= wide", arg=PHONE["width"]
        )
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"], f"{wide} px wide on a phone of {PHONE['width']}"
    if before:
        page.set_viewport_size(before)


def picture(page: Page, name: str, *, update: bool) -> None:
    """Keep a screenshot in docs/ui, when the run updates such files."""
    if update:
        PICTURES.mkdir(exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}.png")
