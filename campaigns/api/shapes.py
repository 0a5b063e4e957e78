"""The shapes of requests and answers about segments, for the OpenAPI document."""

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from campaigns.models import ListJob, MemberExport, Segment
from crm.api import schemas

MAX_NAME, MAX_DESCRIPTION = 200, 2000  # characters

_RULE = _(
    'A rule: {"all": [rule, …]}, {"any": [rule, …]}, {"not": rule}, or a condition with its `kind`, such as '
    '{"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}; docs/segments.md tells all of them.'
)
_NEXT = _("Send it as `cursor`; null on the last page.")


class SegmentChange(serializers.Serializer):
    """What is left out stays as it is."""

    name = serializers.CharField(required=False, max_length=MAX_NAME)
    description = serializers.CharField(required=False, allow_blank=True, max_length=MAX_DESCRIPTION)
    rule = serializers.DictField(required=False, help_text=_RULE)
    version = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        help_text=_("The version that you know: if the rule was changed since, nothing is done (409)."),
    )


class SegmentWhole(SegmentChange):
    name = serializers.CharField(max_length=MAX_NAME)
    kind = serializers.ChoiceField(
        choices=Segment.Kind.choices,
        required=False,
        help_text=_("`rule`, unless told. A `list` has no rule: its members are put in one by one."),
    )


class NewSegment(SegmentWhole):
    version = None  # type: ignore[assignment]
    slug = serializers.RegexField(r"^[-a-zA-Z0-9_]{1,50}$")


class SegmentUse(serializers.Serializer):
    text = serializers.CharField(help_text=_("Such as: the flow “Welcome”"))
    url = serializers.CharField(help_text=_("Its page in the admin."))


class SegmentOutput(serializers.Serializer):
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    kind = serializers.ChoiceField(choices=Segment.Kind.choices)
    rule = serializers.DictField(
        allow_null=True,
        help_text=_(
            "Null for lists; also for keys that see no contact data where the rule compares with some."
        ),
    )
    sentence = serializers.CharField(
        required=False,
        allow_null=True,
        help_text=_("The rule in words; null where it is, and left out in the list."),
    )
    version = serializers.IntegerField(help_text=_("How many rules it has had."))
    state = serializers.ChoiceField(choices=Segment.State.choices)
    error = serializers.CharField(allow_blank=True, help_text=_("Why it failed."))
    size = serializers.IntegerField()
    evaluated_at = serializers.DateTimeField(
        allow_null=True, help_text=_("When everybody was last looked at.")
    )
    evaluation_ms = serializers.IntegerField(allow_null=True)
    counting_since = serializers.DateTimeField(
        allow_null=True, help_text=_("Everybody is being looked at since then.")
    )
    exact_as_of = serializers.DateTimeField(
        allow_null=True, help_text=_("Up to then, whom the passing of time moves in or out was moved.")
    )
    rule_changed_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    uses = SegmentUse(many=True, help_text=_("What needs it, and keeps it from being deleted."))


class SegmentChanged(serializers.Serializer):
    slug = serializers.CharField()
    state = serializers.ChoiceField(choices=["created", "updated", "unchanged"])
    version = serializers.IntegerField()
    segment = SegmentOutput(required=False, help_text=_("As it is now; for keys that may read."))


class Asked(serializers.Serializer):
    slug = serializers.CharField()
    state = serializers.ChoiceField(choices=Segment.State.choices)


class SegmentPage(serializers.Serializer):
    segments = SegmentOutput(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text=_NEXT)


class RuleProblem(serializers.Serializer):
    field = serializers.CharField(help_text=_("The node, such as rule.all[1].where[0].value."))
    detail = serializers.CharField()


class RuleErrorDetail(schemas.ErrorDetail):
    problems = RuleProblem(
        many=True, required=False, help_text=_("All mistakes of a rule; the first is above.")
    )


class RuleError(serializers.Serializer):
    """What is wrong; with a rule, every mistake at its node."""

    error = RuleErrorDetail()


class InUseDetail(schemas.ErrorDetail):
    uses = SegmentUse(many=True, required=False)


class InUse(serializers.Serializer):
    """What keeps the segment from being deleted."""

    error = InUseDetail()


class Person(serializers.Serializer):
    id = serializers.IntegerField(help_text=_("Our number of the profile."))
    external_id = serializers.CharField(allow_null=True)
    name = serializers.CharField()
    email = serializers.CharField(allow_null=True)
    country = serializers.CharField(allow_null=True)


class PreviewInput(serializers.Serializer):
    rule = serializers.DictField(help_text=_RULE)
    counts = serializers.BooleanField(
        required=False, help_text=_("Whether each part of the rule shall be counted by itself.")
    )


class Step(serializers.Serializer):
    path = serializers.CharField(help_text=_("The node, such as rule.all[0]."))
    kept = serializers.IntegerField(help_text=_("How many are left after this node and all before it."))


class Reason(serializers.Serializer):
    field = serializers.CharField(help_text=_("The node, such as rule.all[0]."))
    detail = serializers.CharField()
    advice = serializers.CharField(allow_blank=True)


class Plan(serializers.Serializer):
    """What keeping such a segment will cost, as the database expects it."""

    slow = serializers.BooleanField(help_text=_("It would be counted less often."))
    text = serializers.CharField(allow_blank=True)
    reasons = Reason(many=True, help_text=_("What takes long, and what to do about it."))


class Preview(serializers.Serializer):
    size = serializers.IntegerField(help_text=_("How many people the rule holds for."))
    estimated = serializers.BooleanField(help_text=_("Counting one by one would have taken too long."))
    low = serializers.IntegerField(
        help_text=_("An estimated size lies from here to `high` with a likelihood of 95 %.")
    )
    high = serializers.IntegerField()
    total = serializers.IntegerField(help_text=_("How many profiles there are."))
    sample = Person(many=True, help_text=_("Ten of them at most."))
    sentence = serializers.CharField(help_text=_("The rule in words, in the language of Accept-Language."))
    counts = serializers.DictField(
        child=serializers.IntegerField(),
        help_text=_("By node, such as rule.all[0]: how many people it holds for by itself, if asked for."),
    )
    funnel = Step(
        many=True, help_text=_("The parts of an outermost `all`, one after the other, if asked for.")
    )
    as_of = serializers.DateTimeField(
        help_text=_("When they were counted: what took long is answered again for some seconds.")
    )
    plan = Plan()


class OverlapInput(serializers.Serializer):
    segments = serializers.ListField(
        child=serializers.CharField(), min_length=2, max_length=4, help_text=_("Their short names.")
    )


class OverlapSegment(serializers.Serializer):
    slug = serializers.CharField()
    size = serializers.IntegerField()


class OverlapCell(serializers.Serializer):
    inside = serializers.ListField(child=serializers.CharField(), help_text=_("In all of these …"))
    outside = serializers.ListField(child=serializers.CharField(), help_text=_("… and in none of these."))
    people = serializers.IntegerField()
    share = serializers.FloatField(help_text=_("Of all people in any of them, 0 to 1."))


class OverlapPair(serializers.Serializer):
    first = serializers.CharField()
    second = serializers.CharField()
    both = serializers.IntegerField()
    jaccard = serializers.FloatField(help_text=_("Who is in both, of those in either: 0 to 1."))
    of_first = serializers.FloatField(help_text=_("Who is in both, of those in the first."))
    of_second = serializers.FloatField()


class Overlap(serializers.Serializer):
    people = serializers.IntegerField(help_text=_("In any of them."))
    segments = OverlapSegment(many=True)
    cells = OverlapCell(many=True, help_text=_("The largest first, without empty ones."))
    pairs = OverlapPair(many=True)


class Whom(serializers.Serializer):
    """Names of one person, of which the surest counts."""

    id = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=2**63 - 1)
    external_id = schemas.NumberOrText(required=False, allow_null=True)
    email = serializers.EmailField(required=False, allow_null=True)
    phone = serializers.CharField(
        required=False, allow_null=True, help_text=_("E.164, such as +48601234567.")
    )
    anonymous_id = serializers.CharField(required=False, allow_null=True)


class ExplainInput(serializers.Serializer):
    profile = Whom()


class Explained(serializers.Serializer):
    """One node of the rule, for this person."""

    path = serializers.CharField(allow_blank=True, help_text=_("The node, such as rule.all[0]."))
    text = serializers.CharField(help_text=_("What it asks, in words."))
    holds = serializers.BooleanField()
    fact = serializers.CharField(allow_blank=True, help_text=_("What decided."))
    children = serializers.ListField(
        child=serializers.DictField(), help_text=_("The nodes below, of the same shape.")
    )


class Explanation(serializers.Serializer):
    profile = serializers.IntegerField(help_text=_("Our number of the profile."))
    holds = serializers.BooleanField(help_text=_("Whether the person answers the rule at this moment."))
    member = serializers.BooleanField(help_text=_("Whether they are kept as a member, as flows see it."))
    entered_at = serializers.DateTimeField(allow_null=True, help_text=_("Member since."))
    explanation = Explained()


class Member(Person):
    entered_at = serializers.DateTimeField()
    profile = schemas.ProfileOutput(required=False, help_text=_("All of the profile, with expand=profile."))


class MemberPage(serializers.Serializer):
    members = Member(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text=_NEXT)


class People(serializers.Serializer):
    profiles = serializers.ListField(child=Whom(), min_length=1, max_length=schemas.MAX_ROWS)


class ManyPeople(serializers.Serializer):
    profiles = serializers.ListField(child=Whom(), min_length=1, max_length=100_000)


class Added(serializers.Serializer):
    added = serializers.IntegerField()
    known = serializers.IntegerField(help_text=_("On the list before."))
    rejected = schemas.RejectedRow(many=True)


class Removed(serializers.Serializer):
    removed = serializers.IntegerField()
    unknown = serializers.IntegerField(help_text=_("Not on the list before."))
    rejected = schemas.RejectedRow(many=True)


class Filling(serializers.Serializer):
    """How far the work on a list is."""

    id = serializers.IntegerField()
    list = serializers.CharField(help_text=_("The list's short name."))
    mode = serializers.ChoiceField(choices=ListJob.Mode.choices)
    state = serializers.ChoiceField(choices=ListJob.State.choices)
    rows = serializers.IntegerField()
    added = serializers.IntegerField()
    removed = serializers.IntegerField()
    known = serializers.IntegerField(help_text=_("Needed no change."))
    rejected = serializers.IntegerField(
        help_text=_("Nobody is known by them; the admin shows which and why.")
    )
    error = serializers.CharField(allow_blank=True, help_text=_("Why it failed."))
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class FillingPage(serializers.Serializer):
    fillings = Filling(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text=_NEXT)


class ExportInput(serializers.Serializer):
    columns = serializers.ListField(
        child=serializers.CharField(max_length=200),
        required=False,
        max_length=500,
        help_text=_(
            "Such as email, attributes.plan, computed.orders, consent.topic.news, id and since; the usual ones, "
            "unless told."
        ),
    )


class Export(serializers.Serializer):
    """How far the writing of a file is."""

    id = serializers.IntegerField()
    segment = serializers.CharField()
    columns = serializers.ListField(child=serializers.CharField())
    state = serializers.ChoiceField(choices=MemberExport.State.choices)
    rows = serializers.IntegerField(help_text=_("Written so far."))
    total = serializers.IntegerField(help_text=_("Members when it began."))
    progress = serializers.FloatField(min_value=0, max_value=1)
    error = serializers.CharField(allow_blank=True, help_text=_("Why it failed."))
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text=_("Kept until then."))


class SnapshotInput(serializers.Serializer):
    slug = serializers.RegexField(r"^[-a-zA-Z0-9_]{1,50}$", required=False)
    name = serializers.CharField(max_length=MAX_NAME)


class ProfileSegment(serializers.Serializer):
    slug = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Segment.Kind.choices)
    entered_at = serializers.DateTimeField()


class ProfileSegments(serializers.Serializer):
    segments = ProfileSegment(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text=_NEXT)


class Version(serializers.Serializer):
    number = serializers.IntegerField()
    name = serializers.CharField()
    rule = serializers.DictField(allow_null=True, help_text=_("Null as in the segment itself."))
    sentence = serializers.CharField(allow_null=True)
    by = serializers.CharField(allow_blank=True, help_text=_("A user's name, or key: and a key's name."))
    at = serializers.DateTimeField()


class VersionPage(serializers.Serializer):
    versions = Version(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text=_NEXT)


class Size(serializers.Serializer):
    hour = serializers.DateTimeField(help_text=_("When it began."))
    size = serializers.IntegerField(help_text=_("At its end, or now."))
    entered = serializers.IntegerField(help_text=_("Who came in within it."))
    departed = serializers.IntegerField(help_text=_("Who dropped out within it."))


class SizePage(serializers.Serializer):
    sizes = Size(many=True)
    next_cursor = serializers.CharField(allow_null=True, help_text=_NEXT)
