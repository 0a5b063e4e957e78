"""Timings, each beside a peer or the limit on the same work in the same run: `make bench`."""
