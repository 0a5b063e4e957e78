"""Lists in the admin: making them, filling them from files, and putting chosen people on them."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.admin.segments.jobs import JobsMixin
from campaigns.models import Segment
from campaigns.segments import list_files, list_work, lists, telling
from crm import audit, masking, tables, uploads
from crm.admin.exports import CHOSEN
from crm.models import Profile

TEMPLATES = "admin/campaigns/list"
AT_ONCE = 1_000  # people who are put on a list while the page waits
EMPTY, FILE, COPY = "empty", "file", "copy"
NEW = "new"  # in place of a list's number: one that is to be made


class ListsMixin(JobsMixin):
    """For SegmentAdmin."""

    def get_urls(self):
        """The pages that make and fill lists."""
        wrap = self.admin_site.admin_view
        return [
            path("lists/new/", wrap(self.new_list_view), name="campaigns_list_add"),
            path("lists/people/", wrap(self.list_people_view), name="campaigns_list_people"),
            path("lists/person/<int:profile>/", wrap(self.list_person_view), name="campaigns_list_person"),
            path("<int:pk>/upload/", wrap(self.list_upload_view), name="campaigns_list_upload"),
            path("<int:pk>/snapshot/", wrap(self.list_snapshot_view), name="campaigns_list_snapshot"),
            *super().get_urls(),
        ]

    # --- Making one ----------------------------------------------------------------------------------------------
    def new_list_view(self, request: HttpRequest) -> HttpResponse:
        """What it is called and where its people come from."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        posted = request.POST
        how = posted.get("how", FILE)
        problems: dict[str, str] = {}
        if request.method == "POST":
            source = Segment.objects.filter(slug=posted.get("source", "")).first()
            if how == COPY and source is None:
                problems["source"] = _("Choose the segment.")
            else:
                try:
                    return self._made(request, how, source)
                except lists.ListError as error:
                    problems[error.field] = str(error)
        return self._list_page(
            request,
            "new.html",
            _("New list"),
            posted=posted,
            how=how,
            problems=problems,
            may_upload=_may_upload(request),
            segments=Segment.objects.order_by("name").values_list("slug", "name", "size"),
        )

    def _made(self, request: HttpRequest, how: str, source: Segment | None) -> HttpResponse:
        name, slug = request.POST.get("name", ""), request.POST.get("slug", "").strip()
        by = request.user.get_username()
        if how == COPY and source is not None:
            _refuse_to_copy(source)
            segment, job = list_work.snapshot(source, name, slug, by)
            self.log_addition(request, segment, [{"added": {}}])
            return redirect("admin:campaigns_list_job", job.pk)
        segment = lists.create(name, slug, request.POST.get("description", "").strip(), by)
        self.log_addition(request, segment, [{"added": {}}])
        if how == FILE and _may_upload(request):
            return redirect("admin:campaigns_list_upload", segment.pk)
        return redirect("admin:campaigns_segment_members", segment.pk)

    def list_snapshot_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A list of who is in a segment now."""
        source = get_object_or_404(Segment, pk=pk)
        if not (self.has_view_permission(request, source) and self.has_add_permission(request)):
            raise PermissionDenied
        _refuse_to_copy(source)
        problem = ""
        name = request.POST.get("name") or _("%(segment)s, as of today") % {"segment": source.name}
        if request.method == "POST":
            try:
                segment, job = list_work.snapshot(source, name, by=request.user.get_username())
            except lists.ListError as error:
                problem = str(error)
            else:
                self.log_addition(request, segment, [{"added": {}}])
                return redirect("admin:campaigns_list_job", job.pk)
        return self._list_page(
            request, "snapshot.html", _("Save as a list"), segment=source, name=name, problem=problem
        )

    # --- A file --------------------------------------------------------------------------------------------------
    def list_upload_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Choose a file."""
        segment = self._list(request, pk)
        if not _may_upload(request):
            raise PermissionDenied
        problem = ""
        if request.method == "POST":
            sent = request.FILES.get("file")
            problem = _("Choose a file.")
            if sent is not None:
                try:
                    job = list_files.keep(segment, sent.name, sent.chunks(), request.user.get_username())
                except (uploads.UploadError, tables.TableError) as error:
                    problem = str(error)
                else:
                    audit.record(request, "list.uploaded", segment)
                    return redirect("admin:campaigns_list_job", job.pk)
        return self._list_page(
            request,
            "upload.html",
            _("Add people from a file"),
            segment=segment,
            problem=problem,
            limit=uploads.LIMIT,
            limit_mb=uploads.LIMIT // 1024**2,
            back=reverse("admin:campaigns_segment_members", args=[segment.pk]),
        )

    # --- People --------------------------------------------------------------------------------------------------
    def list_people_view(self, request: HttpRequest) -> HttpResponse:
        """Put the people who were chosen in the list of profiles, or all that it shows, on a list or take them off."""
        people = admin.site.get_model_admin(Profile)
        if not (people.has_view_permission(request) and self.has_change_permission(request)):
            raise PermissionDenied
        if masking.hidden() and CHOSEN not in request.GET:
            raise PermissionDenied  # what a filter finds would tell contact data
        query = request.GET.copy()
        try:
            rows, shown = people.wanted(request)
        except IncorrectLookupParameters:
            return redirect("admin:crm_profile_changelist")
        count = rows.count()
        problems: dict[str, str] = {}
        if request.method == "POST":
            try:
                segment = self._chosen_list(request)
            except lists.ListError as error:
                problems[error.field] = str(error)
            else:
                return self._put(request, segment, rows, count)
        return self._list_page(
            request,
            "people.html",
            _("Add to a list"),
            count=count,
            chosen=CHOSEN in shown,
            lists=_all_lists(),
            posted=request.POST,
            problems=problems,
            may_add=self.has_add_permission(request),
            url=f"?{query.urlencode()}",
            back=f"{reverse('admin:crm_profile_changelist')}?{_without_chosen(query).urlencode()}",
        )

    def _chosen_list(self, request: HttpRequest) -> Segment:
        wanted = request.POST.get("list", "")
        if wanted == NEW:
            if not self.has_add_permission(request):
                raise PermissionDenied
            segment = lists.create(request.POST.get("name", ""), by=request.user.get_username())
            self.log_addition(request, segment, [{"added": {}}])
            return segment
        found = Segment.objects.filter(kind=Segment.Kind.LIST, slug=wanted).first()
        if found is None:
            raise lists.ListError("list", _("Choose a list."))
        return found

    def _put(self, request: HttpRequest, segment: Segment, rows: Any, count: int) -> HttpResponse:
        removing = request.POST.get("what") == "remove"
        audit.record(
            request, "list.people_removed" if removing else "list.people_added", segment, people=count
        )
        ids = rows.order_by("pk").values_list("pk", flat=True)
        if count > AT_ONCE:
            mode = "remove" if removing else "add"
            found = ids.iterator(chunk_size=10_000)
            job = list_work.fill(
                segment, found, mode, request.user.get_username(), str(Profile._meta.verbose_name_plural)
            )
            return redirect("admin:campaigns_list_job", job.pk)
        changed = (lists.remove if removing else lists.add)(segment, list(ids))
        messages.success(request, _told(segment, changed, removing))
        return redirect("admin:campaigns_segment_members", segment.pk)

    def list_person_view(self, request: HttpRequest, profile: int) -> HttpResponse:
        """On which lists one person is; ticked and not ticked."""
        if not (request.user.has_perm("crm.view_profile") and self.has_change_permission(request)):
            raise PermissionDenied
        person = get_object_or_404(Profile, pk=profile)
        every = list(Segment.objects.filter(kind=Segment.Kind.LIST).order_by("name"))
        on = set(person.segment_memberships.filter(segment__in=every).values_list("segment_id", flat=True))
        problem = ""
        if request.method == "POST":
            wanted = {int(pk) for pk in request.POST.getlist("lists") if pk.isdecimal() and len(pk) < 19}
            shown = {int(pk) for pk in request.POST.getlist("shown") if pk.isdecimal() and len(pk) < 19}
            try:
                if request.POST.get("name", "").strip():
                    wanted.add(self._new_for(request).pk)
            except lists.ListError as error:
                problem = str(error)
            else:
                every = list(Segment.objects.filter(kind=Segment.Kind.LIST))
                for segment in every:
                    if segment.pk in wanted - on:
                        lists.add(segment, [person.pk])
                        audit.record(request, "list.people_added", segment, people=1)
                    elif segment.pk in (on & shown) - wanted:
                        lists.remove(segment, [person.pk])
                        audit.record(request, "list.people_removed", segment, people=1)
                messages.success(request, _("The lists of this person are saved."))
                return redirect("admin:crm_profile_change", person.pk)
        return self._list_page(
            request,
            "person.html",
            _("Lists of %s") % person.display_name,
            person=person,
            lists=[(segment, segment.pk in on) for segment in every],
            may_add=self.has_add_permission(request),
            problem=problem,
            posted=request.POST,
        )

    def _new_for(self, request: HttpRequest) -> Segment:
        if not self.has_add_permission(request):
            raise PermissionDenied
        segment = lists.create(request.POST.get("name", ""), by=request.user.get_username())
        self.log_addition(request, segment, [{"added": {}}])
        return segment

    # --- Shared --------------------------------------------------------------------------------------------------
    def _list(self, request: HttpRequest, pk: int) -> Segment:
        """A list that may be changed."""
        segment = get_object_or_404(Segment, pk=pk, kind=Segment.Kind.LIST)
        if not self.has_change_permission(request, segment):
            raise PermissionDenied
        return segment

    def _list_page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context)


def _may_upload(request: HttpRequest) -> bool:
    """A file names people by contact data, and what comes of it tells who is known here."""
    return request.user.has_perm("crm.view_profile") and not masking.hidden()


def _refuse_to_copy(source: Segment) -> None:
    """A list has no rule by which it could be known later that its members tell contact data."""
    if telling.tells(source.rule):
        raise PermissionDenied


def _all_lists() -> Any:
    return Segment.objects.filter(kind=Segment.Kind.LIST).order_by("name").values_list("slug", "name", "size")


def _without_chosen(query: QueryDict) -> QueryDict:
    rest = query.copy()
    rest.pop(CHOSEN, None)
    return rest


def _told(segment: Segment, changed: Any, removing: bool) -> str:
    number = changed.left if removing else changed.entered
    if removing:
        words = ngettext(
            "%(number)d person was taken off “%(list)s”.",
            "%(number)d people were taken off “%(list)s”.",
            number,
        )
    else:
        words = ngettext(
            "%(number)d person was put on “%(list)s”.", "%(number)d people were put on “%(list)s”.", number
        )
    return words % {"number": number, "list": segment.name}
