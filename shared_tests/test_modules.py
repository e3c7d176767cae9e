"""What modules do besides computing: names, modes, randomness, memory, and the errors when they are wired up wrong."""

import copy
import gc

import numpy as np
import pytest

from .case import state
from .cases import network
from .engines import torch_engine

modules = pytest.mark.capability("modules")
images = pytest.mark.capability("batch norm of images")


@modules
def test_names_shapes_and_order_are_pytorchs(engine):
    """A state_dict moves between the two unchanged only if they are."""
    wanted = {name: array.shape for name, array in state(torch_engine(), network(torch_engine().nn)).items()}
    model = network(engine.nn)
    assert {name: array.shape for name, array in state(engine, model).items()} == wanted
    assert list(state(engine, model)) == list(wanted)
    assert [name for name, _ in model.named_parameters()] == [
        name for name, _ in network(torch_engine().nn).named_parameters()
    ]


@modules
def test_everything_begins_as_float32(engine):
    model = network(engine.nn)
    assert {parameter.dtype.name for parameter in model.parameters()} == {"float32"}


@modules
def test_a_float32_model_stays_float32(engine, stage):
    """One float64 constant on the way would double the memory and halve the speed, silently."""
    nn = engine.nn
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.LayerNorm(4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 2)
    )
    x = engine.Tensor(np.ones((5, 3), np.float32))
    for mode in (model.train, model.eval):
        mode()
        out = model(x)
        assert out.dtype == np.float32
        for loss in (
            engine.F.cross_entropy(out, engine.constant(np.zeros(5, int))),
            engine.F.mse_loss(out, engine.constant(np.zeros((5, 2), np.float32))),
        ):
            assert loss.dtype == np.float32
            loss.backward(retain_graph=True)
    arrays = {name: array.dtype.name for name, array in state(engine, model).items()}
    assert {dtype for name, dtype in arrays.items() if "num_batches" not in name} == {"float32"}
    assert {parameter.grad.dtype.name for parameter in model.parameters()} == {"float32"}


def one_by_one_or_together(engine, layers, x):
    """Output and gradients of the layers called in turn, then of a Sequential of them."""
    for model in (lambda x: [x := layer(x) for layer in layers][-1], engine.nn.Sequential(*layers)):
        inputs = engine.Tensor(x)
        out = model(inputs)
        cotangent = np.random.default_rng(1).standard_normal(out.shape).astype(x.dtype)
        parameters = [parameter for layer in layers for parameter in layer.parameters()]
        for parameter in parameters:
            parameter.grad = None
        engine.backward(out, cotangent)
        yield [engine.value(out), engine.grad(inputs), *map(engine.grad, parameters)]


@modules
def test_a_sequential_is_its_modules_one_by_one(engine):
    """Also where it runs a layer and the ReLU after it in one go."""
    layers = [engine.nn.Linear(5, 7), engine.nn.ReLU(), engine.nn.Linear(7, 3, bias=False), engine.nn.ReLU()]
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    for one, other in zip(*one_by_one_or_together(engine, layers, x)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.capability("pooling")
@pytest.mark.parametrize("special", [0.0, np.nan, np.inf, -np.inf])
def test_a_sequential_with_relu_and_pooling_is_its_modules_one_by_one(engine, special):
    """Also where it pools first: what is largest, what is 0 and what is NaN stays the same."""
    x = np.random.default_rng(0).integers(-3, 2, (2, 3, 6, 8)).astype(np.float32)
    x[0] = np.minimum(x[0], 0)
    x[0, 0, 1, 2] = x[1, 2, 5, 5] = special
    layers = [engine.nn.ReLU(), engine.nn.MaxPool2d(2), engine.nn.ReLU(), engine.nn.MaxPool2d(3, 1, 1)]
    for one, other in zip(*one_by_one_or_together(engine, layers, x)):
        np.testing.assert_array_equal(one, other)


@modules
def test_a_custom_forward_runs_before_relu(engine, stage):
    class Doubled(stage.part("nn").Linear):
        def forward(self, x):
            return super().forward(x) * 2

    layers = [engine.placed(Doubled(5, 7)), engine.nn.ReLU()]
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    for one, other in zip(*one_by_one_or_together(engine, layers, x)):
        np.testing.assert_array_equal(one, other)


@modules
def test_a_shared_layer_is_one_parameter(engine):
    layer = engine.nn.Linear(3, 3)
    model = engine.nn.Sequential(layer, engine.nn.Tanh(), layer)
    assert len(list(model.parameters())) == 2
    model(engine.tensor(np.ones((2, 3), np.float32))).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@modules
def test_train_and_eval_reach_every_child(engine):
    model = engine.nn.Sequential(engine.nn.Sequential(engine.nn.Dropout(0.5)), engine.nn.BatchNorm1d(2))
    assert model.eval() is model
    assert not any(m.training for m in (model, model[0], model[0][0], model[1]))
    assert model.train() is model
    assert all(m.training for m in (model, model[0], model[0][0], model[1]))


@modules
def test_zero_grad_forgets(engine):
    model = engine.nn.Linear(3, 2)
    model(engine.Tensor(np.ones((4, 3), np.float32))).backward()
    model.zero_grad()
    assert [parameter.grad for parameter in model.parameters()] == [None, None]


@modules
def test_load_state_dict_names_every_misfit_and_changes_nothing(engine):
    model = network(engine.nn)
    before = state(engine, model)
    wrong = state(engine, model)
    del wrong["0.weight"]
    wrong["5.weight"] = np.ones(3)
    wrong["3.bias"] = np.ones(7)
    wrong["1.weight"] = wrong["1.weight"] + 1  # fits, and still must not be taken over
    message = r"(?s)Missing key.*0\.weight.*Unexpected key.*5\.weight.*3\.bias.*\(7,\).*\(2,\)"
    with pytest.raises(RuntimeError, match=message):
        model.load_state_dict(wrong)
    for name, array in state(engine, model).items():
        np.testing.assert_array_equal(array, before[name])


@modules
def test_a_state_dict_of_words_changes_nothing(engine):
    """What fits comes before what doesn't, and still must not be taken over."""
    model = engine.nn.Linear(2, 2)
    before = state(engine, model)
    with pytest.raises(RuntimeError, match="bias holds <U1, no numbers"):
        model.load_state_dict({"weight": np.ones((2, 2)), "bias": np.array(["a", "b"])})
    for name, array in state(engine, model).items():
        np.testing.assert_array_equal(array, before[name])


@modules
def test_a_state_dict_is_a_copy_both_ways(engine):
    model = engine.nn.BatchNorm1d(3)
    saved = copy.deepcopy(model.state_dict())
    model.load_state_dict(saved)
    for tensor in saved.values():
        tensor += 1
    np.testing.assert_array_equal(state(engine, model)["weight"], np.ones(3))
    model(engine.Tensor(np.eye(3, dtype=np.float32)))
    np.testing.assert_array_equal(engine.host(saved["running_mean"]), np.ones(3))


@modules
@pytest.mark.host
def test_a_state_dict_that_the_model_would_not_notice_is_read_only(engine):
    """In PyTorch an update of it in place reaches the model."""
    saved = engine.nn.Linear(3, 2).state_dict()
    assert not any(tensor.requires_grad for tensor in saved.values())
    with pytest.raises(RuntimeError, match="read-only"):
        saved["bias"] += 1


@modules
def test_dropout_keeps_the_mean_and_drops_the_share(engine, stage):
    stage.package.manual_seed(0)
    out = engine.value(engine.nn.Dropout(0.25)(engine.Tensor(np.ones((100, 100)))))
    assert set(np.unique(out)) == {0, 1 / 0.75}
    assert abs((out == 0).mean() - 0.25) < 0.02  # four standard deviations of a share of 10,000
    assert abs(out.mean() - 1) < 0.03


@modules
def test_dropout_sends_the_gradient_where_the_numbers_went(engine):
    x = engine.Tensor(np.ones((10, 10)))
    out = engine.nn.Dropout(0.5)(x)
    out.backward()
    np.testing.assert_array_equal(engine.grad(x), engine.value(out))


@modules
def test_the_same_seed_gives_the_same_network(engine, stage):
    def weights(seed):
        stage.package.manual_seed(seed)
        return state(engine, network(engine.nn))["0.weight"]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


@modules
def test_running_statistics_do_not_hold_the_graph(engine):
    """Statistics kept as tensors would chain every batch to the one before, and memory would grow with each step."""
    check_statistics_hold_no_graph(engine, engine.nn.BatchNorm1d(3), (4, 3))


@images
def test_running_statistics_of_images_do_not_hold_the_graph(engine):
    check_statistics_hold_no_graph(engine, engine.nn.BatchNorm2d(3), (2, 3, 4, 4))


def check_statistics_hold_no_graph(engine, model, shape):
    gc.collect()
    gc.disable()
    try:
        counts = []
        for step in range(3):
            x = engine.Tensor(np.full(shape, step, np.float32))
            model(x).backward()
            del x
            counts.append(sum(issubclass(type(thing), engine.Tensor) for thing in gc.get_objects()))
        assert len(set(counts)) == 1
    finally:
        gc.enable()


MISTAKES = {
    "Linear": (lambda nn, T: nn.Linear(3, 4)(T(np.ones((2, 5), np.float32))), r"\(2, 5\)"),
    "LayerNorm": (lambda nn, T: nn.LayerNorm(4)(T(np.ones((2, 5)))), r"LayerNorm.*4.*\(2, 5\)"),
    "BatchNorm1d": (lambda nn, T: nn.BatchNorm1d(4)(T(np.ones((2, 5)))), r"BatchNorm1d.*4 channels.*\(2, 5\)"),
    "BatchNorm1d of one": (lambda nn, T: nn.BatchNorm1d(4)(T(np.ones((1, 4)))), "batch_norm.*more than one"),
    "Dropout": (lambda nn, T: nn.Dropout(1.5), "Dropout.*from 0 to 1, got 1.5"),
    "Embedding": (lambda nn, T: nn.Embedding(4, 2)(np.array([4])), "Embedding.*from 0 to 3, got 4"),
    "Embedding of floats": (lambda nn, T: nn.Embedding(4, 2)(np.array([1.0])), "Embedding.*integer.*float64"),
    "reduction": (
        lambda nn, T: nn.mse_loss(T([1.0]), T([1.0]), reduction="max"),
        "'mean', 'sum' or 'none', got 'max'",
    ),
    "hinge_loss": (lambda nn, T: nn.hinge_loss(T([1.0, 2.0]), np.ones((2, 1))), r"hinge_loss.*\(2,\).*\(2, 1\)"),
    "cross_entropy": (
        lambda nn, T: nn.cross_entropy(T(np.ones((2, 3))), np.array([0])),
        r"cross_entropy.*\(2, 3\).*\(1,\)",
    ),
    "class": (lambda nn, T: nn.cross_entropy(T(np.ones((1, 3))), np.array([3])), "cross_entropy.*from 0 to 2, got 3"),
    "a class below": (
        lambda nn, T: nn.cross_entropy(T(np.ones((1, 3))), np.array([-1])),
        "cross_entropy.*0 to 2, got -1",
    ),
    "forward": (lambda nn, T: nn.Module()(T(1.0)), "missing the required .forward. function"),
}


@pytest.mark.capability("modules")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(engine, name):
    mistake, message = MISTAKES[name]
    with pytest.raises((ValueError, TypeError, IndexError, NotImplementedError), match=message):
        mistake(engine.nn, engine.Tensor)


# Initial weights: the spread that the papers ask for, as PyTorch's functions of the same name give it


@pytest.mark.capability("initial weights")
@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"])
@pytest.mark.parametrize("shape", [(200, 300), (60, 20, 5, 5)])
def test_initial_weights_have_pytorchs_spread(engine, stage, name, shape):
    torch = torch_engine().torch
    stage.package.manual_seed(0)
    tensor = engine.Tensor(np.empty(shape, np.float32))
    filled = getattr(engine.nn, name)(tensor)
    assert filled is tensor and tensor.dtype == np.float32
    generator = torch.Generator().manual_seed(0)
    wanted = getattr(torch.nn.init, name)(torch.empty(shape), generator=generator).numpy()
    got = engine.value(tensor)
    assert got.std() == pytest.approx(wanted.std(), rel=0.02)  # 30,000 numbers and more
    assert abs(got.mean()) < 0.02 * wanted.std()
    if "uniform" in name:
        assert abs(got).max() == pytest.approx(abs(wanted).max(), rel=0.001)
    assert getattr(engine.nn, name)(engine.Tensor(np.empty((0, 3)))).shape == (0, 3)


@pytest.mark.capability("initial weights")
@pytest.mark.parametrize("options", [{"a": 0.2}, {"mode": "fan_out"}])
def test_kaiming_takes_pytorchs_options(engine, stage, options):
    torch = torch_engine().torch
    torch.manual_seed(0)
    wanted = torch.nn.init.kaiming_uniform_(torch.empty(200, 300), **options).numpy()
    got = engine.value(engine.nn.kaiming_uniform_(engine.Tensor(np.empty((200, 300), np.float32)), **options))
    assert abs(got).max() == pytest.approx(abs(wanted).max(), rel=0.001)


@pytest.mark.capability("initial weights")
@pytest.mark.parametrize(
    "build", [lambda nn: nn.Linear(100, 300), lambda nn: nn.Embedding(300, 100)], ids=["Linear", "Embedding"]
)
def test_layers_begin_as_pytorchs_do(engine, stage, build):
    torch_engine().torch.manual_seed(0)
    stage.package.manual_seed(0)
    wanted, got = state(torch_engine(), build(torch_engine().nn)), state(engine, build(engine.nn))
    for name in wanted:
        assert got[name].std() == pytest.approx(wanted[name].std(), rel=0.15)  # the bias has 300 numbers


@pytest.mark.capability("initial weights")
def test_a_bias_has_no_fans(engine):
    with pytest.raises(ValueError, match=r"wanted weights \(out, in, …\).*got \(3,\)"):
        engine.nn.kaiming_uniform_(engine.Tensor(np.ones(3)))
    with pytest.raises(ValueError, match="'fan_in' or 'fan_out', got 'fan'"):
        engine.nn.kaiming_uniform_(engine.Tensor(np.ones((3, 3))), mode="fan")


@pytest.mark.capability("losses")
@pytest.mark.host
def test_class_indices_may_be_an_array_of_another_library(engine):
    """As a column of a table is: it has a dtype and can be read by NumPy, but is no array of NumPy's."""

    class Column:
        def __init__(self, values):
            self.values, self.dtype = np.array(values), np.array(values).dtype

        def __array__(self, dtype=None, copy=None):
            return self.values

    x = engine.Tensor(np.arange(6.0).reshape(2, 3))
    assert engine.F.cross_entropy(x, Column([0, 2])).item() == engine.F.cross_entropy(x, np.array([0, 2])).item()


@modules
@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_a_linear_layer_of_no_features_is_pytorchs(engine, sizes):
    reference = torch_engine()
    grads = []
    for lib in (engine, reference):
        weight, bias = lib.tensor(np.ones(sizes[::-1])), lib.tensor(np.ones(sizes[1]))
        x = lib.tensor(np.ones((4, sizes[0])))
        out = lib.F.linear(x, weight, bias)
        out.sum().backward()
        grads.append([lib.value(out), *map(lib.grad, (x, weight, bias))])
    for found, wanted in zip(*grads):
        np.testing.assert_array_equal(found, wanted)


@modules
def test_batch_statistics_of_many_rows_keep_their_digits(engine, stage):
    """Their sums would be 1 % off, if each were added up in float32."""
    rows = np.full((1_000_000, 2), 0.1, np.float32)
    norm = stage.part("nn").BatchNorm1d(2, momentum=1.0)
    norm(engine.package.tensor(rows))
    np.testing.assert_allclose(norm.running_mean.numpy(), [0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), [0, 0], atol=1e-7)


@modules
def test_a_snapshot_stays_as_it_was_through_steps_statistics_and_loading(engine, stage):
    nn, optim, package = stage.part("nn"), stage.part("optim"), stage.package
    model = engine.placed(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = engine.Tensor(np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32), requires_grad=False)

    def step():
        optimizer.zero_grad()
        (model(x) ** 2 * engine.constant(np.arange(4, dtype=np.float32))).sum().backward()
        optimizer.step()

    def numbers(state):
        return {name: engine.host(tensor).copy() for name, tensor in state.items()}

    step()
    snapshot = model.state_dict()
    before = numbers(snapshot)
    step()
    assert all((numbers(model.state_dict())[name] != before[name]).any() for name in before)
    model.load_state_dict(snapshot)
    step()
    given = {name: package.tensor(array) for name, array in before.items()}
    model.load_state_dict(given)
    step()
    for held in (snapshot, given):
        for name, array in numbers(held).items():
            np.testing.assert_array_equal(array, before[name])


@modules
def test_clipping_keeps_float32_and_numbers_whose_squares_it_has_not(engine, stage):
    parameters = [engine.Tensor(np.zeros(2, np.float32)) for _ in range(2)]
    for parameter, g in zip(parameters, ([3e30, 0.0], [0.0, 4e30])):
        parameter.grad = engine.constant(np.array(g, np.float32))
    norm = stage.part("nn").utils.clip_grad_norm_(parameters, 1.0)
    assert norm.item() == pytest.approx(5e30) and norm.dtype == np.float32
    assert [parameter.grad.dtype for parameter in parameters] == [np.float32] * 2
    np.testing.assert_allclose(engine.grad(parameters[0]), [0.6, 0.0], rtol=1e-6)


@modules
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int8, np.int32, np.int64])
def test_class_indices_may_be_integers_of_any_kind(engine, dtype):
    x = engine.Tensor(np.arange(6.0).reshape(2, 3))
    loss = engine.F.cross_entropy(x, engine.constant(np.array([0, 2], dtype)))
    wanted = torch_engine().torch.nn.functional.cross_entropy(
        torch_engine().torch.arange(6.0).reshape(2, 3), torch_engine().torch.tensor([0, 2])
    )
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)


@modules
def test_a_linear_function_needs_no_bias(engine):
    x, weight = (engine.tensor(np.arange(n, dtype=np.float64).reshape(n // 3, 3)) for n in (6, 12))
    np.testing.assert_array_equal(
        engine.value(engine.F.linear(x, weight)), engine.value(x) @ engine.value(weight).swapaxes(0, 1)
    )


@modules
@pytest.mark.parametrize("kind, shape", [("BatchNorm1d", (2, 3, 4, 4)), ("BatchNorm1d", (3,)), ("BatchNorm2d", (2, 3))])
def test_batch_norm_refuses_inputs_of_other_dims_as_pytorchs(engine, stage, kind, shape):
    if kind == "BatchNorm2d" and stage.number == 3:
        pytest.skip("images arrive on rung 4")
    with pytest.raises(ValueError, match=kind):
        getattr(stage.part("nn"), kind)(3)(engine.Tensor(np.ones(shape, np.float32)))
    with pytest.raises(ValueError, match="expected"):
        getattr(torch_engine().torch.nn, kind)(3)(torch_engine().torch.ones(shape))


@modules
def test_layers_that_can_not_be_are_refused_at_once(engine):
    nn, x = engine.nn, engine.Tensor(np.ones((2, 3), np.float32))
    for make, named in {
        lambda: nn.Linear(-1, 3): r"wanted sizes of at least 0, got \(3, -1\)",
        lambda: nn.Bilinear(0, 1, 2): r"in1_features must be > 0, but got \(in1_features=0\)",
        lambda: nn.GroupNorm(0, 2): "2 channels don't divide into 0 groups",
        lambda: nn.GroupNorm(-1, 2): "2 channels don't divide into -1 groups",
        lambda: nn.functional.group_norm(x, 0): "3 channels don't divide into 0 groups",
        lambda: nn.Embedding(-1, 2): r"wanted sizes of at least 0, got \(-1, 2\)",
    }.items():
        with pytest.raises((RuntimeError, ValueError), match=named):
            make()


@modules
def test_the_bias_of_linear_is_of_its_dtype_and_has_a_number_for_each_row_or_one_for_all(engine):
    torch = pytest.importorskip("torch")

    def linear(tensor, functional, bias):
        arrays = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), bias
        return functional.linear(*map(tensor, arrays)).tolist()

    for bias in (np.ones(4, np.float32), np.float32([2]), np.array(3, np.float32)):
        ours = linear(engine.Tensor, engine.nn.functional, bias)
        assert ours == linear(torch.tensor, torch.nn.functional, bias)
    for bias in (np.ones(4), np.ones(4, np.int64), np.ones(3, np.float32), np.ones((4, 4), np.float32)):
        with pytest.raises(ValueError, match=r"linear of .*: bias: wanted \(4,\) of float32, got \("):
            linear(engine.Tensor, engine.nn.functional, bias)
        with pytest.raises(RuntimeError):
            linear(torch.tensor, torch.nn.functional, bias)


@pytest.mark.capability("activations")
@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_gumbel_softmax_draws_from_the_softmax(stage, dim):
    """Its maximum does, whatever the temperature; with `hard` the gradient is that of the soft numbers."""
    package, functional = stage.package, stage.part("nn").functional
    package.manual_seed(0)
    x = np.broadcast_to(np.array([0.0, 1.0, 2.0], np.float32), (4000, 5, 3)).swapaxes(dim, -1)
    x = package.Tensor(x.copy())
    hard, soft = functional.gumbel_softmax(x, tau=0.5, hard=True, dim=dim), functional.gumbel_softmax(x, 2.0, dim=dim)
    for y in (hard, soft):
        assert y.shape == x.shape
        np.testing.assert_allclose(y.sum(dim).numpy(), 1, rtol=1e-5)
        drawn = np.bincount(y.argmax(dim).numpy().ravel(), minlength=3) / (y.numpy().size / 3)
        np.testing.assert_allclose(drawn, np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum(), atol=0.02)
    np.testing.assert_allclose(hard.numpy(), hard.numpy().round(), atol=1e-6)
    (hard * package.tensor(np.random.default_rng(0).normal(size=x.shape).astype(np.float32))).sum().backward()
    assert abs(x.grad.numpy()).max() > 0.1
    np.testing.assert_allclose(x.grad.sum(dim).numpy(), 0, atol=1e-5)  # as softmax's
