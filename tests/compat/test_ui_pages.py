"""The files of the web UI over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.compat.conftest import Api

Serve = Callable[..., Awaitable[Api]]


def built(folder: Path) -> str:
    (folder / "assets").mkdir()
    (folder / "index.html").write_text('<base href="/ui/" />' + "x" * 2000)
    (folder / "assets" / "app-12345678.js").write_text("1" * 2000)
    (folder / "assets" / "app-12345678.js.gz").write_bytes(b"packed")
    return str(folder)


async def test_the_ui_is_where_the_configuration_has_it(serve: Serve, tmp_path: Path) -> None:
    api = await serve(ui_path="/look/", ui_folder=built(tmp_path))
    for path in ("/", "/look"):
        got = await api.get(path)
        assert (got.status, got.headers["location"]) == (307, "/look/")
    got = await api.get("/look/dc1/services")
    assert (got.status, got.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'<base href="/look/" />' in got.body
    assert (await api.get("/ui/")).status == 404


async def test_a_browser_that_has_a_page_is_not_sent_it_again(serve: Serve, tmp_path: Path) -> None:
    api = await serve(ui_path="/ui/", ui_folder=built(tmp_path))
    tag = (await api.get("/ui/")).headers["etag"]
    got = await api.ask("GET", "/ui/", headers={"If-None-Match": tag})
    assert (got.status, got.body) == (304, b"")
    got = await api.ask("HEAD", "/ui/")
    assert (got.status, got.body, got.headers["etag"]) == (200, b"", tag)


async def test_files_are_sent_as_small_as_the_build_made_them(serve: Serve, tmp_path: Path) -> None:
    api = await serve(ui_path="/ui/", ui_folder=built(tmp_path))
    path = "/ui/assets/app-12345678.js"
    got = await api.ask("GET", path, headers={"Accept-Encoding": "gzip"})
    assert (got.body, got.headers["content-encoding"]) == (b"packed", "gzip")
    assert (await api.get(path)).body == b"1" * 2000
    assert (await api.get("/ui/assets/app-older123.js")).status == 404


async def test_an_installation_without_the_ui_says_so(serve: Serve, tmp_path: Path) -> None:
    api = await serve(ui_path="/ui/", ui_folder=str(tmp_path))
    got = await api.get("/ui/")
    assert (got.status, "ui_config.enabled = false" in got.text) == (503, True)


async def test_without_the_ui_there_is_a_line_of_text(api: Api) -> None:
    assert "its web UI is off" in (await api.get("/")).text
    assert (await api.get("/ui/")).status == 404
    assert (await api.ask("POST", "/v1/internal/ui/nodes")).status == 405
