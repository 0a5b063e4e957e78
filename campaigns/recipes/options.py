"""What a recipe asks before it is used: events, properties, amounts, waits, a coupon, where its messages lead."""

from typing import Any, Literal, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from campaigns.recipes.shelf import Recipe
from campaigns.segments import roles
from crm.rules import seen

Kind = Literal["event", "property", "field", "number", "text", "link", "pool", "country", "time"]


class Option(NamedTuple):
    """One question.

    Args:
        usual: the answer that is proposed.
        role: for events and amounts, what they are in the shop (see segments.roles), by which they are found.
        least, most: of numbers.
    """

    kind: Kind
    label: Promise
    usual: Any
    help: Promise | str = ""
    role: str = ""
    least: int = 1
    most: int = 100_000


OPTIONS: dict[str, Option] = {
    "signup": Option("event", _("Event of a sign-up"), "signed_up"),
    "purchase": Option("event", _("Event of a purchase"), "purchase", role="purchase"),
    "cart": Option("event", _("Event of a changed cart"), "cart_updated", role="cart"),
    "view": Option("event", _("Event of a look at a product"), "product_viewed", role="view"),
    "visit": Option("event", _("Event of a visit"), "page_viewed", role="visit"),
    "wish": Option("event", _("Event of something wished for"), "wishlist_added"),
    "registration": Option("event", _("Event of a registration begun"), "registration_started"),
    "activity": Option("event", _("Event of a workout or another activity"), "workout_completed"),
    "joined": Option("event", _("Event of a challenge joined"), "challenge_joined"),
    "finished": Option("event", _("Event of a challenge completed"), "challenge_completed"),
    "booked": Option("event", _("Event of a booking"), "appointment_booked"),
    "cancelled": Option("event", _("Event of a cancellation"), "appointment_cancelled"),
    "invoice": Option("event", _("Event of a bill issued"), "invoice_issued"),
    "paid": Option("event", _("Event of a bill paid"), "invoice_paid"),
    "progress": Option("event", _("Event of something begun or gone on with"), "content_progress"),
    "completed": Option("event", _("Event of something completed"), "content_completed"),
    "run_key": Option("property", _("Property that tells runs apart"), "id"),
    "date": Option("property", _("Property with the date"), "starts_at"),
    "amount": Option("property", _("Property with the amount"), "total", role="amount"),
    "title": Option("property", _("Property with the title"), "title"),
    "category": Option("property", _("Property with the category"), "category"),
    "field": Option("field", _("Field with the date"), "attributes.start_date"),
    "minimum": Option("number", _("Smallest amount"), 20, _("Smaller carts are left alone."), least=0),
    "free_shipping": Option("number", _("Free shipping from"), 50),
    "percent": Option("number", _("Discount in percent"), 10, most=99),
    "minutes": Option("number", _("Minutes until the first message"), 30, most=10_080),
    "hours": Option("number", _("Hours to wait"), 24, most=720),
    "days": Option("number", _("Days to wait"), 3, most=365),
    "currency": Option("text", _("Currency sign"), "€", _("As it stands in your messages.")),
    "at": Option("time", _("Time of day"), "09:00", _("On the person's own clock.")),
    "country": Option("country", _("Country whose calendar counts"), "PL"),
    "pool": Option("pool", _("Coupon"), "", _("A pool with your codes, or a new one with the code below.")),
    "code": Option("text", _("Code of a new pool"), "THANKYOU", _("Your shop has to know it.")),
    "link": Option("link", _("The messages lead to"), "/", _("https://… or a path of your site.")),
    "cart_link": Option("link", _("Address of the cart"), "/cart", _("https://… or a path of your site.")),
}


def proposed(recipe: Recipe) -> dict[str, Any]:
    """Option -> the answer to begin with, by what this installation records."""
    found, names = roles.find()._asdict(), set(seen.event_names())
    answers = {}
    for name, own in recipe.options.items():
        option = OPTIONS[name]
        usual = option.usual if own is None else own
        if option.kind == "event" and usual in names:
            answers[name] = usual
        else:
            answers[name] = found.get(option.role) or usual
    return answers


def proposed_plainly(recipe: Recipe) -> dict[str, Any]:
    """Option -> the usual answer, without a look at the data."""
    return {name: OPTIONS[name].usual if own is None else own for name, own in recipe.options.items()}
