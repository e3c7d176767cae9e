"""Read handwritten digits with a convolutional network: 16 and 32 kernels of 3×3, each pooled, then 1568-128-10."""

from time import perf_counter

from . import cat, manual_seed, nn, no_grad, optim
from .demo import (
    Checkpoint,
    captured,
    check_finite,
    image_sets,
    load_trained,
    progress,
    report,
    run,
    say,
    show,
    warm_up_and_cosine,
)
from .distributed import get_rank, get_world_size
from .mistakes import draw_mistakes
from .nn import functional as F
from .nn.parallel import DistributedDataParallel
from .reporters import Log
from .scan import scan
from .together import ranks, totals
from .utils.data import DataLoader, TensorDataset
from .utils.data.distributed import DistributedSampler


def network():
    """Logits (N, 10) of images (N, 1, 28, 28)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1568, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def normalized(images):
    """The input of the network: pixels with mean 0 and standard deviation 1 over the training images of MNIST."""
    return (images - 0.1307) / 0.3081


def right(logits, labels):
    """How many of the labels have the largest logit."""
    return (logits.argmax(dim=1) == labels).sum()


def predicted(model, images):
    """The model's probabilities (N, 10) of the digits."""
    with no_grad():
        return cat([model(normalized(batch)).softmax(dim=1) for (batch,) in DataLoader(TensorDataset(images), 500)])


def accuracy(model, dataset):
    """The fraction of the dataset that the model classifies correctly; each rank looks at some of the images."""
    images, labels = (x[get_rank() :: get_world_size()] for x in dataset.tensors)
    (hits,) = totals(right(predicted(model, images), labels).item())
    return hits / len(dataset)


def ask(flags):
    """Say which digit is in the picture of `--image`."""
    model = network().to(flags.device)
    load_trained(flags.resume, model)
    probabilities = predicted(model, scan(flags.image).to(flags.device))[0]
    say(f"Result: it is a {probabilities.argmax()}, {probabilities.max():.1%} sure")


def main(flags):
    if flags.image:
        return ask(flags)
    name, *sets = image_sets(flags.data)
    train, test = (dataset.to(flags.device) for dataset in sets)
    manual_seed(flags.seed)
    model = network().to(flags.device)
    optimizer = optim.Adam(model.parameters(), lr=flags.lr)
    parallel, sampler = DistributedDataParallel(model), DistributedSampler(train, seed=flags.seed)
    batches = DataLoader(train, flags.batch_size, sampler=sampler, seed=flags.seed)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, warm_up_and_cosine(flags.epochs * len(batches)))
    size = sum(p.numel() for p in model.parameters())
    sets = f"{name}: {len(train):,} training and {len(test):,} test images"
    say(f"{sets}, {size:,} parameters, seed {flags.seed}, on {flags.device}{ranks()}")

    log = Log(flags, data=name, examples=len(train), parameters=size)

    def step(images, labels):
        logits = parallel(normalized(images))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach(), right(logits, labels)

    step = captured(step, flags)
    checkpoint = Checkpoint(flags, len(train), model=model, optimizer=optimizer, scheduler=scheduler)
    batches.epoch = checkpoint.resume()
    checkpoint.save(batches.epoch)
    began, score = perf_counter(), None
    for epoch in range(batches.epoch + 1, flags.epochs + 1):
        start, total, hits, rate = perf_counter(), 0.0, 0, scheduler.get_last_lr()[0]
        for images, labels in progress(batches, f"epoch {epoch}"):
            loss, found = step(images, labels)
            scheduler.step()
            if len(labels):  # of the last batch this rank may have none
                total += loss.double() * len(labels)
            hits += found
        seconds = perf_counter() - start
        loss, hits = (x / len(train) for x in totals(float(total), float(hits)))
        check_finite(epoch, loss, sum(p.detach().sum() for p in model.parameters()).item())
        checkpoint.save(epoch)
        score = accuracy(model, test)
        figures = {"loss": f"{loss:.4f}", "train": f"{hits:7.2%}", "test": f"{score:7.2%}"}
        report(epoch, flags.epochs, len(train), seconds, **figures)
        accuracies = {"train_accuracy": hits, "test_accuracy": score}
        log.report(epoch, len(train), seconds, learning_rate=rate, loss=loss, **accuracies)
    score = accuracy(model, test) if score is None else score
    say(f"Result: test accuracy {score:.2%}, in {perf_counter() - began:.1f} s")
    show(
        flags,
        log,
        "mistakes",
        draw_mistakes,
        *[x.cpu().numpy() for x in (*test.tensors, predicted(model, test.tensors[0]))],
        "0123456789",
    )


if __name__ == "__main__":
    defaults = {"epochs": 4, "batch_size": 64, "lr": 4e-3, "seed": 0, "data": "mnist", "device": "cpu"}
    defaults["timeout"] = 600.0
    run(main, __doc__, **defaults, capture=False, save=None, resume=None, image=None, plot=None, log=None)
