"""Programs of our own that run beside this process."""

from __future__ import annotations

import os
import sys

_RUN = (
    "import importlib, sys; module, path = sys.argv[1:3]; del sys.argv[1:3]; "
    f"sys.path[:] = path.split({os.pathsep!r}); sys.exit(importlib.import_module(module).main())"
)


def command(module: str) -> list[str]:
    """What runs `main` of this module, with the arguments that follow.

    It finds modules where this process does. `python -m` would look into the current directory
    first, where anybody may have put one.
    """
    return [sys.executable, "-P", "-c", _RUN, module, os.pathsep.join(sys.path)]
