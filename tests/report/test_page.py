import re

import numpy as np
import pytest

from perception.report.page import render
from perception.report.parts import (
    Column,
    Figure,
    Figures,
    Lines,
    Matrix,
    Panel,
    Pictures,
    Section,
    Series,
    Table,
    Text,
    show,
)
from perception.report.svg import lines_svg, ticks


@pytest.fixture(scope="module")
def page():
    curve = Series(
        "a<b", np.linspace(0, 1, 2000), np.r_[np.nan, np.linspace(1, 0, 1999)], (0.5, 0.5)
    )
    picture = Panel("label", np.full((40, 900, 3), 200, np.uint8), sharp=True)
    table = Table(
        (Column("image", "text"), Column("IoU"), Column("pixels", "count")),
        (("x & y", 0.5, 12345), ("z", float("nan"), None)),
    )
    confusion = Matrix("Confusion", ("car", "bus"), ("car", "bus"), np.array([[3, 1], [0, 0]]))
    return render(
        "Scores <script>",
        [
            Section("Numbers", (Figures((Figure("IoU", 0.5, 0.4, 0.6),)), table, Text("mind"))),
            Section("Curves", (Lines("PR", "recall", "precision", (curve,)), confusion)),
            Section("Worst", (Pictures("x", (picture,)),)),
        ],
        facts={"images": 2},
    )


def test_the_page_loads_nothing_from_elsewhere(page):
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    assert "http" not in page.split("<body>")[1]


def test_text_of_users_is_escaped(page):
    assert "Scores &lt;script&gt;" in page
    assert "a&lt;b" in page
    assert "x &amp; y" in page


def test_numbers_are_shown_as_percentages_and_gaps_as_dashes(page):
    assert '<td class="percent" data-v="0.5" style="--v:0.5000">50.00</td>' in page
    assert '<td class="count" data-v="12345">12,345</td>' in page
    assert '<td class="percent">–</td>' in page
    assert "40.00 to 60.00" in page


def test_wide_pictures_are_reduced_and_embedded(page):
    assert re.search(r'<img src="data:image/png;base64,[^"]+" width="720" height="32"', page)


def test_a_row_of_the_matrix_without_counts_stays_empty(page):
    assert "car predicted as bus: 1 (25.00 %)" in page
    assert "bus predicted as bus: 0 (0.00 %)" in page


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.12345, "percent", "12.35"),
        (1234.0, "count", "1,234"),
        (0.123456, "number", "0.1235"),
        (None, "percent", "–"),
        (float("nan"), "count", "–"),
        ("road", "percent", "road"),
    ],
)
def test_cells(value, kind, text):
    assert show(value, kind) == text


def test_small_numbers_leave_room_for_the_label_of_their_axis():
    rates = Series("rate", [0, 1, 2], [1e-4, 2.5e-4, 5e-5])

    chart = lines_svg(Lines("Learning rate", "step", "rate", (rates,)))

    assert ">rate (× 10⁻⁴)</text>" in chart
    assert ">0.5</text>" in chart
    assert "e-05" not in chart.split("</svg>")[0].split("data-series")[1].split(">", 1)[1]


def test_ticks_are_round_and_few():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0, 60000) == [0, 10000, 20000, 30000, 40000, 50000, 60000]
    assert ticks(3, 3) == [3]
