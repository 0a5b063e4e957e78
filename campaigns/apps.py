from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CampaignsConfig(AppConfig):
    """Whom to write to, when and with what."""

    name = "campaigns"
    verbose_name = _("Campaigns")

    def ready(self):
        from campaigns import personal_data, wiring

        wiring.connect()
        personal_data.connect()
