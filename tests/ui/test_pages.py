from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from mesh.ui.pages import BUILT, FIRST, Pages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "static"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text('<head><base href="/ui/" /></head>')
    (built / "assets" / "app-DeadBeef1.js").write_text("1")
    (built / "assets" / "app-DeadBeef1.js.gz").write_bytes(gzip.compress(b"1"))
    (built / "mark.svg").write_text("<svg/>")
    (tmp_path / "secret").write_text("secret")
    return built


@pytest.mark.parametrize(
    "path", ["", "dc1", "dc1/services/web", "dc1/kv/a%2Fb", "x" * 5000, "a\0b"]
)
def test_what_is_no_file_is_the_index(folder: Path, path: str) -> None:
    page = Pages(folder).page(path)
    assert page is not None
    assert page.content_type == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-cache"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]


def test_the_index_says_where_it_lies(folder: Path) -> None:
    page = Pages(folder, '/over "here"/').page("")
    assert page is not None
    assert b'<base href="/over &quot;here&quot;/" />' in page.body


def test_the_index_names_what_the_page_at_its_path_needs(folder: Path) -> None:
    parts = {
        "index.html": {"file": "assets/index-1.js", "isEntry": True, "css": ["assets/index-1.css"]},
        "src/pages/services.tsx": {
            "file": "assets/services-1.js",
            "css": ["assets/services-1.css"],
            "imports": ["index.html", "_code.js"],
        },
        "_code.js": {"file": "assets/code-1.js", "imports": ["src/pages/services.tsx"]},
        "src/pages/now.tsx": {"file": "assets/now-1.js", "imports": ["index.html"]},
        "node_modules/charts/charts.mjs": {"file": "assets/charts-1.js"},
    }
    (folder / "parts.json").write_text(json.dumps(parts))
    pages = Pages(folder)
    found = {}
    for path in ("", "index.html", "dc1", "dc1/services", "dc1/services/web/tags", "dc1/nosuch"):
        page = pages.page(path)
        assert page is not None
        found[path] = re.findall(
            rb'<link rel="(\w+)" crossorigin href="./assets/([^"]+)">', page.body
        )
    now = [(b"modulepreload", b"now-1.js")]
    services = [
        (b"modulepreload", b"services-1.js"),
        (b"stylesheet", b"services-1.css"),
        (b"modulepreload", b"code-1.js"),
    ]
    assert found == {
        "": now,
        "index.html": now,
        "dc1": now,
        "dc1/services": services,
        "dc1/services/web/tags": services,
        "dc1/nosuch": [],
    }
    tags = {page.tag for path in found if (page := pages.page(path))}
    assert len(tags) == 3


def test_each_page_is_the_module_of_its_name() -> None:
    routes = (BUILT.parent / "web" / "src" / "routes.ts").read_text()
    found = re.findall(r'key: "(\w*)",.*?import\("./pages/(\w+)"\)', routes, re.DOTALL)
    assert len(found) > 10
    assert [module for _, module in found] == [key or FIRST for key, _ in found]


@pytest.mark.parametrize("parts", ["", "[]", '{"src/pages/now.tsx": 1}'])
def test_without_a_list_of_parts_the_index_is_as_built(folder: Path, parts: str) -> None:
    (folder / "parts.json").write_text(parts)
    page = Pages(folder).page("dc1")
    assert page is not None
    assert page.body == (folder / "index.html").read_bytes()


def test_files_named_after_their_content_are_kept_for_ever(folder: Path) -> None:
    page = Pages(folder).page("assets/app-DeadBeef1.js")
    assert page is not None
    assert (page.body, gzip.decompress(page.small)) == (b"1", b"1")
    assert "immutable" in page.headers["Cache-Control"]
    mark = Pages(folder).page("mark.svg")
    assert mark is not None
    assert (mark.small, mark.headers["Cache-Control"]) == (b"", "no-cache")


def test_a_file_of_another_build_is_no_page(folder: Path) -> None:
    assert Pages(folder).page("assets/app-0ld.js") is None


@pytest.mark.parametrize("path", ["../secret", "assets/../../secret", "/etc/passwd"])
def test_nothing_outside_the_folder_is_served(folder: Path, path: str) -> None:
    page = Pages(folder).page(path)
    assert page is None or b"<base" in page.body


def test_a_file_is_one_page_however_its_path_is_spelled(folder: Path) -> None:
    pages = Pages(folder, "/look/")
    for path in ("mark.svg", "index.html"):
        page = pages.page(path)
        for steps in range(1, 10):
            assert pages.page("assets/../" * steps + path) is page


def test_without_a_build_there_is_no_page(tmp_path: Path) -> None:
    assert Pages(tmp_path).page("") is None
