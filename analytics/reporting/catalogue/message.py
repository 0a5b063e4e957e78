"""One message: what became of its audience, and what people did."""

from hashlib import sha256

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reporting import audience, curves, origins, parts
from analytics.reporting.columns import USUAL, columns
from analytics.reporting.query import ALL_FILTERS, GOALS, Query
from analytics.reporting.shapes import Choice, Column, Kind, Report, Row, Sheet, Table
from analytics.reports import links
from campaigns.models import Experiment
from crm import masking
from delivery.models import MessageVariant

CARDS = (
    *("sent", "delivered", "opened", "clicked", "people_converted", "converted", "revenue"),
    *("revenue_per_message", "unsubscribed", "complained", "bounced", "lost", "dismissed", "read"),
    *("machine_opened", "machine_clicked"),
)
KEYS = (*USUAL, "revenue_per_message")
LINKS = Choice(
    name="links",
    label=gettext_lazy("Links"),
    options=(
        ("latest", gettext_lazy("of the latest messages")),
        ("all", gettext_lazy("of all messages, which may take a while")),
    ),
)
TRAITS = ("channel", "locale", "device", "country", "provider")


def build(query: Query) -> Sheet:
    """Cards, the audience, a curve, and tables by whatever messages can be told apart; a fixed number of queries."""
    both = parts.total(query)
    every = parts.every_row(both, query)
    told = audience.told(query)
    followed = asked_links(query)
    cards = columns(CARDS)
    notes = []
    if told is None:
        notes.append(
            _("What was not sent is not told apart by people and devices, so the audience is left out.")
        )
    return Sheet(
        cards=cards,
        figures=parts.carded(both, query, cards),
        charts=[curves.over_time(query)],
        tables=[
            *([audience.table(told, query)] if told else []),
            variants_table(query, query.filters.message),
            links_table(followed),
            *(parts.traits(name, query, every) for name in TRAITS),
            origins.table(query, every),
        ],
        notes=notes,
    )


def variants_table(query: Query, message: int | None) -> Table:
    """The variants of a message, with the experiment that runs about them."""
    names = dict(MessageVariant.objects.filter(message=message).values_list("key", "name"))
    tried = Experiment.objects.filter(
        message=message, subject=Experiment.Subject.MESSAGE, state=Experiment.State.RUNNING
    ).first()
    link = None
    if tried:
        link = reverse("admin:campaigns_experiment_result", args=[tried.pk]), "campaigns.view_experiment"
    return Table(
        slug="by_variant",
        title=_("By variant"),
        head=_("Variant"),
        columns=columns(KEYS),
        rows=[
            parts.row(
                variant,
                f"{variant.upper()}: {names[variant]}" if names.get(variant) else variant.upper(),
                both,
                query,
                KEYS,
                narrows={"variant": variant},
                link=link,
            )
            for (_message, variant), both in parts.found("variant", query).items()
        ],
        note=_("The experiment “%s” tells which one is better, and how certain that is.") % tried.name
        if tried
        else "",
        empty=_("Nothing was sent in this period."),
    )


def asked_links(query: Query) -> links.Followed:
    """The links of the latest messages, or of all, as LINKS asks."""
    most = links.ALL if query.choice(LINKS.name) == "all" else links.MOST
    return links.followed(query.period, query.filters, most)


def links_table(followed: links.Followed) -> Table:
    """The links that people followed, whatever the channel."""
    named = parts.namer("channel")
    told = links.DEFINITIONS
    words = _(
        "Addresses are told without what follows “?”, and as the site alone where they are others for each person."
    )
    return Table(
        slug="links",
        title=_("Links that were followed"),
        head=_("Link"),
        columns=[
            Column(key="channel", label=_("Channel"), definition=told["channel"], kind=Kind.TEXT),
            Column(key="place", label=_("Place"), definition=told["place"]),
            Column(key="people", label=_("People"), definition=told["people"], better="up"),
            Column(key="clicks", label=_("Clicks"), definition=told["clicks"], better="up"),
            Column(key="share", label=_("Share"), definition=told["share"], kind=Kind.SHARE),
        ],
        rows=[
            Row(
                key=f"{each.channel}:{each.place}:{_mark(each.address)}",
                label=(masking.text(each.address) if masking.hidden() else each.address)
                or _("(its address is not kept any more)"),
                values={
                    "channel": named(each.channel),
                    "place": each.place,
                    "people": each.people,
                    "clicks": each.clicks,
                    "share": followed.share(each),
                },
            )
            for each in followed.lines
        ],
        total=Row(
            key="",
            label=_("Any link"),
            values={
                "channel": "",
                "place": None,
                "people": followed.people,
                "clicks": followed.clicks,
                "share": 1.0 if followed.people else None,
            },
        ),
        note=" ".join([_partly(), words] if followed.partly else [words]),
        empty=_("No link that somebody followed is on record."),
    )


def _mark(address: str) -> str:
    """What tells an address from others without telling it to whoever may not read it."""
    return sha256(address.encode()).hexdigest()[:16]


def _partly() -> str:
    return _("Only the latest %d messages were looked at; all of them can be asked for above.") % links.MOST


REPORT = Report(
    slug="message",
    title=gettext_lazy("Message"),
    description=gettext_lazy("One message: its audience, what people did, its variants and links."),
    group="messages",
    permission="delivery.view_message",
    takes=ALL_FILTERS | GOALS | {"variant", "step"},
    subject="message",
    default="all",
    build=build,
    choices=(LINKS,),
    icon="mail",
)
