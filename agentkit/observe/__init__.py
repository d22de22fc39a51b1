"""Logs, metrics, the record of a call and its report."""
