"""The authority: its roots, a whole rotation with its proof, and what the node shows."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.driver import accessible, fits, picture, visit


def test_a_root_is_prepared_and_taken_back(
    page: Page, at: Callable[[str], str], update: bool
) -> None:
    visit(page, at("certificates"))
    expect(page.get_by_text("No rotation")).to_be_visible()
    expect(page.get_by_text("Private keys are never shown.")).to_be_visible()
    picture(page, "certificates", update=update)
    accessible(page)
    fits(page)

    page.get_by_role("button", name="Prepare another root").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Its key").select_option("ec 384")
    command = "meshctl connect ca rotate prepare --key-type ec --key-bits 384"
    expect(dialog.locator("code")).to_have_text(command)
    dialog.get_by_role("button", name="Prepare another root").click()
    expect(page.get_by_role("article").filter(has_text="EC 384")).to_contain_text("Prepared")
    picture(page, "certificates-prepared", update=update)
    accessible(page)

    page.get_by_role("button", name="Take the prepared root back").click()
    page.get_by_role("dialog").get_by_role("button", name="Take the prepared root back").click()
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.get_by_text("No rotation")).to_be_visible()


def test_a_rotation_goes_through_its_steps(page: Page, at: Callable[[str], str]) -> None:
    visit(page, at("certificates"))
    page.get_by_role("button", name="Prepare another root").click()
    page.get_by_role("dialog").get_by_role("button", name="Prepare another root").click()
    expect(page.get_by_role("article").filter(has_text="Prepared")).to_be_visible()
    page.get_by_role("button", name="Activate the prepared root").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Workloads that have to be ready").fill("95")
    expect(dialog.locator("code")).to_have_text(
        "meshctl connect ca rotate activate --threshold 95%"
    )
    dialog.get_by_label("Go on whoever is not ready").check()
    expect(dialog.locator("code")).to_have_text("meshctl connect ca rotate activate --force")
    dialog.get_by_role("button", name="Activate the prepared root").click()
    expect(page.get_by_role("article").filter(has_text="Former")).to_be_visible()
    page.get_by_role("button", name="Retire the former root").click()
    dialog.get_by_label("Go on whoever is not ready").check()
    expect(dialog.locator("code")).to_have_text("meshctl connect ca rotate retire --force")
    dialog.get_by_role("button", name="Retire the former root").click()
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.get_by_text("No rotation")).to_be_visible()


def test_the_lifetime_of_leaves_is_changed_or_refused_in_the_servers_words(
    page: Page, at: Callable[[str], str]
) -> None:
    visit(page, at("certificates"))
    page.get_by_role("button", name="Change the lifetime of leaves").click()
    dialog = page.get_by_role("dialog")
    box = dialog.get_by_label("A leaf lives")
    usual = box.input_value()
    box.fill("1s")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("LeafCertTTL")
    for wanted in ("48h", usual):
        box.fill(wanted)
        dialog.get_by_role("button", name="Save").click()
        expect(page.locator(".facts")).to_contain_text([wanted])
        page.get_by_role("button", name="Change the lifetime of leaves").click()


def test_what_the_node_shows_and_when_it_ends(
    page: Page, at: Callable[[str], str], update: bool
) -> None:
    visit(page, at("certificates/leaves"))
    row = page.get_by_role("row").filter(has_text="web")
    expect(row.first).to_contain_text("Good")
    picture(page, "certificates-leaves", update=update)
    accessible(page)
    fits(page)
