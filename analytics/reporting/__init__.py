"""Reports as tables and charts: defined once, shown by the admin, the API, exports and emails alike."""
