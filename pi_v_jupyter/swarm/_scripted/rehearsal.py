"""What the model does without a script: it notes its task in a file, reads that again, and answers.

Where it may only look it plans that, and says which steps are done where it is asked to.

Where it is in this is told by the conversation alone, as with a model that thinks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "notes.md"
PLAN = """I have looked, and would do it so.

Plan:
1. Note the task in `{0}`.
2. Read `{0}` again, to see that it is whole."""
MARK = "[DONE:n]"  # in a task that wants to know which steps of a plan are done
QUOTED = 400  # characters of a task in an answer


def rehearse(request: dict[str, Any]) -> dict[str, Any]:
    """The next turn, as a script would tell it."""
    task, done = where(request["messages"])
    offered = {tool.get("name") for tool in request.get("tools", [])}
    if "write" not in offered and "ls" in offered:
        if done == 0:
            return {"content": [{"say": "I look around first."}, {"call": "ls", "with": {}}]}
        return {"content": [{"say": PLAN.format(FILE)}]}
    first, second = ("[DONE:1]\n\n", "[DONE:2]\n\n") if MARK in task else ("", "")
    if done == 0 and "write" in offered:
        return {
            "content": [
                {"think": "The task is clear enough. I note it down first."},
                {"say": f"I note the task in {FILE} first."},
                {"call": "write", "with": {"path": FILE, "content": f"# Task\n\n{task}\n"}},
            ]
        }
    if done == 1 and "read" in offered:
        return {
            "content": [{"say": f"{first}Now I read it again."}, {"call": "read", "with": {"path": FILE}}]
        }
    quoted = task if len(task) <= QUOTED else task[:QUOTED] + "…"
    said = (
        "The task was: “{}”. It is noted in {}, which I wrote and read again. "
        "This is a rehearsal: a scripted model answered, for no key of a real one is there, "
        "so nothing beyond that was done."
    )
    return {"content": [{"say": second + said.format(quoted, FILE)}]}


def where(messages: list[dict[str, Any]]) -> tuple[str, int]:
    """The last thing a person wrote, and how many calls have returned since."""
    done = 0
    for message in reversed(messages):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        texts = [str(block.get("text", "")) for block in blocks if block.get("type") == "text"]
        if texts:
            return "\n".join(texts).strip(), done
        done += sum(block.get("type") == "tool_result" for block in blocks)
    return "", done
