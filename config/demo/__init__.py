"""The demo: a small shop that uses the web SDK as any customer site would."""
