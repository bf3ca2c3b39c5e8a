"""Servers, their log, snapshots, and the feature level."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from mesh.registry.levels import HIGHEST
from tests.browser.conftest import PATIENT, Opened, alone, page_of
from tests.browser.driver import DESK, PHONE, accessible, fits, picture, visit
from tests.cluster.processes import PLAIN, Cluster, Meshd, eventually


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


def given(page: Page) -> bool:
    """Whether the server in the dialog gets its vote: not while it does not follow the log yet."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Give it a vote").click()
    refused = dialog.get_by_role("alert")
    expect(refused.or_(page.get_by_role("button", name="Take its vote")).first).to_be_visible()
    return not refused.count()


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
        eventually(lambda: given(page))
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


def test_snapshots_that_servers_take_and_what_goes_wrong(opened: Opened, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    schedule = {"interval": "1h", "directory": str(folder), "retain": 3}
    with alone(tmp_path, snapshots=schedule) as node, opened() as page:
        visit(page, page_of(node, "servers/snapshots"))
        expect(page.get_by_role("heading", name="Taken by the servers themselves")).to_have_text(
            "Taken by the servers themselves: alone"
        )
        expect(page.get_by_text("leads: it takes them now")).to_be_visible()
        expect(page.locator(".facts")).to_contain_text(str(folder))
        rows = page.get_by_role("row").filter(has_text=re.compile(r"mesh-dc1-\w+-\d+\.snap"))
        expect(rows).to_have_count(1)
        expect(rows.get_by_role("cell").last.locator("time")).to_be_visible()
        expect(page.get_by_text("not verified")).to_have_count(0)
        accessible(page)
        fits(page)
        # On a phone the table is scrolled rather than squeezed.
        page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        box = page.get_by_role("table").bounding_box()
        assert box
        assert box["width"] > PHONE["width"]
        page.set_viewport_size({"width": DESK["width"], "height": DESK["height"]})

        node.config["snapshots"] = schedule | {"interval": "2s", "verify": False}
        node.write_config()
        node.put("/v1/agent/reload")
        expect(rows.filter(has_text="not verified")).to_have_count(3)
        expect(rows).to_have_count(3)
        folder.rename(tmp_path / "elsewhere")
        folder.write_text("no folder")
        alert = page.get_by_role("alert").filter(has_text="The last one failed")
        expect(alert).to_contain_text("File exists")
        expect(page.get_by_text("It keeps none yet.")).to_be_visible()
        accessible(page)
        fits(page)
        folder.unlink()
        expect(rows.first).to_be_visible()
        expect(alert).to_have_count(0)


def test_a_level_is_finalized_once_every_server_speaks_it(
    opened: Opened, tmp_path: Path, update: bool
) -> None:
    low = {"level_max": HIGHEST - 1}
    with alone(tmp_path, upgrade=low) as node, opened() as page:
        config = {"server": True, "read_replica": True, "tls": PLAIN, "upgrade": low, **PATIENT}
        other = Meshd("other", "127.0.0.2", tmp_path / "other", config)
        other.config["retry_join"] = [node.joinable]
        other.start()
        try:
            visit(page, page_of(node, "servers/upgrade"))
            expect(page.get_by_role("row").filter(has_text="other")).to_be_visible()
            expect(page.get_by_text("It is the highest that its servers speak")).to_be_visible()
            node.kill()
            del node.config["upgrade"]
            node.start()
            expect(page.get_by_text(f"Level {HIGHEST} waits for")).to_contain_text("other")
            finalize = page.get_by_role("button", name="Finalize")
            expect(finalize).to_have_count(0)
            accessible(page)
            other.kill()
            del other.config["upgrade"]
            other.start()
            finalize.click()
            dialog = page.get_by_role("dialog")
            expect(dialog.locator("code")).to_have_text("meshctl operator upgrade finalize")
            picture(page, "servers-finalize", update=update)
            accessible(page)
            fits(page)
            dialog.get_by_role("button", name="Finalize").click()
            expect(page.get_by_text(f"The cluster writes at level {HIGHEST}")).to_be_visible()
            expect(page.get_by_text("There is nothing to finalize")).to_be_visible()
            expect(finalize).to_have_count(0)
        finally:
            other.kill()


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
