"""`python -m bench.unrecorded`: meshd that keeps no history, to compare with."""

import sys

from mesh.daemon.main import main
from mesh.server.machine import Machine

Machine._record = lambda *_: None  # type: ignore[method-assign]

sys.exit(main())
