"""/api/v1/: segments, lists and flows."""

from django.urls import path

from campaigns.api.asking import ExplainView, OverlapView, PreviewView
from campaigns.api.exports import DownloadView, ExportsView, ExportView
from campaigns.api.flow_life import EnrollView, PauseView, PublishView, ResumeView, StopView
from campaigns.api.flow_outcomes import FlowVersionsView, FunnelView, WhyView
from campaigns.api.flow_trials import BacktestCancelView, BacktestsView, BacktestView
from campaigns.api.flows import FlowsView, FlowView
from campaigns.api.history import CountView, HistoryView, RestoreView, VersionsView
from campaigns.api.lists import FillingsView, MembersView, RemoveView, SnapshotView
from campaigns.api.members import ProfileSegmentsView
from campaigns.api.segments import SegmentsView, SegmentView

urlpatterns = [
    path("flows/", FlowsView.as_view(), name="api_flows"),
    path("flows/<slug:slug>/", FlowView.as_view(), name="api_flow"),
    path("flows/<slug:slug>/publish/", PublishView.as_view(), name="api_flow_publish"),
    path("flows/<slug:slug>/pause/", PauseView.as_view(), name="api_flow_pause"),
    path("flows/<slug:slug>/resume/", ResumeView.as_view(), name="api_flow_resume"),
    path("flows/<slug:slug>/stop/", StopView.as_view(), name="api_flow_stop"),
    path("flows/<slug:slug>/enroll/", EnrollView.as_view(), name="api_flow_enroll"),
    path("flows/<slug:slug>/backtest/", BacktestsView.as_view(), name="api_flow_backtests"),
    path("flows/<slug:slug>/backtest/<int:pk>/", BacktestView.as_view(), name="api_flow_backtest"),
    path(
        "flows/<slug:slug>/backtest/<int:pk>/cancel/",
        BacktestCancelView.as_view(),
        name="api_flow_backtest_cancel",
    ),
    path("flows/<slug:slug>/funnel/", FunnelView.as_view(), name="api_flow_funnel"),
    path("flows/<slug:slug>/versions/", FlowVersionsView.as_view(), name="api_flow_versions"),
    path("profiles/<int:pk>/why/", WhyView.as_view(), name="api_profile_why"),
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
