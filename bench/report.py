"""Results for people: tables on the screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from .results import Group, Results, remark


def show(results: Results, console: Console) -> None:
    """All of it."""
    machine = results.machine
    console.print(f"\n{results.application}")
    hardware = f"{machine.processor}, {machine.processors} processors, {machine.memory_gib} GiB"
    console.print(f"{hardware}, Linux {machine.kernel}, {machine.python}, on {machine.file_system}, load {machine.load} before the first step")
    console.print(f"runs in turn: {results.runs}; in timed steps {'no network' if results.offline else 'the network was not cut off'}")
    console.print(", ".join(f"{name} {version}" for name, version in machine.versions.items()), highlight=False)
    for group in results.groups:
        console.print(_table(group))
        if phases := group.phases():
            console.print("  build-release, by stage: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in phases.items()), highlight=False)
    if results.sizes:
        console.print(f"\nartifact {results.sizes.artifact / 1e6:.1f} MB, tar c | gzip -6 of the same tree {results.sizes.gzip / 1e6:.1f} MB")
    if results.targets():
        console.print(_targets(results))


def _table(group: Group) -> Table:
    table = Table(title=f"\n{group.title}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for heading in ("seconds", "range", "CPU s", "÷ ours", "peak MiB"):
        table.add_column(heading, justify="right")
    table.add_column("")
    ours = group.series[group.ours].median
    for name, series in sorted(group.series.items(), key=lambda item: item[1].median):
        spread = f"{min(series.seconds):.2f} … {max(series.seconds):.2f}"
        figures = (f"{series.median:.2f}", spread, f"{series.cpu:.2f}", f"{series.median / ours:.2f}", f"{series.peak / 2**20:.0f}")
        table.add_row(name, *figures, remark(series), style="bold" if name == group.ours else "")
    return table


def _targets(results: Results) -> Table:
    table = Table(title="\nTargets", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("", "ratio", "range", "at most", "", "against"):
        table.add_column(heading, justify="left" if heading in ("", "against") else "right")
    for target in results.targets():
        low, value, high = target.ratio.low, target.ratio.value, target.ratio.high
        met = "[green]met[/]" if target.met else "[red]missed[/]"
        table.add_row(target.what, f"{value:.3f}", f"{low:.3f} … {high:.3f}", f"{target.most:.2f}", met, target.against)
    return table
