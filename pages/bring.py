"""A model and images of one's own: upload, check, set the input, add."""

import streamlit as st

from core.errors import StudioError
from experiments.jobs import AddOrder, start
from intake import sandbox
from intake.library import own_models
from ui import text
from ui.bring.data import ChosenData, choose_data
from ui.bring.inputs import set_input
from ui.bring.model import ChosenModel, choose_model
from ui.bring.owned import draw_owned, draw_usage
from ui.bring.work import Work, take_finished
from ui.identity import owner

ADD_HELP = "Reads the images, tries what works on the network, and counts its accuracy once."


def draw_add(model: ChosenModel, data: ChosenData, work: Work) -> None:
    """The last two sections: the input, and the button that puts the model together."""
    key = f"bring.{model.key}"
    chosen = set_input(model.described.input, data.images, key=key)
    st.subheader("4 · Add it")
    title = st.text_input("Name", model.title[:80], max_chars=80, key=f"{key}.title", help="How it is called in lists.")
    order = None
    if chosen and title.strip():
        order = AddOrder(
            title=title.strip(), source=model.source, input=chosen, data=data.choice, logits=model.logits,
            labels=model.described.labels, data_title=data.images.name,
        )  # fmt: skip
    if st.button(
        "Add this model", type="primary", icon=":material/add:", help=ADD_HELP, key="bring.add",
        disabled=order is None or work.is_adding(order),
    ):  # fmt: skip
        assert order, "the button is disabled without it"
        start(owner(), order)
        st.rerun()


def draw_steps(work: Work) -> None:
    """The sections in order; the last ones appear once those before them are settled."""
    model = choose_model(work)
    data = choose_data(model, work)
    if model and data:
        draw_add(model, data, work)


work = take_finished()
st.title("Bring your own")
st.caption(
    "A trained classifier and images of your own, for everything that the studio does. Files are read in a confined "
    "process that can run nothing of what is in them; what is kept was written anew."
)
if reason := sandbox.why_unavailable():
    st.error(f"Uploads are off: {text.escape(reason)}", icon=":material/lock:")
    st.markdown("The System page shows what was tried. Models can still be added on the command line.")
else:
    try:
        draw_steps(work)
    except StudioError as error:
        st.error(text.escape(str(error)), icon=":material/block:")
    work.draw("add")
    work.watch()
if own_models(owner()):
    st.subheader("What you added")
    draw_owned(usage=False)
draw_usage()
