"""A 12-lead ECG as it is printed on paper, with the parts hidden from the model and what the model put there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.evaluation.plots.style import BLUE, ORANGE, new_figure, plain

MM_PER_SECOND = 25.0
MM_PER_MV = 10.0
ROW_HEIGHT = 30.0  # mm
COLUMN_SECONDS = 2.5
LAYOUT: Sequence[Sequence[str]] = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
)
RHYTHM_LEAD = "II"
PAPER_WIDTH = 4 * COLUMN_SECONDS * MM_PER_SECOND  # mm
PAPER_HEIGHT = (len(LAYOUT) + 1) * ROW_HEIGHT
PAPER, FINE, COARSE, INK = "#fffafa", "#f7dada", "#eab4b4", "#1a1a1a"
SHADE = "#9bb7d4"
CLIP_MV = 1.48  # a trace that leaves its row is cut, as a narrow strip of paper would cut it


def ecg_figure(
    ecg: np.ndarray,
    sample_rate: float = 500.0,
    masked: np.ndarray | None = None,
    masked_leads: np.ndarray | None = None,
    reconstruction: np.ndarray | None = None,
    title: str = "",
    shading: np.ndarray | None = None,
) -> Any:
    """:func:`draw_ecg` in a figure of its own.

    Args:
        ecg, sample_rate, masked, masked_leads, reconstruction, shading: as there.
        title: above the paper.
    """
    figure = new_figure((PAPER_WIDTH + 22) / 25.4, (PAPER_HEIGHT + 26) / 25.4)
    axes = figure.add_subplot()
    draw_ecg(axes, ecg, sample_rate, masked, masked_leads, reconstruction, shading)
    _legend(axes, masked is not None or masked_leads is not None, reconstruction is not None)
    axes.set_title(plain(title), loc="left", fontsize=12)
    return figure


def draw_ecg(
    axes: Any,
    ecg: np.ndarray,
    sample_rate: float = 500.0,
    masked: np.ndarray | None = None,
    masked_leads: np.ndarray | None = None,
    reconstruction: np.ndarray | None = None,
    shading: np.ndarray | None = None,
) -> None:
    """Standard layout: three rows of four leads, 2.5 s each, over 10 s of lead II; 25 mm/s, 10 mm/mV; x and y in millimetres.

    Args:
        axes: empty axes.
        ecg: ``[12, T]`` mV, leads in the order of :data:`cmelt_plugin.data.leads.LEADS`; at most 10 s are drawn.
        sample_rate: Hz.
        masked: bool ``[T]``, True = hidden from the model in all leads; shaded.
        masked_leads: bool ``[12]``, True = the whole lead was hidden; shaded.
        reconstruction: ``[12, T]`` mV, drawn over the shaded parts.
        shading: ``[12, T]``, drawn as colours behind each lead: orange above zero, blue below, the strongest of all in full.
    """
    ecg = np.asarray(ecg, dtype=np.float64)[:, : round(4 * COLUMN_SECONDS * sample_rate)]
    if ecg.shape[0] != len(LEADS):
        raise ValueError(f"expected {len(LEADS)} leads, not {ecg.shape[0]}")
    n_samples = ecg.shape[1]
    x = np.arange(n_samples) / sample_rate * MM_PER_SECOND
    height = PAPER_HEIGHT
    _paper(axes, PAPER_WIDTH, height)
    hidden = np.zeros(n_samples, dtype=bool) if masked is None else np.asarray(masked, dtype=bool)[:n_samples]
    for start, stop in _runs(hidden):
        axes.axvspan(x[start], x[stop - 1] + x[1], color=SHADE, alpha=0.38, linewidth=0, zorder=1)

    strips = [
        (lead, row, round(column * COLUMN_SECONDS * sample_rate), round((column + 1) * COLUMN_SECONDS * sample_rate))
        for row, leads in enumerate(LAYOUT)
        for column, lead in enumerate(leads)
    ]
    strips.append((RHYTHM_LEAD, len(LAYOUT), 0, n_samples))
    for lead, row, start, stop in strips:
        index = LEADS.index(lead)
        baseline = height - (row + 0.5) * ROW_HEIGHT
        part = slice(start, min(stop, n_samples))
        if x[part].size == 0:
            continue
        if shading is not None:
            extent = (x[part][0], x[part][-1] + x[1], baseline - 0.48 * ROW_HEIGHT, baseline + 0.48 * ROW_HEIGHT)
            _shade(axes, np.asarray(shading)[index, part], extent, float(np.abs(shading).max()))
        offset = np.median(ecg[index])
        lead_hidden = masked_leads is not None and bool(masked_leads[index])
        if lead_hidden:
            edges = (x[part][0], x[part][-1])
            low, high = baseline - 0.48 * ROW_HEIGHT, baseline + 0.48 * ROW_HEIGHT
            axes.fill_between(edges, low, high, color=SHADE, alpha=0.38, linewidth=0, zorder=1)
        axes.plot(x[part], _height(ecg[index, part] - offset, baseline), color=INK, linewidth=0.8, zorder=3)
        if reconstruction is not None:
            drawn = np.where(hidden[part] | lead_hidden, reconstruction[index, part] - offset, np.nan)
            axes.plot(x[part], _height(drawn, baseline), color=BLUE, linewidth=1.5, alpha=0.9, zorder=4)
        name = lead if row < len(LAYOUT) else f"{lead} (rhythm strip)"
        axes.text(
            x[part][0] + 1.5,
            baseline + 0.33 * ROW_HEIGHT,
            name,
            fontsize=11,
            fontweight="bold",
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
        )
        if 0 < start:
            axes.plot([x[start]] * 2, [baseline - 4, baseline + 4], color=INK, linewidth=1.2, zorder=4)


def _shade(axes: Any, values: np.ndarray, extent: tuple[float, float, float, float], largest: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("shading", [BLUE, PAPER, ORANGE])
    limits = {"vmin": -(largest or 1.0), "vmax": largest or 1.0, "extent": extent, "aspect": "equal"}
    axes.imshow(values[None], cmap=colours, alpha=0.75, interpolation="nearest", zorder=1, **limits)


def _height(mv: np.ndarray, baseline: float) -> np.ndarray:
    return baseline + np.clip(mv, -CLIP_MV, CLIP_MV) * MM_PER_MV


def _paper(axes: Any, width: float, height: float) -> None:
    """Millimetre grid with a coarse line every 5 mm (0.2 s, 0.5 mV); equal scales, so that millimetres are square."""
    axes.set_facecolor(PAPER)
    axes.set_aspect("equal")
    axes.set_xlim(-10, width + 1)
    axes.set_ylim(0, height)
    axes.grid(False)
    axes.vlines(np.arange(-10, width + 1.5), 0, height, color=FINE, linewidth=0.35, zorder=0)
    axes.hlines(np.arange(0, height + 0.5), -10, width + 1, color=FINE, linewidth=0.35, zorder=0)
    axes.vlines(np.arange(-10, width + 1.5, 5), 0, height, color=COARSE, linewidth=0.6, zorder=0.5)
    axes.hlines(np.arange(0, height + 0.5, 5), -10, width + 1, color=COARSE, linewidth=0.6, zorder=0.5)
    for row in range(len(LAYOUT) + 1):  # calibration pulse: 1 mV for 0.2 s
        base = height - (row + 0.5) * ROW_HEIGHT - 5
        pulse_x, pulse_y = [-9, -8, -8, -3, -3, -2], [base, base, base + 10, base + 10, base, base]
        axes.plot(pulse_x, pulse_y, color=INK, linewidth=0.9, zorder=3)
    seconds = np.arange(0, 11)
    axes.set_xticks(seconds * MM_PER_SECOND, [str(second) for second in seconds])
    axes.set_yticks([])
    axes.set_xlabel("time (s); 25 mm/s, 10 mm/mV, pulse at the left = 1 mV", fontsize=11)
    for side in axes.spines.values():
        side.set_visible(False)


def _legend(axes: Any, masked: bool, reconstructed: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Any] = [Line2D([], [], color=INK, linewidth=1, label="recorded")]
    if masked:
        entries.append(Patch(color=SHADE, alpha=0.5, label="hidden from the model"))
    if reconstructed:
        entries.append(Line2D([], [], color=BLUE, linewidth=1.8, label="reconstructed"))
    if len(entries) > 1:
        axes.legend(handles=entries, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=11, borderaxespad=0.2)


def _runs(flags: np.ndarray) -> np.ndarray:
    """Start and stop of each run of True, int ``[n, 2]``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)
