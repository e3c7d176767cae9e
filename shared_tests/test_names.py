"""The demo of an LSTM: what it prints, and its number, which is PyTorch's."""

import random
import re
from pathlib import Path

import pytest
import torch

from .test_demos import Demo, without_clock

pytestmark = [pytest.mark.capability("demos"), pytest.mark.capability("recurrent layers"), pytest.mark.host]


@pytest.fixture
def demo(stage, tmp_path):
    if stage.foreign:
        pytest.skip("not there: the ladder's own demos")
    return Demo(stage, tmp_path)


class Torchs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.lstm = torch.nn.Embedding(27, 32), torch.nn.LSTM(32, 128, batch_first=True)
        self.output = torch.nn.Linear(128, 27)

    def forward(self, tokens):
        return self.output(self.lstm(self.token(tokens))[0]).transpose(1, 2)


def torchs_loss(stage, epochs, batch_size, lr=5e-3):
    """The test loss of the same network in PyTorch after training from the same weights, on the same batches."""
    package, part = stage.package, stage.part("names")
    names = Path(package.__file__).with_name("names.txt").read_text().split()
    random.Random(0).shuffle(names)
    train, test = part.examples(names[: len(names) * 9 // 10]), part.examples(names[len(names) * 9 // 10 :])
    package.manual_seed(0)
    model = Torchs()
    model.load_state_dict({name: torch.tensor(x.numpy()) for name, x in part.Network().state_dict().items()})
    batches = stage.part("utils.data").DataLoader(train, batch_size, shuffle=True, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    factor = stage.part("demo").warm_up_and_cosine(epochs * len(batches))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    loss_of = torch.nn.CrossEntropyLoss(ignore_index=-1)
    for _ in range(epochs):
        for batch in batches:
            tokens, targets = (torch.tensor(x.numpy()) for x in batch)
            loss = loss_of(model(tokens), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    with torch.no_grad():
        tokens, targets = (torch.tensor(x.numpy()) for x in test.tensors)
        return loss_of(model(tokens), targets).item()


def test_its_number_is_pytorchs_after_the_same_training(stage, demo):
    first, epoch, *names, result = demo.lines("names", "--epochs", 1, "--batch-size", 100)
    assert first.startswith("LSTM: 4,005 names that ship with this package")
    assert first.endswith("), 401 of them to test, 87,291 parameters, seed 0, on cpu")
    assert re.match(r"epoch 1/1   loss \d\.\d{4}   test \d\.\d{4}   .* s +[\d,]+/s$", epoch)
    assert re.fullmatch(r"New names:( +[a-z]*,){19} [a-z]*", "".join(names))
    number = float(re.search(r"test loss ([\d.]+)", result)[1])
    assert f"test {number:.4f} " in epoch and number < 2.6
    assert number == pytest.approx(torchs_loss(stage, 1, 100), abs=2e-4)


def test_a_run_is_resumed_captured_prompted_and_drawn(demo, tmp_path):
    image = pytest.importorskip("matplotlib.image")
    flags, path = ["--epochs", 2, "--batch-size", 901], tmp_path / "run.npz"
    wanted = demo.figures("names", *flags, "--save", path)
    more = ["--prompt", "ka", "--plot", tmp_path / "plot.png"]
    first, *lines, result, drawn = demo.figures("names", *flags, "--resume", path, *more)
    assert (first, result) == (wanted[0], wanted[-1]) and drawn.startswith("A picture of the expectations is in ")
    names = re.findall("[a-z]+", "".join(lines).removeprefix("New names: "))
    assert len(names) == 20 and all(name.startswith("ka") and len(name) <= 16 for name in names)
    picture = image.imread(tmp_path / "plot.png")
    assert min(picture.shape[:2]) > 300 and picture.std() > 0.1
    captured = without_clock(demo.lines("names", *flags, "--capture")[1:])  # with a line before, if it compiles
    assert wanted[1:3] in (captured[:2], captured[1:3])


def test_what_an_example_is(stage):
    tokens, targets = stage.part("names").examples(["ab", "abcdefghijklmno"]).tensors
    assert tokens.tolist()[0] == [26, 0, 1, *[26] * 13] and targets.tolist()[0] == [0, 1, 26, *[-1] * 13]
    assert tokens.tolist()[1] == [26, *range(15)] and targets.tolist()[1] == [*range(15), 26]
