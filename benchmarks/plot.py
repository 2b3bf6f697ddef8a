"""What was reached over what is to be reached, as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.goals import rows
from benchmarks.results import Results

MET, MISSED = "#2f7d5b", "#b4552d"
WIDEST = 2.0


def draw(results: Results, path: Path) -> None:
    """Write an SVG with a bar for each measure; the line at 1 is the figure to reach."""
    found = [row for row in rows(results) if row.share is not None][::-1]
    shares = [max(0.0, row.share or 0.0) for row in found]
    mpl.rcParams["svg.hashsalt"] = "bench"
    figure = Figure(figsize=(9, 0.5 * len(found) + 1.2), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([row.measure for row in found], [min(share, WIDEST) for share in shares], height=0.6)
    for bar, share, row in zip(bars, shares, found, strict=True):
        bar.set_color(MET if share <= 1 else MISSED)
        axes.annotate(
            row.reached,
            (min(share, WIDEST), bar.get_y() + bar.get_height() / 2),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axes.axvline(1, color="#444444", linewidth=1, zorder=0.5)
    axes.set_xlim(0, WIDEST * 2)
    axes.set_xticks([0, 0.5, 1, 1.5, 2], ["0", "0.5", "1", "1.5", "2 or more"])
    axes.set_xlabel("share of the figure to reach; shorter is better")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
