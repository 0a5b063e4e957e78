"""Django's entry for this package: its management commands, and the broker's tables with `migrate`."""

from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models.signals import post_migrate

from config import catalogues


class ConfigConfig(AppConfig):
    """No models; `config` is listed so that its commands are found."""

    name = "config"
    verbose_name = "Nudge"

    def ready(self) -> None:
        """Make translations, and install the queue functions whenever a database that is its own broker is migrated."""
        catalogues.compile_all(settings.BASE_DIR / "locale", settings.LOCALE_PATHS[0])
        # The signal is sent for apps with models only; the schedule's is the one that needs the broker.
        sender = apps.get_app_config("django_celery_beat")
        post_migrate.connect(install_broker, sender=sender, dispatch_uid="config.install_broker")
        # The last app with models: by then every permission exists.
        last = apps.get_app_config("analytics")
        post_migrate.connect(make_roles, sender=last, dispatch_uid="config.make_roles")


def make_roles(using: str = "default", **kwargs: object) -> None:
    """Give the database the roles that come with the product."""
    from config import roles

    if using == "default":
        roles.ensure()


def install_broker(using: str = "default", **kwargs: object) -> None:
    """Give the database its message queues, if Celery's broker is that database."""
    from config import database

    if using == "default" and settings.CELERY_BROKER_URL.startswith("pgmq"):
        database.install_broker(settings.DATABASES[using])
