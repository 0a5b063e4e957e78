from django.urls import path

from analytics.api import goals, reports

urlpatterns = [
    path("goals/", goals.GoalsView.as_view(), name="api_goals"),
    path("goals/<slug:slug>/", goals.GoalView.as_view(), name="api_goal"),
    path("exchange-rates/", goals.RatesView.as_view(), name="api_exchange_rates"),
    path("reports/messages/", reports.MessageReports.as_view(), name="api_report_messages"),
    path("reports/messages/<slug:slug>/", reports.MessageReport.as_view(), name="api_report_message"),
    path("reports/flows/<slug:slug>/", reports.FlowReport.as_view(), name="api_report_flow"),
    path("reports/overview/", reports.OverviewReport.as_view(), name="api_report_overview"),
]
