"""Pictures of what a classifier learned: the confusion matrix, the worst mistakes and the losses."""

import numpy as np


def draw_mistakes(images, labels, probabilities, names, losses=None):
    """A picture of the confusion matrix beside the twelve most confident mistakes.

    Arrays: images (N, C, H, W) from 0 to 1, labels (N,), probabilities (N, K) of the K classes with these names. Below
    them, if given, the losses of each epoch: a dict from the epoch to those of the training and of the test images.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7 if losses else 4.8), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[2, 1]) if losses else (figure, None)
    left, right = upper.subfigures(1, 2, width_ratios=[1.1, 1])
    guesses = probabilities.argmax(axis=1)
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, guesses), 1)
    _draw_counts(left.subplots(), counts, names)
    wrong = np.flatnonzero(guesses != labels)
    worst = wrong[np.argsort(-probabilities[wrong, guesses[wrong]], kind="stable")][:12]
    title = f"{len(wrong):,} of {len(labels):,} are wrong; the worst (truth → guess):"
    right.suptitle(title if len(wrong) else "None is wrong")
    for axes, i in zip(right.subplots(3, 4).flat, [*worst, *[None] * (12 - len(worst))]):
        axes.set_axis_off()
        if i is not None:
            axes.imshow(images[i].transpose(1, 2, 0), cmap="gray_r", vmin=0, vmax=1)
            title = f"{names[labels[i]]} → {names[guesses[i]]}\n{probabilities[i, guesses[i]]:.1%} sure"
            axes.set_title(title, fontsize=8)
    if losses:
        _draw_losses(lower.subplots(), losses)
    return figure


def _draw_counts(axes, counts, names):
    """A row for each class, a column for each guess; the darker, the larger its fraction of the row."""
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(fractions), cmap="Greys", vmin=0, vmax=1)  # roots, or the mistakes would hardly show
    for row, column in zip(*counts.nonzero()):
        colour = "white" if fractions[row, column] > 0.3 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="guess", ylabel="truth", title="Confusion matrix")


def _draw_losses(axes, losses):
    epochs = list(losses)
    for values, name, style in zip(zip(*losses.values()), ("training", "test"), ("o-", "s--")):
        axes.plot(epochs, values, style, color="black", markersize=4, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set(xlabel="epoch", ylabel="loss", title="Loss")
    axes.legend()
