"""Make up names, letter by letter, with a GPT of 4,192 numbers: the network, the weights and the losses of microgpt.

https://karpathy.github.io/2026/02/12/microgpt/

With `--data shakespeare` it is a GPT of 804,096 numbers that writes plays: nanoGPT's, as it is set up for a processor.

https://github.com/karpathy/nanoGPT

Many ranks take a name each in a step, or divide the 12 pieces of a play.
"""

import math
import random
import sys
from itertools import islice
from time import perf_counter
from typing import NamedTuple

import numpy as np

from . import arange, full, manual_seed, multinomial, nn, no_grad, optim, tensor
from .attention import KVCache
from .capture import capture
from .demo import (
    Checkpoint,
    Losses,
    captured,
    check_finite,
    draw_gpt,
    due,
    names,
    progress,
    report,
    run,
    say,
    shakespeare,
    show,
)
from .distributed import get_rank, get_world_size
from .nn import functional as F
from .nn.parallel import DistributedDataParallel
from .reporters import Log
from .together import ranks, same_data, totals

TOKENS, END = 27, 26  # a to z are 0 to 25, and 26 begins and ends a name
BLOCK, WIDTH, HEADS = 16, 16, 4  # tokens that the network takes, numbers for each of them, heads of its attention
NO_TOKEN = -1  # where nothing is to be predicted


def tokens_of(name):
    """What the network reads: the token that begins a name, then its letters."""
    return [END, *[ord(letter) - ord("a") for letter in name]]


def normed(x):
    """x over the root of its mean square along the last dim."""
    return F.rms_norm(x, (WIDTH,), eps=1e-5)


class GPT(nn.Module):
    """What comes next in a name: all its tokens at a time, of which each can look back at those before."""

    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Embedding(TOKENS, WIDTH), nn.Embedding(BLOCK, WIDTH)
        self.output = nn.Linear(WIDTH, TOKENS, bias=False)
        self.query, self.key = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.value, self.projection = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.linear1, self.linear2 = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)
        for p in self.parameters():
            rows, columns = p.shape
            p.data = tensor([[random.gauss(0, 0.08) for _ in range(columns)] for _ in range(rows)])

    def forward(self, tokens):
        """The logits of the token after each of t, (t,) -> (t, 27), and the attention of each head, (4, t, t)."""
        (t,) = tokens.shape
        x = normed(self.token(tokens) + self.position.weight[:t])
        read = normed(x)
        query, key, value = (
            layer(read).reshape(t, HEADS, WIDTH // HEADS).transpose(0, 1)
            for layer in (self.query, self.key, self.value)
        )
        future = full((t, t), -math.inf, device=tokens.device).triu(1)
        attention = F.softmax(query @ key.transpose(1, 2) / (WIDTH // HEADS) ** 0.5 + future, -1)
        heads = (attention @ value).transpose(0, 1).reshape(t, WIDTH)
        x = x + self.projection(heads)
        hidden = F.relu(self.linear1(normed(x)))
        x = x + self.linear2(hidden)
        return self.output(x), attention


def loss_of(model, name):
    """The mean loss of a name's letters and of its end, each predicted from what stands before it."""
    return loss_at(model, *example(model, name))


def loss_at(model, tokens, targets):
    logits, _ = model(tokens)
    return F.cross_entropy(logits, targets, ignore_index=NO_TOKEN)


def example(model, name, length=0):
    """A name's tokens, and those that come next, where the model is; at least `length` of them, so filled up."""
    tokens = [*tokens_of(name), END]
    more = length + 1 - len(tokens)
    pairs = [*tokens[:-1], *[END] * more], [*tokens[1:], *[NO_TOKEN] * more]
    return [tensor(x, device=model.output.weight.device) for x in pairs]


def invent(model, beginning="", temperature=0.5):
    """A name that begins so: each letter is drawn from those the model expects, the likely ones the more so if cold."""
    tokens = tokens_of(beginning)
    while len(tokens) <= BLOCK:
        logits, _ = model(tensor(tokens, device=model.output.weight.device))
        chances = F.softmax(logits[-1] / temperature, -1)
        (token,) = random.choices(range(TOKENS), chances.tolist())
        if token == END:
            break
        tokens.append(token)
    return "".join(chr(token + ord("a")) for token in tokens[1:])


# Plays

CONTEXT, LAYERS, BATCH = 64, 4, 12  # characters that the network takes, its blocks, pieces of text in a step
LARGE, WARM_UP, LOWEST = 128, 100, 0.1  # numbers for each character, steps up to the highest rate, of which this stays


class Block(nn.Module):
    """Attention to what came before, then two linear layers; each reads x, normed, and is added to it."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(LARGE, bias=False), nn.LayerNorm(LARGE, bias=False)
        self.attention = nn.Linear(LARGE, 3 * LARGE, bias=False)
        self.projection1, self.projection2 = (nn.Linear(n * LARGE, LARGE, bias=False) for n in (1, 4))
        self.linear = nn.Linear(LARGE, 4 * LARGE, bias=False)

    def forward(self, x, cache=None):
        n, t, width = x.shape
        parts = self.attention(self.norm1(x)).chunk(3, -1)
        query, key, value = (part.reshape(n, t, HEADS, width // HEADS).transpose(1, 2) for part in parts)
        if cache is None:
            heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            heads = F.scaled_dot_product_attention(query, *cache.append(key, value))
        x = x + self.projection1(heads.transpose(1, 2).reshape(n, t, width))
        return x + self.projection2(F.gelu(self.linear(self.norm2(x))))


class Playwright(nn.Module):
    """What character comes next, of so many: GPT-2 (Radford et al. 2019), small."""

    def __init__(self, characters):
        super().__init__()
        self.token, self.position = nn.Embedding(characters, LARGE), nn.Embedding(CONTEXT, LARGE)
        self.blocks, self.norm = nn.ModuleList([Block() for _ in range(LAYERS)]), nn.LayerNorm(LARGE, bias=False)
        for name, p in self.named_parameters():
            if p.ndim > 1:
                nn.init.normal_(p, 0.0, 0.02 / (math.sqrt(2 * LAYERS) if "projection" in name else 1))

    def forward(self, tokens, caches=(None,) * LAYERS):
        """The logits of what comes after each token: (n, t) -> (n, t, characters); caches hold those before them."""
        first = caches[0].length if caches[0] else 0
        x = self.token(tokens) + self.position(arange(tokens.shape[1], device=tokens.device) + first)
        for block, cache in zip(self.blocks, caches):
            x = block(x, cache)
        return F.linear(self.norm(x), self.token.weight)  # which one matrix does, both ways


def pieces(text, places, device):
    """Pieces of text from those places on, and the character that comes after each of theirs: (n, 64) each."""
    both = np.stack([text[place : place + CONTEXT + 1] for place in places])
    return tensor(both[:, :-1], device=device), tensor(both[:, 1:], device=device)


def loss_of_pieces(model, tokens, wanted):
    return F.cross_entropy(model(tokens).flatten(0, 1), wanted.flatten())


def write(model, tokens, temperature=0.8):
    """What comes after these tokens, one after the other, without end.

    The caches are full after 64. As positions are counted from their first token, they can't forget only that: they are
    begun anew with the last half. So there are steps of 1 token and of 32, which are recorded.
    """
    device, tokens = model.token.weight.device, list(tokens)
    caches = [KVCache(CONTEXT, device) for _ in range(LAYERS)]

    @capture
    def chances_after(unread):
        return F.softmax(model(unread, caches)[0, -1] / temperature, -1)

    unread, length = tokens[-CONTEXT // 2 :], 0
    while True:
        if length + len(unread) > CONTEXT:
            for cache in caches:
                cache.clear()
            unread, length = tokens[-CONTEXT // 2 :], 0
        chances = chances_after(tensor([unread], device=device))
        length += len(unread)
        unread = [multinomial(chances, 1).item()]
        tokens += unread
        yield unread[0]


def main_of_plays(flags):
    if get_world_size() > BATCH:
        sys.exit(f"a step takes {BATCH} pieces of the text, so that at most {BATCH} ranks have one")
    what, text = shakespeare()
    same_data(text, characters=len(text))
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    text = np.array([number[character] for character in text])
    train, test = np.split(text, [len(text) * 9 // 10])
    manual_seed(flags.seed)
    model, losses = Playwright(len(characters)).to(flags.device), Losses()
    matrices, others = ([p for p in model.parameters() if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    optimizer = optim.AdamW(groups, lr=flags.lr, betas=(0.9, 0.99), weight_decay=0.1)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, flags.steps))
    size = sum(p.numel() for p in model.parameters())
    say(f"GPT: {what}, a tenth to test, {size:,} parameters, seed {flags.seed}, on {flags.device}{ranks()}")

    def batch_at(step):
        places = random.Random(f"{flags.seed} {step}").choices(range(len(train) - CONTEXT), k=BATCH)
        return pieces(train, places[get_rank() :: get_world_size()], flags.device)

    log = Log(flags, data=what, examples=len(train), parameters=size)
    training = Training(model, optimizer, scheduler, losses, loss_of_pieces, batch_at)
    seconds = training.fit(flags, log, len(train), BATCH, clip=1.0)
    log.end({})
    with no_grad():
        begun = [number[character] for character in flags.prompt or "\n" if character in number]
        writing = write(model, begun)
        written = list(islice(writing, 200))  # by then its steps are recorded
        began = perf_counter()
        written += islice(writing, 300)
        speed = 300 / (perf_counter() - began)
        say("".join([characters[token] for token in begun + written]).strip("\n"))
        places = np.arange(0, len(test) - CONTEXT, CONTEXT)[get_rank() :: get_world_size()]
        parts = np.array_split(places, -(-len(places) // 100))
        loss = sum(loss_of_pieces(model, *pieces(test, part, flags.device)).item() * len(part) for part in parts)
        loss, count = totals(loss, len(places))
        say(f"Result: test loss {loss / count:.4f}, in {seconds:.1f} s; wrote {speed:,.0f} characters a second")


def rate(step, steps):
    """A factor for the learning rate: up to 1 in the first steps, then down half a cosine."""
    if step < WARM_UP:
        return (step + 1) / (WARM_UP + 1)
    return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, steps - WARM_UP))) / 2


class Training(NamedTuple):
    """What a run consists of: besides its state the loss of a batch, and the batch of each step."""

    model: nn.Module
    optimizer: optim.Optimizer
    scheduler: object
    losses: Losses
    loss_of: object
    batch_at: object

    def fit(self, flags, log, examples, batch, clip=math.inf):
        """Train for the steps that are left, saving and reporting; returns the seconds that it took.

        `batch` is how many examples all ranks have in a step.
        """
        model, optimizer, scheduler, losses, loss_of, batch_at = self
        parallel = DistributedDataParallel(model)

        def train_on(tokens, targets):
            loss = loss_of(parallel, tokens, targets)
            optimizer.zero_grad()
            loss.backward()
            if clip < math.inf:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            return loss

        repeated = captured(train_on, flags)
        parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "losses": losses}
        checkpoint = Checkpoint(flags, examples, **parts)
        checkpoint.settings["batch_size"] = batch
        done = checkpoint.resume()
        checkpoint.save(done)
        began = perf_counter()
        for step in progress(range(done + 1, flags.steps + 1), "gpt"):
            start, rate = perf_counter(), scheduler.get_last_lr()[0]
            tokens, targets = batch_at(step)
            loss = repeated(tokens, targets).item()
            scheduler.step()
            total, count = totals(loss * len(tokens), len(tokens))
            losses.append(total / count)
            seconds = perf_counter() - start
            check_finite(step, losses[-1], sum(p.detach().sum() for p in model.parameters()).item(), "step")
            if due(step, flags.steps, "step"):
                checkpoint.save(step)
            report(step, flags.steps, batch, seconds, "step", loss=f"{losses[-1]:.4f}")
            log.report(step, batch, seconds, learning_rate=rate, loss=losses[-1])
        return perf_counter() - began


def main_of_names(flags):
    what, every = names()
    same_data("".join(every), names=len(every))
    random.seed(flags.seed)
    random.shuffle(every)
    train, test = every[:-100], every[-100:]
    model, losses = GPT().to(flags.device), Losses()
    optimizer = optim.Adam(model.parameters(), lr=flags.lr, betas=(0.85, 0.99))
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / flags.steps)
    size = sum(p.numel() for p in model.parameters())
    say(f"GPT: {what}, {len(test)} of them to test, {size:,} parameters, seed {flags.seed}, on {flags.device}{ranks()}")

    length = BLOCK if flags.capture else 0  # so that all names have one shape, and one recording does

    def batch_at(step):
        number = (step - 1) * get_world_size() + get_rank()
        return example(model, train[number % len(train)], length)

    log = Log(flags, data="names", examples=len(train), parameters=size)
    training = Training(model, optimizer, scheduler, losses, loss_at, batch_at)
    seconds = training.fit(flags, log, len(train), get_world_size())
    with no_grad():
        invented = [invent(model, flags.prompt) for _ in range(20)]
        say(f"New names: {', '.join(invented[:10])},\n           {', '.join(invented[10:])}")
        (loss,) = totals(sum(loss_of(model, name).item() for name in test[get_rank() :: get_world_size()]))
        say(f"Result: test loss {loss / len(test):.4f}, in {seconds:.1f} s")
        _, attention = model(tensor(tokens_of(test[0]), device=flags.device))
        show(flags, log, "attention", draw_gpt, losses, test[0], attention.tolist())


def main(flags):
    if flags.plot and flags.data == "shakespeare":
        sys.exit("--plot draws what a network of names attends to: leave out --data shakespeare")
    (main_of_plays if flags.data == "shakespeare" else main_of_names)(flags)


if __name__ == "__main__":
    plays = any(flag.endswith("shakespeare") for flag in sys.argv)
    usual = {"steps": 2000, "lr": 1e-3, "seed": 1337} if plays else {"steps": 1000, "lr": 0.01, "seed": 42}
    files = {"save": None, "resume": None, "log": None, "plot": None}
    run(main, __doc__, data="names", **usual, prompt="", device="cpu", capture=False, timeout=600.0, **files)
