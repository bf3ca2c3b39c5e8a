"""The files of the web UI as they are served: types, caching, and what a page may load."""

from __future__ import annotations

import hashlib
import re
from html import escape
from pathlib import Path, PurePosixPath

import msgspec

BUILT = Path(__file__).parent / "static"
"""Where the build puts the page."""
INDEX = "index.html"
BASE = b'<base href="/ui/" />'
"""What the index says of where it lies, and what is put right when it lies elsewhere."""
DATACENTER = b'<meta name="datacenter" content="" />'
"""Where the index has the datacenter of who serves it, so that the page need not ask for it."""
PARTS = "parts.json"
"""Which files the page at an address needs besides, as Vite lists them (`build.manifest`)."""
FIRST = "now"
"""The page at the datacenter itself."""
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
OTHER_TYPE = "application/octet-stream"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing but what came from here, and no script inside a page (CSP level 3)."""
FOREVER = "public, max-age=31536000, immutable"
_HASHED = re.compile(r"-[\w-]{8,}\.\w+$")
_MODULE = re.compile(r"src/pages/([a-z]+)\.tsx")


class Page(msgspec.Struct, frozen=True):
    """A file of the UI."""

    body: bytes
    small: bytes
    """Its gzip form; empty if the build made none."""
    content_type: str
    headers: dict[str, str]
    tag: str
    """Its entity tag (RFC 9110, 8.8.3)."""


class _Part(msgspec.Struct):
    """What one module became."""

    file: str
    css: list[str] = []
    imports: list[str] = []


class Pages:
    """The UI in a folder, read file by file as it is asked for.

    Every path that is no file is the index: the program in it knows what to show. The index names
    the files of the page at that path, so that they come with the program and not after it.
    """

    def __init__(self, folder: Path = BUILT, base: str = "/ui/", datacenter: str = "") -> None:
        """`base` is the path under which they are served; it ends with a slash."""
        self._folder = folder.resolve()
        self._base = base
        self._datacenter = datacenter
        self._pages: dict[str, Page] = {}
        self._indexes: dict[str, Page] = {}
        """By the name of a page, and `""` for those that there are none of."""

    def page(self, path: str) -> Page | None:
        """What is at this path below the base; None when there is no UI, or no such asset."""
        name = self._name(path)
        if not name and path.startswith("assets/"):
            return None  # An older page asks for what a newer build no longer has.
        if not name or name == INDEX:
            return self._index(path.split("/")[1:2] if not name else [])
        page = self._pages.get(name)
        if page is None and (page := self._read(name)) is not None:
            self._pages[name] = page
        return page

    def _index(self, named: list[str]) -> Page | None:
        """The index for the page of this name, after the datacenter in its path."""
        if not self._indexes:
            self._read_indexes()
        return self._indexes.get(named[0] if named else FIRST) or self._indexes.get("")

    def _read_indexes(self) -> None:
        """Make them all at once, so that they are of one build."""
        try:
            content = (self._folder / INDEX).read_bytes()
        except OSError:
            return
        content = content.replace(BASE, f'<base href="{escape(self._base)}" />'.encode(), 1)
        here = f'<meta name="datacenter" content="{escape(self._datacenter)}" />'
        content = content.replace(DATACENTER, here.encode(), 1)
        self._indexes[""] = _page(INDEX, content)
        try:
            parts = msgspec.json.decode((self._folder / PARTS).read_bytes(), type=dict[str, _Part])
        except (OSError, msgspec.MsgspecError):
            return  # They come a little later.
        own = _needed(parts, INDEX)
        for module in parts:
            if found := _MODULE.fullmatch(module):
                more = [_link(file) for file in _needed(parts, module) if file not in own]
                page = content.replace(b"</head>", "\n".join([*more, "</head>"]).encode(), 1)
                self._indexes[found[1]] = _page(INDEX, page)

    def _name(self, path: str) -> str:
        """The one name of the file at this path, of all that lead to it; empty if there is none."""
        if path in self._pages:
            return path
        if not path or "\0" in path:
            return ""
        try:
            found = (self._folder / path).resolve()
            if not found.is_relative_to(self._folder) or not found.is_file():
                return ""
        except OSError:
            return ""  # A name that is too long is nobody's.
        return found.relative_to(self._folder).as_posix()

    def _read(self, name: str) -> Page | None:
        file = self._folder / name
        try:
            content = file.read_bytes()
        except OSError:
            return None
        packed = file.with_name(f"{file.name}.gz")
        return _page(name, content, packed.read_bytes() if packed.is_file() else b"")


def _needed(parts: dict[str, _Part], module: str) -> list[str]:
    """The files of a module, and of all that it imports."""
    modules, files = [module], list[str]()
    for one in modules:
        part = parts.get(one)
        if part is not None:
            files += [part.file, *part.css]
            modules += [other for other in part.imports if other not in modules]
    return files


def _link(file: str) -> str:
    kind = "stylesheet" if file.endswith(".css") else "modulepreload"
    return f'<link rel="{kind}" crossorigin href="./{file}">'


def _page(name: str, content: bytes, small: bytes = b"") -> Page:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Page(
        content,
        small,
        TYPES.get(PurePosixPath(name).suffix, OTHER_TYPE),
        {
            "Cache-Control": FOREVER if _HASHED.search(name) else "no-cache",
            "Content-Security-Policy": POLICY,
            "ETag": tag,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
        tag,
    )
