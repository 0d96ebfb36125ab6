"""What stands out: time, memory and parameters at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import streamlit as st

from core.anatomy import ModuleFacts
from core.bundle import precision_title
from core.layers import Layer, LayerKind, sum_ms
from experiments.module_tree import leaves, module_paths
from experiments.profile import ProfileResult
from experiments.profile_words import adds_up, bottleneck, heaviest_share, reconciliation
from experiments.roofline import bound_of_most, peak_of, placed_in, rate_of
from experiments.why_format import percent
from ui import text
from ui.figures.frame import PLAIN, shorten
from ui.figures.shares import Piece, Share, call_bar, treemap
from ui.profile import advice
from ui.profile.subject import Subject
from ui.state import ink, is_dark

Measure = Literal["time", "parameters", "macs", "bytes"]
MEASURES: dict[Measure, str] = {
    "time": "Time",
    "parameters": "Parameters",
    "macs": "MACs",
    "bytes": "Activation bytes",
}
UNITS: dict[Measure, str] = {"time": "ms", "parameters": "parameters", "macs": "MACs", "bytes": "bytes"}
OF_ANATOMY = "Before the engine rewrote the network, for one image."
BOUND_RULE = "Bound: what explains at least half of a layer's time, see Roofline."
RESIDUAL_HELP = (
    "Calls are timed without the profiler, layers with it. What is left is what a call takes beyond its layers: "
    "launching them, allocating results, Python, or what the engine rounds off. It is seldom zero, since "
    "two measurements seldom agree to the microsecond, and negative where layers overlap or the profiler slows them "
    "down."
)


def draw(subject: Subject) -> None:
    """The advice, the headline numbers, the sentence that names the bottleneck, the map, and how it all adds up."""
    advice.draw(subject)
    draw_metrics(subject.result)
    st.markdown(f"**{text.escape(bottleneck(subject.result))}**")
    st.fragment(draw_map)(subject)
    draw_sum(subject.result)


def draw_metrics(result: ProfileResult) -> None:
    """The headline numbers of the profiled variant."""
    interval = result.latency.p50_interval_ms
    with st.container(horizontal=True, key="profile-metrics"):
        st.metric(
            "Latency p50", f"{result.latency.p50_ms:.3f} ms",
            f"{interval[0]:.3f} to {interval[1]:.3f} ms" if interval else None, delta_color="off", delta_arrow="off",
            help=f"Median of {len(result.latency.samples_ms):,} calls at batch size {result.latency.batch_size}, with "
            "its 95 % interval below.",
        )  # fmt: skip
        st.metric(
            "In three blocks", percent(heaviest_share(result)), "of the layers' time", delta_color="off",
            delta_arrow="off", help="Share of the time of all layers that the three heaviest blocks take.",
        )  # fmt: skip
        draw_network(result)
        draw_rate(result)
        residual_ms = result.residual_ms
        st.metric(
            "Residual", f"{residual_ms:+.3f} ms", f"{percent(residual_ms / result.latency.p50_ms)} of a call",
            delta_color="off", delta_arrow="off", help=RESIDUAL_HELP,
        )  # fmt: skip


def draw_network(result: ProfileResult) -> None:
    """How much there is to compute and to keep."""
    anatomy, batch = result.anatomy, result.latency.batch_size
    macs = anatomy.macs if anatomy else result.layers.macs // batch
    st.metric("MACs", text.count(macs) if macs else None, "per image", delta_color="off", delta_arrow="off",
              help="Multiply-accumulates.")  # fmt: skip
    if anatomy:
        before = "" if result.precision == "fp32" else ", before it was reduced"
        bits = f"{text.data_size(4 * anatomy.parameters)} in FP32{before}"
        st.metric("Parameters", text.count(anatomy.parameters), bits, delta_color="off", delta_arrow="off")


def draw_rate(result: ProfileResult) -> None:
    """How much of what this device attains a whole call attains."""
    peak = peak_of(result.peaks, result.precision, result.layers.layers) if result.peaks else None
    rate = 1000 * _macs_of_call(result) / result.latency.p50_ms
    precision = _multiplied_in(result)
    if not rate:
        st.metric("Attained", None, help="The engine does not say how much its layers multiply.")
    elif peak is None:
        reason = result.why_no_peaks or f"{precision} was not probed"
        st.metric("Attained", _gmacs(rate), help=f"No share of a peak: {text.escape(reason)}")
    else:
        st.metric(
            "Attained", percent(rate / peak), f"{rate / 1e9:,.3g} of {_gmacs(peak)}", delta_color="off",
            delta_arrow="off", help=f"Multiply-accumulates per second of whole calls, beside what this engine attains "
            f"here in {precision} when it is well fed, probed in this profile.",
        )  # fmt: skip


def draw_map(subject: Subject) -> None:
    """Each module's share of the time, the parameters, the multiplications or the activations."""
    result = subject.result
    with st.container(border=True):
        measure, by_bound = choose_view(result)
        shares = shares_of(result, measure)
        figure = treemap(shares, unit=UNITS[measure], by_bound=by_bound, dark=is_dark())
        st.plotly_chart(figure, key="profile-map", config=PLAIN, alt=f"{MEASURES[measure]} by module")
        st.caption(" ".join(reading(measure, by_bound=by_bound)))


def choose_view(result: ProfileResult) -> tuple[Measure, bool]:
    """What is shown, and whether it is coloured by what bounds each layer."""
    offered = get_args(Measure) if result.anatomy and result.anatomy.modules else ("time",)
    with st.container(horizontal=True, vertical_alignment="center"):
        measure: Measure = st.segmented_control(
            "What each module has of", offered, default="time", required=True, format_func=MEASURES.__getitem__,
            key="profile.map", persist_state="session", label_visibility="collapsed",
        )  # fmt: skip
        if measure != "time" or not result.peaks:
            return measure, False
        colour = st.segmented_control(
            "Coloured by", ["share", "bound"], default="bound", required=True,
            format_func=lambda key: f"Coloured by {key}", key="profile.map.colour", persist_state="session",
            label_visibility="collapsed",
        )  # fmt: skip
    return measure, colour == "bound"


def shares_of(result: ProfileResult, measure: Measure) -> list[Share]:
    """The boxes of the map: layers as the engine ran them for time, modules of the network for the rest."""
    if measure == "time":
        return _times(result)
    modules = result.anatomy.modules if result.anatomy else ()
    values = {"parameters": "parameters", "macs": "macs", "bytes": "output_bytes"}
    return [
        Share(_module_path(module), float(getattr(module, values[measure])), module.kind)
        for module in modules if getattr(module, values[measure])
    ]  # fmt: skip


def reading(measure: Measure, *, by_bound: bool) -> list[str]:
    """What the boxes and their colours mean."""
    words = ["Click a box to look into it."]
    if measure != "time":
        return [*words, OF_ANATOMY]
    words.append(
        "An operation without a module's name lies in the innermost module around the named ones before and after it."
    )
    return [*words, BOUND_RULE] if by_bound else words


def draw_sum(result: ProfileResult) -> None:
    """The layers and what is in none of them, end to end, up to the latency."""
    with st.container(border=True):
        st.markdown("**Do the layers add up?**", help=RESIDUAL_HELP)
        figure = call_bar(pieces_of(result), p50_ms=result.latency.p50_ms, dark=is_dark(), ink=ink())
        st.plotly_chart(figure, key="profile-sum", config=PLAIN, alt="Layers and residual of one call")
        st.caption("The line is the median call, timed without the profiler.")
        words = text.escape(reconciliation(result))
        if adds_up(result):
            st.markdown(words)
        else:
            st.warning(words, icon=":material/warning:")


def pieces_of(result: ProfileResult) -> list[Piece]:
    """What a call is made of: kinds of layers that take time, and what is in none."""
    titles: Mapping[LayerKind, str] = {
        "compute": "Multiplying", "conversion": "Converting formats", "other": "Other layers",
    }  # fmt: skip
    kinds = [Piece(kind, title, sum_ms(result.layers.of(kind))) for kind, title in titles.items()]
    return [*(piece for piece in kinds if piece.ms), Piece("residual", "Residual", result.residual_ms)]


def _times(result: ProfileResult) -> list[Share]:
    """A box for each layer, or for those that are alike in one module."""
    layers = result.layers.layers
    bounds = placed_in(result)
    grouped: dict[tuple[str, ...], list[int]] = {}
    for place, path in enumerate(leaves(layers, module_paths(result.layers, result.anatomy))):
        grouped.setdefault(path, []).append(place)
    return [
        Share(
            path,
            sum_ms([layers[place] for place in places]),
            _hover([layers[place] for place in places]),
            bound_of_most([bounds[place] for place in places]) if bounds else None,
        )
        for path, places in grouped.items()
    ]


def _hover(alike: Sequence[Layer]) -> str:
    """What an engine calls it, the format it worked in, and how fast it multiplied."""
    layer, rate = alike[0], rate_of(alike[0])
    lines = [shorten(layer.name, 60)] if len(alike) == 1 else [f"{len(alike)} operations"]
    lines.append(f"{shorten(layer.op, 40)} in {precision_title(layer.precision)}")
    if rate and len(alike) == 1:
        lines.append(_gmacs(rate))
    return "<br>".join(lines)


def _multiplied_in(result: ProfileResult) -> str:
    """`INT8`, or what layers in FP32 were really multiplied in: `FP32`, `TF32`, `FP32 and TF32`."""
    found = {layer.precision for layer in result.layers.layers if layer.macs} & {"fp32", "tf32"}
    if result.precision != "fp32" or not found:
        return precision_title(result.precision)
    return " and ".join(precision_title(each) for each in sorted(found))


def _module_path(module: ModuleFacts) -> tuple[str, ...]:
    return tuple(module.name.split(".")) if module.name else ("own operations",)


def _macs_of_call(result: ProfileResult) -> int:
    """As the engine's layers say or, where they do not, as the network has them."""
    told = result.layers.macs
    return told or (result.anatomy.macs * result.latency.batch_size if result.anatomy else 0)


def _gmacs(macs_per_s: float) -> str:
    """`121 GMAC/s`."""
    return f"{macs_per_s / 1e9:,.3g} GMAC/s"
