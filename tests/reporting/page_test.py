import base64
from html.parser import HTMLParser

import pytest

from asem_jax.reporting import page

VOID = {"meta", "img"}


class _Balance(HTMLParser):
    """Collects tags that are closed in another order than they were opened."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def unbalanced(html):
    """Returns the tags that are not closed, or not in order."""
    parser = _Balance()
    parser.feed(html)
    return parser.open + parser.wrong


NASTY = '<b>&"mito"</i>'


@pytest.mark.parametrize(
    "part",
    [
        page.heading(NASTY),
        page.paragraph(NASTY, "lead"),
        page.headline([(NASTY, NASTY)]),
        page.table([NASTY], [[NASTY]], numbers_from=1, strong=[0]),
        page.facts([(NASTY, NASTY)]),
        page.picture(b"png", alt=NASTY, caption=NASTY),
        page.colour_key([("#ffffff", NASTY)]),
        page.folded(NASTY, NASTY),
    ],
)
def test_text_is_escaped_everywhere(part):
    html = page.page(NASTY, [part])
    assert NASTY not in html
    assert unbalanced(html) == []


def test_picture_holds_its_bytes():
    html = page.picture(b"\x89PNG", alt="a plane")
    assert f"data:image/png;base64,{base64.b64encode(bytes([137, 80, 78, 71])).decode()}" in html
    assert "data:image/svg+xml" in page.picture("<svg/>", alt="a curve")
    assert "figcaption" not in html


def test_table_marks_the_rows_that_matter():
    html = page.table(("name", "F1"), [("a", "0.1"), ("total", "0.2")], numbers_from=1, strong=[1])
    assert "<tr class=strong><td>total</td>" in html
    assert html.count("class=strong") == 1
    assert '<th class="number">F1</th>' in html


def test_later_lines_of_a_cell_are_small_and_escaped():
    html = page.table((), [("a", "0.9\n<0.8>")], numbers_from=1)
    assert '<td class="number">0.9<small>&lt;0.8&gt;</small></td>' in html
