"""Comparisons as plotly figures: a table in, a figure out. Knows no streamlit."""

from ui.figures.bars import Panel, bars, panels, remark
from ui.figures.frame import GREY, Colours, shorten
from ui.figures.pareto import trade_off

__all__ = ["GREY", "Colours", "Panel", "bars", "panels", "remark", "shorten", "trade_off"]
