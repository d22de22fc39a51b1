"""What is seen of a call: its record, the live view, the timeline and the report."""

from agentkit.observe.live import LiveView
from agentkit.observe.record import (
    Difference,
    Record,
    RecordWriter,
    read_record,
    replay,
    write_record,
)
from agentkit.observe.redact import redact
from agentkit.observe.report import report_html
from agentkit.observe.timeline import timeline_svg

__all__ = [
    "Difference",
    "LiveView",
    "Record",
    "RecordWriter",
    "read_record",
    "redact",
    "replay",
    "report_html",
    "timeline_svg",
    "write_record",
]
