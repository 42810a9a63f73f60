"""``report.html``: the report as one page that needs nothing beside it, to read, to send and to keep."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from markdown_it import MarkdownIt

from pager_ray.plain import html_text
from pager_ray.report.evaluation_text import metrics_section, others_section, protocol_section, title_of

_TYPES: Final = {"png": "image/png", "jpg": "image/jpeg"}

# Wide tables scroll by themselves, so that the page never does sideways. No script, and nothing is fetched.
_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --ink: #1c2126; --soft: #59636e; --line: #d5dae0; --paper: #fff; --stripe: #f5f7f9; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e4e8ec; --soft: #9aa5b1; --line: #38414b; --paper: #14181c; --stripe: #1c2228; }}
}}
body {{ margin: 0 auto; max-width: 72rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; }}
h2 {{ font-size: 1.2rem; margin-top: 2.2rem; }}
p, li {{ max-width: 48rem; }}
.scroll {{ overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }}
table {{ border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .7rem; text-align: left; white-space: nowrap; }}
th {{ color: var(--soft); border-bottom: 1px solid var(--line); }}
tbody tr:nth-child(odd) {{ background: var(--stripe); }}
figure {{ margin: 1rem 0; }}
figure img {{ max-width: 100%; height: auto; border-radius: 6px; }}
figcaption {{ color: var(--soft); font-size: .9rem; }}
details summary {{ cursor: pointer; font-size: 1.2rem; font-weight: 600; margin-top: 2.2rem; }}
</style>
</head>
<body>
"""


def page(report: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """The whole page: metrics and pictures first, then what is missing from them and slices, protocol and knobs last.

    Args:
        report: content of ``report.json``.
        pictures: PNG and JPEG files by name, in the order to show them; they become part of the page.
    """
    title = title_of(report)
    parts = [_HEAD.format(title=html_text(title)), f"<h1>{html_text(title)}</h1>\n"]
    parts.append(_html(metrics_section(report)))
    if pictures:
        parts.append("<h2>Pictures</h2>\n")
        parts += [_figure(name, content) for name, content in pictures.items()]
    parts.append(_html(others_section(report)))
    parts.append(f"<details>\n<summary>Protocol</summary>\n{_html(protocol_section(report)[1:])}</details>\n")
    parts.append("</body>\n</html>\n")
    return "".join(parts)


def _html(lines: list[str]) -> str:
    # What others called their files is escaped in the markdown, and no HTML is taken from it.
    text: str = MarkdownIt("commonmark", {"html": False}).enable("table").render("\n".join(lines))
    return text.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")


def _figure(name: str, content: bytes) -> str:
    kind = _TYPES[name.rpartition(".")[2]]
    shown = html_text(name)
    source = f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return f'<figure><img src="{source}" alt="{shown}" loading="lazy"><figcaption>{shown}</figcaption></figure>\n'
