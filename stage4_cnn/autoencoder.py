"""Encode handwritten digits as 32 numbers and reconstruct them: an autoencoder, 784-128-32-128-784."""

from time import perf_counter

from . import cat, manual_seed, nn, no_grad, optim
from .demo import Checkpoint, check_finite, image_sets, progress, report, run, say, show, warm_up_and_cosine
from .nn import functional as F
from .reporters import Log
from .utils.data import DataLoader, TensorDataset


def network():
    """Reconstructions (N, 784) of images (N, 784), from the 32 numbers of the third layer."""
    return nn.Sequential(
        nn.Linear(784, 128),
        nn.ReLU(),
        nn.Linear(128, 32),
        nn.Linear(32, 128),
        nn.ReLU(),
        nn.Linear(128, 784),
        nn.Sigmoid(),
    )


def pixels(dataset):
    """The images of a dataset as rows (N, 784)."""
    return dataset.tensors[0].reshape(len(dataset), -1)


def reconstructed(model, images):
    """The model's reconstructions of many images."""
    with no_grad():
        return cat([model(batch) for (batch,) in DataLoader(TensorDataset(images), 500)])


def draw_pairs(images, reconstructions):
    """A picture of a row of images, (N, 784), above a row of their reconstructions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(len(images), 2.6), layout="constrained")
    figure.suptitle("Test images and their reconstructions from 32 numbers")
    for axes, pixels in zip(figure.subplots(2, len(images)).flat, [*images, *reconstructions]):
        axes.imshow(pixels.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
    for row, label in enumerate(("original", "reconstructed")):
        figure.axes[row * len(images)].set_ylabel(label)
    return figure


def main(flags):
    name, train, test = image_sets(flags.data)
    train, test = pixels(train), pixels(test)
    baseline = ((test - train.mean(dim=0)) ** 2).mean()
    manual_seed(flags.seed)
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=flags.lr)
    batches = DataLoader(TensorDataset(train), flags.batch_size, shuffle=True, seed=flags.seed)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, warm_up_and_cosine(flags.epochs * len(batches)))
    size = sum(p.numel() for p in model.parameters())
    say(f"{name}: {len(train):,} training and {len(test):,} test images, {size:,} parameters, seed {flags.seed}")

    log = Log(flags, data=name, examples=len(train), parameters=size)
    checkpoint = Checkpoint(flags, len(train), model=model, optimizer=optimizer, scheduler=scheduler)
    batches.epoch = checkpoint.resume()
    checkpoint.save(batches.epoch)
    began = perf_counter()
    for epoch in range(batches.epoch + 1, flags.epochs + 1):
        start, total, rate = perf_counter(), 0.0, scheduler.get_last_lr()[0]
        for (images,) in progress(batches, f"epoch {epoch}"):
            loss = F.mse_loss(model(images), images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.detach().double() * len(images)
        seconds = perf_counter() - start
        loss = total.item() / len(train)
        check_finite(epoch, loss, sum(p.detach().sum() for p in model.parameters()).item())
        checkpoint.save(epoch)
        error = F.mse_loss(reconstructed(model, test), test)
        figures = {"loss": f"{loss:.4f}", "test": f"{error:.4f}"}
        report(epoch, flags.epochs, len(train), seconds, **figures)
        log.report(epoch, len(train), seconds, learning_rate=rate, loss=loss, test_loss=error.item())
    reconstructions = reconstructed(model, test)
    error = F.mse_loss(reconstructions, test)
    say(
        f"Result: test error {error:.4f}, that of the mean image {baseline:.4f}, {baseline / error:.1f} times as much, "
        f"in {perf_counter() - began:.1f} s"
    )
    show(flags, log, "reconstructions", draw_pairs, test[:10].numpy(), reconstructions[:10].numpy())


if __name__ == "__main__":
    defaults = {"epochs": 3, "batch_size": 64, "lr": 2e-3, "seed": 0, "data": "mnist"}
    run(main, __doc__, **defaults, save=None, resume=None, plot=None, log=None)
