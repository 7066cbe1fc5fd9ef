"""The interactive form of ``faultplane top``: a full-screen terminal program."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from faultplane.cli.output import clock, fingerprint_text, fit, plain
from faultplane.cli.top_view import ORDERS, View, cells_of, heads_of, summary
from faultplane.errors import StackNotFound

# Cells of each column in 80 columns, without and with the service: what is long gives way.
_WIDTHS = {
    "rate/s": (8, 7),
    "count": (9, 8),
    "fingerprint": (8, 8),
    "service": (0, 9),
    "kind": (13, 9),
    "operation": (11, 9),
    "type": (13, 11),
    "last": (8, 8),
}
_LONG = ("service", "kind", "operation", "type")
_COLOUR_OF_KIND = {"Internal": "red", "Timeout": "yellow", "Transport": "cyan"}


class GroupScreen(ModalScreen[None]):
    """One group: its stack as it was first seen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss", "back")]
    CSS = "VerticalScroll { border: round $accent; margin: 1 2; padding: 0 1; height: 1fr; }"

    def __init__(self, title: str, text: str) -> None:
        """Show ``text`` under ``title``."""
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """The text in a box that scrolls."""
        with VerticalScroll() as box:
            box.border_title = self._title
            yield Static(Text(self._text))
        yield Footer()


class Top(App[int]):
    """Groups and processes, read again every ``interval`` seconds."""

    CSS = """
    #summary { height: 1; padding: 0 1; background: $accent; color: $text; }
    #groups { height: 1fr; }
    #owners { height: auto; max-height: 6; padding: 0 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("s", "sort", "order"),
        Binding("p", "pause", "pause"),
        Binding("enter", "group", "show group"),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, view: View, interval: float, seconds: float | None) -> None:
        """Watch ``view``; end after ``seconds`` if given."""
        super().__init__()
        self._view = view
        self._interval = max(interval, 0.1)
        self._seconds = seconds
        self._paused = False
        self._heads: tuple[str, ...] = ()
        self._shown: list[int] = []

    def compose(self) -> ComposeResult:
        """A summary, the groups, the processes, the keys."""
        yield Static(id="summary")
        groups: DataTable[Text] = DataTable(
            id="groups", cursor_type="row", zebra_stripes=True, cell_padding=0
        )
        yield groups
        yield Static(id="owners")
        yield Footer()

    def on_mount(self) -> None:
        """Start looking."""
        self._look()
        self.set_interval(self._interval, self._look)
        if self._seconds:
            self.set_timer(self._seconds, self.exit)

    def _look(self) -> None:
        if self._paused:
            return
        self._view.look()
        self._fill()

    def _fill(self) -> None:
        paused = "  PAUSED" if self._paused else ""
        title = f"{summary(self._view)}  by {self._view.order}{paused}"
        self.query_one("#summary", Static).update(Text(title))
        groups = self.query_one("#groups", DataTable)
        row = groups.cursor_row
        found = self._view.groups()
        heads = heads_of(found)
        groups.clear(columns=heads != self._heads)
        if heads != self._heads:
            self._heads = heads
            for head in heads:
                groups.add_column(f"{head} ", key=head)
        self._shown = []
        widths = self._widths()
        for group in found:
            cells = []
            for head, text in zip(heads, cells_of(group, heads), strict=True):
                cut = fit(text, widths[head])
                if head in ("rate/s", "count"):
                    cut = cut.rjust(widths[head])
                style = _COLOUR_OF_KIND.get(text, "") if head == "kind" else ""
                cells.append(Text(f"{cut} ", style=style))
            groups.add_row(*cells)
            self._shown.append(group["fingerprint"])
        if self._shown:
            groups.move_cursor(row=min(row, len(self._shown) - 1))
        owners = "  ".join(
            f"{o['service'] or 'process'}/{o['pid']} since {clock(o['start_unix_nano'])[:8]}"
            for o in self._view.owners
        )
        self.query_one("#owners", Static).update(Text(plain(owners) or "no process records here"))

    def _widths(self) -> dict[str, int]:
        """In 80 columns the long names give way; a wide terminal shows them whole."""
        long = [head for head in self._heads if head in _LONG]
        spare = max(self.size.width - 80, 0) // len(long)
        with_service = "service" in self._heads
        return {
            head: _WIDTHS[head][with_service] + (spare if head in long else 0)
            for head in self._heads
        }

    def action_sort(self) -> None:
        """The next order."""
        self._view.order = ORDERS[(ORDERS.index(self._view.order) + 1) % len(ORDERS)]
        self._fill()

    def action_pause(self) -> None:
        """Stop looking, or go on."""
        self._paused = not self._paused
        self._fill()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show the stack of the group that was chosen."""
        fingerprint = self._shown[event.cursor_row]
        try:
            text = str(self._view.domain.stack(fingerprint))
        except StackNotFound as error:
            text = str(error)
        lines = "\n".join(plain(line) for line in text.split("\n"))
        self.push_screen(GroupScreen(fingerprint_text(fingerprint), lines))


def show(view: View, interval: float, seconds: float | None) -> int:
    """Run the program in this terminal; its exit status."""
    Top(view, interval, seconds).run()
    return 0
