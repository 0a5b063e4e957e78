"""Price drop: a product that somebody asked for, saved or viewed has become cheaper."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.flows.triggers.told import Told
from crm.interest import DROPPED


class PriceDrop(Told):
    """Starts whoever cares for a product that has become cheaper; crm.restock says who does."""

    kind, label, icon, position = "price_drop", gettext_lazy("Price drop"), "sell", 70
    help = gettext_lazy("Start when a product that somebody asked for, saved or viewed becomes cheaper.")
    where_event = DROPPED

    def summary(self, config):
        return _("When a product that somebody cares for becomes cheaper")
