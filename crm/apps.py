from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CrmConfig(AppConfig):
    """Who customers are, what they agreed to and what they did."""

    name = "crm"
    verbose_name = _("Audience")

    def ready(self):
        from crm import audit_signals, personal_data, places
        from crm.computed import work

        personal_data.connect()
        audit_signals.connect()
        work.connect()
        places.connect()
