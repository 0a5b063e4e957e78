"""What the admin's sidebar offers; each entry shows to those who may see its page."""

from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _


def seen_by(user):
    """The reports that a user may see; the settings are read before there are any."""
    from analytics.reporting import registry

    return registry.seen_by(user)


def _item(title, icon, url_name, permission=None):
    item = {"title": title, "icon": icon, "link": reverse_lazy(url_name)}
    if permission:
        item["permission"] = lambda request: request.user.has_perm(permission)
    return item


def _model(title, icon, label):
    app, model = label.split(".")
    return _item(title, icon, f"admin:{app}_{model}_changelist", f"{app}.view_{model}")


def _report(title, icon, slug, permission):
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy("admin:report", args=[slug]),
        "permission": lambda request: request.user.has_perm(permission),
    }


def _reports():
    """The list of reports, for those who may see one of them; it stands for all that have no entry of their own."""
    link = reverse_lazy("admin:reports")
    own = [reverse_lazy("admin:report", args=[slug]) for slug in ("messages", "flows", "broadcasts")]
    return {
        "title": _("All reports"),
        "icon": "monitoring",
        "link": link,
        "active": lambda request: request.path.startswith(str(link)) and request.path not in own,
        "permission": lambda request: bool(seen_by(request.user)),
    }


SIDEBAR = {
    "show_search": False,
    "command_search": False,
    "navigation": [
        {"items": [_item(_("Home"), "dashboard", "admin:index")]},
        {
            "title": _("Audience"),
            "separator": True,
            "items": [
                _model(_("Profiles"), "group", "crm.profile"),
                _model(_("Possible duplicates"), "join_inner", "crm.identityconflict"),
                _model(_("Consents"), "how_to_reg", "crm.consent"),
                _model(_("Segments"), "filter_alt", "campaigns.segment"),
                _model(_("Computed attributes"), "calculate", "crm.computedattribute"),
                _model(_("Events"), "bolt", "crm.event"),
                _model(_("Products"), "sell", "crm.product"),
                _model(_("Places"), "location_on", "crm.place"),
            ],
        },
        {
            "title": _("Campaigns"),
            "separator": True,
            "items": [
                _model(_("Flows"), "account_tree", "campaigns.flow"),
                _model(_("Broadcasts"), "campaign", "campaigns.broadcast"),
                _model(_("Webhook calls"), "webhook", "campaigns.webhookcall"),
                _model(_("Writes into CRMs"), "sync_alt", "campaigns.crmwrite"),
            ],
        },
        {
            "title": _("Messages"),
            "separator": True,
            "items": [
                _model(_("Templates"), "edit_notifications", "delivery.message"),
                _model(_("Pictures"), "image", "delivery.emailimage"),
                _model(_("Deliveries"), "outbox", "delivery.delivery"),
                _model(_("Sandbox"), "science", "delivery.sandboxitem"),
                _model(_("Received"), "move_to_inbox", "delivery.inboundmessage"),
                _model(_("WhatsApp templates"), "fact_check", "delivery.whatsapptemplate"),
                _model(_("Keywords"), "key_vertical", "delivery.keywords"),
                _model(_("Snippets"), "short_text", "delivery.snippet"),
                _model(_("Brand"), "palette", "delivery.brandkit"),
                _model(_("Coupons"), "redeem", "delivery.couponpool"),
            ],
        },
        {
            "title": _("Reports"),
            "separator": True,
            "items": [
                _reports(),
                _report(_("Message reports"), "mail", "messages", "delivery.view_message"),
                _report(_("Flow reports"), "filter_list", "flows", "campaigns.view_flow"),
                _report(_("Broadcast reports"), "campaign", "broadcasts", "campaigns.view_broadcast"),
                _model(_("Saved reports"), "bookmark", "analytics.savedreport"),
                _model(_("Experiments"), "labs", "campaigns.experiment"),
                _model(_("Goals"), "flag", "analytics.goal"),
            ],
        },
        {
            "title": _("Connections"),
            "separator": True,
            "items": [
                _model(_("Sending accounts"), "outgoing_mail", "delivery.account"),
                _model(_("Event streams"), "webhook", "delivery.eventstream"),
                _model(_("CRM connections"), "sync_alt", "crm.connection"),
                _model(_("Sync runs"), "history", "crm.syncrun"),
                _model(_("Rejected records"), "report", "crm.syncreject"),
            ],
        },
        {
            "title": _("Settings"),
            "separator": True,
            "collapsible": True,
            "items": [
                _model(_("API keys"), "key", "crm.apikey"),
                _model(_("Identity rules"), "fingerprint", "crm.identityrules"),
                _model(_("Catalogue settings"), "price_change", "crm.cataloguesettings"),
                _model(_("Indexed attributes"), "speed", "crm.indexedattribute"),
                _model(_("Flow settings"), "rule_settings", "campaigns.flowsettings"),
                _model(_("Sending rules"), "front_hand", "delivery.sendingrules"),
                _model(_("Links"), "link", "delivery.linksettings"),
                _model(_("Exchange rates"), "currency_exchange", "analytics.exchangerate"),
                _model(_("Topics"), "label", "crm.topic"),
                _model(_("Channels' terms"), "handshake", "crm.channelterms"),
                _model(_("Suppressed addresses"), "block", "crm.suppression"),
                _model(_("Preference page"), "tune", "delivery.preferencepage"),
                _model(_("Alerts"), "warning", "crm.alert"),
                _model(_("Audit log"), "policy", "crm.auditentry"),
                _model(_("Event retention"), "auto_delete", "crm.eventretention"),
                _model(_("Removed events"), "folder_delete", "crm.removal"),
                _model(_("Erasures in CRMs"), "person_remove", "crm.crmerasure"),
                _model(_("Users"), "person", "auth.user"),
                _model(_("Roles"), "shield_person", "auth.group"),
                _model(_("Scheduled tasks"), "schedule", "django_celery_beat.periodictask"),
            ],
        },
    ],
}
