"""`python -m toolrm_jax` is `toolrm`."""

import sys

from toolrm_jax.cli import main

sys.exit(main())
