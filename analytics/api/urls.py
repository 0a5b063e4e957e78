from django.urls import path

from analytics.api import experiments, goals, report, report_people, reports

urlpatterns = [
    path("experiments/", experiments.ExperimentsView.as_view(), name="api_experiments"),
    path("experiments/<slug:slug>/", experiments.ExperimentView.as_view(), name="api_experiment"),
    path("experiments/<slug:slug>/plan/", experiments.PlanView.as_view(), name="api_experiment_plan"),
    path("holdouts/", experiments.HoldoutsView.as_view(), name="api_holdouts"),
    path("goals/", goals.GoalsView.as_view(), name="api_goals"),
    path("goals/<slug:slug>/", goals.GoalView.as_view(), name="api_goal"),
    path("exchange-rates/", goals.RatesView.as_view(), name="api_exchange_rates"),
    path("reports/", report.ReportsView.as_view(), name="api_reports"),
    path("reports/<slug:slug>/people/", report_people.ReportPeopleView.as_view(), name="api_report_people"),
    path(
        "reports/<slug:slug>/people/snapshot/",
        report_people.ReportPeopleSnapshotView.as_view(),
        name="api_report_people_snapshot",
    ),
    path("reports/messages/<slug:slug>/", reports.MessageReport.as_view(), name="api_report_message"),
    path("reports/flows/<slug:slug>/", reports.FlowReport.as_view(), name="api_report_flow"),
    path("reports/overview/", reports.OverviewReport.as_view(), name="api_report_overview"),
    path("reports/<slug:slug>/", report.ReportView.as_view(), name="api_report"),
]
