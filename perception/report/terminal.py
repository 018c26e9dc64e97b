"""Tables on the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from perception.report.parts import Table, show


def console() -> Console:
    """For tables: as wide as the terminal; into a file or pipe wide enough to cut nothing."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=160)


def rich_table(table: Table) -> RichTable:
    """The table for `rich.console.Console.print`."""
    shown = RichTable(
        title=table.title or None,
        caption=table.note or None,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in table.columns:
        left = column.kind == "text"
        shown.add_column(column.name, justify="left" if left else "right", no_wrap=True)
    for row in table.rows:
        shown.add_row(
            *(
                Text(show(cell, column.kind))
                for cell, column in zip(row, table.columns, strict=True)
            )
        )
    return shown
