"""Classify small colour images with ResNet-20: nine blocks of two convolutions and a sum."""

from time import perf_counter

from . import cat, datasets, manual_seed, nn, no_grad, optim
from .augment import random_crop, random_horizontal_flip
from .demo import (
    Checkpoint,
    captured,
    check_finite,
    image_sets,
    progress,
    report,
    run,
    say,
    show,
    warm_up_and_cosine,
)
from .distributed import broadcast, get_rank, get_world_size
from .mistakes import draw_mistakes
from .nn import functional as F
from .nn.parallel import DistributedDataParallel
from .reporters import Log
from .together import ranks, totals
from .utils.data import DataLoader, TensorDataset
from .utils.data.distributed import DistributedSampler


def convolution(channels, kernels, size, stride):
    """A convolution without a bias, which the batch norm after it has, with the initial weights of He et al. 2015."""
    layer = nn.Conv2d(channels, kernels, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Block(nn.Module):
    """x plus two convolutions of it: (N, C, H, W) -> (N, F, H/stride, W/stride)."""

    def __init__(self, channels, kernels, stride=1):
        super().__init__()
        self.conv1 = convolution(channels, kernels, 3, stride)
        self.bn1 = nn.BatchNorm2d(kernels)
        self.conv2 = convolution(kernels, kernels, 3, 1)
        self.bn2 = nn.BatchNorm2d(kernels)
        self.downsample = None
        if channels != kernels:  # x has another shape than out
            self.downsample = nn.Sequential(convolution(channels, kernels, 1, stride), nn.BatchNorm2d(kernels))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + (self.downsample(x) if self.downsample else x))


class ResNet20(nn.Module):
    """Logits (N, 10) of images (N, 3, H, W), by 272,474 parameters with torchvision's names (He et al. 2015, §4.2)."""

    def __init__(self):
        super().__init__()
        self.conv1 = convolution(3, 16, 3, 1)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32, stride=2), Block(32, 32), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64, stride=2), Block(64, 64), Block(64, 64))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean(dim=(2, 3)))


def normalized(images):
    """The input of the network: each colour with mean 0 and standard deviation 1 over CIFAR-10's training images."""
    mean, std = (images.new_tensor(x).view(3, 1, 1) for x in ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]))
    return (images - mean) / std


def predicted(model, images):
    """The model's probabilities (N, 10) of the classes."""
    model.eval()
    with no_grad():
        batches = DataLoader(TensorDataset(images), 250)
        found = cat([model(normalized(batch)).softmax(dim=1) for (batch,) in batches])
    model.train()
    return found


def score(model, dataset):
    """The cross-entropy and the accuracy on a dataset, of which each rank takes some images."""
    for buffer in model.buffers():
        broadcast(buffer)  # each rank has statistics of its own, and those of the first are saved
    images, labels = (x[get_rank() :: get_world_size()] for x in dataset.tensors)
    probabilities = predicted(model, images)
    hits = (probabilities.argmax(dim=1) == labels).sum()
    losses = F.nll_loss(probabilities.clamp(min=1e-30).log(), labels, reduction="sum")
    return [x / len(dataset) for x in totals(losses.item(), hits.item())]


def coloured(dataset):
    """The images of a dataset with three channels, also if they have one."""
    images, labels = dataset.tensors
    return TensorDataset(images.expand(-1, 3, -1, -1), labels)


def main(flags):
    name, *sets = image_sets(flags.data)
    train, test = (coloured(dataset).to(flags.device) for dataset in sets)
    classes = datasets.CIFAR10_CLASSES if name == "CIFAR-10" else "0123456789"
    manual_seed(flags.seed)
    model = ResNet20().to(flags.device)
    optimizer = optim.SGD(model.parameters(), lr=flags.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
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
        return loss.detach(), (logits.argmax(dim=1) == labels).sum()

    step = captured(step, flags)
    checkpoint = Checkpoint(flags, len(train), model=model, optimizer=optimizer, scheduler=scheduler)
    batches.epoch = checkpoint.resume()
    checkpoint.save(batches.epoch)
    began, losses = perf_counter(), {}
    for epoch in range(batches.epoch + 1, flags.epochs + 1):
        start, total, hits, rate = perf_counter(), 0.0, 0, scheduler.get_last_lr()[0]
        for images, labels in progress(batches, f"epoch {epoch}"):
            images = random_crop(random_horizontal_flip(images, batches.generator), 2, batches.generator)
            loss, found = step(images, labels)
            scheduler.step()
            if len(labels):  # of the last batch this rank may have none
                total += loss.double() * len(labels)
            hits += found
        seconds = perf_counter() - start
        loss, hits = (x / len(train) for x in totals(float(total), float(hits)))
        check_finite(epoch, loss, sum(p.detach().sum() for p in model.parameters()).item())
        checkpoint.save(epoch)
        test_loss, accuracy = score(model, test)
        losses[epoch] = loss, test_loss
        figures = {"loss": f"{loss:.4f}", "train": f"{hits:7.2%}", "test": f"{accuracy:7.2%}"}
        report(epoch, flags.epochs, len(train), seconds, **figures)
        figures = {"loss": loss, "test_loss": test_loss, "train_accuracy": hits, "test_accuracy": accuracy}
        log.report(epoch, len(train), seconds, learning_rate=rate, **figures)
    _, accuracy = score(model, test)
    say(f"Result: test accuracy {accuracy:.2%}, in {perf_counter() - began:.1f} s")
    arrays = [x.cpu().numpy() for x in (*test.tensors, predicted(model, test.tensors[0]))]
    show(flags, log, "mistakes", draw_mistakes, *arrays, classes, losses)


if __name__ == "__main__":
    defaults = {"epochs": 10, "batch_size": 32, "lr": 0.1, "seed": 0, "data": "cifar10", "device": "cpu"}
    run(main, __doc__, **defaults, capture=False, save=None, resume=None, plot=None, log=None, timeout=600.0)
