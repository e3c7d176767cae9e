"""Sequences: what layers, attention and Transformers do besides what cases compare, and what they refuse."""

import copy
import gc
import itertools
import tracemalloc
import warnings

import numpy as np
import pytest

from .case import state
from .engines import torch_engine
from .test_signatures import arguments

recurrent = pytest.mark.capability("recurrent layers")
attention = pytest.mark.capability("attention")
transformers = pytest.mark.capability("transformers")


def numbers(*shape, dtype="float64"):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


# Recurrence is steps


@recurrent
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_is_its_cell_step_by_step(engine, kind):
    """In its gradients too: back-propagation through time is that through a graph of T steps."""
    layer, cell = getattr(engine.nn, kind)(3, 4).double(), getattr(engine.nn, f"{kind}Cell")(3, 4).double()
    cell.load_state_dict({name.removesuffix("_l0"): array for name, array in layer.state_dict().items()})
    x, g = numbers(6, 2, 3), numbers(6, 2, 4)
    out, _ = layer(engine.tensor(x))
    engine.backward(out, g)
    kept, steps = None, []
    for row in x:
        kept = cell(engine.tensor(row), kept)
        steps.append(kept[0] if kind == "LSTM" else kept)
    stepped = engine.F.stack(steps)
    engine.backward(stepped, g)
    np.testing.assert_allclose(engine.value(out), engine.value(stepped), rtol=1e-12)
    for whole, part in zip(layer.parameters(), cell.parameters()):
        np.testing.assert_allclose(engine.grad(whole), engine.grad(part), rtol=1e-10, atol=1e-12)


@recurrent
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_sequence_in_two_parts_is_one(engine, kind):
    """What the first part leaves is what the second begins with."""
    layer = getattr(engine.nn, kind)(3, 4, 2).double()
    x = numbers(7, 2, 3)
    whole, _ = layer(engine.tensor(x))
    first, kept = layer(engine.tensor(x[:4]))
    second, _ = layer(engine.tensor(x[4:]), kept)
    got = np.concatenate([engine.value(first), engine.value(second)])
    np.testing.assert_allclose(got, engine.value(whole), rtol=1e-12)


@recurrent
def test_dropout_is_between_layers_and_in_training_only(engine, stage):
    layer = engine.nn.LSTM(3, 50, 2, dropout=0.5)
    x = engine.tensor(numbers(4, 2, 3, dtype="float32"))
    one, other = engine.value(layer(x)[0]), engine.value(layer(x)[0])
    assert np.abs(one - other).max() > 1e-4
    layer.eval()
    np.testing.assert_array_equal(engine.value(layer(x)[0]), engine.value(layer(x)[0]))
    single = engine.nn.LSTM(3, 50, 1, dropout=0.5)
    np.testing.assert_array_equal(engine.value(single(x)[0]), engine.value(single(x)[0]))


@recurrent
def test_recurrent_layers_have_pytorchs_arguments(stage):
    """PyTorch's own take any, and hand them to their base class; its documentation names them so."""
    theirs = torch_engine().torch.nn
    (_, *base) = arguments(theirs.RNNBase)  # without the mode
    nn = stage.part("nn")
    assert arguments(nn.LSTM) == base
    assert arguments(nn.GRU) == [each for each in base if each[0] != "proj_size"]
    wanted = [each for each in base if each[0] != "proj_size"]
    assert arguments(nn.RNN) == [*wanted[:3], ("nonlinearity", "tanh"), *wanted[3:]]


@recurrent
@pytest.mark.parametrize(
    "refused, error, match",
    [
        (lambda nn, x: nn.LSTM(3, 4, proj_size=2), NotImplementedError, "LSTM: proj_size=2 is not supported"),
        (lambda nn, x: nn.GRU(3, 0), ValueError, "GRU: wanted hidden_size of at least 1, got 0"),
        (lambda nn, x: nn.GRU(3, 4, num_layers=0), ValueError, "GRU: wanted num_layers of at least 1, got 0"),
        (lambda nn, x: nn.RNN(3, 4, nonlinearity="gelu"), ValueError, "wanted nonlinearity 'tanh' or 'relu'"),
        (lambda nn, x: nn.RNN(3, 4, dropout=1.5), ValueError, "wanted a probability from 0 to 1 as dropout, got 1.5"),
        (lambda nn, x: nn.RNN(3, 4)((x, [5, 4])), TypeError, "RNN: wanted a Tensor, got tuple; pad sequences"),
        (lambda nn, x: nn.RNN(2, 4)(x), ValueError, r"wanted 2 dims or 3 dims, the last of 2, got \(5, 2, 3\)"),
        (lambda nn, x: nn.RNN(3, 4)(x[:0]), RuntimeError, r"at least one step and one sequence, got \(0, 2, 3\)"),
        (lambda nn, x: nn.RNN(3, 4)(x, x), RuntimeError, r"wanted hx of shape \(1, 2, 4\), got \(5, 2, 3\)"),
        (lambda nn, x: nn.LSTM(3, 4)(x, x), TypeError, "LSTM: wanted hx as a pair, h_0 and c_0, got Tensor"),
        (lambda nn, x: nn.GRUCell(3, 4)(x), ValueError, r"GRUCell: wanted 1 dims or 2 dims, the last of 3"),
        (lambda nn, x: nn.utils.rnn.pack_padded_sequence(x, [5, 4]), NotImplementedError, "packed sequences are not"),
        (lambda nn, x: nn.utils.rnn.pack_sequence([x]), NotImplementedError, "packed sequences are not supported"),
        (lambda nn, x: nn.utils.rnn.pad_sequence([x], padding_side="up"), ValueError, "'left' or 'right', got 'up'"),
    ],
)
def test_what_recurrent_layers_do_not_take_is_refused(stage, refused, error, match):
    with pytest.raises(error, match=match):
        refused(stage.part("nn"), stage.package.Tensor(np.ones((5, 2, 3), np.float32)))


@recurrent
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"padding_value": 2.0, "padding_side": "left"}])
def test_sequences_are_padded_as_in_pytorch(stage, options):
    torch, rnn = torch_engine().torch, stage.part("nn").utils.rnn
    rows = [numbers(n, 2) for n in (3, 5, 1)]
    wanted = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], **options)
    padded = rnn.pad_sequence([stage.package.Tensor(row) for row in rows], **options)
    np.testing.assert_array_equal(padded.detach().numpy(), wanted.numpy())
    if "padding_side" not in options:
        back = rnn.unpad_sequence(padded, [3, 5, 1], **options)
        for row, array in zip(rows, back):
            np.testing.assert_array_equal(array.detach().numpy(), row)


# Attention


@attention
def test_dropout_leaves_out_weights_of_attention(engine):
    """Each is left out with the probability, the others are larger for it; so the mean over many stays."""
    attend, ones = engine.F.scaled_dot_product_attention, np.ones((1, 200, 4))
    values = engine.tensor(np.ones((1, 200, 200)))
    q = engine.tensor(ones)
    means = engine.value(attend(q, q, values, dropout_p=0.5))[0, :, 0]  # one for each query, of 200 weights
    deviation = 200**-0.5  # of such a mean: a weight is 0 or 2, both as likely
    assert abs(means.mean() - 1) < 6 * deviation / 200**0.5
    assert 0.7 * deviation < means.std() < 1.3 * deviation
    np.testing.assert_allclose(engine.value(attend(q, q, values, dropout_p=0.0)), 1, rtol=1e-12)


@attention
@pytest.mark.host
def test_memory_of_attention_grows_with_tokens_and_not_with_their_square(stage):
    """The scores of 2,048 tokens would be 16 MiB."""
    F, Tensor = stage.part("nn.functional"), stage.package.Tensor
    q, k, v = (Tensor(numbers(1, 2048, 16, dtype="float32")) for _ in range(3))
    F.scaled_dot_product_attention(*[x[:, :300] for x in (q, k, v)], is_causal=True).backward()  # compiled
    tracemalloc.start()
    F.scaled_dot_product_attention(q, k, v, is_causal=True).backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 2**20


@attention
def test_a_cache_gives_what_all_tokens_at_once_give(engine, stage):
    """Also begun anew, and with several tokens more at a time."""
    q, k, v = (engine.tensor(numbers(2, 3, 6, 4) * n) for n in (1, 2, 3))
    cache, attend = stage.part("attention").KVCache(6, q.device), engine.F.scaled_dot_product_attention
    wanted = engine.value(attend(q, k, v, is_causal=True))
    for places in ((0, 3), (3, 4), (4, 6)), ((0, 1), (1, 6)):
        for first, end in places:
            here = np.s_[..., first:end, :]
            out = attend(q[here], *cache.append(k[here], v[here]))
            np.testing.assert_allclose(engine.value(out), wanted[here], rtol=1e-9)
        if q.device == "cpu":  # how many there are on a GPU isn't looked at
            with pytest.raises(ValueError, match="KVCache: wanted at most 6 tokens, got 7"):
                cache.append(k[..., :1, :], v[..., :1, :])
        cache.clear()


@attention
def test_writing_expects_what_the_network_does_with_the_whole_text(stage, monkeypatch):
    """Token by token, from a cache and by recorded steps, past the network's 64 tokens."""
    package, gpt = stage.package, stage.part("gpt")
    package.manual_seed(0)
    model, seen = gpt.Playwright(11), []
    for p in model.parameters():
        p.data *= 3.0  # so that what it has read matters

    def draw(chances, count):
        seen.append(chances.numpy())
        return package.multinomial(chances, count)

    monkeypatch.setattr(gpt, "multinomial", draw)
    with package.no_grad():
        text = [1, *itertools.islice(gpt.write(model, [1]), 90)]
        for n in (1, 2, 3, 64, 65, 66, 90):  # tokens so far, of which up to 64 are in the cache
            read = text[:n] if n <= 64 else text[33:n]
            wanted = package.nn.functional.softmax(model(package.tensor([read]))[0, -1] / 0.8, -1)
            np.testing.assert_allclose(seen[n - 1], wanted.numpy(), rtol=1e-4, atol=1e-6)


@attention
@pytest.mark.parametrize(
    "refused, error, match",
    [
        (lambda F, T: F.scaled_dot_product_attention(T(1), T(1), T(1)), ValueError, r"wanted \(…, L, E\)"),
        (lambda F, T: F.scaled_dot_product_attention(T(2, 3), T(2, 4), T(2, 3)), ValueError, "attention of"),
        (
            lambda F, T: F.scaled_dot_product_attention(T(2, 3), T(2, 3), T(2, 3), T(2, 2), is_causal=True),
            RuntimeError,
            "wanted attn_mask or is_causal, got both",
        ),
        (
            lambda F, T: F.scaled_dot_product_attention(T(2, 3), T(2, 3), T(2, 3), T(2, 2).long()),
            RuntimeError,
            "wanted a mask of bool or floats, got int64",
        ),
        (
            lambda F, T: F.scaled_dot_product_attention(T(2, 3), T(2, 3), T(2, 3), T(3, 2).detach()),
            ValueError,
            "attention of",
        ),
    ],
)
def test_what_attention_does_not_take_is_refused(engine, refused, error, match):
    with pytest.raises(error, match=match):
        refused(engine.F, lambda *shape: engine.Tensor(np.ones(shape, np.float32)))


@attention
@pytest.mark.parametrize(
    "refused, error, match",
    [
        (lambda nn, x: nn.MultiheadAttention(4, 3), ValueError, "4 numbers don't divide into 3 heads"),
        (lambda nn, x: nn.MultiheadAttention(6, 3)(x, x, x), ValueError, r"wanted a query \(L, N, 6\)"),
        (lambda nn, x: nn.MultiheadAttention(4, 2)(x, x, x[:2]), ValueError, r"wanted \(L, N, …\), \(S, N, …\)"),
        (
            lambda nn, x: nn.MultiheadAttention(4, 2)(x, x, x, is_causal=True),
            RuntimeError,
            "wanted attn_mask, for which is_causal is a hint",
        ),
        (
            lambda nn, x: nn.MultiheadAttention(4, 2)(x, x, x, attn_mask=x[0]),
            RuntimeError,
            r"attn_mask: wanted \(5, 5\) or \(4, 5, 5\), got \(2, 4\)",
        ),
        (
            lambda nn, x: nn.MultiheadAttention(4, 2)(x, x, x, (x[:, :, 0].T > 0).long()),
            TypeError,
            "key_padding_mask: wanted booleans or floating-point numbers, got int64",
        ),
        (lambda nn, x: nn.RMSNorm(3)(x), ValueError, r"RMSNorm: wanted last dims \(3,\), got \(5, 2, 4\)"),
    ],
)
def test_what_modules_of_attention_do_not_take_is_refused(engine, refused, error, match):
    with pytest.raises(error, match=match):
        refused(engine.nn, engine.Tensor(np.ones((5, 2, 4), np.float32)))


# Modules


MODULES = {
    "LSTM": lambda nn: nn.LSTM(3, 4, 2, bidirectional=True),
    "RNN of relu": lambda nn: nn.RNN(
        3, 4, nonlinearity="relu", bias=False, batch_first=True, dropout=0.25, num_layers=2
    ),
    "GRU": lambda nn: nn.GRU(3, 4),
    "RNNCell": lambda nn: nn.RNNCell(3, 4, bias=False, nonlinearity="relu"),
    "LSTMCell": lambda nn: nn.LSTMCell(3, 4),
    "GRUCell": lambda nn: nn.GRUCell(3, 4),
    "RMSNorm": lambda nn: nn.RMSNorm(4),
    "RMSNorm of two dims": lambda nn: nn.RMSNorm((3, 4), 0.1, False),
    "MultiheadAttention": lambda nn: nn.MultiheadAttention(4, 2, add_bias_kv=True),
    "MultiheadAttention of other sizes": lambda nn: nn.MultiheadAttention(4, 2, bias=False, kdim=3, vdim=5),
    "Transformer": lambda nn: nn.Transformer(4, 2, 2, 1, 5, activation="gelu"),
    "TransformerEncoderLayer": lambda nn: nn.TransformerEncoderLayer(4, 2, activation=nn.GELU()),
}


@transformers
@pytest.mark.parametrize("name", MODULES)
def test_states_move_to_pytorch_and_back(engine, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch could be faster
        theirs = MODULES[name](torch_engine().torch.nn)
    ours = MODULES[name](engine.nn)
    assert [(key, array.shape) for key, array in state(engine, ours).items()] == [
        (key, tuple(tensor.shape)) for key, tensor in theirs.state_dict().items()
    ]
    ours.load_state_dict(theirs.state_dict())
    torch = torch_engine().torch
    theirs.load_state_dict({key: torch.tensor(array) for key, array in state(engine, ours).items()})
    words = repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
    assert repr(ours) == words
    assert repr(copy.deepcopy(ours)) == words


@transformers
@pytest.mark.parametrize("name", MODULES)
def test_weights_begin_as_pytorchs_do(engine, stage, name):
    """With the same spread: what is drawn differs, but is the same in every run."""
    stage.package.manual_seed(0)
    torch_engine().torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = [MODULES[name](torch_engine().torch.nn).state_dict() for _ in range(20)]
    ours = [state(engine, MODULES[name](engine.nn)) for _ in range(20)]
    for key in ours[0]:
        wanted = np.stack([np.asarray(each[key]) for each in theirs])
        got = np.stack([each[key] for each in ours])
        np.testing.assert_allclose(got.std(), wanted.std(), rtol=0.25, err_msg=key)
        np.testing.assert_allclose(np.abs(got).max(), np.abs(wanted).max(), rtol=0.5, err_msg=key)


class OfWords:
    """A network that reads sequences of numbers from 0 to 6 and chooses one of 5 classes, of a library's parts."""

    def __init__(self, nn, middle):
        self.parts = nn.ModuleList([nn.Embedding(7, 8), *middle(nn), nn.Linear(8, 5)])

    def __call__(self, x):
        first, *middle, last = self.parts
        x = first(x)
        for part in middle:
            x = part(x)
            x = x[0] if isinstance(x, tuple) else x
        return last(x[-1])


def encoder(nn):
    return [nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), nn.RMSNorm(8)]


RUNS = {
    "RNN": lambda nn: [nn.RNN(8, 8)],
    "LSTM": lambda nn: [nn.LSTM(8, 4, 2, bidirectional=True)],
    "GRU": lambda nn: [nn.GRU(8, 8)],
    "encoder": encoder,
}


@transformers
@pytest.mark.parametrize("name", RUNS)
def test_training_is_pytorchs(engine, stage, name):
    """Twenty steps of Adam from the same weights: every loss, and every weight at the end."""
    torch = torch_engine().torch
    theirs, ours = OfWords(torch.nn, RUNS[name]), OfWords(engine.nn, RUNS[name])
    theirs.parts.double()
    ours.parts.double()
    ours.parts.load_state_dict(theirs.parts.state_dict())
    reference = torch.optim.Adam(theirs.parts.parameters(), lr=0.01)
    optimizer = stage.part("optim").Adam(ours.parts.parameters(), lr=0.01)
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.integers(0, 7, (6, 9)), rng.integers(0, 5, 9)
        reference.zero_grad()
        wanted = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        wanted.backward()
        reference.step()
        optimizer.zero_grad()
        loss = engine.nn.cross_entropy(ours(engine.constant(x)), engine.constant(y))
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-8)
    for key, array in state(engine, ours.parts).items():
        np.testing.assert_allclose(array, theirs.parts.state_dict()[key].numpy(), rtol=1e-6, atol=1e-8, err_msg=key)


@transformers
def test_a_dropped_graph_of_sequences_leaves_nothing(engine, stage):
    model = engine.nn.TransformerEncoderLayer(4, 2, 8)
    layer = engine.nn.LSTM(4, 4)

    def step():
        layer(model(engine.Tensor(numbers(5, 2, 4, dtype="float32"))))[0].sum().backward()
        for parameter in (*model.parameters(), *layer.parameters()):
            parameter.grad = None

    step()  # what is compiled leaves something
    gc.collect()
    gc.disable()
    try:
        before = sum(issubclass(type(each), stage.package.Tensor) for each in gc.get_objects())
        step()
        assert sum(issubclass(type(each), stage.package.Tensor) for each in gc.get_objects()) == before
    finally:
        gc.enable()
