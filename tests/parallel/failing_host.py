"""Run by test_hosts.py, once per process: the second one fails while the first waits for it in a computation."""

from __future__ import annotations

import jax
from jax.experimental import multihost_utils

from toolrm_jax.errors import DataError
from toolrm_jax.parallel import hosts

hosts.PATIENCE = 0.5
hosts.start()
print("joined")
try:
    with hosts.failing_for_all():
        multihost_utils.sync_global_devices("both are here")
        if jax.process_index() == 1:
            raise DataError("the disk of this host is gone")
        multihost_utils.sync_global_devices("nobody comes")
except DataError as error:
    print(error)
    raise SystemExit(2) from None
