"""The roles that come with the product, as groups of Django's.

They are made after every `migrate`, when the permissions exist. Each permission is given to a role once, so that an
administrator's changes stay, and those of later versions come by themselves. Whoever logs into the admin needs the
staff status besides.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from django.contrib.auth.models import Group, Permission, User
from django.db import transaction

from crm.masking import PERMISSION as CONTACTS

# Patterns of "<app>.<permission>"; one that begins with "-" takes away what those before it gave.
ADMINISTRATOR = (
    *("crm.*", "delivery.*", "campaigns.*", "analytics.*"),
    *("auth.*_user", "auth.*_group", "auth.view_permission", "django_celery_beat.*", "admin.view_logentry"),
    # History is written by the product alone.
    *("-crm.add_auditentry", "-crm.change_auditentry", "-crm.delete_auditentry"),
)
_READABLE = (
    *("crm.view_*", "delivery.view_*", "campaigns.view_*", "analytics.view_*"),
    # Who looked at what, keys and secrets, and what holds hardly anything but contact data.
    *("-crm.view_auditentry", "-crm.view_apikey", "-crm.view_accesstoken", "-delivery.view_vapidkey"),
    *("-crm.view_suppression", "-crm.view_listimport", "-crm.view_syncreject", "-crm.view_upload*"),
    *("-crm.view_eventfilereject", "-crm.view_idempotentanswer", "-crm.view_erasedname", "-crm.view_role"),
    *("-crm.view_contact_data", "-campaigns.view_webhookkey"),
    *("-delivery.view_eventstream", "-delivery.view_streamcall"),
)
MARKETER = (
    *_READABLE,
    *(CONTACTS, "crm.view_suppression", "crm.view_listimport", "crm.add_listimport"),
    *("crm.add_profile", "crm.change_profile", "crm.merge_profile", "crm.change_identityconflict"),
    *("crm.*_product", "crm.*_place", "crm.*_topic", "crm.*_computedattribute", "crm.import_event"),
    *("crm.*_consent", "crm.*_suppression", "crm.change_alert", "crm.change_cataloguesettings"),
    *("delivery.*_message", "delivery.*_messagecontent", "delivery.change_preferencepage"),
    *(
        "delivery.*_messagevariant",
        "delivery.*_snippet",
        "delivery.*_snippettext",
        "delivery.change_brandkit",
    ),
    *("delivery.*_couponpool", "delivery.*_emailimage"),
    *("delivery.*_keywords", "delivery.change_whatsapptemplate"),
    *("delivery.*_sendingrules", "delivery.stop_sending", "delivery.change_sandboxitem"),
    *("campaigns.*_segment", "campaigns.*_flow", "campaigns.*_broadcast", "campaigns.*_experiment"),
    *("analytics.*_goal", "analytics.*_exchangerate"),
    *("analytics.*_savedreport", "analytics.*_report", "analytics.mail_report_outside"),
    # Taking a whole list away is an administrator's business.
    *("-crm.export_profile", "-crm.export_suppression"),
)
# Everything to be read but contact data, which `crm.masking` outlines.
ANALYST = (
    *(*_READABLE, "crm.export_product"),
    # Reports name nobody; an analyst has them mailed to themselves only.
    *("analytics.*_savedreport", "analytics.export_report"),
)
# What connects systems; people are seen in outline, as by an analyst.
DEVELOPER = (
    *("crm.view_*apikey", "crm.add_apikey", "crm.change_apikey", "crm.import_event"),
    *("crm.view_profile", "crm.view_identifier", "crm.view_event", "crm.view_device", "crm.view_alert"),
    *("crm.view_connection", "crm.view_syncrun", "crm.view_product", "crm.view_place", "crm.view_topic"),
    *("crm.view_computedattribute", "crm.view_eventfile", "delivery.view_delivery", "delivery.view_message"),
    *("campaigns.view_webhookcall", "campaigns.view_crmwrite", "campaigns.change_webhookkey"),
    *("delivery.*_eventstream", "delivery.view_streamcall"),
)
ROLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "administrator": ("Administrator", ADMINISTRATOR),
    "marketer": ("Marketer", MARKETER),
    "analyst": ("Analyst", ANALYST),
    "developer": ("Developer", DEVELOPER),
}


def wanted(patterns: Iterable[str], names: Iterable[str]) -> set[str]:
    """Those of the permissions' names that the patterns give, in their order."""
    every = list(names)
    given: set[str] = set()
    for pattern in patterns:
        taken = {name for name in every if fnmatchcase(name, pattern.removeprefix("-"))}
        given = given - taken if pattern.startswith("-") else given | taken
    return given


@transaction.atomic
def ensure() -> None:
    """Make the roles, and give them what they were never given; safe to call at any time."""
    from crm.models import Role

    held = Permission.objects.values_list("content_type__app_label", "codename", "pk")
    numbers = {f"{app}.{codename}": pk for app, codename, pk in held}
    if CONTACTS not in numbers:
        return  # the permissions are not there yet
    through = Group.permissions.through
    known = {role.slug: role for role in Role.objects.select_for_update()}
    if not known:
        _keep_what_was_seen(numbers[CONTACTS], numbers["crm.view_profile"])
    for slug, (name, patterns) in ROLES.items():
        role = known.get(slug)
        if role is None:
            # A group of this name that somebody made before is theirs; ours gets another.
            taken = Group.objects.filter(name=name).exists()
            group = Group.objects.create(name=f"{name} (Nudge)" if taken else name)
            role = Role.objects.create(slug=slug, group=group)
        fresh = wanted(patterns, numbers) - set(role.offered)
        if fresh:
            if role.group_id:
                through.objects.bulk_create(
                    [
                        through(group_id=role.group_id, permission_id=numbers[permission])
                        for permission in fresh
                    ],
                    ignore_conflicts=True,
                )
            role.offered = sorted({*role.offered, *fresh})
            role.save(update_fields=["offered"])


def _keep_what_was_seen(contacts: int, profiles: int) -> None:
    """Who could look at people before there was anything to hide goes on seeing their contact data."""
    through = Group.permissions.through
    through.objects.bulk_create(
        [
            through(group_id=pk, permission_id=contacts)
            for pk in Group.objects.filter(permissions=profiles).values_list("pk", flat=True)
        ],
        ignore_conflicts=True,
    )
    owned = User.user_permissions.through
    owned.objects.bulk_create(
        [
            owned(user_id=pk, permission_id=contacts)
            for pk in User.objects.filter(user_permissions=profiles).values_list("pk", flat=True)
        ],
        ignore_conflicts=True,
    )
