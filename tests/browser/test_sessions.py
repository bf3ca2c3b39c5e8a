"""Sessions: what they hold and rest on, and how one is released."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driver import accessible, fits, picture, visit
from tests.cluster.processes import Cluster

At = Callable[[str], str]


@pytest.fixture
def backup(shop: Cluster) -> Iterator[str]:
    """A session that holds two keys, and another one that holds none."""
    node = shop.agents[0]
    node.get("/v1/catalog/nodes")
    made = [
        node.put("/v1/session/create", {"Name": name, "TTL": "600s", "LockDelay": "0s"})["ID"]
        for name in ("backup", "idle <b>")
    ]
    for key in ("ui-locks/backup", "ui-locks/other"):
        assert node.put(f"/v1/kv/{key}?acquire={made[0]}", b"x")
    yield made[0]
    for session in made:
        node.put(f"/v1/session/destroy/{session}")
    node.ask("DELETE", "/v1/kv/ui-locks/?recurse")


def test_sessions_are_listed_with_what_they_hold_and_released(
    shop: Cluster, page: Page, at: At, backup: str, *, update: bool
) -> None:
    visit(page, at("sessions"))
    table = page.get_by_role("table", name="Sessions and locks")
    row = table.get_by_role("row").filter(has_text="backup")
    expect(row).to_contain_text("ui-locks/backup")
    expect(row).to_contain_text("and 1 more")
    expect(row).to_contain_text(re.compile("now|ago"))
    expect(table.get_by_text("idle <b>")).to_be_visible()
    picture(page, "sessions", update=update)
    accessible(page)
    fits(page)
    page.get_by_role("group", name="What they hold").get_by_role(
        "button", name="Holding nothing"
    ).click()
    expect(row).to_have_count(0)
    page.get_by_role("button", name="All").click()
    page.get_by_role("searchbox").fill("ui-locks/other")
    expect(table.get_by_role("row")).to_have_count(2)
    row.get_by_role("button", name="Release").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(f"meshctl session destroy {backup}")).to_be_visible()
    accessible(page)
    dialog.get_by_role("button", name="Release it").click()
    expect(row).to_have_count(0)
    assert "Session" not in shop.agents[0].get("/v1/kv/ui-locks/backup")[0]


def test_a_sessions_page_names_all_keys(page: Page, at: At, backup: str) -> None:
    visit(page, at(f"sessions/{backup}"))
    expect(page.get_by_role("heading", name="backup")).to_be_visible()
    expect(page.get_by_role("link", name="ui-locks/other")).to_have_attribute(
        "href", re.compile("/kv/ui-locks%2Fother$")
    )
    accessible(page)
    fits(page)
    page.get_by_role("button", name="Release …").click()
    page.get_by_role("button", name="Release it").click()
    expect(page).to_have_url(re.compile("/sessions$"))
    visit(page, at(f"sessions/{backup}"))
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such session")
    accessible(page)
