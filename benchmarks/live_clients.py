"""Viewers without a browser: sessions that speak Streamlit's websocket protocol and poll as its pages do.

`python -m benchmarks.live_clients PORT RUN COUNT` opens so many sessions on the page of a run, and reruns each
fragment at the interval that the server asks for. Once its standard input closes, it prints one JSON line: for each
session the number of messages, the bytes received, and the counts of steps it was told with the moments they came.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

STEPS = re.compile(r"· ([\d,]+) of [\d,]+ steps")
BETWEEN_STARTS = 0.1


class Viewer:
    """One session on one page."""

    def __init__(self, port: int, run_id: str) -> None:
        self._address, self._query = f"ws://127.0.0.1:{port}/_stcore/stream", f"run={run_id}"
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._announced: set[str] = set()
        """Fragments that the newest drawing wants to be rerun."""
        self.messages = self.received_bytes = self.polls = 0
        self.seen: list[tuple[int, float]] = []
        """Steps, and when they were told, in seconds since the epoch."""

    async def watch(self) -> None:
        """Open the page and follow it until cancelled."""
        async with connect(self._address, subprotocols=["streamlit"], max_size=None, ping_interval=None) as socket:
            await self._rerun(socket)
            async for packet in socket:
                self.messages += 1
                self.received_bytes += len(packet)
                message = ForwardMsg.FromString(packet)
                self._take(socket, message)

    def _take(self, socket: ClientConnection, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._announced.clear()
        elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
            for fragment in self._polls.keys() - self._announced:  # the whole page was drawn anew, without them
                self._polls.pop(fragment).cancel()
        elif kind == "auto_rerun":
            fragment, interval = message.auto_rerun.fragment_id, message.auto_rerun.interval
            self._announced.add(fragment)
            if fragment not in self._polls:
                self._polls[fragment] = asyncio.create_task(self._poll(socket, fragment, interval))
        elif kind == "delta" and (found := STEPS.search(message.delta.new_element.progress.text)):
            self.seen.append((int(found[1].replace(",", "")), time.time()))

    async def _poll(self, socket: ClientConnection, fragment: str, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self.polls += 1
            await self._rerun(socket, fragment)

    async def _rerun(self, socket: ClientConnection, fragment: str = "") -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_name, state.fragment_id = self._query, "runs", fragment
        state.is_auto_rerun = bool(fragment)
        await socket.send(message.SerializeToString())


async def watch(port: int, run_id: str, count: int) -> list[dict[str, Any]]:
    """What so many viewers saw until standard input was closed."""
    viewers, tasks = [Viewer(port, run_id) for _ in range(count)], []
    for viewer in viewers:
        tasks.append(asyncio.create_task(viewer.watch()))
        await asyncio.sleep(BETWEEN_STARTS)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    broken = [task.exception() for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    if broken:
        raise RuntimeError(f"{len(broken)} of {count} sessions broke off: {broken[0]}")
    return [
        {name: getattr(viewer, name) for name in ("messages", "received_bytes", "polls", "seen")} for viewer in viewers
    ]


if __name__ == "__main__":
    told = asyncio.run(watch(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    print(json.dumps(told))
