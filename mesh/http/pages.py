"""The web UI's files, wherever `ui_config.content_path` has them."""

from __future__ import annotations

from pathlib import Path

from mesh.http import respond
from mesh.http.kept import Body
from mesh.http.options import Options
from mesh.http.request import Handler, Reply, Request
from mesh.http.route import Route
from mesh.ui.pages import BUILT, Pages

_MISSING = (
    "The web UI is not in this installation: it is built from mesh/ui/web "
    "(./dev in a checkout does that), or set ui_config.enabled = false."
)
_GONE = "No such file: the UI was upgraded since this page was loaded. Load it again."


def routes(options: Options) -> tuple[Route, ...]:
    """The routes of the UI under these options; none when it is off."""
    if not options.ui_path:
        return ()
    handler = _serving(Pages(Path(options.ui_folder or BUILT), options.ui_path, options.datacenter))
    return tuple(
        Route(method, f"{options.ui_path}:path", handler, "A file of the web UI")
        for method in ("GET", "HEAD")
    )


def _serving(pages: Pages) -> Handler:
    async def serve(request: Request) -> Reply:
        page = pages.page(request.rest)
        if page is None:
            built = pages.page("") is not None
            return respond.text(404 if built else 503, _GONE if built else _MISSING)
        if page.tag in request.headers.get("if-none-match", ""):
            return Reply(status=304, content_type=page.content_type, headers=page.headers)
        forms = {"gzip": page.small} if page.small else {}
        return Reply(
            page.body,
            content_type=page.content_type,
            headers=page.headers,
            kept=Body(page.body, forms),
        )

    return serve
