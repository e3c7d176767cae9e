"""Make up names, letter by letter, with a GPT of 4,192 numbers: the network, the weights and the losses of microgpt.

https://karpathy.github.io/2026/02/12/microgpt/
"""

import math
import random
from time import perf_counter

from . import full, nn, no_grad, optim, tensor
from .demo import Checkpoint, Losses, check_finite, draw_gpt, due, names, progress, report, run, say, show
from .nn import functional as F
from .reporters import Log

TOKENS, END = 27, 26  # a to z are 0 to 25, and 26 begins and ends a name
BLOCK, WIDTH, HEADS = 16, 16, 4  # tokens that the network takes, numbers for each of them, heads of its attention


def tokens_of(name):
    """What the network reads: the token that begins a name, then its letters."""
    return [END, *[ord(letter) - ord("a") for letter in name]]


def rms_norm(x):
    """x over the root of its mean square along the last dim."""
    return x * ((x * x).mean(-1, keepdim=True) + 1e-5) ** -0.5


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
        x = rms_norm(self.token(tokens) + self.position.weight[:t])
        normed = rms_norm(x)
        query, key, value = (
            layer(normed).reshape(t, HEADS, WIDTH // HEADS).transpose(0, 1)
            for layer in (self.query, self.key, self.value)
        )
        future = full((t, t), -math.inf, device=tokens.device).triu(1)
        attention = F.softmax(query @ key.transpose(1, 2) / (WIDTH // HEADS) ** 0.5 + future, -1)
        heads = (attention @ value).transpose(0, 1).reshape(t, WIDTH)
        x = x + self.projection(heads)
        hidden = F.relu(self.linear1(rms_norm(x)))
        x = x + self.linear2(hidden)
        return self.output(x), attention


def loss_of(model, name):
    """The mean loss of a name's letters and of its end, each predicted from what stands before it."""
    tokens = tensor([*tokens_of(name), END])
    logits, _ = model(tokens[:-1])
    return F.cross_entropy(logits, tokens[1:])


def invent(model, beginning="", temperature=0.5):
    """A name that begins so: each letter is drawn from those the model expects, the likely ones the more so if cold."""
    tokens = tokens_of(beginning)
    while len(tokens) <= BLOCK:
        logits, _ = model(tensor(tokens))
        chances = F.softmax(logits[-1] / temperature, -1)
        (token,) = random.choices(range(TOKENS), chances.tolist())
        if token == END:
            break
        tokens.append(token)
    return "".join(chr(token + ord("a")) for token in tokens[1:])


def main(flags):
    what, every = names()
    random.seed(flags.seed)
    random.shuffle(every)
    train, test = every[:-100], every[-100:]
    model, losses = GPT(), Losses()
    optimizer = optim.Adam(model.parameters(), lr=flags.lr, betas=(0.85, 0.99))
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / flags.steps)
    size = sum(p.numel() for p in model.parameters())
    say(f"GPT: {what}, {len(test)} of them to test, {size:,} parameters, seed {flags.seed}")

    log = Log(flags, data="names", examples=len(train), parameters=size)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "losses": losses}
    checkpoint = Checkpoint(flags, len(train), **parts)
    done = checkpoint.resume()
    checkpoint.save(done)
    began = perf_counter()
    for step in progress(range(done + 1, flags.steps + 1), "gpt"):
        start, rate = perf_counter(), scheduler.get_last_lr()[0]
        loss = loss_of(model, train[(step - 1) % len(train)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        seconds = perf_counter() - start
        check_finite(step, losses[-1], sum(p.detach().sum() for p in model.parameters()).item(), "step")
        if due(step, flags.steps, "step"):
            checkpoint.save(step)
        report(step, flags.steps, 1, seconds, "step", loss=f"{losses[-1]:.4f}")
        log.report(step, 1, seconds, learning_rate=rate, loss=losses[-1])
    seconds = perf_counter() - began

    with no_grad():
        invented = [invent(model, flags.prompt) for _ in range(20)]
        say(f"New names: {', '.join(invented[:10])},\n           {', '.join(invented[10:])}")
        loss = sum(loss_of(model, name).item() for name in test) / len(test)
        say(f"Result: test loss {loss:.4f}, in {seconds:.1f} s")
        _, attention = model(tensor(tokens_of(test[0])))
        show(flags, log, "attention", draw_gpt, losses, test[0], attention.tolist())


if __name__ == "__main__":
    defaults = {"steps": 1000, "lr": 0.01, "seed": 42, "prompt": ""}
    run(main, __doc__, **defaults, save=None, resume=None, log=None, plot=None)
