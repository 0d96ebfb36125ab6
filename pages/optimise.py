"""The main screen: pick a model and where it runs, switch techniques on, move sliders, run."""

import streamlit as st

from bridges.environments import ENVIRONMENTS, Environment
from core.bundle import Form, form_title
from core.devices import Device
from core.errors import BadInput, CannotCompose, StudioError
from experiments.fitting import untouched, why_unfit
from experiments.models import baseline_runtime, check_usable, find, is_here, title_of, was_deleted
from experiments.other_teachers import other_teachers
from experiments.recipe import MeasurementSettings, Recipe, fine_tuned_control, from_yaml, to_yaml, why_refused
from optimizers import TECHNIQUES
from optimizers.technique import Technique
from runtimes import EXTRAS, RUNTIMES, Runtime, with_settings
from ui import tables, text
from ui.queue import enqueue
from ui.state import devices, models, open_page, owner, store
from ui.titles import of_models
from ui.widgets import controls, takes_models, takes_variants

REFERENCES_HELP = (
    "A run also needs the untouched model in PyTorch (baseline; of an ONNX file in ONNX Runtime, of Keras and .tflite "
    "files in LiteRT) and in the chosen runtime (reference). A recipe that trains a model of Keras also needs its "
    "control: the untouched model trained on in FP32 for as many epochs, because training alone changes accuracy too. "
    "They are measured once and reused."
)
STYLE = """<style>
div:has(> .st-key-recipe) { position: sticky; top: 4rem; }
.stButtonGroup [role="radiogroup"] { flex-wrap: wrap; }
</style>"""
"""Keeps the recipe and its Run button in sight while the techniques scroll, and all runtimes in a narrow window."""
SEED_HELP = "Fixes every random choice: the same recipe on the same machine gives the same model."
MAX_SEED = 2**31 - 1
MOST_RUNS = 100
"""Among which finished variants are looked for; the newest of them."""
FEWER_BITS = (
    "mixed_precision", "int8", "qat", "weight_only", "fp8", "simulated",
    "keras_qat", "keras_quantization", "litert_quantization",
)  # fmt: skip
ONLY_COMPRESSED = (
    "Pruning and clustering shrink a .tflite file only once it is compressed, and speed nothing up. The page of a run "
    "shows both sizes."
)
STATE = st.session_state
STATE.setdefault("optimise.start", Recipe(model="", runtime="onnxruntime"))
STATE.setdefault("optimise.order", tuple(TECHNIQUES))
STATE.setdefault("optimise.generation", 0)


def form() -> Form:
    """What the chosen model is, before the first technique."""
    return find(STATE["model"]).form


def offered() -> list[str]:
    """The techniques that could ever work on a model of that form, in the order in which they apply."""
    return [key for key in STATE["optimise.order"] if form() in TECHNIQUES[key].takes]


def groups() -> dict[str, list[str]]:
    """What is offered, by what it is good for."""
    smaller = "Smaller file" if form() in ("keras", "tflite") else "Smaller network"
    found = {
        smaller: [key for key in offered() if key not in FEWER_BITS],
        "Fewer bits": [key for key in offered() if key in FEWER_BITS],
    }
    return {title: keys for title, keys in found.items() if keys}


def open_recipe(recipe: Recipe) -> None:
    """Set every control to the recipe."""
    applied = [technique.key for technique in recipe.techniques]
    STATE["optimise.start"] = recipe
    STATE["optimise.order"] = (*applied, *(key for key in TECHNIQUES if key not in applied))
    STATE["optimise.generation"] += 1
    STATE["model"] = recipe.model
    show_model_in_address()


def open_foreign(recipe: Recipe) -> None:
    """The same for one that may be of anywhere. Raises `BadInput` for models that whoever is looking may not use."""
    for key in recipe.models:
        check_usable(key, owner())
    open_recipe(recipe)


def show_model_in_address() -> None:
    """Make the address lead back to the chosen model."""
    st.query_params["model"] = STATE["model"]


def key_of(name: str) -> str:
    """A widget key that begins anew when a recipe is opened."""
    return f"optimise.{STATE['optimise.generation']}.{name}"


def read_upload() -> None:
    """Open the recipe that was just uploaded, or keep the reason why it cannot be."""
    upload = STATE[key_of("upload")]
    if upload is None:  # it was taken away again
        return
    try:
        open_foreign(from_yaml(upload.getvalue().decode(errors="replace")))
    except StudioError as error:
        STATE["optimise.refusal"] = str(error)


def pick_device() -> Device:
    """The device to run on."""
    found = {device.id: device for device in devices()}
    start = STATE["optimise.start"].device
    chosen = st.selectbox(
        "Device",
        list(found),
        list(found).index(start) if start in found else 0,
        format_func=lambda key: f"{key} · {found[key].name}",
        key=key_of("device"),
        persist_state="session",
    )
    return found[chosen]


def pick_runtime(device: Device) -> str:
    """The runtime to export for; what is not here is shown with its reason, and what never takes such a model named."""
    able = [key for key in RUNTIMES if takes_model(key, device)]
    reasons = {key: as_usual(key, device).why_unavailable(device) for key in able}
    here = [key for key, reason in reasons.items() if reason is None] or able
    start, usual = STATE["optimise.start"], baseline_runtime(STATE["model"])
    wanted = start.runtime if form() == "torch" or start.model == STATE["model"] else usual
    chosen = st.segmented_control(
        "Runtime",
        here,
        default=next(key for key in (wanted, usual, *here) if key in here),
        required=True,
        format_func=lambda key: RUNTIMES[key].title,
        help="The engine that serves the exported file. Everything is measured in it.",
        key=key_of(".".join(["runtime", *([] if form() == "torch" else able)])),
        persist_state="session",
    )
    st.caption(RUNTIMES[chosen].summary)
    if others := [RUNTIMES[key].title for key in RUNTIMES if key not in able]:
        st.caption(f"Not for a model {form_title(form())}: {', '.join(others)}.")
    draw_absent({RUNTIMES[key].title: reason for key, reason in reasons.items() if reason})
    return chosen


def takes_model(key: str, device: Device) -> bool:
    """Whether a runtime could serve the chosen model at all; networks of PyTorch may become what it serves."""
    if form() == "torch":
        return True
    runtime = as_usual(key, device)
    try:
        runtime.check(untouched(STATE["model"], key, runtime.settings.target(device)))
    except CannotCompose:
        return False
    except StudioError:
        return True
    return True


def as_usual(key: str, device: Device) -> Runtime:
    """A runtime with the settings to begin with on that device."""
    runtime = RUNTIMES[key]
    return with_settings(runtime, runtime.settings.usual(device))


def set_engine(key: str, device: Device) -> Runtime:
    """The chosen runtime with its settings as they are set on screen; as they were, with the reason, if unfit."""
    start, usual = STATE["optimise.start"], as_usual(key, device).settings
    begin = start.engine if start.runtime == key and start.device == device.id else usual
    with st.expander("Engine settings", key=f"engine-{key}"):
        try:
            engine = controls(begin, key=key_of(f"engine.{key}.{device.kind}"))
        except BadInput as error:
            misfits.append(f"Engine settings: {error}")
            engine = begin
    return with_settings(RUNTIMES[key], engine)


def draw_absent(reasons: dict[str, str]) -> None:
    """Runtimes that cannot be chosen, each with its sentence."""
    extras = [extra for extra in EXTRAS.values() if extra.is_engine and not extra.is_installed]
    reasons = reasons | {extra.title: f"{extra.adds} Install: `{extra.command}`" for extra in extras}
    if reasons:
        st.segmented_control("Not available here", list(reasons), disabled=True)
        st.caption("  \n".join(f"**{title}** · {reason}" for title, reason in reasons.items()))


def is_on(key: str) -> bool:
    """Whether a technique is switched on."""
    started_with = any(technique.key == key for technique in STATE["optimise.start"].techniques)
    return bool(STATE.get(key_of(f"{key}.on"), started_with))


def active() -> list[str]:
    """The techniques that are on, in the order they apply; what is on for models of another form waits for those."""
    return [key for key in offered() if is_on(key)]


def apply_earlier(key: str) -> None:
    """Swap a technique with the one applied before it."""
    before = active()[active().index(key) - 1]
    swapped = {key: before, before: key}
    STATE["optimise.order"] = tuple(swapped.get(each, each) for each in STATE["optimise.order"])


def draw_techniques(device: Device, runtime: Runtime) -> dict[str, Technique]:
    """All that is offered, in groups, and what keeps any of it from working here; the settings of those that are on."""
    draw_left_out(device, runtime)
    unfit = {key: why_unfit(key, STATE["model"], runtime, device) or "" for key in offered()}
    for environment in ENVIRONMENTS.values():
        if any(needs(reason, environment) for reason in unfit.values()):
            st.info(f"{environment.why_missing}.", icon=":material/download:")
    settings: dict[str, Technique] = {}
    for title, keys in groups().items():
        settings |= draw_group(title, {key: unfit[key] for key in keys})
    return settings


def needs(reason: str, environment: Environment) -> bool:
    """Whether it is for want of that environment that something does not work here."""
    return bool(environment.why_missing) and environment.why_missing in reason


def draw_group(title: str, unfit: dict[str, str]) -> dict[str, Technique]:
    """The techniques of a group, each with the reason why it does not work here; the settings of those that are on."""
    with st.container(border=True, gap="xsmall", key=f"group-{title}"):
        st.markdown(f":small[:gray[**{title}**]]")
        if title == "Smaller file":
            st.caption(ONLY_COMPRESSED)
        settings = {key: draw_technique(key, reason) for key, reason in unfit.items()}
    return {key: technique for key, technique in settings.items() if technique}


def draw_technique(key: str, unfit: str) -> Technique | None:
    """A technique's switch and, when it is on, its sliders; its settings, or None when off.

    `unfit` is the reason why no setting makes it work here, if there is one: then it can only be switched off.
    """
    kind = TECHNIQUES[key]
    on = is_on(key)
    with st.container(border=on, key=f"technique-{key}", gap="xsmall" if on else "xxsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            draw_switch(key, on=on, is_offered=on or not unfit)
            draw_step(key)
            st.space("stretch")
            with st.popover("Learn", icon=":material/school:", type="tertiary"):
                st.markdown(kind.learn)
        absent = next((each.title for each in ENVIRONMENTS.values() if needs(unfit, each)), "")
        if on or absent or not unfit:
            st.caption(kind.summary)
        if unfit:
            st.caption(f":material/block: Not here: {f'needs {absent}' if absent else text.escape(unfit)}")
        return draw_settings(key) if on else None


def draw_switch(key: str, *, on: bool, is_offered: bool) -> None:
    """The switch of a technique; where it is not offered another one, as disabling a switch undoes its last move."""
    title = f"**{TECHNIQUES[key].title}**"
    if is_offered:
        st.toggle(title, on, key=key_of(f"{key}.on"), persist_state="session")
    else:
        st.toggle(title, False, key=key_of(f"{key}.not-offered"), disabled=True)


def draw_step(key: str) -> None:
    """Which step a technique is, and the button that makes it an earlier one."""
    if key not in active() or len(active()) == 1:
        return
    st.badge(f"step {active().index(key) + 1}", color="blue")
    if active()[0] != key:
        st.button(
            ":material/arrow_upward:", type="tertiary", help="Earlier: apply this before the step above",
            on_click=apply_earlier, args=(key,), key=f"earlier-{key}",
        )  # fmt: skip


def draw_settings(key: str) -> Technique:
    """The settings as they are set on screen; where they do not fit, as they were, with the reason kept for Run."""
    start = next((each for each in STATE["optimise.start"].techniques if each.key == key), TECHNIQUES[key]())
    try:
        teachers = other_teachers(STATE["model"], models()) if takes_models(type(start)) else {}
        fitting = start.fitting(find(STATE["model"]).task)
        return controls(start, key=key_of(key), variants=finished_variants(start), models=teachers, fitting=fitting)
    except BadInput as error:
        misfits.append(f"{TECHNIQUES[key].title}: {error}")
        return start


def finished_variants(technique: Technique) -> dict[str, str]:
    """Titles, by digest, of the chosen model's finished variants, for a technique that can take some; else none."""
    if not takes_variants(type(technique)):
        return {}
    finished = [
        each for each in store().runs(states=("finished",), model=STATE["model"], limit=MOST_RUNS) if each.summary
    ]
    newest = {each.recipe.digest: each for each in reversed(finished)}
    unique = tables.unique_titles(list(newest.values()))
    return {digest: unique[record.id] for digest, record in newest.items()}


def ask_name(usual: str) -> str:
    """A name of the person's own, or nothing."""
    return st.text_input(
        "Name",
        STATE["optimise.start"].name,
        max_chars=120,
        placeholder=usual,
        help="How the variant is called in charts and tables. Left empty, it is called by what was done.",
        key=key_of("name"),
        persist_state="session",
    ).strip()


def draw_summary(recipe: Recipe) -> None:
    """The recipe in words, one line a step."""
    model = find(recipe.model)
    place = next(each for each in devices() if each.id == recipe.device)
    target = text.escape(recipe.engine.target(place).name)
    steps = [
        f"Start from the **{text.escape(model.title)}** on {text.escape(model.data_title)}",
        *(f"**{text.escape(technique.label())}**" for technique in recipe.techniques),
        f"Export for **{RUNTIMES[recipe.runtime].title}**",
        f"Build for **{target}**; nothing is run or measured here"
        if recipe.engine.builds_ahead
        else f"Measure accuracy only on **{text.escape(place.name)}**"
        if recipe.is_simulated
        else f"Measure on **{target}**, batch size {recipe.measurement.batch_size}",
    ]
    st.markdown("\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)))


def draw_run(recipe: Recipe) -> None:
    """Whether it fits, and the button that starts it."""
    reason = misfits[0] if misfits else why_refused(recipe)
    if reason:
        st.error(text.escape(reason), icon=":material/block:")
    if control := fine_tuned_control(recipe):
        training = text.escape(control.techniques[0].label())
        st.caption(f"Its control runs too, unless it is measured: {training}, in FP32.")
    again = st.checkbox("Measure the references again", help=REFERENCES_HELP, key="again")
    if st.button(
        "Run", type="primary", icon=":material/play_arrow:", width="stretch", disabled=bool(reason), key="run"
    ):
        open_page("runs", run=enqueue(store(), recipe, measure_again=again))


def draw_pointer(setting: str) -> None:
    """Where the setting is that another page sent the person here for."""
    place, _, name = setting.partition(".")
    if place in TECHNIQUES and name in TECHNIQUES[place].model_fields:
        where = f"**{TECHNIQUES[place].model_fields[name].title}** under **{TECHNIQUES[place].title}**"
    elif place == "measurement" and name in MeasurementSettings.model_fields:
        where = f"**{MeasurementSettings.model_fields[name].title}** under **Measurement**"
    elif place in ("runtime", "device"):
        where = f"**{place.capitalize()}** at the top"
    else:
        return
    st.info(f"The recipe is set as it was run. What to try here: {where}.", icon=":material/arrow_downward:")


def draw_left_out(device: Device, runtime: Runtime) -> None:
    """What the opened recipe has and never works on the chosen model, and the runtime taken instead of its own."""
    wanted = STATE["optimise.start"].runtime
    if STATE["optimise.start"].model and wanted != runtime.key and not takes_model(wanted, device):
        st.info(
            f"The recipe asks for {RUNTIMES[wanted].title}, which never serves a model {form_title(form())}: "
            f"{runtime.title} is chosen instead.",
            icon=":material/info:",
        )
    left = [each.title for each in STATE["optimise.start"].techniques if is_on(each.key) and each.key not in offered()]
    if left:
        st.info(
            f"Left out of the recipe, because they never work on a model {form_title(form())}: {', '.join(left)}.",
            icon=":material/info:",
        )


def draw_missing(model: str) -> None:
    """What the address asks for and is not offered."""
    if was_deleted(model, owner()):
        what = f"The model {text.escape(title_of(model, owner()))}, which the address names, was deleted"
    else:
        what = f"The model {text.escape(model[:60])}, which the address names, is not here"
    st.warning(f"{what}. What the controls say is used instead.", icon=":material/info:")


def draw_file(recipe: Recipe) -> None:
    """The recipe as a file, to keep and to open again."""
    with st.expander("Recipe as YAML", key="yaml"):
        st.code(to_yaml(recipe), language="yaml")
        st.download_button("Download recipe.yaml", to_yaml(recipe), "recipe.yaml", icon=":material/download:")
        st.file_uploader(
            "Open a recipe", ["yaml", "yml"], max_upload_size=1, key=key_of("upload"), on_change=read_upload
        )
        if refusal := STATE.pop("optimise.refusal", None):
            st.error(text.escape(refusal))


if run_id := st.query_params.pop("run", None):
    record = store().run(run_id)
    if record and is_here(record.recipe.model, owner()):
        open_recipe(record.recipe)
    else:
        st.warning("That run, or its model, is not here any more.", icon=":material/info:")
if sent := STATE.pop("optimise.open", None):
    try:
        open_foreign(sent)
    except BadInput as error:
        st.warning(text.escape(str(error)), icon=":material/info:")
asked = st.query_params.get("model", "")
if asked in models():
    STATE["model"] = asked

st.title("Optimise")
st.caption("Switch techniques on, move their sliders, and run. Every variant is compared with the untouched model.")
if asked and asked not in models():
    draw_missing(asked)
if setting := st.query_params.get("look"):
    draw_pointer(setting)
left, right = st.columns([5, 3], gap="large")
with left:
    st.subheader("Model and place")
    model_column, device_column = st.columns(2)
    model_titles = of_models(models())
    model_column.selectbox(
        "Model",
        list(model_titles),
        format_func=model_titles.__getitem__,
        key="model",
        on_change=show_model_in_address,
        persist_state="session",
    )
    with device_column:
        device = pick_device()
    misfits: list[str] = []
    runtime = set_engine(pick_runtime(device), device)
    st.subheader("Techniques")
    settings = draw_techniques(device, runtime)
    with st.expander("Measurement", key="measurement"):
        measurement = controls(STATE["optimise.start"].measurement, key=key_of("measurement"))
        seed = st.number_input(
            "Seed",
            0,
            MAX_SEED,
            STATE["optimise.start"].seed,
            help=SEED_HELP,
            key=key_of("seed"),
            persist_state="session",
        )
with right, st.container(key="recipe"):
    st.html(STYLE)
    recipe = Recipe(
        model=STATE["model"],
        techniques=tuple(settings[key] for key in active()),
        runtime=runtime.key,
        engine=runtime.settings,
        device=device.id,
        measurement=measurement,
        seed=seed,
    )
    st.subheader("Recipe")
    recipe = recipe.model_copy(update={"name": ask_name(recipe.title)})
    draw_summary(recipe)
    draw_run(recipe)
    draw_file(recipe)
