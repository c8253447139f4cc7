"""The output beside a dashboard that is left when that is gone: kept in the notebook, and kept true."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.getipython import get_ipython
from IPython.display import display

from pi_v_jupyter.dashboard.shape import Snapshot
from pi_v_jupyter.views.saved import Saved, saved_html

INTERVAL = 10.0  # seconds between two changes: each makes the notebook one that is to be saved


class SavedOutput:
    """What `state()` is, in every cell that has shown it, as it was when it last read otherwise."""

    def __init__(self, state: Callable[[], Snapshot], home: asyncio.AbstractEventLoop) -> None:
        self._state, self._home = state, home
        self._id = uuid.uuid4().hex
        self._told: tuple[float, str] | None = None  # when, in seconds since the epoch, and what
        self._next = 0.0  # when it may change again, by `time.monotonic`
        self._timer: asyncio.TimerHandle | None = None

    def show(self) -> None:
        """As an output of the cell that runs."""
        self._tell(update=False)

    def changed(self) -> None:
        """There is another state; on the home loop."""
        if self._told is not None and self._timer is None:
            wait = max(0.0, self._next - time.monotonic())
            self._timer = self._home.call_later(wait, self._due)

    def save(self) -> None:
        """Have it as it is now; on the home loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._told is None:
            return
        at, told = self._told
        if saved_html(self._state(), at) != told:  # but for the time it is
            self._tell(update=True)

    def _due(self) -> None:
        self._timer = None
        if isinstance(getattr(get_ipython(), "display_pub", None), CapturingDisplayPublisher):
            self._next = time.monotonic() + INTERVAL  # what a cell captures is that cell's
            self.changed()
        else:
            self.save()

    def _tell(self, *, update: bool) -> None:
        saved = Saved(self._state(), time.time())
        html = saved_html(saved.state, saved.at)
        self._told, self._next = (saved.at, html), time.monotonic() + INTERVAL
        display({"text/plain": repr(saved), "text/html": html}, raw=True, display_id=self._id, update=update)
