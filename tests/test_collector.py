"""The cycle collector is tuned in a process of its own: it is a setting of the whole process."""

import gc
import subprocess
import sys

from mesh.registry import kv
from mesh.registry.requests import TABLES
from mesh.store.database import Database

PROBE = """
import gc
from mesh.collector import THRESHOLDS, settle
loaded = [[number] for number in range(1000)]
settle()
assert gc.get_freeze_count() > 1000
assert gc.get_threshold() == THRESHOLDS
assert not any(found is loaded for found in gc.get_objects())
class Node: pass
cycle = Node(); cycle.itself = cycle
del cycle
print(gc.collect())
"""


def test_what_is_loaded_is_not_looked_at_again_and_new_cycles_are_freed() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 1


def test_tables_are_not_the_collectors_business() -> None:
    database = Database(TABLES)
    transaction = database.begin(2)
    kv.Set("a/b", b"v").apply(transaction)
    transaction.commit()
    content = database.contents["kv"]
    assert not any(gc.is_tracked(each) for each in (content.rows, *content.rows.values()))
    assert all(table.kind.__struct_config__.gc is False for table in TABLES)
