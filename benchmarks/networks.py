"""The steps of larger networks, in PyTorch's idiom: ResNet-20 on colour images, a small GPT, and microgpt.

A class here has the modules of the library that it gets: `lib` comes first in each constructor.
"""

import math

from .steps import image_batches, set_parameters, training_step


def resnet(lib):
    """The demo's ResNet-20 for images (3, 32, 32) at batch 64, with SGD, Nesterov momentum and weight decay.

    He et al. 2015, §4.2, where the shape changes with 1×1 convolutions as shortcuts. https://arxiv.org/abs/1512.03385
    """
    nn, functional = lib.nn, lib.losses

    def convolution(channels, kernels, size=3, stride=1):
        return lib.conv.Conv2d(channels, kernels, size, stride, padding=size // 2, bias=False)

    class Block(nn.Module):
        """x + what two convolutions make of it."""

        def __init__(self, channels, kernels, stride):
            super().__init__()
            self.conv1, self.bn1 = convolution(channels, kernels, 3, stride), nn.BatchNorm2d(kernels)
            self.conv2, self.bn2 = convolution(kernels, kernels), nn.BatchNorm2d(kernels)
            self.downsample = None
            if channels != kernels:
                self.downsample = nn.Sequential(convolution(channels, kernels, 1, stride), nn.BatchNorm2d(kernels))

        def forward(self, x):
            out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            return functional.relu(out + (self.downsample(x) if self.downsample else x))

    widths = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    model = nn.Sequential(
        *(convolution(3, 16), nn.BatchNorm2d(16), nn.ReLU()),
        *(Block(*width) for width in widths),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )
    set_parameters(lib, model)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    return training_step(lib, model, optimizer, functional.cross_entropy, image_batches((3, 32, 32)))


SYMBOLS, WIDTH, HEADS, LAYERS, LENGTH = 65, 128, 4, 4, 64
NAME = [26, 8, 18, 0, 1, 4, 11, 11, 0, 26]  # isabella, between the tokens that begin and end a name


def gpt(lib, as_nanogpt=False):
    """A GPT on 12 texts of 64 characters, with AdamW: four layers, 128 wide, of four heads.

    As in nanoGPT, attention may be one function and the gradient be clipped.
    """
    import numpy as np

    nn, functional = lib.nn, lib.losses
    later = lib.constant(np.triu(np.ones((LENGTH, LENGTH), bool), 1))
    places = lib.constant(np.arange(LENGTH))

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            n, t, d = x.shape
            q, k, v = (y.view(n, t, HEADS, d // HEADS).transpose(1, 2) for y in self.qkv(x).split(d, dim=2))
            if as_nanogpt:
                out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(d // HEADS))
                out = functional.softmax(scores.masked_fill(later, -math.inf), dim=-1) @ v
            return self.proj(out.transpose(1, 2).contiguous().view(n, t, d))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln1, self.attention = nn.LayerNorm(WIDTH), Attention()
            self.ln2, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x):
            x = x + self.attention(self.ln1(x))
            return x + self.down(functional.gelu(self.up(self.ln2(x))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.symbols, self.places = nn.Embedding(SYMBOLS, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks, self.ln = nn.Sequential(*(Block() for _ in range(LAYERS))), nn.LayerNorm(WIDTH)
            self.head = nn.Linear(WIDTH, SYMBOLS, bias=False)

        def forward(self, tokens):
            x = self.blocks(self.symbols(tokens) + self.places(places))
            return self.head(self.ln(x)).view(-1, SYMBOLS)

    model = GPT()
    set_parameters(lib, model)
    optimizer = lib.optim.AdamW(model.parameters(), lr=1e-3)
    return training_step(lib, model, optimizer, functional.cross_entropy, text_batches(), clip=as_nanogpt)


def microgpt(lib):
    """The model of the demo `gpt` on one name of eight letters, with Adam: one layer, 16 wide, of four heads."""
    import numpy as np

    nn, functional, width, heads = lib.nn, lib.losses, 16, 4
    t = len(NAME) - 1
    future = lib.constant(np.triu(np.full((t, t), -np.inf, np.float32), 1))

    def linear(columns, rows):
        return nn.Linear(columns, rows, bias=False)

    def rms_norm(x):
        return x * ((x * x).mean(-1, keepdim=True) + 1e-5) ** -0.5

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.position = nn.Embedding(27, width), nn.Embedding(16, width)
            self.query, self.key, self.value = (linear(width, width) for _ in range(3))
            self.projection, self.up, self.down = linear(width, width), linear(width, 64), linear(64, width)
            self.output = linear(width, 27)

        def forward(self, tokens):
            x = rms_norm(self.token(tokens) + self.position.weight[:t])
            normed = rms_norm(x)
            q, k, v = (
                layer(normed).view(t, heads, width // heads).transpose(0, 1)
                for layer in (self.query, self.key, self.value)
            )
            share = functional.softmax(q @ k.transpose(1, 2) / (width // heads) ** 0.5 + future, dim=-1)
            x = x + self.projection((share @ v).transpose(0, 1).reshape(t, width))
            return self.output(x + self.down(functional.relu(self.up(rms_norm(x)))))

    model = GPT()
    set_parameters(lib, model)
    optimizer = lib.optim.Adam(model.parameters(), lr=0.01, betas=(0.85, 0.99))
    name = np.array(NAME)
    return training_step(lib, model, optimizer, functional.cross_entropy, [(name[:-1], name[1:])])


def text_batches(size=12, count=16):
    """Texts in which each character decides the next, most of the time, and the characters that follow theirs."""
    import numpy as np

    rng = np.random.default_rng(0)
    after, texts = rng.permutation(SYMBOLS), rng.integers(0, SYMBOLS, (count, size, LENGTH + 1))
    for i in range(LENGTH):
        texts[..., i + 1] = np.where(rng.random((count, size)) < 0.8, after[texts[..., i]], texts[..., i + 1])
    return [(text[:, :-1], text[:, 1:].reshape(-1)) for text in texts]
