"""Results as a picture: horizontal bars, one panel a question, for light and dark pages alike."""

from __future__ import annotations

from html import escape

from .builders import OURS
from .results import Group, Results

PANELS = ("build", "rebuild", "install", "source")
_WIDTH, _LABEL, _BAR, _ROW = 860, 250, 470, 22
_STYLE = """
  .title { font-weight: 600; font-size: 14px } .text { font-size: 12px } .small { font-size: 11px; opacity: .7 }
  text { fill: #1f2328 } .peer { fill: #9aa7b8 } .ours { fill: #2f81f7 } .axis { stroke: #8888; stroke-width: 1 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .peer { fill: #6e7b8c } .ours { fill: #58a6ff } }
"""


def draw(results: Results) -> str:
    """The text of an SVG file."""
    parts: list[str] = []
    top = 24.0
    groups = {group.key: group for group in results.groups}
    for key in (key for key in PANELS if key in groups):
        drawn, top = _panel(groups[key], top)
        parts += drawn
    machine = results.machine
    where = f"{machine.python}, {machine.processors} processors, {machine.file_system}"
    often = f"Medians of {results.runs} runs in turn" if results.runs > 1 else "One run"
    words = f"{results.application}. {often}: {where}. Shorter is better."
    parts.append(_text("small", 0, top, words))
    label = "Seconds to build and to install, against other tools"
    box = f'viewBox="0 0 {_WIDTH} {top + 10:.0f}" font-family="system-ui, sans-serif"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{label}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>", ""])


def _panel(group: Group, top: float) -> tuple[list[str], float]:
    """One question's bars from ``top`` down, and where the next panel begins."""
    parts = [_text("title", 0, top, f"{group.title}, seconds")]
    series = sorted(group.series.items(), key=lambda item: item[1].median)
    longest = series[-1][1].median
    begin = top + 10
    for number, (name, one) in enumerate(series):
        y = begin + number * _ROW
        width = max(1.0, one.median / longest * _BAR)
        ours = name == OURS
        parts.append(_text("text", _LABEL - 8, y + 14, name, anchor="end", bold=ours))
        parts.append(f'<rect class="{"ours" if ours else "peer"}" x="{_LABEL}" y="{y + 3:.0f}" width="{width:.1f}" height="{_ROW - 7}" rx="2"/>')
        bare = "" if one.step.ships_byte_code and "no byte code" not in one.step.remark else "  (no byte code)"
        parts.append(_text("text", _LABEL + width + 6, y + 14, f"{one.median:.2f}{bare}", bold=ours))
    end = begin + len(series) * _ROW
    parts.append(f'<path class="axis" d="M{_LABEL} {begin:.0f}V{end:.0f}"/>')
    return parts, end + 30


def _text(kind: str, x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'
