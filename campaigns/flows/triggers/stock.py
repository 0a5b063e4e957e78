"""Back in stock: a product that somebody asked for, saved or viewed can be had again."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.flows.triggers.told import Told
from crm.interest import BACK


class BackInStock(Told):
    """Starts whoever cares for a product that is there again; crm.restock says who does."""

    kind, label, icon, position = "back_in_stock", gettext_lazy("Back in stock"), "inventory_2", 60
    help = gettext_lazy("Start when a product that somebody asked for, saved or viewed can be had again.")
    where_event = BACK

    def summary(self, config):
        return _("When a product that somebody cares for is back in stock")
