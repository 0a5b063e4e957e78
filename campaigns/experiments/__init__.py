"""Experiments: what is tried out on whom. What came of it is for `analytics.experiments` to say."""
