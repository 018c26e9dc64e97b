"""Tables on the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from perception.report.parts import Table, show


def rich_table(table: Table) -> RichTable:
    """The table for `rich.console.Console.print`."""
    shown = RichTable(
        title=table.title or None, caption=table.note or None, title_justify="left",
        caption_justify="left", box=SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for column in table.columns:
        left = column.kind == "text"
        shown.add_column(column.name, justify="left" if left else "right", no_wrap=not left)
    for row in table.rows:
        shown.add_row(
            *(show(cell, column.kind) for cell, column in zip(row, table.columns, strict=True))
        )
    return shown
