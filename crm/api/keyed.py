"""Lists of things that callers name themselves, such as products by their number: what their views share."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec
from django.db.models import Model
from django.http import HttpResponse
from django.utils.translation import gettext as _
from rest_framework.request import Request

from crm.api import filters, paging, schemas
from crm.api.auth import READ, WRITE
from crm.api.errors import ApiError, rejected
from crm.api.views import ApiView, decoded, encoded
from crm.ingest import Rejected
from crm.normalise import Rejection

SOURCE = "api"


class Kind(msgspec.Struct, frozen=True):
    """One kind of things.

    Args:
        one, many: what one and several are called in answers, such as "product" and "products".
        key: the field that names one.
        patch: makes what `upsert` takes of a JSON object, or raises Rejection; its second argument tells whether
            fields that are left out become empty.
        upsert: stores them and returns an outcome each, which has a `state` and may have a `rejection`.
        shape: makes the JSON object of one.
    """

    model: type[Model]
    one: str
    many: str
    key: str
    patch: Callable[[dict[str, Any], bool], Any]
    upsert: Callable[[Sequence[Any], str], Sequence[Any]]
    shape: Callable[[Any], dict[str, Any]]
    filters: type[filters.Filters]


class KeyedView(ApiView):
    """What the views below share."""

    kind: ClassVar[Kind]

    def one(self, key: str) -> Model:
        """The thing of this name.

        Raises:
            ApiError: 404.
        """
        found = None
        if "\x00" not in key:
            found = self.kind.model._default_manager.filter(**{self.kind.key: key}).first()
        if found is None:
            raise ApiError(404, "not_found", _("There is no %s of this name.") % self.kind.one)
        return found

    def stored(self, request: Request, data: dict[str, Any], whole: bool = False) -> HttpResponse:
        """Create or change one: 201 or 200, with the thing itself for keys that may read.

        Raises:
            ApiError: 400, naming the field.
        """
        try:
            patch = self.kind.patch(data, whole)
        except Rejection as rejection:
            raise rejected(rejection) from rejection
        [outcome] = self.kind.upsert([patch], SOURCE)
        if rejection := getattr(outcome, "rejection", None):
            raise rejected(rejection)
        key = getattr(outcome, self.kind.key)
        answer: dict[str, Any] = {self.kind.key: key, "state": outcome.state}
        if READ in request.auth.scopes:
            answer[self.kind.one] = self.kind.shape(self.one(key))
        return encoded(answer, 201 if outcome.state == "created" else 200)


class ListView(KeyedView):
    """The list, and creating or changing one."""

    scopes = {"GET": {READ}, "POST": {WRITE}}

    def listed(self, request: Request) -> HttpResponse:
        """One page, by number, or by the time of the last change if that is asked for."""
        query = self.kind.model._default_manager.all()
        query = filters.filtered(request, query, self.kind.filters)
        order = ("updated_at", "id") if request.GET.get("updated_since", "").strip() else ("id",)
        return encoded(paging.page(request, query, self.kind.many, self.kind.shape, order))


class BulkView(KeyedView):
    """Many at once, each judged alone."""

    scopes = {"POST": {WRITE}}

    def taken(self, request: Request) -> HttpResponse:
        """Store the good ones and list the others."""
        many = self.kind.many
        raws = self.parsed(request, dict[str, list[msgspec.Raw]]).get(many, [])
        if not 1 <= len(raws) <= schemas.MAX_ROWS:
            detail = _("Send 1 to %(most)d %(many)s at a time.") % {"most": schemas.MAX_ROWS, "many": many}
            raise ApiError(400, "invalid_batch", detail, field=many)
        good: list[tuple[int, Any]] = []
        refused: list[Rejected] = []
        for index, raw in enumerate(raws):
            try:
                good.append((index, self.kind.patch(decoded(bytes(raw), dict[str, Any]), False)))
            except Rejection as rejection:
                refused.append(Rejected(index, rejection.code, rejection.detail, rejection.field))
            except ApiError as error:
                refused.append(
                    Rejected(index, error.detail.code, str(error.detail), error.more.get("field", ""))
                )
        counts = {"created": 0, "updated": 0, "unchanged": 0}
        outcomes = self.kind.upsert([patch for _index, patch in good], SOURCE)
        for (index, _patch), outcome in zip(good, outcomes, strict=True):
            if rejection := getattr(outcome, "rejection", None):
                refused.append(Rejected(index, rejection.code, rejection.detail, rejection.field))
            else:
                counts[outcome.state] += 1
        return encoded({**counts, "rejected": sorted(refused, key=lambda row: row.index)})


class OneView(KeyedView):
    """One thing."""

    scopes = {"GET": {READ}, "PUT": {WRITE}, "PATCH": {WRITE}, "DELETE": {WRITE}}

    def given(self, request: Request, key: str) -> dict[str, Any]:
        """The body, with the name that the address says.

        Raises:
            ApiError: 400.
        """
        sent = self.parsed(request, dict[str, Any])
        if sent.get(self.kind.key, key) != key:
            detail = _("The address names another one.")
            raise ApiError(400, "invalid_value", detail, field=self.kind.key)
        return {**sent, self.kind.key: key}

    def changed(self, request: Request, key: str) -> HttpResponse:
        """Change the fields that are given of one that exists.

        Raises:
            ApiError: 400, or 404.
        """
        data = self.given(request, key)
        self.one(key)
        return self.stored(request, data)
