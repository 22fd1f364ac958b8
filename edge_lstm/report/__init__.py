"""One self-contained HTML page: of runs, or of the quantization error of a model.

That of runs shows accuracy, what the gates do on a recording, verification, quantization error and cost.
"""

from edge_lstm.report.page import write_error_report, write_report

__all__ = ["write_error_report", "write_report"]
