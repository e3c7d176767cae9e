"""Small programs on modules that run under PyTorch and under the rung and must say the same, errors included."""

import copy
import pickle
import warnings
from collections import OrderedDict

import numpy as np
import pytest

from .engines import torch_engine

SAME = {}  # name -> (capability, program); a program takes `torch` or what stands for it


def same(capability):
    """Count the function among the programs."""

    def register(program):
        SAME[program.__name__.replace("_", " ")] = capability, program
        return program

    return register


def said(value):
    """What a program gave back, in plain Python: of a tensor its shape and numbers."""
    if hasattr(value, "detach"):
        return said(np.asarray(value.detach()))
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.name, (value if value.dtype == bool else value.round(5)).tolist()
    if isinstance(value, dict):
        return {key: said(x) for key, x in value.items()}
    if isinstance(value, tuple | list):
        return [said(x) for x in value]
    return value


def outcome(program, torch):
    try:
        return said(program(torch))
    except Exception as error:
        return type(error).__name__, str(error).replace("torch.FloatTensor", "Tensor").replace(" \n", "\n").strip()


def cases():
    for name, (capability, _) in SAME.items():
        yield pytest.param(name, marks=pytest.mark.capability(capability), id=name)


# Attributes


@same("modules")
def a_tensor_in_the_place_of_a_parameter(torch):
    layer = torch.nn.Linear(2, 3)
    layer.weight = torch.ones(3, 2)


@same("modules")
def a_tensor_in_the_place_of_a_bias_that_is_not_there(torch):
    layer = torch.nn.Linear(2, 3, bias=False)
    layer.bias = torch.ones(3)


@same("modules")
def a_number_in_the_place_of_a_module(torch):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3))
    setattr(model, "0", 3)


@same("modules")
def no_parameter_in_the_place_of_one(torch):
    layer = torch.nn.Linear(2, 3)
    layer.bias = None
    return list(layer.state_dict()), layer.bias, layer(torch.ones(1, 2)).shape == (1, 3)


@same("modules")
def a_parameter_in_the_place_of_one(torch):
    layer = torch.nn.Linear(2, 3)
    layer.weight = torch.nn.Parameter(torch.zeros(5, 2))
    return [(name, tuple(p.shape)) for name, p in layer.named_parameters()]


@same("modules")
def a_parameter_in_the_place_of_a_plain_attribute(torch):
    module = torch.nn.Module()
    module.x = 3
    module.x = torch.nn.Parameter(torch.zeros(2))
    return [name for name, _ in module.named_parameters()]


@same("losses")
def weights_that_require_grad(torch):
    functions, x = torch.nn.functional, torch.zeros(2, 3)
    weight = torch.ones(3).requires_grad_()
    targets = {"nll_loss": torch.tensor([0, 1]), "cross_entropy": torch.tensor([0, 1])}
    refused = []
    for name, target in targets.items():
        try:
            getattr(functions, name)(x, target, weight=weight)
        except RuntimeError as error:
            refused.append((name, "is not differentiable with respect to" in str(error)))
    try:
        functions.binary_cross_entropy_with_logits(x, x, pos_weight=weight)
    except RuntimeError as error:
        refused.append(("pos_weight", "is not differentiable with respect to" in str(error)))
    with torch.no_grad():
        return refused, functions.cross_entropy(x, targets["cross_entropy"], weight=weight)


@same("modules")
def batch_norm_of_float16(torch):
    layer = torch.nn.BatchNorm1d(3)
    x = (torch.arange(12.0).reshape(4, 3) * 100).half()
    return layer(x), layer.running_mean, layer.running_var, layer.eval()(x)


@same("modules")
def a_tensor_in_the_place_of_a_buffer(torch):
    layer = torch.nn.BatchNorm1d(2)
    layer.running_mean = torch.ones(2)
    return dict(layer.named_buffers())


@same("modules")
def a_number_in_the_place_of_a_buffer(torch):
    torch.nn.BatchNorm1d(2).running_mean = 3


@same("modules")
def a_deleted_parameter(torch):
    layer = torch.nn.Linear(2, 3)
    del layer.bias
    return list(layer.state_dict()), hasattr(layer, "bias")


@same("modules")
def a_deleted_module(torch):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    del model[0]
    return [name for name, _ in model.named_children()], len(model)


@same("modules")
def what_is_not_there(torch):
    torch.nn.Linear(2, 3).wieght  # noqa: B018


@same("modules")
def modules_in_a_plain_list_are_not_found(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [torch.nn.Linear(2, 3)]

    return list(Net().parameters()), list(Net().children())


@same("modules")
def buffers(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("saved", torch.ones(2))
            self.register_buffer("unsaved", torch.zeros(3), persistent=False)
            self.register_buffer("absent", None)
            self.plain = torch.zeros(4)

    net = Net()
    return net.state_dict(), [name for name, _ in net.named_buffers()], len(list(net.parameters()))


@same("modules")
def a_buffer_that_is_replaced_stays_unsaved(torch):
    net = torch.nn.Module()
    net.register_buffer("x", torch.zeros(3), persistent=False)
    net.x = torch.ones(3)
    return net.state_dict(), [name for name, _ in net.named_buffers()]


@same("modules")
def no_parameter_registered(torch):
    net = torch.nn.Module()
    net.register_parameter("weight", None)
    return net.weight, list(net.parameters()), net.state_dict()


@same("modules")
def a_name_that_is_taken(torch):
    torch.nn.Linear(2, 3).register_buffer("forward", torch.ones(2))


@same("modules")
def paths(torch):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.BatchNorm1d(2)))
    return (
        [name for name, _ in model.named_modules()],
        [name for name, _ in model.named_parameters(prefix="net")],
        [name for name, _ in model.named_parameters(recurse=False)],
        [name for name, _ in model.named_buffers()],
        [type(module).__name__ for module in model.modules()],
        len(list(model.parameters(recurse=False))),
        model.get_submodule("1.0") is model[1][0],
        model.get_parameter("0.weight") is model[0].weight,
        model.get_buffer("1.0.running_mean") is model[1][0].running_mean,
    )


@same("modules")
def parameters_is_an_iterator(torch):
    parameters = torch.nn.Linear(2, 3).parameters()
    return next(parameters).shape == (3, 2), next(parameters).shape == (3,), next(parameters, None)


@same("modules")
def shared_modules(torch):
    layer = torch.nn.Linear(2, 2)
    model = torch.nn.Sequential(layer, torch.nn.ReLU(), layer)
    return (
        [name for name, _ in model.named_parameters()],
        [name for name, _ in model.named_parameters(remove_duplicate=False)],
        [name for name, _ in model.named_children()],
        [name for name, _ in model.named_modules()],
        list(model.state_dict()),
        len(model),
    )


@same("modules")
def weights_tied(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.out = torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4, bias=False)
            self.out.weight = self.table.weight

    net = Net()
    loaded = net.load_state_dict({"table.weight": torch.ones(4, 3), "out.weight": torch.ones(4, 3)})
    return list(net.state_dict()), len(list(net.parameters())), net.out.weight, str(loaded)


@same("modules")
def apply_goes_from_below(torch):
    seen = []
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.ReLU()))
    return model.apply(lambda module: seen.append(type(module).__name__)) is model, seen


@same("modules")
def a_train_of_ones_own_is_called(torch):
    class Frozen(torch.nn.BatchNorm1d):
        def train(self, mode=True):
            return super().train(False)

    model = torch.nn.Sequential(Frozen(2), torch.nn.BatchNorm1d(2)).train()
    return [module.training for module in model.modules()]


@same("modules")
def arguments_by_name(torch):
    class Net(torch.nn.Module):
        def forward(self, x, *, mask=None, scale=1.0):
            return (x * mask if mask is not None else x) * scale

    return Net()(torch.ones(2), mask=torch.tensor([0.0, 1.0]), scale=3.0), Net()(torch.ones(2))


@same("modules")
def zero_grad(torch):
    layer = torch.nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    zeros = layer.weight.grad
    layer.zero_grad()
    return zeros, layer.weight.grad


@same("modules")
def frozen_parameters(torch):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    model[0].requires_grad_(False)
    model(torch.ones(1, 2)).sum().backward()
    return [p.requires_grad for p in model.parameters()], [p.grad is None for p in model.parameters()]


@same("modules")
def dtypes(torch):
    model = torch.nn.BatchNorm1d(2).double()
    double = {name: str(np.asarray(x.detach()).dtype) for name, x in model.state_dict().items()}
    return double, {name: str(np.asarray(x.detach()).dtype) for name, x in model.float().state_dict().items()}


@same("modules")
def a_network_of_double_precision(torch):
    layer = torch.nn.Linear(2, 2, dtype=torch.float64)
    return str(np.asarray(layer.weight.detach()).dtype), layer.to(torch.float32)(torch.ones(1, 2)).shape == (1, 2)


@same("modules")
def a_deep_copy(torch):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    other = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        other[0].weight.fill_(2.0)
    return model[0].weight, other[0].weight, len(list(other.parameters())), list(other.state_dict())


@same("modules")
def a_parameter_shares_the_memory_of_its_tensor(torch):
    tensor = torch.zeros(3)
    parameter = torch.nn.Parameter(tensor)
    tensor[0] = 1.0
    frozen = torch.nn.Parameter(tensor, requires_grad=False)
    return parameter, parameter.requires_grad, frozen.requires_grad, isinstance(parameter, torch.Tensor)


@same("modules")
def loading_without_being_strict(torch):
    layer = torch.nn.Linear(2, 2)
    keys = layer.load_state_dict({"weight": torch.ones(2, 2), "more": torch.ones(1)}, strict=False)
    return keys.missing_keys, keys.unexpected_keys, layer.weight


@same("modules")
def loading_what_is_not_there(torch):
    torch.nn.Linear(2, 2).load_state_dict({"weight": torch.ones(2, 2), "more": torch.ones(1)})


@same("modules")
def a_state_dict_with_a_prefix(torch):
    found = {"first": 1}
    torch.nn.Linear(1, 1).state_dict(destination=found, prefix="net.")
    return list(found)


# Containers


@same("modules")
def a_class_in_the_place_of_a_module(torch):
    with pytest.raises(TypeError, match="ReLU is not a Module subclass"):
        torch.nn.Sequential(torch.nn.ReLU)


@same("modules")
def sequential_with_names(torch):
    model = torch.nn.Sequential(OrderedDict([("first", torch.nn.Linear(2, 3)), ("act", torch.nn.ReLU())]))
    return list(model.state_dict()), model.first is model[0], type(model[-1]).__name__, len(model)


@same("modules")
def sequential_as_a_list(torch):
    nn = torch.nn
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    model.append(nn.Tanh()).extend([nn.Sigmoid()])
    model.insert(1, nn.Identity())
    part = model[2:4]
    model[0] = nn.Linear(2, 4)
    popped = model.pop(-1)
    more = model + nn.Sequential(nn.GELU())
    return [repr(x) for x in model], repr(part), list(part.state_dict()), repr(popped), repr(more), repr(model[-1])


@same("modules")
def sequential_beyond_its_end(torch):
    with pytest.raises(IndexError, match="index 3 is out of range"):
        torch.nn.Sequential(torch.nn.ReLU())[3]


@same("modules")
def module_list(torch):
    nn = torch.nn
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    layers.append(nn.ReLU())
    layers += [nn.Tanh()]
    layers.insert(0, nn.Identity())
    del layers[1]
    names = [name for name, _ in layers.named_children()]
    return repr(layers), names, list(layers.state_dict()), repr(layers[1:3]), len(layers), repr(layers[-1])


@same("modules")
def a_module_list_is_not_run(torch):
    with pytest.raises(NotImplementedError, match="ModuleList"):
        torch.nn.ModuleList([torch.nn.ReLU()])(torch.ones(1))


@same("modules")
def module_dict(torch):
    nn = torch.nn
    layers = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.ReLU()})
    layers["c"] = nn.Tanh()
    layers.update({"d": nn.Identity()})
    popped = layers.pop("b")
    del layers["d"]
    return (
        repr(layers),
        list(layers),
        "a" in layers,
        len(layers),
        list(layers.keys()),
        repr(popped),
        list(layers.state_dict()),
    )


@same("modules")
def parameter_list(torch):
    nn = torch.nn
    values = nn.ParameterList([nn.Parameter(torch.ones(2)), torch.zeros(3)])
    values.append(torch.ones(1))
    return list(values.state_dict()), len(values), values[-1], [p.requires_grad for p in values], len(values[1:])


@same("modules")
def parameter_dict(torch):
    nn = torch.nn
    values = nn.ParameterDict({"a": nn.Parameter(torch.ones(2))})
    values["b"] = nn.Parameter(torch.zeros(3))
    found = list(values.state_dict()), len(values), "b" in values, sorted(values.keys()), values["a"], values.pop("b")
    left = list(values)
    values.clear()
    return found, left, len(values)


@same("modules")
def what_is_printed(torch):
    nn = torch.nn
    return [
        repr(module)
        for module in (
            nn.Sequential(nn.Linear(2, 3, bias=False), nn.Sequential(nn.ReLU(), nn.LayerNorm(3))),
            nn.ModuleList(),
            nn.ModuleList([nn.Sequential(nn.Linear(1, 1), nn.Tanh()) for _ in range(2)]),
            nn.Sequential(),
            nn.Bilinear(2, 3, 4),
            nn.ReLU(inplace=True),
            nn.LeakyReLU(0.2),
            nn.LeakyReLU(inplace=True),
            nn.ELU(0.5),
            nn.CELU(),
            nn.Hardtanh(),
            nn.ReLU6(),
            nn.Threshold(1.0, 2.0),
            nn.PReLU(),
            nn.Sigmoid(),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.Softplus(),
            nn.Softshrink(0.3),
            nn.Hardshrink(0.3),
            nn.GLU(),
            nn.Softmax(1),
            nn.LogSoftmax(dim=-1),
            nn.Softmin(),
            nn.Dropout(),
            nn.Dropout2d(0.2, True),
            nn.Flatten(),
            nn.Unflatten(1, (2, 3)),
            nn.Embedding(3, 2),
            nn.Embedding(3, 2, padding_idx=1),
            nn.BatchNorm1d(3),
            nn.BatchNorm1d(3, momentum=None, affine=False),
            nn.LayerNorm((2, 3), elementwise_affine=False),
            nn.GroupNorm(2, 4),
            nn.InstanceNorm1d(3),
            nn.Identity(3),
            nn.CrossEntropyLoss(),
            nn.MSELoss(),
        )
    ]


# Layers that do more than a case can say


@same("modules")
def embedding_begins_with_zeros_at_its_padding(torch):
    weight = torch.nn.Embedding(4, 2, padding_idx=-2).weight
    table = torch.nn.Embedding.from_pretrained(torch.ones(2, 3))
    return weight[2], table.weight.requires_grad, table(torch.tensor([1]))


@same("modules")
def statistics_begin_anew(torch):
    norm = torch.nn.BatchNorm1d(2)
    norm(torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
    counted = norm.num_batches_tracked
    moved = counted.item(), norm.running_mean.tolist(), norm.running_var.tolist()
    norm.reset_running_stats()
    return moved, norm.state_dict()


@same("modules")
def one_hot(torch):
    F = torch.nn.functional
    return F.one_hot(torch.tensor([0, 2, 1])), F.one_hot(torch.tensor([[0], [2]]), 4), F.one_hot(torch.tensor(1))


@same("modules")
def dropout_out_of_training(torch):
    F = torch.nn.functional
    x = torch.ones(2, 3, 4)
    dropped = F.dropout(x, 1.0)
    return dropped, F.dropout(x, 0.5, False), F.dropout1d(x, 0.5, False), F.dropout2d(x.unsqueeze(0), training=False)


@same("rearranging")
def parts_by_the_names_of_the_arguments(torch):
    x = torch.arange(6.0).reshape(2, 3)
    return x.split(split_size=2, dim=1), x.split([1, 1]), torch.split(tensor=x, split_size_or_sections=[1, 2], dim=1)


@same("order and places")
def places_in_each_of_several_rows(torch):
    rows, x = torch.tensor([[1.0, 2.0, 3.0], [0.0, 5.0, 9.0]]), torch.tensor([[2.0, 4.0], [5.0, 10.0]])
    order = torch.tensor([[0, 1, 2], [2, 1, 0]])
    found = [torch.searchsorted(rows, x), torch.searchsorted(rows.unsqueeze(1), x.unsqueeze(1), right=True)]
    return *found, torch.searchsorted(rows, x, sorter=order), torch.searchsorted(rows[0], x, side="right")


@same("comparisons and where")
def whether_numbers_are_among_others(torch):
    x = torch.arange(6).reshape(2, 3)
    return torch.isin(x, torch.tensor([1, 5])), torch.isin(elements=x, test_elements=x[:1], invert=True)


@same("making tensors")
def new_tensors_of_the_old_kind(torch):
    x = torch.ones(2, dtype=torch.float64)
    made = x.new(2, 3), x.new(torch.Size([2])), x.new([1, 2]), x.new(), torch.ones(1).long().new([3])
    return [(tuple(y.shape), str(y.dtype).removeprefix("torch."), y.requires_grad) for y in made], made[2].tolist()


@same("names")
def what_a_program_notes_on_a_tensor(torch):
    x = torch.zeros(2)
    x.require_grad = x.note = False
    notes = [y.note for y in (x, copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)))]
    return notes, x.requires_grad, torch.is_floating_point(x), torch.is_floating_point(x.long())


@same("shapes")
def parts_of_a_shape(torch):
    shape = torch.ones(2, 3, 4).shape
    return shape[1:].numel(), repr(shape[:-1]), shape[1], list(shape[::2])


@same("rearranging")
def other_sizes_in_place(torch):
    x = torch.arange(6.0)
    y = x.resize_(2, 3)
    refused = torch.ones(2, requires_grad=True)
    try:
        refused.resize_(1)
    except RuntimeError:
        refused = None
    return y is x, x, x.clone().resize_((2, 2)), x.long().resize_(8)[:6], torch.zeros(0).resize_(3).shape[0], refused


@same("names")
def the_leaf_of_a_node(torch):
    x = torch.ones(2).requires_grad_()
    product = (x * 2).grad_fn
    return product.next_functions[0][0].variable is x, hasattr(product, "variable")


@same("rearranging")
def a_dim_as_several(torch):
    x = torch.arange(24.0).reshape(2, 12)
    return x.unflatten(1, (3, -1)), x.unflatten(-1, [2, 2, 3]).shape == (2, 2, 2, 3), torch.unflatten(x, 0, (2, 1))


@same("rearranging")
def a_dim_as_several_that_is_not_there(torch):
    try:
        torch.ones(2, 12).unflatten(2, (3, 4))
    except IndexError:
        return "refused"


@same("rearranging")
def where_numbers_lie_in_memory(torch):
    x = torch.arange(24.0).reshape(2, 3, 4)
    views = x, x.transpose(0, 2), x[:, 1], x[..., ::2], x[0, 0, 0].expand(5)
    return (
        [y.stride() for y in views],
        x.stride(1),
        x.element_size(),
        torch.ones(2).long().element_size(),
        x.ndimension(),
    )


@same("rearranging")
def numbers_where_a_condition_holds(torch):
    x = torch.arange(-3.0, 3.0).requires_grad_()
    y = x.where(x > 0, torch.zeros(6)) * 2
    y.sum().backward()
    return y, x.grad, torch.argwhere(x > 0), x.argwhere()


@same("modules")
def a_module_as_data_parallel(torch):
    model = torch.nn.DataParallel(torch.nn.Linear(2, 3, bias=False))
    torch.nn.init.ones_(model.module.weight)
    return model(torch.ones(4, 2)), list(model.state_dict()), len(list(model.parameters()))


@same("modules")
def dropout_of_channels_without_numbers_in_them(torch):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = torch.nn.functional.dropout2d(torch.ones(2, 3), p=1.0), torch.nn.Dropout2d(0.0)(torch.ones(4, 5))
    return kept, bool(caught)


@same("pooling")
def the_output_of_max_pooling_updated_in_place(torch):
    nn, found = torch.nn, []
    for network in nn.MaxPool2d(2), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), nn.MaxPool2d(3, 2, 1):
        for update in (lambda y: y.add_(1.0), lambda y: y.mul_(-2.0)):
            x = torch.tensor(np.sin(np.arange(72.0)).reshape(2, 1, 6, 6).astype(np.float32))
            x.requires_grad = True
            y = network(x * 1.5)
            update(y)
            y.sum().backward()
            found.append(x.grad)
    return found


@same("modules")
def functions_in_place(torch):
    F = torch.nn.functional
    found = []
    for name in ("relu", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "hardtanh", "relu6", "hardswish"):
        x = torch.tensor([-4.0, -0.5, 0.5, 8.0])
        out = getattr(F, name)(x, inplace=True)
        found.append((out is x, x))
    for name in ("relu_", "leaky_relu_", "elu_", "selu_", "celu_", "hardtanh_"):
        x = torch.tensor([-4.0, -0.5, 0.5, 8.0])
        getattr(F, name)(x)
        found.append(x)
    return found


@same("modules")
def pooling_of_a_result_that_relu_overwrites(torch):
    x = torch.tensor([[-1.0, 2.0]], requires_grad=True)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(inplace=True), torch.nn.Softmax(1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.5], [-1.0, 2.0]]))
        model[0].bias.fill_(0.0)
    model(x)[0, 0].backward()
    return x.grad, model[0].weight.grad


# Losses


def loud(torch, loss):
    """What it gives, and what it warns of."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        out = loss(torch.nn.functional)
    return out, [(x.category.__name__, str(x.message)[:40]) for x in heard]


@same("losses")
def targets_of_another_shape(torch):
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 5.0])
    names = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
    return [loud(torch, lambda F, name=name: getattr(F, name)(x, y)) for name in names]


@same("losses")
def dims_that_nobody_named(torch):
    x = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
    names = ("softmax", "log_softmax", "softmin")
    return [loud(torch, lambda F, n=n, y=y: getattr(F, n)(y)) for n in names for y in (x, x[0], x.reshape(1, 2, 2))]


@same("losses")
def the_mean_of_a_divergence(torch):
    x, y = torch.tensor([[-1.0, -2.0]]), torch.tensor([[0.4, 0.6]])
    return loud(torch, lambda F: F.kl_div(x, y))


@same("losses")
def losses_as_modules(torch):
    nn = torch.nn
    x, y = torch.tensor([[0.2, 0.7, 0.4], [0.9, 0.1, 0.3]]), torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    indices, weight, sign = torch.tensor([2, -100]), torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.0, -1.0])
    return [
        nn.MSELoss()(x, y),
        nn.L1Loss(reduction="sum")(x, y),
        nn.SmoothL1Loss(beta=0.5)(x, y),
        nn.HuberLoss(reduction="none", delta=0.3)(x, y),
        nn.NLLLoss(weight)(x, indices),
        nn.NLLLoss(ignore_index=2, reduction="sum")(x, torch.tensor([2, 1])),
        nn.CrossEntropyLoss()(x, indices),
        nn.CrossEntropyLoss(weight, label_smoothing=0.1)(x, indices),
        nn.CrossEntropyLoss(ignore_index=1)(x, torch.tensor([1, 0])),
        nn.CrossEntropyLoss(weight)(x, y),
        nn.BCELoss(weight)(x, y),
        nn.BCEWithLogitsLoss(weight, pos_weight=weight)(x, y),
        nn.KLDivLoss(reduction="batchmean")(x, y),
        nn.KLDivLoss(reduction="sum", log_target=True)(x, y),
        nn.HingeEmbeddingLoss(0.5)(x[:, 0], sign),
        nn.SoftMarginLoss()(x[:, 0], sign),
        nn.MarginRankingLoss(0.2)(x[:, 0], x[:, 1], sign),
        nn.CosineEmbeddingLoss(0.1)(x, y, sign),
        nn.TripletMarginLoss(2.0, swap=True)(x, y, x + 1),
        nn.PoissonNLLLoss(full=True)(x, y + 2),
        nn.GaussianNLLLoss(full=True)(x, y, x),
        nn.GaussianNLLLoss(eps=0.35)(x, y, x),
        nn.CosineSimilarity()(x, y),
        nn.PairwiseDistance(keepdim=True)(x, y),
        torch.nn.functional.binary_cross_entropy(y, 1 - y, reduction="none"),
        list(nn.CrossEntropyLoss(weight).state_dict()),
    ]


@same("losses")
def softmax_in_another_dtype(torch):
    F = torch.nn.functional
    x = torch.tensor([1, 2])
    return (
        F.softmax(x, 0, dtype=torch.float64),
        F.log_softmax(x, -1, dtype=torch.float32),
        F.softmin(x, 0, 3, torch.float32),
    )


@same("losses")
def hardsigmoid(torch):
    x = torch.tensor([-4.0, -3.0, -1.0, 0.0, 2.0, 3.0, 5.0], requires_grad=True)
    out = torch.nn.Hardsigmoid()(x)
    out.sum().backward()
    return out, x.grad


# Initial weights and utilities


@same("initial weights")
def gains(torch):
    gain = torch.nn.init.calculate_gain
    names = ("linear", "conv2d", "conv_transpose1d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")
    return [round(gain(name), 12) for name in names], round(gain("leaky_relu", 0.2), 12)


@same("initial weights")
def weights_that_are_not_random(torch):
    init, tensor = torch.nn.init, torch.zeros(3, 4)
    return [init.constant_(tensor, 2.5), init.ones_(torch.zeros(2)), init.zeros_(torch.ones(2)), init.eye_(tensor)]


@same("initial weights")
def orthogonal_rows_or_columns(torch):
    def product(*size):
        x = torch.nn.init.orthogonal_(torch.zeros(*size), gain=2).reshape(size[0], -1)
        return (x @ x.T if x.shape[0] < x.shape[1] else x.T @ x) + 0.0

    return [abs(product(*size) - 4 * torch.eye(3)).amax().item() < 1e-5 for size in ((3, 5), (5, 3), (3, 3), (3, 2, 2))]


@same("initial weights")
def truncated_weights(torch):
    torch.manual_seed(0)
    x = torch.nn.init.trunc_normal_(torch.zeros(50, 40), 0.5, 1.0, -0.25, 1.0)
    inside = x.amin().item() >= -0.25, x.amax().item() <= 1.0
    return inside, abs(x.mean().item() - 0.4) < 0.03, abs(x.std().item() - 0.35) < 0.03


@same("initial weights")
def a_fill_is_no_step_of_the_graph(torch):
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    for fill in (torch.nn.init.normal_, torch.nn.init.uniform_, torch.nn.init.xavier_normal_, torch.nn.init.ones_):
        fill(parameter)
    return parameter.requires_grad, parameter


@same("modules")
def one_number_has_no_variance(torch):
    with pytest.raises(ValueError, match="[Ee]xpected more than 1|wanted more than one number"):
        torch.nn.InstanceNorm1d(2)(torch.ones(3, 2, 1))


@same("losses")
def probabilities_beyond_0_and_1(torch):
    for x in (1.5, -0.1, float("nan")):
        with pytest.raises(RuntimeError, match="all elements of input should be between 0 and 1"):
            torch.nn.functional.binary_cross_entropy(torch.tensor([0.5, x]), torch.ones(2))


def with_gradients(torch, *gradients):
    parameters = [torch.nn.Parameter(torch.ones(len(g))) for g in gradients]
    for parameter, g in zip(parameters, gradients):
        (parameter * torch.tensor(g)).sum().backward()
    return [*parameters, torch.nn.Parameter(torch.zeros(1))]


@same("optimizers")
def gradients_clipped_by_their_norm(torch):
    utils, found = torch.nn.utils, []
    for norm_type in (2.0, 1, float("inf"), 3.0, -float("inf")):
        for max_norm in (1.0, 100.0):
            parameters = with_gradients(torch, [3.0, -4.0], [12.0])
            norm = utils.clip_grad_norm_(parameters, max_norm, norm_type)
            found.append((norm, [p.grad for p in parameters]))
    tensors = [torch.tensor([3.0, 4.0]), torch.tensor([12.0])]
    found += [utils.clip_grad_norm_([], 1.0), utils.clip_grad_norm_(with_gradients(torch, []), 1.0)]
    return found, utils.get_total_norm(tensors), utils.get_total_norm(tensors, 1.0)


@same("optimizers")
def gradients_that_are_not_finite(torch):
    with pytest.raises(RuntimeError, match="norm of order 2.0"):
        torch.nn.utils.clip_grad_norm_(with_gradients(torch, [float("inf")]), 1.0, error_if_nonfinite=True)


@same("optimizers")
def gradients_clipped_one_by_one(torch):
    parameters = with_gradients(torch, [3.0, -4.0, 0.5])
    held = parameters[0].grad
    torch.nn.utils.clip_grad_value_(parameters, 1.0)
    return parameters[0].grad, held


@same("modules")
def parameters_as_a_vector(torch):
    layer = torch.nn.Linear(2, 2)
    torch.nn.utils.vector_to_parameters(torch.arange(6.0) if hasattr(torch, "arange") else None, layer.parameters())
    return torch.nn.utils.parameters_to_vector(layer.parameters()), layer.weight


@same("modules")
def lists_that_change_after_they_were_given(torch):
    sizes, modules = [4], [torch.nn.ReLU()]
    norm, layers = torch.nn.LayerNorm(sizes), torch.nn.ModuleList(modules)
    sizes[0] = 9
    modules.append(torch.nn.ReLU())
    return norm(torch.arange(8.0).reshape(2, 4)), len(layers)


@same("optimizers")
def settings_that_change_after_they_were_given(torch):
    milestones, betas = [2, 4], [0.9, 0.99]
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=1.0, betas=betas)
    scheduler, rates = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones), []
    milestones[0] = betas[0] = 1
    for _ in range(5):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates, optimizer.param_groups[0]["betas"]


@same("pooling")
def sizes_of_a_kernel_that_change_after_they_were_given(torch):
    size, stride, widths = [2, 2], [1, 1], [1, 1, 1, 1]
    layers = torch.nn.MaxPool2d(size, stride), torch.nn.Conv2d(1, 2, size, stride, bias=False)
    layers += (torch.nn.ConstantPad2d(widths, 0.0),)
    size[0] = stride[1] = widths[0] = 3
    return [layer(torch.ones(1, 1, 5, 5)).shape for layer in layers]


@same("modules")
def generators_are_used_once(torch):
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]
    for parameter in parameters:
        parameter.grad = torch.ones(2) * 10
    norm = torch.nn.utils.clip_grad_norm_((p for p in parameters), 1.0)
    torch.nn.utils.clip_grad_value_((p for p in parameters), 0.2)
    total = torch.nn.utils.get_total_norm(p.grad for p in parameters)
    torch.nn.utils.vector_to_parameters(torch.arange(6.0), (p for p in parameters))
    vector = torch.nn.utils.parameters_to_vector(p for p in parameters)
    layers = torch.nn.ModuleList(torch.nn.ReLU() for _ in range(3))
    return norm, total, vector, [p.grad for p in parameters], len(layers)


@same("modules")
def batch_norm_of_an_empty_batch(torch):
    norm = torch.nn.BatchNorm1d(3)
    x = torch.ones(0, 3, requires_grad=True)
    norm(x).sum().backward()
    return norm.running_mean, norm.running_var, norm.num_batches_tracked, norm.weight.grad, x.grad


@same("modules")
def batch_norm_of_one_row(torch):
    try:
        torch.nn.BatchNorm1d(3)(torch.ones(1, 3))
    except ValueError:
        return "refused"


@same("modules")
def a_bilinear_layer_of_no_features(torch):
    torch.nn.Bilinear(0, 2, 3)


@same("modules")
def a_buffer_of_none(torch):
    model, seen = torch.nn.Module(), []
    model.register_buffer("kept", None)
    model.register_buffer("known", torch.ones(2))
    model.register_buffer("mask", torch.ones(2) > 0)
    seen += [sorted(model.state_dict()), model.kept, sorted(name for name, _ in model.named_buffers())]
    model.load_state_dict({"known": torch.zeros(2), "mask": torch.ones(2) < 0})
    seen += [isinstance(model.known, torch.Tensor), model.known, model.mask]
    model.kept = torch.ones(1)
    seen += [sorted(model.state_dict()), isinstance(copy.deepcopy(model).kept, torch.Tensor)]
    return seen


@same("modules")
def methods_given_to_a_class_are_run_before_relu(torch):
    layer, relu, outs = torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), []
    torch.nn.init.eye_(layer.weight)
    model, x = torch.nn.Sequential(layer, relu), torch.tensor([[1.0, -2.0]])
    for kind, name in [(torch.nn.Linear, "forward"), (torch.nn.ReLU, "forward"), (torch.nn.Module, "__call__")]:
        before = getattr(kind, name)
        try:
            setattr(kind, name, lambda self, x, before=before: before(self, x) * 3 + 1)
            outs.append(model(x))
        finally:
            setattr(kind, name, before)
    layer.forward = lambda x: x * 5
    outs.append(model(x))
    relu.forward = lambda x: x * 7
    return *outs, model(x)


@same("pooling")
def methods_given_to_a_pooling_layer_are_run_after_relu(torch):
    model, x = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.MaxPool2d(2)), torch.arange(16.0).reshape(1, 1, 4, 4) - 8
    before = torch.nn.MaxPool2d.forward
    try:
        torch.nn.MaxPool2d.forward = lambda self, x: before(self, x) + 1
        out = model(x)
    finally:
        torch.nn.MaxPool2d.forward = before
    return out, model(x)


@same("shapes")
def operands_and_sizes_by_their_keywords(torch):
    x, y = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[2.0, 0.0], [1.0, 5.0]])
    whole = x.int()
    found = [
        getattr(torch, name)(input=x, other=y) for name in ("maximum", "minimum", "matmul", "eq", "ne", "lt", "ge")
    ]
    found += [getattr(x, name)(other=y) for name in ("maximum", "minimum", "matmul", "eq", "le", "gt", "logical_xor")]
    found += [torch.logical_and(input=x, other=y), torch.bitwise_or(input=whole, other=y.int())]
    found += [torch.heaviside(input=x, values=y), torch.isnan(input=x)]
    found += [torch.reshape(input=x, shape=(4,)), torch.permute(input=x, dims=(1, 0)), x.permute(dims=(1, 0))]
    found += [x.expand(size=(2, 2, 2)), torch.tile(input=x, dims=(2, 1))]
    found += [torch.cat([x, y], axis=1), torch.stack(tensors=[x, y], axis=1), torch.concatenate((x, y), axis=-1)]
    return [out.tolist() for out in found]


@same("dtypes")
def integers_made_of_what_requires_grad(torch):
    x, whole = torch.tensor([2.7, 1.0]).requires_grad_(), torch.zeros(2).long()
    whole[:] = x
    ((x.int() - x) ** 2).sum().backward()
    return [y.requires_grad for y in (x.int(), x.to(torch.int64), x.bool(), whole, x.half())], x.grad


@same("dtypes")
def numbers_of_eight_bits(torch):
    x, other = torch.tensor([1, 12, 80, 7]).byte(), torch.tensor([2, 13, 7, 7]).byte()
    large = x > 9
    found = [x.cumsum(0), x.cumprod(0), x.logsumexp(0), torch.xlogy(x, 2.0), torch.atan2(large, large)]
    found += [torch.isclose(x, other, atol=1.0), torch.isclose(large, x > 20)]
    return *found, large.masked_fill(x > 20, 0), large.masked_fill(x > 3, 10), x.masked_fill(large, 1.5)


@same("dtypes")
def infinity_in_the_place_of_an_integer(torch):
    try:
        torch.arange(3).masked_fill(torch.arange(3) > 1, float("inf"))
    except (RuntimeError, ValueError):
        return "refused"


@same("dtypes")
def whole_numbers_between_others(torch):
    long, short = torch.int64, torch.int16
    found = [torch.arange(3.5, dtype=long), torch.arange(0.5, 4, 1.5, dtype=long), torch.arange(5, 0, -2)]
    return *found, torch.linspace(4.3, -3, 6, dtype=long), torch.logspace(0.5, 2.2, 3, dtype=short)


@same("dtypes")
def ways_that_lead_nowhere(torch):
    refused = []
    for numbers in ((5, 0), (0, 3, 0), (0, 3, -1), (0, 0)):
        try:
            refused.append(torch.arange(*numbers))
        except RuntimeError:
            refused.append("refused")
    return refused


@same("dtypes")
def numbers_without_a_tensor(torch):
    found = [torch.add(1, 2), torch.mul(2, 0.5), torch.div(1, 0), torch.sub(1, other=torch.arange(2).int())]
    return *found, torch.pow(2, torch.arange(3))


@same("updates in place")
def one_number_written_over(torch):
    x = torch.tensor([2.0, 3.0]).requires_grad_()
    total, part = x.sum(), x.clone()
    total.zero_()
    part[0].fill_(1.0)
    (total * 3 + (part * 5).sum() + (x * 2).cumprod_(0).sum()).backward()
    return total, part, x.grad


@same("activations")
def activations_of_integers(torch):
    functions, x = torch.nn.functional, torch.arange(-9, 9)
    return functions.relu6(x), functions.hardtanh(x), functions.hardtanh(x, -2.5, 2.5)


@same("pooling")
def the_places_of_the_largest_integers(torch):
    x = (torch.arange(30) * 7 % 11 - 20).reshape(1, 1, 5, 6)
    return torch.nn.functional.max_pool2d(x, 3, 2, 1, ceil_mode=True, return_indices=True)


@same("dtypes")
def fewer_samples_than_one(torch):
    refused = []
    for number in (0, -1):
        try:
            refused.append(torch.multinomial(torch.ones(3), number))
        except RuntimeError:
            refused.append("refused")
    return refused


def check(name, package):
    """AssertionError if the program says something else under the package than under PyTorch."""
    _, program = SAME[name]
    assert outcome(program, package) == outcome(program, torch_engine().torch)


@pytest.mark.parametrize("name", [*cases()])
@pytest.mark.host
def test_a_program_says_what_it_says_under_pytorch(name, stage):
    check(name, stage.package)
