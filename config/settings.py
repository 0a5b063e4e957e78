"""Settings, read from top to bottom; nothing else in the code reads the environment."""

from pathlib import Path
from urllib.parse import urlsplit

import environ
from celery.schedules import schedule
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _

from config import database, secrets, sidebar

env = environ.FileAwareEnv()
BASE_DIR = Path(__file__).resolve().parent.parent


def _port() -> int:
    try:
        port = env.int("PORT", 8000)
    except ValueError:
        port = 0
    if not 1 <= port <= 65534:
        raise ImproperlyConfigured("PORT must be a whole number from 1 to 65534.")
    return port


# --- Where it runs ---------------------------------------------------------------------------------------
PORT = _port()
DEBUG = env.bool("NUDGE_DEBUG", False)
NUDGE_DATA = Path(env.str("NUDGE_DATA", str(BASE_DIR / "var"))).resolve()
NUDGE_DEMO = env.bool("NUDGE_DEMO", False)
NUDGE_PUBLIC_URL = env.str("NUDGE_PUBLIC_URL", f"http://localhost:{PORT}").rstrip("/")
NUDGE_PUSH_HOSTS = env.list("NUDGE_PUSH_HOSTS", default=[])
# Hosts, as host:port, that flows may call though they are private or without TLS.
NUDGE_WEBHOOK_HOSTS = env.list("NUDGE_WEBHOOK_HOSTS", default=[])
# The same for the services that sending accounts name, such as an SMS gateway in the own network.
NUDGE_PROVIDER_HOSTS_TRUSTED = env.list("NUDGE_PROVIDER_HOSTS_TRUSTED", default=[])
# Django's email backends, by dotted path, that sending accounts may name.
NUDGE_EMAIL_BACKENDS = env.list(
    "NUDGE_EMAIL_BACKENDS", default=["django.core.mail.backends.smtp.EmailBackend"]
)
NUDGE_PUSH_CONTACT = env.str("NUDGE_PUSH_CONTACT", "mailto:operator@nudge.example")
# Whether somebody who opens a link in a message is taken for whom it was sent to.
NUDGE_LINK_VISITORS = env.bool("NUDGE_LINK_VISITORS", True)
NUDGE_SANDBOX_URL = env.str("NUDGE_SANDBOX_URL", f"http://127.0.0.1:{PORT + 1}")
if NUDGE_DEMO:
    # The demo's make-believe subscribers have their push service in the sandbox.
    NUDGE_PUSH_HOSTS = [*NUDGE_PUSH_HOSTS, urlsplit(NUDGE_SANDBOX_URL).netloc]
# Files with the members of segments are kept for so long after they were written.
NUDGE_EXPORT_HOURS = env.int("NUDGE_EXPORT_HOURS", 72)
# So many workers send one channel's messages at once, transactional ones apart (delivery/dispatch/lanes.py).
NUDGE_SENDERS_PER_LANE = env.int("NUDGE_SENDERS_PER_LANE", 2)
NUDGE_BROADCAST_UNDO_SECONDS = env.int(
    "NUDGE_BROADCAST_UNDO_SECONDS", 30
)  # a launch can be taken back so long
NUDGE_BROADCAST_CONFIRM = env.int("NUDGE_BROADCAST_CONFIRM", 1000)  # above so many people the number is typed
NUDGE_FLOW_ENTRIES_PER_HOUR = env.int("NUDGE_FLOW_ENTRIES_PER_HOUR", 100)  # of one person: more is a loop
NUDGE_CONTENT_DAYS = env.int("NUDGE_CONTENT_DAYS", 365)  # the words of messages stay so long; 0: for good
# Opens, clicks and devices' reports wait there, on this host's own disk, until the database has them.
NUDGE_SPOOL_DIR = Path(env.str("NUDGE_SPOOL_DIR", str(NUDGE_DATA / "spool"))).resolve()
NUDGE_SPOOL_MB = env.int("NUDGE_SPOOL_MB", 512)  # all its files together; what does not fit is turned away
NUDGE_EXPOSURE_DAYS = env.int("NUDGE_EXPOSURE_DAYS", 365)  # who was in an experiment; 0: for good
NUDGE_AUDIT_DAYS = env.int("NUDGE_AUDIT_DAYS", 730)  # entries of the audit log stay so long; 0: for good
NUDGE_ADMIN_PASSWORD = env.str("NUDGE_ADMIN_PASSWORD", "")

_public = urlsplit(NUDGE_PUBLIC_URL)
if _public.scheme not in ("http", "https") or not _public.hostname:
    raise ImproperlyConfigured("NUDGE_PUBLIC_URL must look like https://nudge.example.com.")
ALLOWED_HOSTS = env.list("NUDGE_ALLOWED_HOSTS", default=[_public.hostname, "localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = [NUDGE_PUBLIC_URL]

# --- Secrets ---------------------------------------------------------------------------------------------
_secrets = secrets.load(
    NUDGE_DATA,
    django_secret_key=env.str("NUDGE_SECRET_KEY", ""),
    encryption_key=env.str("NUDGE_ENCRYPTION_KEY", ""),
)
SECRET_KEY = _secrets.django_secret_key
NUDGE_ENCRYPTION_KEYS = _secrets.encryption_keys

# --- Applications ----------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "csp",
    "crm",
    "delivery",
    "campaigns",
    "analytics",
    "config",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "crm.api.direct.DirectMiddleware",
    "analytics.direct.TrackingMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "crm.api.errors.SlashMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "crm.admin.hiding.HideContacts",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Data ------------------------------------------------------------------------------------------------
DATABASE_URL = env.str("DATABASE_URL", "")
DATABASES = {"default": database.databases(NUDGE_DATA, DATABASE_URL or None)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- Background work -------------------------------------------------------------------------------------
CELERY_BROKER_URL = env.str("BROKER_URL", "") or database.broker_url(DATABASES["default"])
if CELERY_BROKER_URL.startswith("pgmq"):
    CELERY_BROKER_TRANSPORT_OPTIONS = database.BROKER_TRANSPORT_OPTIONS
CELERY_TASK_ALWAYS_EAGER = False
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TIMEZONE = "UTC"
# Celery only wakes: each sweep finds whatever is due, so a missed or doubled tick changes nothing.
NUDGE_SWEEPS = {
    "campaigns.tasks.run_engine": {"schedule": schedule(5), "queue": "engine"},
    "campaigns.tasks.start_by_clock": {"schedule": schedule(5), "queue": "keeping"},
    "campaigns.tasks.let_in": {"schedule": schedule(15), "queue": "segments"},
    "delivery.tasks.dispatch": {"schedule": schedule(5), "queue": "delivery"},
    "delivery.tasks.forget_places": {"schedule": schedule(86400), "queue": "ingest"},
    "delivery.tasks.empty_sandbox": {"schedule": schedule(3600), "queue": "ingest"},
    "delivery.tasks.match_reports": {"schedule": schedule(15), "queue": "reports"},
    "delivery.tasks.drain_spool": {"schedule": schedule(5), "queue": "reports"},
    "delivery.tasks.judge_clicks": {"schedule": schedule(5), "queue": "reports"},
    "delivery.tasks.note_used_coupons": {"schedule": schedule(30), "queue": "reports"},
    "delivery.tasks.answer_inbound": {"schedule": schedule(30), "queue": "delivery"},
    "delivery.tasks.end_late": {"schedule": schedule(60), "queue": "delivery"},
    "delivery.tasks.mail_alerts": {"schedule": schedule(60), "queue": "delivery"},
    "delivery.tasks.forget_content": {"schedule": schedule(60), "queue": "ingest"},
    "delivery.tasks.forget_reports": {"schedule": schedule(3600), "queue": "ingest"},
    "analytics.tasks.count_lift": {"schedule": schedule(300), "queue": "reports"},
    "analytics.tasks.judge_experiments": {"schedule": schedule(3600), "queue": "reports"},
    "delivery.tasks.run_streams": {"schedule": schedule(5), "queue": "webhooks"},
    "delivery.tasks.forget_stream_calls": {"schedule": schedule(3600), "queue": "ingest"},
    "analytics.tasks.read_log": {"schedule": schedule(5), "queue": "reports"},
    "analytics.tasks.rebuild": {"schedule": schedule(30), "queue": "reports"},
    "analytics.tasks.recompute_goals": {"schedule": schedule(30), "queue": "reports"},
    "analytics.tasks.count_audience": {"schedule": schedule(10), "queue": "segments"},
    "analytics.tasks.mail_reports": {"schedule": schedule(30), "queue": "keeping"},
    "analytics.tasks.count_cohorts": {"schedule": schedule(600), "queue": "keeping"},
    "crm.tasks.sync_due": {"schedule": schedule(5), "queue": "sync"},
    "crm.tasks.erase_in_crms": {"schedule": schedule(60), "queue": "sync"},
    "crm.tasks.keep_computed": {"schedule": schedule(5), "queue": "engine"},
    "crm.tasks.backfill_attributes": {"schedule": schedule(10), "queue": "segments"},
    "crm.tasks.build_attribute_indexes": {"schedule": schedule(60), "queue": "segments"},
    "crm.tasks.ensure_partitions": {"schedule": schedule(3600), "queue": "ingest"},
    "crm.tasks.apply_retention": {"schedule": schedule(60), "queue": "ingest"},
    "crm.tasks.forget_undated_events": {"schedule": schedule(86400), "queue": "ingest"},
    "crm.tasks.import_lists": {"schedule": schedule(30), "queue": "ingest"},
    "crm.tasks.import_event_files": {"schedule": schedule(5), "queue": "ingest"},
    "crm.tasks.forget_answers": {"schedule": schedule(3600), "queue": "ingest"},
    "crm.tasks.tidy_sync": {"schedule": schedule(86400), "queue": "ingest"},
    "crm.tasks.tell_of_products": {"schedule": schedule(10), "queue": "ingest"},
    "crm.tasks.follow_places": {"schedule": schedule(10), "queue": "ingest"},
    "crm.tasks.forget_interest": {"schedule": schedule(86400), "queue": "ingest"},
    "campaigns.tasks.call_webhooks": {"schedule": schedule(5), "queue": "webhooks"},
    "campaigns.tasks.forget_calls": {"schedule": schedule(3600), "queue": "ingest"},
    "campaigns.tasks.fill_lists": {"schedule": schedule(15), "queue": "ingest"},
    "campaigns.tasks.export_members": {"schedule": schedule(15), "queue": "segments"},
    "campaigns.tasks.forget_list_files": {"schedule": schedule(3600), "queue": "ingest"},
    "campaigns.tasks.refresh_segments": {"schedule": schedule(10), "queue": "segments"},
    "campaigns.tasks.change_runs": {"schedule": schedule(15), "queue": "ingest"},
    "campaigns.tasks.backtest_flows": {"schedule": schedule(30), "queue": "segments"},
    "campaigns.tasks.keep_segments": {"schedule": schedule(3), "queue": "keeping"},
    "campaigns.tasks.keep_exposures": {"schedule": schedule(3600), "queue": "ingest"},
    "campaigns.tasks.run_broadcasts": {"schedule": schedule(5), "queue": "keeping"},
}

# --- People ----------------------------------------------------------------------------------------------
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ar", _("Arabic")), ("pl", _("Polish"))]
LOCALE_PATHS = [NUDGE_DATA / "locale"]  # compiled from locale/ when a process starts
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.str("NUDGE_TIME_ZONE", "UTC")
NUDGE_CURRENCY = env.str("NUDGE_CURRENCY", "EUR")  # what amounts are converted into

# --- Email to administrators ------------------------------------------------------------------------------
# For alerts; without a host they go by the email account that is used by default.
EMAIL_HOST = env.str("EMAIL_HOST", "")
EMAIL_PORT = env.int("EMAIL_PORT", 587)
EMAIL_HOST_USER = env.str("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env.str("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_SSL = env.bool("EMAIL_USE_SSL", False)
EMAIL_USE_TLS = env.bool("EMAIL_USE_TLS", not EMAIL_USE_SSL)
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", f"nudge@{_public.hostname}")

# --- Files -----------------------------------------------------------------------------------------------
MEDIA_ROOT = NUDGE_DATA / "media"  # pictures in emails; several web hosts share it
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = NUDGE_DATA / "static"
WHITENOISE_USE_FINDERS = True  # no collectstatic step; a deployment may still run it behind a CDN

# --- Security --------------------------------------------------------------------------------------------
_https = _public.scheme == "https"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
# Cookies ignore ports: two copies on one machine must not log each other out.
SESSION_COOKIE_NAME = f"nudge_session_{PORT}"
CSRF_COOKIE_NAME = f"nudge_csrf_{PORT}"
SECURE_HSTS_SECONDS = 31536000 if _https else 0
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000  # a rule of a hundred conditions, or with long lists of values
FILE_UPLOAD_HANDLERS = [
    "crm.admin.upload_limit.UploadLimit",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
# The admin theme evaluates Alpine expressions and sets style attributes; public pages get a stricter policy.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:", "https:"],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
        "base-uri": [SELF],
    }
}

# --- REST ------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["crm.api.auth.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["crm.api.auth.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "crm.api.openapi.Schema",
    "EXCEPTION_HANDLER": "crm.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Nudge API",
    "DESCRIPTION": "Events and profiles in, reports out. Authenticate with `Authorization: Bearer <API key>`.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [],  # choices stand where they are used: they have no names worth telling
    "COMPONENT_SPLIT_REQUEST": True,
}

# What one process lets through from public keys and public pages: per second, and at once after a pause.
# "address" is one visitor, or everybody behind one router; "key" all visitors of a site. See crm/limits.py.
NUDGE_RATE_LIMITS = {
    "default": {
        "address": (env.float("NUDGE_REQUESTS_PER_ADDRESS", 20), 100),
        "key": (env.float("NUDGE_REQUESTS_PER_KEY", 1000), 5000),
    },
    "event rows": {
        "address": (env.float("NUDGE_EVENTS_PER_ADDRESS", 100), 2000),
        "key": (env.float("NUDGE_EVENTS_PER_KEY", 5000), 20_000),
    },
    # Each counts people while it is asked; servers' keys are limited, too.
    "segment questions": {"address": (5, 60), "key": (env.float("NUDGE_SEGMENT_QUESTIONS_PER_KEY", 2), 30)},
}
# How many proxies in front of this server add to X-Forwarded-For; what others wrote there is not believed.
NUDGE_TRUSTED_PROXIES = env.int("NUDGE_TRUSTED_PROXIES", 0)
NUDGE_KEY_CACHE_SECONDS = 5  # an API key that is revoked works at most this long in other processes

# --- Admin -----------------------------------------------------------------------------------------------

UNFOLD = {
    "SITE_TITLE": "Nudge",
    "SITE_HEADER": "Nudge",
    "SITE_SUBHEADER": _("Marketing automation"),
    "SITE_SYMBOL": "notifications_active",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("nudge/favicon.svg")}
    ],
    "SHOW_LANGUAGES": True,
    "SHOW_BACK_BUTTON": False,
    "SHOW_HISTORY": True,
    "BORDER_RADIUS": "8px",
    "ENVIRONMENT": "config.admin.environment",
    "DASHBOARD_CALLBACK": "analytics.admin.home.dashboard",
    "STYLES": [lambda request: static("nudge/admin.css")],
    "SCRIPTS": [
        lambda request: static("nudge/admin.js"),
        lambda request: static("nudge/admin/theme.js"),
    ],
    "COLORS": {
        "primary": {
            "50": "#eef2ff",
            "100": "#e0e7ff",
            "200": "#c7d2fe",
            "300": "#a5b4fc",
            "400": "#818cf8",
            "500": "#6366f1",
            "600": "#4f46e5",
            "700": "#4338ca",
            "800": "#3730a3",
            "900": "#312e81",
            "950": "#1e1b4b",
        }
    },
    "SIDEBAR": sidebar.SIDEBAR,
}

# --- Logging ---------------------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("NUDGE_LOG_LEVEL", "INFO")},
    "loggers": {
        "pgmq": {"level": "WARNING"},
        "hubspot": {"level": "WARNING"},
        "py.warnings": {"level": "ERROR"},  # libraries' words to their own developers
    },
}
