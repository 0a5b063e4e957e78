"""The product's settings with a clock that a harness may put forward (benchmarks/chaos_clock.py)."""

import sys

from benchmarks import chaos_clock
from config.settings import *  # noqa: F403

# Beat counts real seconds: a jump of hours would make it count back what it has not yet slept.
if "beat" not in sys.argv:
    chaos_clock.install()
