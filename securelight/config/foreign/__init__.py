"""Reads the common part of other servers' configurations, for `securelight convert`."""
