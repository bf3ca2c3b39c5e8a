"""Servers, their log, snapshots, and the feature level."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.driver import accessible, fits, picture, visit
from tests.cluster.processes import Cluster, eventually


def role_of(page: Page, name: str) -> Locator:
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))
    return row.get_by_role("cell").nth(1)


def test_leadership_is_handed_to_the_server_that_was_chosen(
    shop: Cluster, page: Page, at: Callable[[str], str], update: bool
) -> None:
    visit(page, at("servers"))
    names = [node.name for node in shop.servers]
    leader = page.get_by_role("row").filter(has_text="Leader").get_by_role("link")
    expect(leader).to_have_count(1)
    before = leader.inner_text()
    other = next(name for name in names if name != before)
    expect(page.get_by_role("heading", name="Autopilot")).to_be_visible()
    expect(role_of(page, other)).to_have_text("Votes")
    picture(page, "servers", update=update)
    accessible(page)
    fits(page)

    page.get_by_role("button", name="Hand over leadership").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("To").select_option(other)
    expect(dialog.locator("code")).to_have_text(
        f"meshctl operator raft transfer-leader --id {other}"
    )
    accessible(page)
    dialog.get_by_role("button", name="Hand over").click()
    expect(page.get_by_role("status").filter(has_text=f"{other} leads now.")).to_be_visible()
    expect(role_of(page, other)).to_have_text("Leader")


def test_a_vote_is_taken_and_given_back(
    shop: Cluster, page: Page, at: Callable[[str], str], update: bool
) -> None:
    visit(page, at("servers"))
    page.get_by_role("row").filter(has_text="Votes").first.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Figures of its log")).to_be_visible()
    expect(page.get_by_text("Durable index")).to_be_visible()
    picture(page, "servers-one", update=update)
    accessible(page)
    fits(page)
    name = page.get_by_role("heading", level=1).inner_text()
    try:
        page.get_by_role("button", name="Take its vote").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.locator("code")).to_have_text(
            f"meshctl operator raft remove-peer --id {name}"
        )
        dialog.get_by_role("button", name="Take its vote").click()
        expect(page.get_by_text("Vote taken")).to_be_visible()
    finally:
        page.get_by_role("button", name="Give it a vote").click()
        page.get_by_role("dialog").get_by_role("button", name="Give it a vote").click()
    expect(page.get_by_role("button", name="Take its vote")).to_be_visible()
    voters = "/v1/operator/raft/configuration"
    node = shop.agents[0]
    eventually(lambda: all(one["Voter"] for one in node.get(voters)["Servers"]))


def test_autopilots_settings_are_changed_unless_somebody_else_did(
    shop: Cluster, page: Page, at: Callable[[str], str]
) -> None:
    node, path = shop.agents[0], "/v1/operator/autopilot/configuration"
    before = node.get(path)
    visit(page, at("servers"))
    try:
        page.get_by_role("button", name="Change the settings").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Unhealthy when further behind than").fill("300")
        expect(dialog.locator("code")).to_contain_text("set-config --max-trailing-logs=300")
        node.put(path, before | {"MaxTrailingLogs": 260})
        dialog.get_by_role("button", name="Save").click()
        expect(dialog.get_by_role("alert")).to_contain_text("Somebody changed the settings")
        dialog.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("260 entries")).to_be_visible()
        page.get_by_role("button", name="Change the settings").click()
        dialog.get_by_label("Unhealthy when further behind than").fill("300")
        dialog.get_by_role("button", name="Save").click()
        expect(page.get_by_text("300 entries")).to_be_visible()
        page.get_by_role("button", name="Change the settings").click()
        dialog.get_by_label("Unhealthy when heard later than").fill("soon")
        dialog.get_by_role("button", name="Save").click()
        expect(dialog.get_by_role("alert")).to_contain_text("LastContactThreshold")
    finally:
        node.put(path, before)


def test_a_snapshot_is_saved_where_the_browser_saves_files(
    page: Page, at: Callable[[str], str], update: bool
) -> None:
    visit(page, at("servers/snapshots"))
    expect(page.get_by_text("No server takes snapshots by itself")).to_be_visible()
    picture(page, "servers-snapshots", update=update)
    accessible(page)
    fits(page)
    page.get_by_role("button", name="Take a snapshot now").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("code")).to_have_text("meshctl snapshot save backup.snap")
    with page.expect_download() as started:
        dialog.get_by_role("button", name="Save").click()
    assert re.fullmatch(r"mesh-dc1-\d+\.snap", started.value.suggested_filename)
    assert started.value.path().read_bytes()[:2] == b"\x1f\x8b"


def test_the_feature_level_and_who_speaks_it(
    page: Page, at: Callable[[str], str], update: bool
) -> None:
    visit(page, at("servers/upgrade"))
    expect(page.get_by_text("The cluster writes at level")).to_be_visible()
    expect(page.get_by_role("button", name="Finalize")).to_have_count(0)
    picture(page, "servers-upgrade", update=update)
    accessible(page)
    fits(page)


def test_a_server_that_is_none_says_so(page: Page, at: Callable[[str], str]) -> None:
    visit(page, at("servers/server/<b>s9"))
    expect(page.get_by_text("There is no server <b>s9.")).to_be_visible()
    accessible(page)
