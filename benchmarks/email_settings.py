"""The product's settings with django-post_office beside it, for the benchmark of emails."""

import os

from config.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "post_office"]  # noqa: F405
EMAIL_BACKEND = "post_office.EmailBackend"
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", int(os.environ["NUDGE_BENCHMARK_SMTP"])
EMAIL_USE_TLS = EMAIL_USE_SSL = False  # the sink is on this machine
POST_OFFICE = {
    "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
    "BATCH_SIZE": 10_000,
    "LOG_LEVEL": 1,  # failures only
    "THREADS_PER_PROCESS": 5,
}
