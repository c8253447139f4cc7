"""What IPython asks when Tab is pressed, among others; in lines and cells of ours nobody else answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem
from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from pi_v_jupyter.errors import VersError
from pi_v_jupyter.magics.completion import lines, python
from pi_v_jupyter.magics.completion.cursor import Body, Line, place
from pi_v_jupyter.magics.completion.tab import Tab

if TYPE_CHECKING:
    from pi_v_jupyter.magics.extension import Extension


class Nothing(list[SimpleCompletion]):
    """No completions, of nobody: IPython heeds who suppresses the others only where there are some."""

    def __len__(self) -> int:
        return 1


def made(extension: Extension) -> Callable[[CompletionContext], Any]:
    """For `IPCompleter.custom_matchers`."""
    tab = Tab(extension)

    @context_matcher(identifier="pi_v_jupyter")  # type: ignore[untyped-decorator]  # IPython does not type it
    def completions(context: CompletionContext) -> Any:
        found = place(context.full_text, context.cursor_line, context.cursor_position)
        if found is None and not extension.route.covers(context.full_text):
            return {"completions": []}
        tab.begin()
        try:
            typed, items = _complete(tab, found, context)
        except (VersError, KeyboardInterrupt):
            typed, items = "", []
        # A VM may call a thing what it likes; what cannot be seen is not put into a cell.
        printable = [item for item in items if item.value.isprintable()]
        offered = [SimpleCompletion(text=item.value, type=item.type) for item in printable]
        return {
            "completions": offered or Nothing(),
            "matched_fragment": typed,
            "suppress": True,
            "ordered": True,
        }

    matcher: Callable[[CompletionContext], Any] = completions
    return matcher


def _complete(
    tab: Tab, found: Line | Body | None, context: CompletionContext
) -> tuple[str, list[CompletionItem[str]]]:
    if isinstance(found, Line):
        return lines.line(tab, found)
    before = context.full_text.split("\n")[: context.cursor_line]
    cursor = len("\n".join([*before, context.line_with_cursor[: context.cursor_position]]))
    typed, items = python.complete(tab, context.full_text, cursor)
    return lines.body(tab, found) if found is not None and not items else (typed, items)
