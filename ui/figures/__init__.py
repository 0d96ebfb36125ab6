"""Comparisons as plotly figures: a table in, a figure out. Knows no streamlit."""

from ui.figures.bars import Panel, bars, panels, remark
from ui.figures.frame import GREY, Colours, shorten

__all__ = ["GREY", "Colours", "Panel", "bars", "panels", "remark", "shorten"]
