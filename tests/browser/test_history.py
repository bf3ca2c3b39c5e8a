"""History: who changed what, what differs between two moments, and the way back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driver import accessible, fits, picture, visit
from tests.cluster.processes import Cluster

At = Callable[[str], str]
KEY = "ui-history/config"


@pytest.fixture
def changed(shop: Cluster) -> Iterator[str]:
    """A key that was changed twice, and many others once."""
    node = shop.agents[0]
    node.get("/v1/catalog/nodes")
    for number in range(60):
        node.put(f"/v1/kv/ui-history/many/{number}", b"x")
    node.put(f"/v1/kv/{KEY}", json.dumps({"size": 3, "text": "<i>old</i>"}).encode())
    node.put(f"/v1/kv/{KEY}", json.dumps({"size": 4, "text": "<i>old</i>"}).encode())
    yield KEY
    node.ask("DELETE", "/v1/kv/ui-history/?recurse")


def test_history_is_narrowed_and_paged(page: Page, at: At, changed: str, *, update: bool) -> None:
    visit(page, at("history"))
    table = page.get_by_role("table", name="History")
    expect(table.get_by_role("link", name=f"key {changed}").first).to_be_visible()
    picture(page, "history", update=update)
    accessible(page)
    fits(page)
    page.get_by_role("searchbox").fill("ui-history/many/")
    expect(page.get_by_text("only keys are looked for by name")).to_be_visible()
    expect(table).to_have_attribute("aria-rowcount", "51")
    page.get_by_role("button", name="Earlier changes").click()
    expect(table).to_have_attribute("aria-rowcount", re.compile("^(?!51$)"))
    expect(page.get_by_text("That is all that is known.")).to_be_visible()
    page.get_by_role("group", name="Kind").get_by_role("button", name="Nodes").click()
    expect(page.get_by_text("No change matches.")).to_be_visible()
    page.get_by_role("searchbox").fill("")
    expect(table.get_by_text("node", exact=True).first).to_be_visible()
    page.get_by_label("By").fill("nobody-here")
    expect(page.get_by_text("No change matches.")).to_be_visible()
    accessible(page)


def test_a_change_shows_what_differs_and_is_reverted(
    shop: Cluster, page: Page, at: At, changed: str, *, update: bool
) -> None:
    visit(page, at("history"))
    page.get_by_role("link", name=f"key {changed}").first.click()
    lines = page.get_by_role("group", name="What differs")
    expect(lines).to_contain_text('Removed:   "size": 3')
    expect(lines).to_contain_text('Added:   "size": 4')
    expect(page.get_by_text("1 added")).to_be_visible()
    picture(page, "history-diff", update=update)
    accessible(page)
    fits(page)
    page.get_by_role("button", name="Revert to index").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(f"meshctl revert {changed} --to")).to_be_visible()
    expect(dialog.get_by_role("group", name="What differs")).to_contain_text('Added:   "size": 3')
    accessible(page)
    dialog.get_by_role("button", name="Revert", exact=True).click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text(f"{changed} is again what it was at index")).to_be_visible()
    [row] = shop.agents[0].get(f"/v1/kv/{changed}")
    assert json.loads(base64.b64decode(row["Value"]))["size"] == 3


def test_a_revert_after_somebody_elses_change_is_refused(
    shop: Cluster, page: Page, at: At, changed: str
) -> None:
    visit(page, at(f"history/kv/{changed.replace('/', '%2F')}"))
    page.get_by_role("button", name="Revert to index").click()
    expect(page.get_by_role("dialog").get_by_role("group", name="What differs")).to_be_visible()
    shop.agents[1].put(f"/v1/kv/{changed}", b"other")
    page.get_by_role("dialog").get_by_role("button", name="Revert", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()
