"""Reports: one self-contained page a reconstruction, an index of many, and a viewer on this machine."""

from medldm.report.index import Missing, write_index
from medldm.report.page import report_page, write_report

__all__ = ["Missing", "report_page", "write_index", "write_report"]
