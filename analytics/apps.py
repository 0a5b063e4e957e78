from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AnalyticsConfig(AppConfig):
    """What came of it."""

    name = "analytics"
    verbose_name = _("Reports")

    def ready(self):
        from analytics import personal_data, wiring

        wiring.connect()
        personal_data.connect()
