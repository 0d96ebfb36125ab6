"""The report as one HTML file that needs nothing else. Knows no streamlit."""

from ui.report.page import html_of, library_bytes

__all__ = ["html_of", "library_bytes"]
