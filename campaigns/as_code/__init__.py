"""Flows as code: flows with the segments, messages, coupon pools and topics that they need, as one YAML text."""
