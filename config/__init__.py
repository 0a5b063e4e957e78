"""Settings, urls, Celery app, embedded database and supervisor: what holds the product together."""

import gc

# Loading makes a million objects that stay, and a batch of events hundreds that go without the collector's help.
gc.set_threshold(20_000, 20, 20)

from config.celery import app as celery_app  # noqa: E402

__all__ = ("celery_app",)
