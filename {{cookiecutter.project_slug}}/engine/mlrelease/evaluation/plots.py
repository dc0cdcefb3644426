"""Pictures of an evaluation: small PNG files, the same bytes for the same figures.

Colours are rounded to steps, for two reasons: a file takes a third of its size, and where another
processor rounds the edge of a line differently, one pixel differs by one step. With a palette
fitted to each picture, a thousand pixels would.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from mlrelease.evaluation.evaluation import Evaluation
from mlrelease.evaluation.gate import interval
from mlrelease.evaluation.metrics import Scored
from mlrelease.evaluation.report import PICTURES, pictures
from mlrelease.output import Folder
from mlrelease.policy import HIGHER_IS_BETTER

CURVES = {
    "roc": ("ROC curve", "false positive rate", "true positive rate", "AUC"),
    "pr": ("Precision and recall", "recall", "precision", "AUC"),
    "calibration": ("Calibration", "predicted", "observed", "error"),
    "predicted": ("Predictions", "predicted", "actual", "R²"),
    "residuals": ("Residuals", "predicted", "actual - predicted", "MAE"),
}
COLOURS = {"champion": "#D55E00", "candidate": "#0072B2"}  # Okabe & Ito; the candidate on top
SHADES = {"champion": "Oranges", "candidate": "Blues"}
SHADE = 15  # the step between two values of a channel, of 255
MAX_POINTS, MAX_SLICES, MAX_NAME = 250, 15, 20
STYLE: dict[str, Any] = {
    "axes.titlesize": 14, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titlepad": 16, "axes.edgecolor": "#999999", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#ebebeb",
    "lines.linewidth": 2.2, "figure.figsize": (6.4, 4.8), "figure.dpi": 150,
    "figure.constrained_layout.use": True, "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.12, "text.color": "#333333", "text.parse_math": False,
}  # fmt: skip


def write(directory: Path, scored: Scored, evaluation: Evaluation) -> list[Path]:
    """Write the pictures of one evaluation, a file each, and return their paths.

    Raises:
        RefusedError: A file there is not of an earlier run.
    """
    folder = Folder(directory, r"\w+\.png")
    folder.write({f"{name}.png": content for name, content in draw(scored, evaluation).items()})
    return [directory / name for name in folder.known]


def draw(scored: Scored, evaluation: Evaluation) -> dict[str, bytes]:
    """The pictures of one evaluation as PNG files, by name."""
    return {name: _png(name, scored, evaluation) for name in pictures(evaluation)}


def _png(kind: str, scored: Scored, evaluation: Evaluation) -> bytes:
    paint = {"confusion": _confusion, "slices": _slices}.get(kind, _curve)
    plain, small = io.BytesIO(), io.BytesIO()
    with style.context(["default", STYLE]), warnings.catch_warnings(action="ignore"):
        picture = Figure()  # it would warn of letters that the font lacks
        paint(picture, kind, scored, evaluation)
        picture.savefig(plain, format="png", pil_kwargs={"compress_level": 1})
    rounded = [min(255, (value + SHADE // 2) // SHADE * SHADE) for value in range(256)]
    image = Image.open(plain).convert("RGB").point(rounded * 3)
    if image.getcolors(256):  # then a palette loses nothing
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(small, "PNG", optimize=True)  # smaller, and without the first one's version
    return small.getvalue()


def _curve(picture: Figure, kind: str, scored: Scored, evaluation: Evaluation) -> None:
    title, x, y, label = CURVES[kind]
    axes, middle = picture.subplots(), scored.y.mean()
    axes.set(title=title, xlabel=x, ylabel=y)
    level = {"pr": middle, "residuals": 0.0}.get(kind)  # of a useless, or of a perfect model
    start, slope = (middle, middle if level is None else level), float(level is None)
    axes.axline(start, slope=slope, color="#999999", linewidth=1, linestyle="--", zorder=1)
    for name, (truth, scores) in _scores(scored).items():
        colour, estimate = COLOURS[name], getattr(evaluation.metrics[PICTURES[kind]], name)
        _name(axes, name, f"{name} {label} {interval(estimate)}")
        if kind == "roc":
            axes.plot(*roc_curve(truth, scores)[:2], color=colour)
        elif kind == "pr":
            precision, recall, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
            axes.plot(recall, precision, color=colour, drawstyle="steps-post")
        elif kind == "calibration":  # bins of as many rows each, with their standard error
            order, bins = np.argsort(scores, kind="stable"), max(1, min(10, len(scores) // 10))
            parts = [(scores[rows], truth[rows]) for rows in np.array_split(order, bins)]
            points = [(p.mean(), y.mean(), y.std() / len(y) ** 0.5) for p, y in parts]
            axes.errorbar(*np.transpose(points), color=colour, marker="o", elinewidth=1)
        else:
            some = np.linspace(0, len(scores) - 1, min(len(scores), MAX_POINTS)).astype(int)
            height = truth - scores * (kind == "residuals")
            axes.scatter(scores[some], height[some], 16, colour, alpha=0.7, linewidths=0)


def _confusion(picture: Figure, _: str, scored: Scored, __: Evaluation) -> None:
    picture.suptitle("Confusion", x=0.03, ha="left", weight="bold", size=14)
    models, ticks = _scores(scored), [_short(text) for text in scored.classes]
    panels = picture.subplots(1, len(models), squeeze=False)[0]
    for axes, name in zip(panels, sorted(models), strict=True):  # the candidate first
        limit = scored.threshold if name == "candidate" else scored.champion_threshold
        truth, scores = models[name]
        counts = confusion_matrix(truth, scores >= limit, labels=[0, 1])
        share = counts / counts.sum(axis=1, keepdims=True)
        axes.imshow(share, SHADES[name], vmin=0, vmax=1.2, aspect="auto", zorder=1)
        axes.set_title(f"{name}, threshold {limit:g}", color=COLOURS[name], size=10, pad=6)
        axes.set(xlabel="predicted", ylabel="actual")
        axes.set_xticks([0, 1], ticks)
        axes.set_yticks([0, 1], ticks, rotation=90, va="center")
        for (row, column), part in np.ndenumerate(share):
            text, ink = f"{counts[row, column]:,}\n{part:.1%}", "white" if part > 0.6 else "#333333"
            axes.text(column, row, text, color=ink, ha="center", va="center", size=13)


def _slices(picture: Figure, _: str, scored: Scored, evaluation: Evaluation) -> None:
    axes, metric = picture.subplots(), evaluation.slices[0].metric
    sign = 1 if metric in HIGHER_IS_BETTER else -1  # the worst change, or the worst value, first
    parts = [part for part in evaluation.slices if part.candidate is not None]
    parts.sort(key=lambda part: sign * ((part.candidate or 0) - (part.champion or 0)))
    shown = parts[:MAX_SLICES]
    for name in _scores(scored):
        values = np.array([getattr(part, name) for part in shown], dtype=float)
        axes.plot(values, range(len(shown)), "o", color=COLOURS[name])
        _name(axes, name, name)
    labels = [f"{_short(part.column)}: {_short(part.value)}  ({part.rows:,})" for part in shown]
    axes.set_yticks(range(len(shown)), labels, size=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    note = f"{metric.replace('_', ' ')}, {len(shown)} of {len(parts)} slices"
    axes.set(title="Slices, worst first", xlabel=note)


def _scores(scored: Scored) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The truth and the scores of each model, of the champion on the rows that are compared."""
    sides = {"champion": scored.both(), "candidate": scored}
    found = {name: (side.y, getattr(side, name)) for name, side in sides.items()}
    return {name: pair for name, pair in found.items() if pair[1] is not None}


def _name(axes: Axes, name: str, text: str) -> None:
    """What a colour means, above the axes at the right."""
    axes.annotate(
        text, (1, 1), (0, 20 if name == "candidate" else 6), color=COLOURS[name], weight="bold",
        size=9, ha="right", xycoords="axes fraction", textcoords="offset points",
    )  # fmt: skip


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_NAME else f"{flat[: MAX_NAME - 1]}…"
