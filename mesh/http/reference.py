"""The reference page of the API: written from the table of routes."""

from __future__ import annotations

import sys
from itertools import groupby

from mesh.http.route import Route
from mesh.http.routes import ROUTES

HEAD = """# The HTTP API

Generated from the table of routes by `./dev run python -m mesh.http.reference > docs/api.md`; edit
the rows beside the handlers in `mesh/http/` instead.

Names, shapes, status codes and headers are Consul's, so its clients work unchanged. A `:name` takes
all that follows it, slashes too. Reads take `index` and `wait` to block, and `stale`, `consistent`,
`max_stale` or `leader` to choose how fresh the answer must be; every request takes `dc`, `token`
and `pretty`. Errors are a status and a line of text. What mesh cannot do yet (`peer`,
`acquire`, `release`) is refused with 400, never ignored.
"""


def page(routes: tuple[Route, ...] = ROUTES) -> str:
    """The page as Markdown, one table for each family of paths."""
    lines = [HEAD]
    for family, group in groupby(routes, key=lambda route: route.path.split("/")[2]):
        lines += [f"## /v1/{family}", "", "| Method | Path | What it does |", "|---|---|---|"]
        lines += [f"| {r.method} | `{r.path}` | {r.summary} |" for r in group]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
