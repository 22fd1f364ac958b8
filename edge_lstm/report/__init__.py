"""One self-contained HTML page about runs: accuracy, verification, cost, and what the gates do on a recording."""

from edge_lstm.report.page import write_report

__all__ = ["write_report"]
