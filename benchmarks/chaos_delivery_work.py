"""The part of the chaos harness that knows the product, to be run with its settings.

python -m benchmarks.chaos_delivery_work prepare PEOPLE PACE DUE HTTP SMTP     leave PEOPLE
    judge PEOPLE PACE LEFT JOURNAL

Times are ISO 8601. What it prints last is JSON.
"""

import json
import os
import sys
from datetime import datetime
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from benchmarks import chaos_delivery_world as world  # noqa: E402

MOST = 2  # messages a day to one person, whom four channels want to reach
SPREAD = 20  # seconds over which messages become due


def main(what: str, people: int, *more: str) -> object:
    """Do one of the parts; what it found."""
    if what == "prepare":
        pace, due, http, smtp = more
        ports = {"http": int(http), "smtp": int(smtp)}
        world.fill(people, ports, datetime.fromisoformat(due), float(pace), SPREAD, MOST)
        return None
    if what == "leave":
        return world.leave(people).isoformat()
    pace, left_at, journal = more
    return world.judge(Path(journal), people, datetime.fromisoformat(left_at), float(pace), MOST)


if __name__ == "__main__":
    _what, _people, *_more = sys.argv[1:]
    print(json.dumps(main(_what, int(_people), *_more)))
