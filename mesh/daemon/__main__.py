"""`python -m mesh.daemon` is meshd."""

import sys

from mesh.daemon.main import main

sys.exit(main())
