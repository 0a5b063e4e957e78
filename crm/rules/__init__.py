"""The part of the rule language that is about one value: what segments, flows and computed attributes share."""
