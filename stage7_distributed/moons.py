"""Tell two half moons apart with a 2-16-16-1 network and the max-margin loss: micrograd's demo."""

from functools import partial
from time import perf_counter

from . import datasets, manual_seed, nn, no_grad, optim, tensor
from .demo import captured, check_finite, draw_moons, progress, report, run, say, show
from .reporters import Log


def accuracy(scores, labels):
    """Which part of the scores has the sign of its label."""
    return ((scores > 0) == (labels > 0)).float().mean()


def step(model, optimizer, points, labels):
    """One step of gradient descent on the max-margin loss plus 1e-4·Σp²; gives the loss and the accuracy before it."""
    scores = model(points)
    margin = (1 - labels * scores).relu().mean()
    loss = margin + 1e-4 * sum((p * p).sum() for p in model.parameters())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss, accuracy(scores, labels)


def main(flags):
    points, labels = [x.to(flags.device) for x in datasets.moons(seed=flags.seed)]
    fresh_points, fresh_labels = [x.to(flags.device) for x in datasets.moons(seed=flags.seed + 1)]
    manual_seed(flags.seed)
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    for i in (0, 2, 4):
        nn.init.kaiming_uniform_(model[i].weight)
    model.to(flags.device)
    optimizer = optim.SGD(model.parameters(), lr=flags.lr)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - 0.9 * epoch / flags.epochs)
    size = sum(p.numel() for p in model.parameters())
    say(f"Moons: {len(points)} points, a 2-16-16-1 network of {size} parameters, seed {flags.seed}, on {flags.device}")

    log = Log(flags, data="moons", examples=len(points), parameters=size)
    repeated = captured(partial(step, model, optimizer), flags)
    began = perf_counter()
    for epoch in progress(range(flags.epochs), "moons"):
        start = perf_counter()
        rate = scheduler.get_last_lr()[0]
        loss, train = repeated(points, labels)
        scheduler.step()
        loss = loss.item()
        seconds = perf_counter() - start
        check_finite(epoch + 1, loss, sum(p.detach().sum() for p in model.parameters()).item())
        figures = {"loss": f"{loss:.4f}", "train": f"{train:7.2%}"}
        report(epoch + 1, flags.epochs, len(points), seconds, **figures)
        log.report(epoch + 1, len(points), seconds, learning_rate=rate, loss=loss, train_accuracy=train.item())
    seconds = perf_counter() - began

    with no_grad():
        train = accuracy(model(points), labels)
        test = accuracy(model(fresh_points), fresh_labels)
        say(f"Result: train accuracy {train:.2%}, on {len(fresh_points)} fresh points {test:.2%}, in {seconds:.1f} s")
        score = lambda points: model(tensor(points, device=flags.device)).cpu().numpy()[:, 0]  # noqa: E731
        show(flags, log, "boundary", draw_moons, score, *[x.cpu().numpy() for x in (points, labels)])


if __name__ == "__main__":
    run(main, __doc__, epochs=200, lr=1.0, seed=0, log=None, device="cpu", capture=False, plot=None)
