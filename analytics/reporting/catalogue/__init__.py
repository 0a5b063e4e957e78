"""One module for each report, with its REPORT."""
