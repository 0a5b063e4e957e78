"""/api/v1/: segments and lists."""

from django.urls import path

from campaigns.api.asking import ExplainView, OverlapView, PreviewView
from campaigns.api.exports import DownloadView, ExportsView, ExportView
from campaigns.api.history import CountView, HistoryView, RestoreView, VersionsView
from campaigns.api.lists import FillingsView, MembersView, RemoveView, SnapshotView
from campaigns.api.members import ProfileSegmentsView
from campaigns.api.segments import SegmentsView, SegmentView

urlpatterns = [
    path("segments/", SegmentsView.as_view(), name="api_segments"),
    path("segments/preview/", PreviewView.as_view(), name="api_segments_preview"),
    path("segments/overlap/", OverlapView.as_view(), name="api_segments_overlap"),
    path("segments/exports/<int:pk>/", ExportView.as_view(), name="api_segment_export"),
    path("segments/exports/<int:pk>/download/", DownloadView.as_view(), name="api_segment_export_download"),
    path("segments/<slug:slug>/", SegmentView.as_view(), name="api_segment"),
    path("segments/<slug:slug>/count/", CountView.as_view(), name="api_segment_count"),
    path("segments/<slug:slug>/explain/", ExplainView.as_view(), name="api_segment_explain"),
    path("segments/<slug:slug>/exports/", ExportsView.as_view(), name="api_segment_exports"),
    path("segments/<slug:slug>/fillings/", FillingsView.as_view(), name="api_segment_fillings"),
    path("segments/<slug:slug>/history/", HistoryView.as_view(), name="api_segment_history"),
    path("segments/<slug:slug>/members/", MembersView.as_view(), name="api_segment_members"),
    path("segments/<slug:slug>/members/remove/", RemoveView.as_view(), name="api_segment_members_remove"),
    path("segments/<slug:slug>/snapshot/", SnapshotView.as_view(), name="api_segment_snapshot"),
    path("segments/<slug:slug>/versions/", VersionsView.as_view(), name="api_segment_versions"),
    path(
        "segments/<slug:slug>/versions/<int:number>/restore/",
        RestoreView.as_view(),
        name="api_segment_restore",
    ),
    path("profiles/<int:pk>/segments/", ProfileSegmentsView.as_view(), name="api_profile_segments"),
]
