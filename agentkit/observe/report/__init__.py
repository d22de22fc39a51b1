"""The report of a call: one HTML file that needs nothing else, to look at and to listen to."""

from agentkit.observe.report.page import report_html

__all__ = ["report_html"]
