"""Which requests may be sent again, and when. Judges what came of a try; sends nothing itself.

The rule: nothing that could then run twice. Whether a platform honours `X-Idempotency-Key` cannot be
seen from here (the older vintage may ignore it), so a write whose answer was lost is not sent again
on the strength of the key alone:

- GET, PUT and DELETE come to the same however often they run. They are repeated after any loss, and
  after 408, 409, 429 and 5xx.
- POST and PATCH may make a second VM or commit. They are repeated only when the first surely did not
  run: it was never sent (refused, name not found, no connection in time), or the platform turned it
  away at the door (429, or 503 with Retry-After). A 408 or a bare 5xx may come from a gateway whose
  platform went on working; a 409 would only come again.
- 501 says "never", and an untrusted certificate stays untrusted: not repeated.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from tenacity import RetryCallState

from pi_v_jupyter.api.exchange import Answer, Lost, Outcome, Request

TRIES = 3
FIRST_WAIT = 0.5  # seconds; doubles with each try
LONGEST_WAIT = 60.0  # seconds, whatever Retry-After asks for


def may_have_run(outcome: Outcome) -> bool:
    """Whether the platform may have done what was asked, without our knowing."""
    if isinstance(outcome, Lost):
        return outcome.sent
    return _unsettled(outcome.status) and not _turned_away(outcome)


def may_repeat(request: Request, outcome: Outcome) -> bool:
    """Whether the same request may be sent again after this outcome of it."""
    if isinstance(outcome, Lost):
        return not outcome.final and (request.repeatable or not outcome.sent)
    return _turned_away(outcome) or (request.repeatable and _unsettled(outcome.status))


def seconds_to_wait(state: RetryCallState) -> float:
    """What the platform asks for, else 0.5 s, 1 s, … and up to a quarter more, so that clients spread."""
    outcome = state.outcome.result() if state.outcome else None
    asked = retry_after(outcome.headers) if isinstance(outcome, Answer) else None
    if asked is not None:
        return asked
    wait: float = FIRST_WAIT * 2 ** (state.attempt_number - 1)
    return wait * (1 + random.random() / 4)  # noqa: S311 - spreads clients, guards nothing


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that `Retry-After` asks for, 0 to 60; None when it is absent or means nothing."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_WAIT)


def _unsettled(status: int) -> bool:
    return status in (408, 409) or (status >= 500 and status != 501)


def _turned_away(answer: Answer) -> bool:
    return answer.status == 429 or (answer.status == 503 and "retry-after" in answer.headers)
