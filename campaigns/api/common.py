"""What the views of segments share: who asks, for which segment, by which rule, about whom."""

from typing import Any

import msgspec
from django.utils.translation import gettext as _
from rest_framework.request import Request

from campaigns.models import Segment
from campaigns.segments import compiler, grammar, list_names, sentence, telling
from campaigns.segments.grammar import Rule
from campaigns.segments.limits import TooSlow
from crm import limits, masking
from crm.api.auth import READ_MASKED
from crm.api.errors import ApiError
from crm.api.profile_json import hides
from crm.api.views import ApiView
from crm.models import Profile
from crm.rules.errors import Problem, RuleError, join


class SegmentApi(ApiView):
    """An ApiView in which people come in outline to keys that may not read them whole.

    `masking.hidden` says so until the middleware that began the request forgets it.
    """

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Now it is known whose key it is. One that may only write is told nothing, so nothing need be hidden."""
        super().initial(request, *args, **kwargs)
        if request.auth is not None and READ_MASKED in request.auth.scopes and hides(request):
            masking.hide()

    def handle_exception(self, exc: Exception) -> Any:
        """Rules with mistakes and slow ones are answered alike everywhere."""
        if isinstance(exc, RuleError):
            exc = wrong(exc)
        elif isinstance(exc, TooSlow):
            exc = ApiError(503, "too_slow", _("This takes too long to work out. Narrow the time windows."))
        return super().handle_exception(exc)


def segment(slug: str, **more: Any) -> Segment:
    """The segment of this name.

    Raises:
        ApiError: 404.
    """
    found = Segment.objects.filter(slug=slug, **more).first()
    if found is None:
        raise ApiError(404, "not_found", _("There is no such segment."))
    return found


def author(request: Request) -> str:
    """Who changes something, as versions name them."""
    return f"key:{request.auth.name}"


def limited(request: Request) -> None:
    """Take one question from what the key may ask in a while.

    Raises:
        TooMany: 429.
    """
    limits.check("segment questions", request.auth, limits.address(request), servers=True)


def parsed_rule(data: Any, own: str | None = None) -> Rule:
    """A rule that whoever asks may ask.

    Raises:
        RuleError: with every mistake.
        ApiError: 403, it compares with contact data, which the key may not see.
    """
    rule = grammar.parse(data)
    compiler.references(rule, own=own)
    refuse_to_tell(data)
    return rule


def refuse_to_tell(data: Any, field: str = "rule") -> None:
    """Who may see no contact data may not find it out by asking either.

    Args:
        data: a rule's JSON.
        field: where the body names it; "" if the address does.

    Raises:
        ApiError: 403.
    """
    if telling.tells(data):
        detail = _("This API key sees no contact data, and can't ask for it.")
        raise ApiError(403, "scope_missing", detail, **({"field": field} if field else {}))


def wrong(error: RuleError) -> ApiError:
    """400, with every mistake at its node below `rule`."""
    problems = [Problem(join("rule", path), str(text)) for path, text in error.problems]
    return ApiError(
        400,
        "invalid_rule",
        problems[0].message,
        field=problems[0].path,
        problems=[{"field": path, "detail": text} for path, text in problems],
    )


def shown_rule(kind: str, data: Any, words: bool = True) -> dict[str, Any]:
    """`rule` and `sentence` of an answer; null where there is none, or none that the key may see.

    Args:
        words: with the sentence, for which a rule may look up what it names.
    """
    hidden = kind == Segment.Kind.LIST or (masking.hidden() and masking.asks(data))
    if not words:
        return {"rule": None if hidden else data}
    if hidden:
        return {"rule": None, "sentence": None}
    try:
        return {"rule": data, "sentence": sentence.describe(grammar.parse(data))}
    except RuleError:
        return {"rule": data, "sentence": None}  # written by an older version


def person_json(profile: Profile) -> dict[str, Any]:
    """A person as samples and members give them."""
    return {
        "id": profile.pk,
        "external_id": profile.external_id,
        "name": profile.display_name,
        "email": profile.email,
        "country": profile.country,
    }


class Whom(msgspec.Struct, forbid_unknown_fields=True):
    """How a request about a segment names a person."""

    id: int | None = None
    external_id: str | int | None = None
    email: str | None = None
    phone: str | None = None
    anonymous_id: str | None = None

    def names(self) -> dict[str, Any]:
        """What is given."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


def whose(whom: Whom) -> int:
    """The number of the profile that is meant. Nobody is created or merged.

    Raises:
        ApiError: 400, these can't be names; 403, the key may not see names such as these; 404.
    """
    names = whom.names()
    if masking.hidden() and (hidden := [name for name in names if name != "id"]):
        detail = _("This API key sees no contact data, and can't look people up by it.")
        raise ApiError(403, "scope_missing", detail, field=f"profile.{hidden[0]}")
    [found] = list_names.find([names])
    if found.profile_id is None:
        if found.code == "unknown_profile":
            raise ApiError(404, "not_found", _("There is no such profile."))
        field = f"profile.{found.field}" if found.field else "profile"
        raise ApiError(400, found.code, found.detail, field=field)
    return found.profile_id
