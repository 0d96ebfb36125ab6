"""An opened OpenVINO model that answers. Imports openvino: import it inside functions only."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import openvino

from core.data import Floats, Inputs
from runtimes.openvino_file import arranged

Compile = Callable[[Any], Any]
"""A model as it serves on its device."""


class OpenVinoSession:
    """One request at a time; it says `largest_batch` where its model is made for one number of images."""

    largest_batch: int

    def __init__(self, compiled: Any) -> None:
        self._model, self._request = compiled, compiled.create_infer_request()
        batch = compiled.input(0).get_partial_shape()[0]
        if batch.is_static:
            self.largest_batch = batch.get_length()

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""
        logits: Floats = self._request.infer([arranged(x, self._model.input(0))])[0]
        return logits

    def bind(self, x: Inputs) -> Callable[[], None]:
        """One inference on x; returns once it has finished."""
        request, given = self._model.create_infer_request(), arranged(x, self._model.input(0))
        request.set_input_tensor(openvino.Tensor(given, shared_memory=True))

        def infer(_kept: Inputs = given) -> None:
            request.infer()

        return infer

    @property
    def device_name(self) -> str:
        """What the processor that serves calls itself."""
        place, *_ = self._model.get_property("EXECUTION_DEVICES")
        return str(openvino.Core().get_property(place, "FULL_DEVICE_NAME"))

    def __enter__(self) -> OpenVinoSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._model, self._request


class ThroughputSession(OpenVinoSession):
    """As many requests at the same time as its streams can compute."""

    @property
    def requests(self) -> int:
        """Requests to keep in flight, as the device advises."""
        return int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def flood(self, x: Inputs, seconds: float) -> list[tuple[float, float]]:
        """Keep `requests` requests on x[N, C, H, W] in flight for so long.

        For each that was answered, in that order: when, in ms since the start, and how many ms it took.
        """
        queue = openvino.AsyncInferQueue(self._model, self.requests)
        given = arranged(x, self._model.input(0))
        for request in queue:
            request.set_input_tensor(openvino.Tensor(given, shared_memory=True))
        answers: list[tuple[float, float]] = []
        began = time.perf_counter_ns()

        def note(request: Any, _given: None) -> None:
            answers.append(((time.perf_counter_ns() - began) / 1e6, request.latency))

        queue.set_callback(note)
        while time.perf_counter_ns() - began < 1e9 * seconds:
            queue.start_async()  # waits for a request to be free
        queue.wait_all()
        return answers


class FixedShapeSession:
    """For devices that take no open dimensions: each batch size is compiled by itself, before it is first served.

    A batch of one is compiled at once.
    """

    def __init__(self, model: Any, compile_model: Compile) -> None:
        self._source, self._compile = model, compile_model
        self._sessions: dict[tuple[int, ...], OpenVinoSession] = {}
        sides = list(model.input(0).get_partial_shape())[1:]
        self._session((1, *(side.get_length() for side in sides)))

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""
        return self._session(arranged(x, self._source.input(0)).shape).run(x)

    def bind(self, x: Inputs) -> Callable[[], None]:
        """One inference on x; returns once it has finished."""
        return self._session(arranged(x, self._source.input(0)).shape).bind(x)

    @property
    def device_name(self) -> str:
        """What the processor that serves calls itself."""
        return next(iter(self._sessions.values())).device_name

    def _session(self, shape: tuple[int, ...]) -> OpenVinoSession:
        if shape not in self._sessions:
            fixed = self._source.clone()
            fixed.reshape({fixed.input(0): list(shape)})
            self._sessions[shape] = OpenVinoSession(self._compile(fixed))
        return self._sessions[shape]

    def __enter__(self) -> FixedShapeSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sessions.clear()
