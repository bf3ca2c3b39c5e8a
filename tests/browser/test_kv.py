"""Keys and values: folders, the editor, two who edit one key, odd values, history."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Opened
from tests.browser.driver import accessible, fits, picture, visit
from tests.cluster.processes import Cluster, Meshd

MANY = 3000
HEBREW = "\u05e9\u05dc\u05d5\u05dd"
ARABIC = "\u0645\u0631\u062d\u0628\u0627"
At = Callable[[str], str]


@pytest.fixture
def agent(shop: Cluster) -> Iterator[Meshd]:
    """The agent behind the page; keys under `ui/` are gone afterwards."""
    node = shop.agents[0]
    yield node
    node.ask("DELETE", "/v1/kv/ui/?recurse")


def editor(page: Page) -> Locator:
    return page.locator(".kv-value .cm-content").first


def write(page: Page, text: str) -> None:
    """Replace what is in the editor."""
    editor(page).click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def tab(page: Page, name: str) -> None:
    page.locator(".tabs").get_by_role("link", name=name).click()


def value(node: Meshd, key: str) -> str:
    """A key's value as it is now; empty if there is none."""
    try:
        pair = node.get(f"/v1/kv/{key}")[0]
    except OSError:
        return ""
    return base64.b64decode(pair["Value"] or "").decode()


def test_a_key_is_created_and_deleted(agent: Meshd, page: Page, at: At) -> None:
    visit(page, at("kv?new=yes"))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("New key or folder")
    dialog.get_by_label("Name").fill("ui/app/config")
    dialog.get_by_label("Value").fill('{"color": "red"}')
    expect(dialog).to_contain_text("""meshctl kv put --cas ui/app/config '{"color": "red"}'""")
    accessible(page)
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("config")
    expect(page).to_have_url(at("kv/ui%2Fapp%2Fconfig"))
    expect(editor(page)).to_have_text('{"color": "red"}')
    expect(page.get_by_label("Syntax")).to_have_value("json")
    expect(page.get_by_text("meshctl kv get ui/app/config")).to_be_visible()
    accessible(page)
    fits(page)

    page.get_by_role("button", name="Delete").click()
    expect(dialog).to_contain_text("meshctl kv delete --cas --modify-index")
    accessible(page)
    dialog.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(at("kv/ui%2Fapp%2F"))
    expect(page.get_by_text("There is no key under this prefix")).to_be_visible()
    assert value(agent, "ui/app/config") == ""


def test_a_change_is_looked_at_before_it_is_saved(
    agent: Meshd, page: Page, at: At, update: bool
) -> None:
    agent.put("/v1/kv/ui/app/config", b'{"color": "red"}')
    visit(page, at("kv/ui%2Fapp%2Fconfig"))
    dialog = page.get_by_role("dialog")
    write(page, '{"color": ')
    expect(page.get_by_text("This is no valid JSON")).to_be_visible()
    accessible(page)
    write(page, '{\n  "color": "blue",\n  "size": 3\n}')
    page.get_by_label("Flags").fill("7")
    picture(page, "kv-key", update=update)
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Review and save").click()
    expect(dialog.locator(".cm-mergeView")).to_contain_text('"blue"')
    expect(dialog).to_contain_text("Flags: 0 → 7")
    expect(dialog).to_contain_text(re.compile(r"kv put --cas --modify-index \d+ --flags 7 ui/app"))
    accessible(page)
    fits(page)
    picture(page, "kv-review", update=update)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Unsaved changes")).to_have_count(0)
    assert '"size": 3' in value(agent, "ui/app/config")
    assert agent.get("/v1/kv/ui/app/config")[0]["Flags"] == 7


def test_the_keyboard_gets_into_the_editor_and_out(agent: Meshd, page: Page, at: At) -> None:
    agent.put(f"/v1/kv/ui/keyboard?flags={2**64 - 1}", b"one")
    visit(page, at("kv/ui%2Fkeyboard"))
    editor(page).click()
    page.keyboard.press("End")
    page.keyboard.type("/?gk")
    expect(editor(page)).to_have_text("one/?gk")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Flags")).to_be_focused()
    expect(page.get_by_label("Flags")).to_have_value(str(2**64 - 1))
    page.keyboard.press("Shift+Tab")
    expect(editor(page)).to_be_focused()
    page.keyboard.press("Control+s")
    expect(page.get_by_role("dialog", name="Review the change")).to_be_visible()
    page.keyboard.press("Escape")
    tab(page, "History")
    tab(page, "Value")
    expect(editor(page)).to_have_text("one/?gk")
    page.get_by_role("button", name="Discard").click()
    expect(editor(page)).to_have_text("one")


def test_who_edits_sees_what_another_saved_before_saving(
    agent: Meshd, opened: Opened, at: At, update: bool
) -> None:
    agent.put("/v1/kv/ui/shared", b"a: 1\nb: 2\nc: 3\nd: 4\ne: 5\n")
    with opened() as ann, opened() as ben:
        for page in (ann, ben):
            visit(page, at("kv/ui%2Fshared"))
            expect(editor(page)).to_contain_text("e: 5")
        write(ann, "a: 1\nb: 2\nc: 3\nd: 4\ne: ann\n")
        write(ben, "a: ben\nb: 2\nc: 3\nd: 4\ne: 5\n")
        save(ben)
        # Ann is told at once, sees what Ben did, and cannot save over it.
        alert = ann.get_by_role("alert").filter(has_text="Somebody else changed this key")
        expect(alert).to_be_visible()
        expect(alert).to_contain_text("a: ben")
        expect(ann.get_by_role("button", name="Review and save")).to_be_disabled()
        accessible(ann)
        fits(ann)
        picture(ann, "kv-conflict", update=update)
        ann.get_by_role("button", name="Merge both").click()
        expect(ann.get_by_text("Merged: both changes are in the text")).to_be_visible()
        accessible(ann)
        picture(ann, "kv-merge", update=update)
        save(ann)
        assert value(agent, "ui/shared") == "a: ben\nb: 2\nc: 3\nd: 4\ne: ann\n"
        expect(editor(ben)).to_contain_text("e: ann")


def test_who_edits_keeps_their_own_or_takes_what_another_saved(
    agent: Meshd, opened: Opened, at: At
) -> None:
    agent.put("/v1/kv/ui/either", b"one")
    with opened() as ann, opened() as ben:
        for page in (ann, ben):
            visit(page, at("kv/ui%2Feither"))
            expect(editor(page)).to_have_text("one")
        write(ann, "ann")
        write(ben, "ben")
        save(ann)
        ben.get_by_role("button", name="Keep mine").click()
        save(ben)
        assert value(agent, "ui/either") == "ben"
        expect(editor(ann)).to_have_text("ben")
        write(ann, "ann again")
        agent.put("/v1/kv/ui/either", b"ben again")
        ann.get_by_role("button", name="Take theirs").click()
        expect(editor(ann)).to_have_text("ben again")


def test_a_key_that_is_deleted_meanwhile_is_not_written_again_unseen(
    agent: Meshd, page: Page, at: At
) -> None:
    agent.put("/v1/kv/ui/doomed", b"one")
    visit(page, at("kv/ui%2Fdoomed"))
    write(page, "two")
    agent.ask("DELETE", "/v1/kv/ui/doomed")
    expect(page.get_by_text("Somebody else deleted this key")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Keep mine").click()
    save(page)
    assert value(agent, "ui/doomed") == "two"


def save(page: Page) -> None:
    page.get_by_role("button", name="Review and save").click()
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_review_that_is_overtaken_does_not_save(agent: Meshd, page: Page, at: At) -> None:
    agent.put("/v1/kv/ui/race", b"one")
    visit(page, at("kv/ui%2Frace"))
    write(page, "two")
    page.get_by_role("button", name="Review and save").click()
    agent.put("/v1/kv/ui/race", b"three")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Not done: somebody changed ui/race meanwhile")
    expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
    assert value(agent, "ui/race") == "three"


def test_a_line_that_both_changed_is_chosen_in_the_merged_text(
    agent: Meshd, page: Page, at: At
) -> None:
    agent.put("/v1/kv/ui/line", b"same\nred\n")
    visit(page, at("kv/ui%2Fline"))
    write(page, "same\nblue\n")
    agent.put("/v1/kv/ui/line", b"same\ngreen\n")
    page.get_by_role("button", name="Merge both").click()
    expect(page.get_by_text("In 1 place both changed the same lines")).to_be_visible()
    expect(editor(page)).to_contain_text("blue")
    page.locator(".kv-value .code").get_by_role("button", name="Take theirs").click()
    expect(page.get_by_text("Unsaved changes")).to_have_count(0)
    expect(editor(page)).to_have_text("samegreen")


def test_what_was_changed_since_it_was_shown_is_not_deleted(
    agent: Meshd, page: Page, at: At
) -> None:
    agent.put("/v1/kv/ui/kept", b"one")
    visit(page, at("kv/ui%2Fkept"))
    page.get_by_role("button", name="Delete").click()
    agent.put("/v1/kv/ui/kept", b"two")
    expect(editor(page)).to_have_text("two")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Not done: somebody changed ui/kept")
    assert value(agent, "ui/kept") == "two"


def test_markup_and_other_directions_are_data(agent: Meshd, page: Page, at: At) -> None:
    markup = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'
    agent.put(f"/v1/kv/ui/{quote(markup)}/key", f"{markup}\n{HEBREW} \u202e x".encode())
    agent.put(f"/v1/kv/ui/{quote(HEBREW)}", ARABIC.encode())
    visit(page, at("kv/ui%2F"))
    expect(page.get_by_text("<img src=x")).to_be_visible()
    expect(page.get_by_text(HEBREW)).to_be_visible()
    fits(page)
    page.get_by_role("link", name="<img").click()
    page.get_by_role("table").get_by_role("link", name="script>/").click()
    page.get_by_role("table").get_by_role("link", name="key").click()
    expect(editor(page)).to_contain_text("<script>")
    accessible(page)
    fits(page)
    tab(page, "History")
    expect(page.locator(".kv-versions")).to_contain_text("window.hacked")
    accessible(page)
    assert page.evaluate("window.hacked === undefined")


def quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def test_binary_and_large_values_come_as_such_and_files_replace_them(
    agent: Meshd, page: Page, at: At, tmp_path: Path, update: bool
) -> None:
    agent.put("/v1/kv/ui/binary", bytes(range(256)) * 40)
    visit(page, at("kv/ui%2Fbinary"))
    expect(page.get_by_text("This value is no text: 10 KiB of binary data.")).to_be_visible()
    expect(page.locator(".kv-hex")).to_contain_text("000010  10 11 12")
    accessible(page)
    fits(page)
    picture(page, "kv-binary", update=update)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes() == bytes(range(256)) * 40

    file = tmp_path / "large.txt"
    file.write_text("0123456789abcde\n" * (30 << 10))
    page.get_by_label("File to put in place").set_input_files(file)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("10 KiB before, 480 KiB after")
    expect(dialog).to_contain_text("ui/binary @FILE")
    accessible(page)
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("This value is large (480 KiB)")).to_be_visible()
    expect(page.locator(".cm-content")).to_have_count(0)
    accessible(page)
    page.get_by_role("button", name="Edit it all the same").click()
    expect(editor(page)).to_contain_text("0123456789abcde")

    file.write_bytes(b"x" * (600 << 10))
    page.get_by_label("File to put in place").set_input_files(file)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Refused")


def test_very_long_folders_are_quick_to_search_and_can_be_deleted_by_name(
    agent: Meshd, page: Page, at: At, update: bool
) -> None:
    for start in range(0, MANY, 100):
        sets = [{"Verb": "set", "Key": f"ui/many/k{i:05}"} for i in range(start, start + 100)]
        agent.put("/v1/txn", [{"KV": one} for one in sets])
    agent.put("/v1/kv/ui/many/deep/er", b"x")
    visit(page, at("kv"))
    jump = page.get_by_role("combobox", name="Jump to a key or prefix")
    jump.fill("ui/ma")
    jump.press("Enter")
    expect(page.get_by_text(f"{MANY + 1} entries")).to_be_visible()
    assert page.get_by_role("row").count() < 60
    picture(page, "kv-folder", update=update)
    accessible(page)
    fits(page)
    page.get_by_role("searchbox").fill("k00042")
    expect(page.get_by_text(f"1 of {MANY + 1} entries")).to_be_visible()
    jump.fill("ui/many/k0299")
    jump.press("Enter")
    expect(page.get_by_text(f"10 of {MANY + 1} entries")).to_be_visible()

    page.get_by_role("button", name="Delete folder").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"{MANY + 1:,} keys under ui/many/ will be deleted")
    expect(dialog).to_contain_text("meshctl kv delete --recurse ui/many/")
    accessible(page)
    confirm = dialog.get_by_role("button", name="Delete")
    expect(confirm).to_be_disabled()
    dialog.get_by_label("Type ui/many/ to confirm").fill("ui/many/")
    confirm.click()
    expect(page).to_have_url(at("kv/ui%2F"))
    with pytest.raises(OSError, match="404"):
        agent.get("/v1/kv/ui/many/?keys")


def test_a_folder_is_made_and_keys_come_and_go_live(agent: Meshd, page: Page, at: At) -> None:
    visit(page, at("kv/ui%2Fnone%2F"))
    expect(page.get_by_text("There is no key under this prefix")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("ui/none/inner/")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("inner/")
    expect(page.get_by_text("This folder is empty")).to_be_visible()
    agent.put("/v1/kv/ui/none/inner/fresh", b"1")
    expect(page.get_by_role("link", name="fresh")).to_be_visible()
    page.get_by_role("button", name="New key").click()
    dialog.get_by_label("Name").fill("ui/none/inner/fresh")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("ui/none/inner/fresh exists already")


def test_a_lock_is_shown_with_its_session_and_ended(agent: Meshd, page: Page, at: At) -> None:
    session: str = agent.put("/v1/session/create", {"Name": "nightly", "TTL": "600s"})["ID"]
    agent.put(f"/v1/kv/ui/lock?acquire={session}", b"held")
    visit(page, at("kv/ui%2Flock"))
    expect(page.get_by_text("nightly")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="End the session").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"meshctl session destroy {session}")
    accessible(page)
    dialog.get_by_role("button", name="End the session").click()
    expect(page.get_by_text("Nobody holds a lock")).to_be_visible()


def test_history_shows_each_change_and_makes_a_key_again_what_it_was(
    agent: Meshd, page: Page, at: At, update: bool
) -> None:
    for text in ("color: red\nsize: 1\n", "color: blue\nsize: 1\n", "color: blue\nsize: 2\n"):
        agent.put("/v1/kv/ui/past", text.encode())
    visit(page, at("kv/ui%2Fpast/history"))
    changes = page.locator(".kv-changes a")
    expect(changes).to_have_count(3)
    expect(page.locator(".cm-merge-b")).to_contain_text("size: 2")
    accessible(page)
    fits(page)
    picture(page, "kv-history", update=update)
    changes.nth(2).click()
    expect(page).to_have_url(re.compile("at="))
    page.get_by_role("button", name="Make it so again").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(r"meshctl revert ui/past --to \d+"))
    expect(dialog.locator(".cm-editor")).to_contain_text("color: red")
    accessible(page)
    # What was agreed to is what was shown: a change in between is refused.
    agent.put("/v1/kv/ui/past", b"other")
    dialog.get_by_role("button", name="Make it so again").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Refused")
    dialog.get_by_role("button", name="Cancel").click()
    expect(changes).to_have_count(4)
    page.get_by_role("button", name="Make it so again").click()
    dialog.get_by_role("button", name="Make it so again").click()
    expect(changes).to_have_count(5)
    expect(changes.first).to_contain_text("as at")
    assert value(agent, "ui/past") == "color: red\nsize: 1\n"


def test_a_key_that_does_not_exist_can_be_written(agent: Meshd, page: Page, at: At) -> None:
    visit(page, at("kv/ui%2Fabsent"))
    expect(page.get_by_text("There is no key ui/absent")).to_be_visible()
    accessible(page)
    write(page, "now")
    save(page)
    expect(page.get_by_text("There is no key ui/absent")).to_have_count(0)
    assert value(agent, "ui/absent") == "now"


def test_an_address_with_bare_slashes_means_the_key(agent: Meshd, page: Page, at: At) -> None:
    visit(page, at("kv/ui/bare/history/of.json"))
    expect(page.get_by_text("There is no key ui/bare/history/of.json")).to_be_visible()
    expect(page.locator(".tabs [aria-current=page]")).to_have_text("Value")
