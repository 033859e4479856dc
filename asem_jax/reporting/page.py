"""An HTML page in one file: text, tables and pictures, readable without a network and without scripts.

Everything that comes from a config or a file is escaped. Pictures are embedded, SVG as an image of its own,
so that the names inside two of them never meet.
"""

import base64
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #222;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 48px 0 10px; padding-top: 14px; border-top: 1px solid #e2e2e2; }
h3 { font-size: 16px; margin: 30px 0 6px; }
h4 { font-size: 14.5px; margin: 18px 0 4px; color: #444; }
p { max-width: 76ch; margin: 8px 0; }
.lead { color: #555; margin-bottom: 22px; }
.missing { color: #666; font-style: italic; }
.headline { display: flex; flex-wrap: wrap; gap: 14px; margin: 20px 0 6px; }
.headline div { flex: 1 1 150px; border: 1px solid #e2e2e2; border-radius: 6px; padding: 12px 16px; }
.headline b { display: block; font-size: 27px; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.headline span { color: #555; font-size: 14px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 12px 0; font-size: 14.5px; }
th, td { text-align: left; padding: 5px 16px 5px 0; border-bottom: 1px solid #ececec; vertical-align: top; }
th { color: #555; font-weight: 600; }
thead th { border-bottom-color: #bbb; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td small { display: block; color: #777; font-size: 12.5px; font-weight: 400; white-space: nowrap; }
tr.strong td { font-weight: 600; border-top: 1px solid #bbb; }
td.address { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px;
  overflow-wrap: anywhere; }
figure { margin: 14px 0 24px; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { color: #555; font-size: 14px; margin-top: 6px; max-width: 90ch; }
.key { display: flex; flex-wrap: wrap; gap: 6px 22px; font-size: 14px; margin: 12px 0; padding: 0;
  list-style: none; }
.key i { display: inline-block; width: 15px; height: 15px; margin-right: 7px; vertical-align: -2px;
  border: 1px solid #0005; border-radius: 3px; }
details { margin: 12px 0; }
summary { cursor: pointer; color: #0b5c93; }
pre { background: #f6f6f6; padding: 14px; border-radius: 6px; overflow-x: auto; font-size: 12.5px;
  line-height: 1.45; }
@media print { main { padding: 0; max-width: none; } h2 { break-after: avoid; } figure { break-inside:
avoid; } }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """Returns a whole HTML document.

    Args:
      title: headline, plain text.
      parts: HTML from the functions below, in order.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    """Returns a heading; level 2 begins a section of the page."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """Returns a paragraph of plain text; `kind` is "", "lead", or "missing" for what this run does not have.

    Example:
      >>> paragraph("F1 < 0.5")
      '<p>F1 &lt; 0.5</p>'
    """
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def headline(numbers: Sequence[tuple[str, str]]) -> str:
    """Returns the few numbers that matter most, large; pairs of number and what it is."""
    boxes = "".join(f"<div><b>{escape(number)}</b><span>{escape(text)}</span></div>" for number, text in numbers)
    return f'<div class="headline">{boxes}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int, strong: Sequence[int] = ()) -> str:
    """Returns a table.

    Args:
      head: names of the columns; () leaves the head out.
      rows: cells, plain text; lines after the first are small.
      numbers_from: from this column on cells are numbers and stand on the right.
      strong: rows that matter most, by index.

    Example:
      >>> '<td>a</td><td class="number">1</td>' in table(("name", "n"), [("a", "1")], numbers_from=1)
      True
    """

    def cells(texts: Sequence[str], tag: str) -> str:
        kinds = ["" if column < numbers_from else ' class="number"' for column in range(len(texts))]
        return "".join(f"<{tag}{kind}>{_lines(t)}</{tag}>" for kind, t in zip(kinds, texts, strict=True))

    top = f"<thead><tr>{cells(head, 'th')}</tr></thead>" if head else ""
    body = "".join(
        f"<tr{' class=strong' if number in strong else ''}>{cells(row, 'td')}</tr>" for number, row in enumerate(rows)
    )
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>'


def _lines(text: str) -> str:
    """Returns the text of a cell, what stands below its first line in small."""
    first, *more = text.split("\n")
    return escape(first) + "".join(f"<small>{escape(line)}</small>" for line in more)


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Returns a table of names and values, for addresses and settings."""
    rows = "".join(f'<tr><th>{escape(name)}</th><td class="address">{escape(value)}</td></tr>' for name, value in pairs)
    return f'<div class="wide"><table><tbody>{rows}</tbody></table></div>'


def picture(content: bytes | str, *, alt: str, caption: str = "") -> str:
    """Returns an embedded picture.

    Args:
      content: a PNG file, or SVG text.
      alt: what it shows, for those who cannot see it.
      caption: below it, plain text.
    """
    kind, data = ("svg+xml", content.encode()) if isinstance(content, str) else ("png", content)
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{source}" alt="{escape(alt)}">{below}</figure>'


def colour_key(entries: Sequence[tuple[str, str]]) -> str:
    """Returns what colours mean; pairs of colour ("#rrggbb") and meaning."""
    items = "".join(f'<li><i style="background:{colour}"></i>{escape(text)}</li>' for colour, text in entries)
    return f'<ul class="key">{items}</ul>'


def folded(summary: str, text: str) -> str:
    """Returns text of fixed width behind a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def number(value: float | None, decimals: int = 3) -> str:
    """Returns a number as text; a dash for 0/0 and for what is not there.

    Example:
      >>> number(0.98765), number(40.06, 1), number(None), number(float("nan"))
      ('0.988', '40.1', '-', '-')
    """
    return "-" if value is None or value != value else f"{value:.{decimals}f}"
