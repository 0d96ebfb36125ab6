"""Activation memory over the forward pass, and the values in each layer with a grid over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.anatomy import Anatomy, ModuleFacts
from core.quantization import GridSummary, Histogram
from experiments.trial_grids import Estimate, Trial, estimate, trial_grid, worth_of_bits
from ui import text
from ui.figures import anatomy as figures
from ui.figures.frame import PLAIN
from ui.figures.grids import FEW_VALUES, HEIGHT, histogram
from ui.figures.quantization import error_in_words, share_in_words
from ui.profile.subject import Subject
from ui.state import colours, ink, open_page, store

FLOATS = ("fp32", "tf32", "fp16", "bf16")
"""Precisions without grids of their own."""
WIDTHS = range(2, 9)
CUTS = (0.0, 0.0001, 0.001, 0.01)
KINDS = ("Asymmetric", "Symmetric")
MEMORY = (
    "One image in float32 through eager PyTorch in inference mode: everything that is still needed, or still referred "
    "to, after each operation that takes memory, the image included. An engine that plans its memory needs less, and "
    "another batch size needs proportionally more. Click a bar to look into its layer."
)
BITS_HELP = "A grid of b bits has 2 to the power of b values, one less where it is symmetric."
GRID_HELP = (
    "**Asymmetric**: from the smallest to the largest value, zero included. Fits values that lie on one side, as after "
    "a ReLU. **Symmetric**: the same distance to either side of zero, which leaves out the zero point and is what most "
    "engines want of weights."
)
CUT_HELP = (
    "A grid need not reach the rarest values: they are clipped to its end, and all others get finer steps. "
    "Whether that pays shows in the signal-to-noise ratio."
)
ESTIMATED = (
    "Estimated from the histograms; nothing was run. Values count as spread evenly within their bar, and one grid "
    "serves the whole tensor: engines usually give each channel's weights a scale of its own, which costs less. "
    "Tinted: what the grid reaches; bars beyond it have another colour and are clipped to its end. Thin lines below: "
    "the values on the grid, thinned where they are too many. Counts on a logarithmic axis, so that rare values show."
)


@dataclass(frozen=True)
class _Shown:
    """What both halves draw from."""

    anatomy: Anatomy
    run_id: str
    colour: str
    ink: str

    def key(self, name: str) -> str:
        """A widget key of this profile's own."""
        return f"numbers.{name}.{self.run_id}"

    @property
    def modules(self) -> tuple[ModuleFacts, ...]:
        """Those with values to look at."""
        return tuple(each for each in self.anatomy.modules if _tensors(each))


def draw(subject: Subject) -> None:
    """The section."""
    if subject.result.anatomy is None:
        st.info(text.escape(subject.result.why_no_anatomy), icon=":material/info:")
        return
    colour = colours([subject.record])[subject.recipe.digest]
    shown = _Shown(subject.result.anatomy, subject.record.id, colour, ink())
    draw_real_grids(subject)
    st.fragment(_draw)(shown)


def draw_real_grids(subject: Subject) -> None:
    """Where the variant was quantized, the way to the grids that it really has."""
    run_id = subject.record.study.run if subject.record.study and subject.record.study.kind == "profile" else ""
    if subject.result.precision in FLOATS or not run_id:
        return
    if store().run(run_id) is None:
        st.caption("This is the network as it was before it was quantized. The run with its grids was deleted.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("This is the network as it was before it was quantized.", width="content")
        if st.button("See the grids it was given", key=f"numbers.grids.{run_id}", icon=":material/grid_on:",
                     type="tertiary"):  # fmt: skip
            open_page("runs", run=run_id)


def _draw(shown: _Shown) -> None:
    """Both halves; a click into the first chooses what the second shows."""
    if shown.anatomy.memory:
        draw_memory(shown)
    if shown.modules:
        draw_values(shown)


def draw_memory(shown: _Shown) -> None:
    """What is held after every operation."""
    chart, steps = shown.key("memory"), shown.anatomy.memory
    names = [each.name for each in shown.modules]

    def choose_clicked() -> None:
        for point in st.session_state[chart].selection.points:
            name = steps[int(point["point_index"])].module
            if name in names:
                st.session_state[shown.key("layer")] = names.index(name)

    st.subheader("Memory over the forward pass")
    st.markdown(memory_in_words(shown.anatomy))
    st.plotly_chart(
        figures.memory(steps, colour=shown.colour, ink=shown.ink), key=chart, on_select=choose_clicked,
        selection_mode="points", config=PLAIN, alt="Bytes of activations held after every operation",
    )  # fmt: skip
    st.caption(MEMORY)


def memory_in_words(anatomy: Anatomy) -> str:
    """The peak, where it is, and the weights beside it, as markdown."""
    peak = figures.peak_of(anatomy.memory)
    repeated = sum(step.live_bytes == peak.live_bytes for step in anatomy.memory) > 1
    name = f"**{text.escape(peak.module)}**" if peak.module else figures.OF_THE_NETWORK
    held, weights = text.data_size(peak.live_bytes), text.data_size(4 * anatomy.parameters)
    where = f"{'first ' * repeated}in {name}"
    return f"At most **{held}** of activations are held at once, {where}; the weights take **{weights}** beside them."


def draw_values(shown: _Shown) -> None:
    """One layer's values with a grid that can be tried out over them."""
    st.subheader("Values and grids")
    modules, key = shown.modules, shown.key("layer")
    st.session_state.setdefault(key, modules.index(hardest(modules)))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        place = st.selectbox(
            "Look into a layer", range(len(modules)), format_func=lambda at: _label(at, modules[at]), key=key,
            help="To begin with, the one whose incoming values lose most to 8 bits, as estimated.", width=360,
        )  # fmt: skip
        trial = choose_trial(shown)
    draw_module(shown, modules[place], trial)


def choose_trial(shown: _Shown) -> Trial:
    """The controls of the grid, side by side."""
    bits = st.slider("Bits", WIDTHS[0], WIDTHS[-1], 8, key=shown.key("bits"), help=BITS_HELP, width=170)
    kind = st.segmented_control(
        "Grid", KINDS, default=KINDS[0], required=True, key=shown.key("kind"), help=GRID_HELP, width="content"
    )
    cut = st.segmented_control(
        "Cut off the rarest", CUTS, default=CUTS[0], required=True, format_func=cut_in_words, key=shown.key("cut"),
        help=CUT_HELP, width="content",
    )  # fmt: skip
    return Trial(bits, kind == "Symmetric", cut)


def cut_in_words(share: float) -> str:
    """`0.1 %`, `nothing`."""
    return f"{100 * share:g} %" if share else "nothing"


def _label(at: int, module: ModuleFacts) -> str:
    return f"{at + 1} · {module.name or figures.OF_THE_NETWORK} · {module.kind}"


def _tensors(module: ModuleFacts) -> dict[str, Histogram]:
    """What is known of its values, by what they are."""
    found = {"Weights": module.weights, "What comes in": module.inputs, "What goes out": module.outputs}
    return {name: values for name, values in found.items() if values}


def hardest(modules: Sequence[ModuleFacts]) -> ModuleFacts:
    """The layer whose incoming values have the lowest estimated signal-to-noise ratio in 8 bits; else the first."""

    def ratio(module: ModuleFacts) -> float:
        if not module.macs or module.inputs is None:
            return float("inf")
        found = estimate(module.inputs, trial_grid(module.inputs, Trial())).snr_db
        return float("inf") if found is None else found

    return min(modules, key=ratio)


def draw_module(shown: _Shown, module: ModuleFacts, trial: Trial) -> None:
    """Each tensor's histogram under its grid, what that costs, and what other numbers of bits would."""
    tensors = _tensors(module)
    with st.grid(4, min_column_width=250):
        for name, values in tensors.items():
            with st.container():
                draw_tensor(shown, name, values, trial)
        with st.container():
            st.markdown("**What a bit is worth** :small[:gray[about 6 dB]]")
            series = {name: worth_of_bits(values, trial, WIDTHS) for name, values in tensors.items()}
            figure = figures.worth(series, WIDTHS, trial.bits, colour=shown.colour, height=HEIGHT)
            st.plotly_chart(figure, key=shown.key("worth"), config=PLAIN, alt="Signal-to-noise ratio by bits")
    images = f"On {shown.anatomy.images:,} calibration images. " if module.inputs or module.outputs else ""
    st.caption(images + ESTIMATED)


def draw_tensor(shown: _Shown, name: str, values: Histogram, trial: Trial) -> None:
    """One histogram, its grid in words, and what the grid costs."""
    grid = trial_grid(values, trial)
    st.markdown(f"**{name}** :small[:gray[{grid_in_words(grid)}]]")
    figure = histogram(
        values, grid, colour=shown.colour, ink=shown.ink, axis="Weight" if name == "Weights" else "Value"
    )
    st.plotly_chart(figure, key=shown.key(name), config=PLAIN, alt=f"Histogram: {name}")
    st.markdown(cost_in_words(estimate(values, grid)))


def grid_in_words(grid: GridSummary) -> str:
    """`256 values, 0.0131 apart`."""
    values = grid.high - grid.low + 1
    drawn = ", each drawn" if values <= FEW_VALUES else ""
    return f"{values} values{drawn}, {grid.scales[0]:.3g} apart"


def cost_in_words(found: Estimate) -> str:
    """Signal to noise, what is clipped, and what becomes zero, as markdown."""
    ratio = "No error"
    if found.snr_db is not None:
        ratio = f"**{found.snr_db:.1f} dB** ({error_in_words(found.snr_db)})"
    already = f" ({share_in_words(found.zeros)} before)" if found.zeros else ""
    shares = f"clipped: {share_in_words(found.clipped)} · zero: {share_in_words(found.to_zero)}{already}"
    return f":small[{ratio}]  \n:small[{shares}]"
