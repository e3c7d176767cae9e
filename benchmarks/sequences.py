"""The layers of rung 6, forward and backward from a given gradient: an LSTM, and attention; and a GPT that writes."""

from importlib import import_module

from .steps import set_parameters, set_weights, weighted_sum


def lstm(lib):
    """An LSTM from 128 to 256 numbers over 64 steps, at batch 32."""
    import numpy as np

    rng = np.random.default_rng(2)
    layer = lib.nn.LSTM(128, 256, batch_first=True)
    set_weights(lib, layer)
    x = lib.variable(rng.standard_normal((32, 64, 128), "f4"))
    gradient = lib.constant(rng.standard_normal((32, 64, 256), "f4"))
    return both_ways(lambda: layer(x)[0], [x, *layer.parameters()], gradient)


def attention(lib):
    """Causal attention of 8 heads, 64 wide, over 512 places, at batch 8."""
    import numpy as np

    rng = np.random.default_rng(2)
    q, k, v, gradient = rng.standard_normal((4, 8, 8, 512, 64), "f4")
    q, k, v = leaves = [lib.variable(x) for x in (q, k, v)]
    attend = lib.nn.functional.scaled_dot_product_attention
    return both_ways(lambda: attend(q, k, v, is_causal=True), leaves, lib.constant(gradient))


SYMBOLS, WIDTH, HEADS, LAYERS, LENGTH = 65, 128, 4, 4, 64


def generation(lib):
    """The model that writes plays (`python -m stage6_sequence.gpt`), and its cache: 64 characters, one after the other.

    Each is the likeliest one, so that all write the same. A cache that is full is begun anew with its last half.
    """
    module = import_module(lib.nn.__name__.partition(".")[0])
    nn, functional = lib.nn, lib.losses
    KVCache = kv_cache_of_torch(module) if module.__name__ == "torch" else module.attention.KVCache

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
            self.attention = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
            self.projection1, self.projection2 = (nn.Linear(n * WIDTH, WIDTH, bias=False) for n in (1, 4))
            self.linear = nn.Linear(WIDTH, 4 * WIDTH, bias=False)

        def forward(self, x, cache):
            n, t, width = x.shape
            parts = self.attention(self.norm1(x)).chunk(3, -1)
            query, key, value = (part.reshape(n, t, HEADS, width // HEADS).transpose(1, 2) for part in parts)
            heads = functional.scaled_dot_product_attention(query, *cache.append(key, value))
            x = x + self.projection1(heads.transpose(1, 2).reshape(n, t, width))
            return x + self.projection2(functional.gelu(self.linear(self.norm2(x))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.position = nn.Embedding(SYMBOLS, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks, self.norm = nn.ModuleList([Block() for _ in range(LAYERS)]), nn.LayerNorm(WIDTH, bias=False)

        def forward(self, tokens, caches):
            x = self.token(tokens) + self.position(module.arange(tokens.shape[1]) + caches[0].length)
            for block, cache in zip(self.blocks, caches):
                x = block(x, cache)
            return functional.linear(self.norm(x), self.token.weight)

    model = GPT()
    set_parameters(lib, model)
    model.eval()
    caches, text = [KVCache(LENGTH) for _ in range(LAYERS)], [0]
    unread, length = text, 0

    def after(tokens):
        return functional.softmax(model(tokens, caches)[0, -1], -1)

    after = getattr(lib, "capture", lambda step: step)(after)

    def step():
        nonlocal unread, length
        with module.no_grad():
            for _ in range(LENGTH):
                if length + len(unread) > LENGTH:
                    for cache in caches:
                        cache.clear()
                    unread, length = text[-LENGTH // 2 :], 0
                text.append(after(module.tensor([unread])).argmax().item())
                length, unread = length + len(unread), text[-1:]
        del text[:-LENGTH]
        return sum(i * token for i, token in enumerate(text))

    return step


def kv_cache_of_torch(torch):
    """The KVCache of rung 6 (attention.py), line by line; only that there is room for the tokens isn't checked."""

    class KVCache:
        def __init__(self, capacity):
            self.capacity, self.length = capacity, torch.zeros(1, dtype=torch.int64)
            self._places, self._kept = torch.arange(capacity), None

        def append(self, key, value):
            if self._kept is None:
                self._kept = [x.new_zeros(self.capacity, *x.shape[:-2], x.shape[-1]) for x in (key, value)]
                self._all = [kept.movedim(0, -2) for kept in self._kept]
            here = self._places[: key.shape[-2]] + self.length
            for kept, x in zip(self._kept, (key, value)):
                kept[here] = x.detach().movedim(-2, 0)
            self.length += key.shape[-2]
            return *self._all, self._places <= here.unsqueeze(1)

        def clear(self):
            self.length.zero_()

    return KVCache


def both_ways(forward, leaves, gradient):
    """A step that goes forward, and backward to the leaves."""

    def step():
        for leaf in leaves:
            leaf.grad = None
        forward().backward(gradient)
        return lambda: sum(weighted_sum(leaf.grad) for leaf in leaves)

    return step
