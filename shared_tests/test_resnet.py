"""ResNet-20 beside PyTorch's, and images changed at random."""

import numpy as np
import pytest

pytestmark = pytest.mark.capability("batch norm of images")


@pytest.fixture
def resnet(stage):
    if stage.foreign:
        pytest.skip("not there: the ladder's own demos")
    return stage.part("resnet")


@pytest.fixture
def augment(stage):
    if stage.foreign:
        pytest.skip("not there: the ladder's own demos")
    return stage.part("augment")


def usual_resnet20(torch):
    """ResNet-20 as PyTorch's users have it: torchvision's block and names, of the sizes of He et al. 2015, §4.2."""
    nn = torch.nn

    class BasicBlock(nn.Module):
        def __init__(self, inplanes, planes, stride=1):
            super().__init__()
            self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.downsample = None
            if stride != 1 or inplanes != planes:
                convolution = nn.Conv2d(inplanes, planes, 1, stride, bias=False)
                self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(planes))

        def forward(self, x):
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            out += x if self.downsample is None else self.downsample(x)
            return self.relu(out)

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            self.relu = nn.ReLU(inplace=True)
            self.layer1 = nn.Sequential(*[BasicBlock(16, 16) for _ in range(3)])
            self.layer2 = nn.Sequential(BasicBlock(16, 32, 2), BasicBlock(32, 32), BasicBlock(32, 32))
            self.layer3 = nn.Sequential(BasicBlock(32, 64, 2), BasicBlock(64, 64), BasicBlock(64, 64))
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            x = self.relu(self.bn1(self.conv1(x)))
            return self.fc(torch.flatten(self.avgpool(self.layer3(self.layer2(self.layer1(x)))), 1))

    return ResNet()


def test_a_resnet_goes_to_pytorch_and_back_and_computes_the_same(stage, resnet, tmp_path):
    torch = pytest.importorskip("torch")
    package = stage.package
    theirs, path = usual_resnet20(torch), tmp_path / "theirs.pt"
    images = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        theirs(torch.tensor(images))  # so that the running statistics are not those of the beginning
    torch.save(theirs.state_dict(), path)
    mine = resnet.ResNet20()
    assert sum(p.numel() for p in mine.parameters()) == 272_474
    mine.load_state_dict(package.load(path))
    for training in (False, True):
        with torch.no_grad(), package.no_grad():
            wanted = theirs.train(training)(torch.tensor(images)).numpy()
            found = mine.train(training)(package.tensor(images, requires_grad=False)).numpy()
        np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-4)
    back = usual_resnet20(torch)
    back.load_state_dict(
        {name: torch.tensor(np.array(x.numpy())) for name, x in mine.state_dict().items()}, strict=True
    )
    for (name, found), wanted in zip(back.state_dict().items(), theirs.state_dict().values()):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def drawn(stage, seed):
    return stage.part("random").Generator().manual_seed(seed)


def numbered(stage, n=50, height=6, width=5):
    """Images in which every pixel has another number above 0."""
    numbers = np.arange(1, n * 2 * height * width + 1, dtype=np.float32).reshape(n, 2, height, width)
    return numbers, stage.package.tensor(numbers, requires_grad=False)


def test_each_image_is_moved_by_up_to_the_padding_in_each_direction(stage, augment):
    numbers, images = numbered(stage)
    cropped = augment.random_crop(images, 2, drawn(stage, 0))
    assert cropped.shape == images.shape and not cropped.requires_grad
    padded = np.pad(numbers, ((0, 0), (0, 0), (2, 2), (2, 2)))
    seen = set()
    for whole, part in zip(padded, cropped.numpy()):
        places = [(y, x) for y in range(5) for x in range(5) if (whole[:, y : y + 6, x : x + 5] == part).all()]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 15 and {y for y, _ in seen} == {x for _, x in seen} == set(range(5))


def test_half_of_the_images_are_flipped_from_left_to_right(stage, augment):
    numbers, images = numbered(stage, n=400)
    found = augment.random_horizontal_flip(images, drawn(stage, 0)).numpy()
    flipped = (found == numbers[..., ::-1]).all(axis=(1, 2, 3))
    assert (flipped | (found == numbers).all(axis=(1, 2, 3))).all() and 160 < flipped.sum() < 240


def test_what_is_drawn_follows_from_the_generator(stage, augment):
    _, images = numbered(stage)
    for function in (lambda *x: augment.random_crop(x[0], 3, x[1]), augment.random_horizontal_flip):
        once, again, other = (function(images, drawn(stage, seed)).tolist() for seed in (1, 1, 2))
        assert once == again != other


@pytest.mark.capability("data")
def test_a_seeded_loader_has_a_generator_that_follows_from_the_seed_and_the_epoch(stage):
    data = stage.part("utils.data")

    def numbers(seed, epoch):
        loader = data.DataLoader(data.TensorDataset(np.arange(4)), 2, shuffle=True, seed=seed)
        loader.epoch = epoch
        return [stage.package.rand(2, generator=loader.generator).tolist() for _ in loader]

    assert numbers(0, 3) == numbers(0, 3)
    assert numbers(0, 3) != numbers(0, 4) and numbers(0, 3) != numbers(1, 3)
    loader = data.DataLoader(data.TensorDataset(np.arange(4)), 2, shuffle=True, seed=0)
    third = [[stage.package.rand(2, generator=loader.generator).tolist() for _ in loader] for _ in range(4)][3]
    assert third == numbers(0, 3)
