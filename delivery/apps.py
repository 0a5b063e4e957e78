from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DeliveryConfig(AppConfig):
    """What is written to customers, whether it may go out, and how it is sent."""

    name = "delivery"
    verbose_name = _("Messages")

    def ready(self):
        from delivery import personal_data, slots, wiring
        from delivery.policies import places

        wiring.connect()
        personal_data.connect()
        slots.connect()
        places.connect()
