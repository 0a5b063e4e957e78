"""/api/v1/: segments and lists."""

from django.urls import path

from campaigns.api.asking import ExplainView, PreviewView
from campaigns.api.history import HistoryView, RestoreView, VersionsView
from campaigns.api.members import MembersView, ProfileSegmentsView
from campaigns.api.segments import SegmentsView, SegmentView

urlpatterns = [
    path("segments/", SegmentsView.as_view(), name="api_segments"),
    path("segments/preview/", PreviewView.as_view(), name="api_segments_preview"),
    path("segments/<slug:slug>/", SegmentView.as_view(), name="api_segment"),
    path("segments/<slug:slug>/explain/", ExplainView.as_view(), name="api_segment_explain"),
    path("segments/<slug:slug>/history/", HistoryView.as_view(), name="api_segment_history"),
    path("segments/<slug:slug>/members/", MembersView.as_view(), name="api_segment_members"),
    path("segments/<slug:slug>/versions/", VersionsView.as_view(), name="api_segment_versions"),
    path(
        "segments/<slug:slug>/versions/<int:number>/restore/",
        RestoreView.as_view(),
        name="api_segment_restore",
    ),
    path("profiles/<int:pk>/segments/", ProfileSegmentsView.as_view(), name="api_profile_segments"),
]
