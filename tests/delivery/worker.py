"""A dispatcher in a process of its own, for tests that kill it: `python -m tests.delivery.worker`.

Reads what its test wants as JSON from standard input:
{"database": …, "push_hosts": […], "stop_after_claim": bool, "limit": int}.
"""

import json
import os
import sys
import time

import django


def main() -> None:
    """Run one batch, or claim it and then wait to be killed."""
    options = json.load(sys.stdin)
    os.environ |= {"NUDGE_LOG_LEVEL": "WARNING"}
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.conf import settings

    settings.DATABASES["default"]["NAME"] = options["database"]
    settings.NUDGE_PUSH_HOSTS = options["push_hosts"]
    django.setup()
    from delivery import dispatch
    from delivery.dispatch.claim import claim
    from delivery.dispatch.lanes import Lane

    if options.get("stop_after_claim"):
        claimed = claim(Lane("webpush"), django.utils.timezone.now(), 1000)
        print(json.dumps({"claimed": claimed.looked_at}), flush=True)
        while True:
            time.sleep(60)
    total = 0
    while not (result := dispatch.run(limit=options.get("limit", 1000))).idle:
        total += result.sent
    print(json.dumps({"sent": total}), flush=True)


if __name__ == "__main__":
    main()
