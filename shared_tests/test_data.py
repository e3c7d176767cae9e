"""Data sets, the order of examples, batches, files of images and what keeps a broken one out, digits and moons."""

import gzip
import inspect
import io
import struct
import tarfile
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.capability("data")


@pytest.fixture
def data(stage):
    if stage.foreign:
        pytest.skip("not there: the data of the ladder's own networks")
    return stage.part("utils.data")


@pytest.fixture
def sets(stage, data):
    return stage.part("datasets")


@pytest.fixture
def Tensor(stage):
    return stage.package.Tensor


def write_idx(path, array, magic=None):
    """A gzipped idx file of unsigned bytes; a true one unless another magic number is given."""
    array = np.asarray(array, np.uint8)
    header = struct.pack(f">{1 + array.ndim}I", magic or 2048 + array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))
    return path


@pytest.fixture
def files(tmp_path):
    """Three images of 28×28 and their labels, in MNIST's format."""
    images = write_idx(tmp_path / "images.gz", np.arange(3 * 784).reshape(3, 28, 28) % 256)
    return images, write_idx(tmp_path / "labels.gz", [7, 0, 9])


# Data sets


def plain(x):
    """A structure of our Tensors, or of PyTorch's, as one of lists, with the types that it has."""
    if hasattr(x, "dtype") and hasattr(x, "tolist"):
        return str(x.dtype).removeprefix("torch."), tuple(x.shape), x.tolist()
    if isinstance(x, dict):
        return type(x).__name__, {key: plain(value) for key, value in x.items()}
    return (type(x).__name__, [plain(part) for part in x]) if isinstance(x, (list, tuple)) else x


def test_a_tensor_dataset_gives_tuples_of_tensors(data, Tensor):
    dataset = data.TensorDataset(np.arange(12).reshape(4, 3), Tensor([5.0, 6.0, 7.0, 8.0]))
    assert len(dataset) == 4 and all(type(x) is Tensor and not x.requires_grad for x in dataset.tensors)
    row, label = dataset[2]
    assert type(row) is type(label) is Tensor and not label.requires_grad
    assert row.tolist() == [6, 7, 8] and label.item() == 7 and label.shape == ()
    rows, labels = dataset[np.array([3, 0])]
    assert rows.tolist() == [[9, 10, 11], [0, 1, 2]] and labels.tolist() == [8, 5]
    assert len(list(dataset)) == 4, "an index beyond the end ends a loop"


def test_a_tensor_dataset_of_different_lengths_is_refused(data):
    with pytest.raises(ValueError, match=r"one length, got \[4, 3\]"):
        data.TensorDataset(np.zeros(4), np.zeros(3))
    with pytest.raises(ValueError, match=r"one length, got \[\]"):
        data.TensorDataset()


@pytest.mark.parametrize("wrong", [3, "three", ["a", "b"], np.array(3.0), {"x": 1}, None, np.array([None])])
def test_a_tensor_dataset_of_what_has_no_rows_of_numbers_is_refused(wrong, data):
    with pytest.raises(TypeError, match="wanted (tensors or arrays of numbers with rows|numbers), got"):
        data.TensorDataset(wrong)


def test_a_list_becomes_the_tensor_that_it_always_becomes(data):
    assert plain(data.TensorDataset([0.5, 1.5], [[1], [2]])[1]) == (
        "tuple",
        [("float32", (), 1.5), ("int64", (1,), [2])],
    )


def test_a_tensor_dataset_takes_the_rows_of_a_table_whatever_they_are_called(data):
    """A pandas Series is indexed by its labels: what stands first may be called 7."""

    class Series:
        def __init__(self, labels, values):
            self.labels, self.values = labels, np.array(values)

        def __len__(self):
            return len(self.values)

        def __getitem__(self, label):
            return self.values[self.labels.index(label)]

        def __array__(self, dtype=None, copy=None):
            return np.array(self.values, dtype)

    dataset = data.TensorDataset(Series([2, 0, 1], [20, 0, 10]))
    assert [x.item() for (x,) in dataset] == [20, 0, 10]


def test_a_dataset_may_hold_arrays_of_another_library_or_call_anything_tensors(data):
    torch = pytest.importorskip("torch")
    own = data.TensorDataset(torch.arange(5), np.arange(5))
    (x, y), _ = data.DataLoader(own, batch_size=3)
    assert x.tolist() == y.tolist() == [0, 1, 2]

    class Squares(data.Dataset):
        tensors = device = {"their": "names"}

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return np.square(index)

    assert [batch.tolist() for batch in data.DataLoader(Squares(), batch_size=3)] == [[0, 1, 4], [9]]


def test_a_dataset_without_its_methods_says_which_is_missing(data):
    with pytest.raises(NotImplementedError, match=r"Dataset has no __getitem__\(\)"):
        data.Dataset()[0]
    with pytest.raises(NotImplementedError, match=r"IterableDataset has no __iter__\(\)"):
        iter(data.IterableDataset())
    with pytest.raises(NotImplementedError, match=r"Sampler has no __iter__\(\)"):
        iter(data.Sampler())
    with pytest.raises(TypeError, match=r"has no len"):
        len(data.Dataset())
    assert data.Dataset[int] and data.Sampler[int], "classes are written so"


def test_data_sets_are_joined_and_cut_into_subsets(data):
    joined = data.TensorDataset(np.arange(3)) + data.TensorDataset(np.arange(10, 14))
    assert [x.item() for (x,) in joined] == [0, 1, 2, 10, 11, 12, 13] and len(joined) == 7
    assert joined[-1][0].item() == 13
    with pytest.raises(IndexError):
        joined[7]
    part = data.Subset(joined, [6, 0, 3])
    assert [x.item() for (x,) in part] == [13, 0, 10] and len(part) == 3
    assert [x.tolist() for (x,) in data.DataLoader(part, 2)] == [[13, 0], [10]]
    with pytest.raises(ValueError, match="ConcatDataset: wanted data sets whose examples have numbers, got "):
        data.ConcatDataset([])
    with pytest.raises(ValueError, match=r"ConcatDataset: .*got \['IterableDataset'\]"):
        data.ConcatDataset([data.IterableDataset()])


SPLITS = [[7, 3], [10], [0, 10], [0.5, 0.5], [0.25, 0.25, 0.5], [0.1, 0.9], [1 / 3, 1 / 3, 1 / 3], [1.0], [0.99, 0.01]]


@pytest.mark.parametrize("lengths", SPLITS, ids=str)
@pytest.mark.filterwarnings("ignore:Length of split")
def test_a_random_split_has_pytorchs_lengths_and_every_example_once(lengths, data):
    theirs = pytest.importorskip("torch").utils.data
    for n in (10, 11):
        if sum(lengths) not in (1, n):
            continue
        parts = data.random_split(data.TensorDataset(np.arange(n)), lengths)
        assert [len(part) for part in parts] == [len(part) for part in theirs.random_split(range(n), lengths)]
        assert sorted(x.item() for part in parts for (x,) in part) == list(range(n))


@pytest.mark.parametrize("lengths", [[7, 4], [0.5, 0.4], [], [2.0, -1.0]], ids=str)
def test_a_random_split_that_does_not_add_up_is_refused(lengths, data):
    with pytest.raises(ValueError, match="random_split: wanted "):
        data.random_split(range(10), lengths)


# The order of examples


def generator(stage, seed):
    return stage.part("random").Generator().manual_seed(seed)


def orders(stage, data, seed):
    """Of each thing that is random, what it draws from a generator, twice; without one, from the one for all."""
    for source in (generator(stage, seed), None):
        drawn = [
            data.RandomSampler(range(50), generator=source),
            data.RandomSampler(range(50), True, 70, generator=source),
            data.SubsetRandomSampler(range(100, 150), generator=source),
            data.WeightedRandomSampler(np.arange(50), 40, generator=source),
            data.WeightedRandomSampler(np.arange(50), 40, replacement=False, generator=source),
            data.DataLoader(range(50), 50, shuffle=True, generator=source),
        ]
        options = {} if source is None else {"generator": source}
        splits = [part.indices for _ in range(2) for part in data.random_split(range(50), [30, 20], **options)]
        yield [np.concatenate([np.ravel(x) for x in thing]).tolist() for thing in drawn for _ in range(2)] + splits


def test_one_seed_governs_all_that_is_drawn_at_random(stage, data):
    def drawn(seed):
        stage.package.manual_seed(seed)
        return list(orders(stage, data, seed))

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert first == again
    for mine, others in zip(first, other):
        assert all(a != b for a, b in zip(mine, others))
    with_generator, without = first
    for order, next_one in zip(without[:-4:2], without[1:-4:2]):
        assert order != next_one, "each time it is another order"


def test_samplers_draw_what_they_say(data):
    sampler = data.RandomSampler(range(7))
    assert sorted(sampler) == list(range(7)) and len(sampler) == 7
    sampler = data.RandomSampler(range(7), num_samples=17)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 17
    assert sorted(drawn[:7]) == sorted(drawn[7:14]) == list(range(7)) and len(set(drawn[14:])) == 3
    drawn = list(data.RandomSampler(range(7), replacement=True, num_samples=500))
    assert len(drawn) == 500 and set(drawn) == set(range(7))
    assert sorted(data.SubsetRandomSampler([4, 2, 9])) == [2, 4, 9]
    drawn = list(data.WeightedRandomSampler([0, 1, 3], 4000))
    assert 0 not in drawn and 2.5 < drawn.count(2) / drawn.count(1) < 3.5
    assert sorted(data.WeightedRandomSampler([0, 1, 3], 2, replacement=False)) == [1, 2]
    assert list(data.SequentialSampler("abc")) == [0, 1, 2]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n, batch_size", [(10, 3), (9, 3), (2, 3), (0, 3), (5, 1)])
def test_a_batch_sampler_makes_pytorchs_batches(n, batch_size, drop_last, data):
    theirs = pytest.importorskip("torch").utils.data.BatchSampler(range(n), batch_size, drop_last)
    mine = data.BatchSampler(data.SequentialSampler(range(n)), batch_size, drop_last)
    assert list(mine) == list(theirs) and len(mine) == len(theirs)


def stream(data):
    """An iterable data set of 0 to 4, which says that no worker asks for them."""

    class Stream(data.IterableDataset):
        def __iter__(self):
            assert data.get_worker_info() is None
            return iter([(i, -i) for i in range(5)])

        def __len__(self):
            return 5

    return Stream()


@pytest.mark.parametrize(
    "call",
    [
        lambda data: data.BatchSampler(range(5), 0, False),
        lambda data: data.BatchSampler(range(5), 2.0, False),
        lambda data: data.BatchSampler(range(5), True, False),
        lambda data: data.BatchSampler(range(5), 2, "no"),
        lambda data: data.RandomSampler(range(5), num_samples=0),
        lambda data: data.RandomSampler([]),
        lambda data: data.WeightedRandomSampler([1, 2], -1),
        lambda data: data.WeightedRandomSampler([[1, 2]], 1),
        lambda data: data.DataLoader(range(5), batch_size=0),
        lambda data: data.DataLoader(range(5), shuffle=True, sampler=range(5)),
        lambda data: data.DataLoader(range(5), batch_sampler=[[1]], batch_size=2),
        lambda data: data.DataLoader(range(5), batch_sampler=[[1]], shuffle=True),
        lambda data: data.DataLoader(range(5), batch_sampler=[[1]], sampler=range(5)),
        lambda data: data.DataLoader(range(5), batch_sampler=[[1]], drop_last=True),
        lambda data: data.DataLoader(range(5), batch_size=None, drop_last=True),
        lambda data: data.DataLoader(range(5), num_workers=-1),
        lambda data: data.DataLoader(range(5), timeout=-1),
        lambda data: data.DataLoader(range(5), prefetch_factor=2),
        lambda data: data.DataLoader(range(5), persistent_workers=True),
        lambda data: data.DataLoader(range(5), multiprocessing_context="fork"),
        lambda data: data.DataLoader(stream(data), shuffle=True),
        lambda data: data.DataLoader(stream(data), sampler=range(5)),
        lambda data: data.DataLoader(stream(data), batch_sampler=[[1]]),
        lambda data: setattr(data.DataLoader(range(5)), "batch_size", 2),
    ],
)
def test_what_pytorch_refuses_is_refused(call, data):
    theirs = pytest.importorskip("torch").utils.data
    for module in (theirs, data):
        with pytest.raises(ValueError, match=r"\w+"):
            call(module)


@pytest.mark.parametrize(
    "name",
    ["BatchSampler", "ConcatDataset", "DataLoader", "RandomSampler", "SequentialSampler", "Subset"]
    + ["SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler", "default_collate", "random_split"],
)
def test_signatures_are_pytorchs(name, data):
    def arguments(function):
        parameters = inspect.signature(function).parameters.values()
        named = [(p.name, p.kind, p.default) for p in parameters]
        return [(n, kind, type(default) if n == "generator" else default) for n, kind, default in named]

    theirs = arguments(getattr(pytest.importorskip("torch").utils.data, name))
    mine = arguments(getattr(data, name))
    if name == "DataLoader":
        assert mine.pop() == ("seed", inspect.Parameter.KEYWORD_ONLY, None), "the one argument of our own"
    if name == "random_split":
        assert [default.__name__ for *_, default in (mine.pop(), theirs.pop())] == ["Generator"] * 2
    assert mine == theirs


# Batches

Point = namedtuple("Point", "x y")
BATCHES = {
    "ints": [1, 2],
    "bools": [True, False],
    "floats": [0.5, 2],
    "ints and floats": [1, 2.5],
    "numbers of NumPy": [np.float32(1), np.float32(2)],
    "short numbers of NumPy": [np.int8(1), np.int8(2)],
    "arrays": [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    "arrays without dims": [np.array(1.5), np.array(2.5)],
    "arrays of two dtypes": [np.ones(2, np.float32), np.ones(2, np.int64)],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "tuples": [(1, 2.0, "a"), (3, 4.0, "b")],
    "lists": [[1, 2.0], [3, 4.0]],
    "named tuples": [Point(1, np.ones(2)), Point(2, np.zeros(2))],
    "dicts": [{"x": 1, "y": (2.0, [np.ones(1)])}, {"x": 3, "y": (4.0, [np.zeros(1)])}],
    "dicts of another kind": [OrderedDict(b=1, a=2), OrderedDict(b=3, a=4)],
    "tuples in tuples": [((1, 2), (3,)), ((4, 5), (6,))],
    "one example": [(1, np.arange(3))],
    "empty tuples": [(), ()],
}


@pytest.mark.parametrize("name", BATCHES)
def test_examples_are_collated_as_by_pytorch(name, data):
    theirs = pytest.importorskip("torch").utils.data.default_collate(BATCHES[name])
    assert plain(data.default_collate(BATCHES[name])) == plain(theirs)


@pytest.mark.parametrize("name", BATCHES)
def test_without_a_batch_size_examples_come_as_from_pytorch(name, data):
    theirs = pytest.importorskip("torch").utils.data.DataLoader(BATCHES[name], batch_size=None)
    mine = data.DataLoader(BATCHES[name], batch_size=None)
    assert [plain(x) for x in mine] == [plain(x) for x in theirs] and len(mine) == len(theirs)


def test_tensors_are_stacked_and_a_batch_requires_no_grad(data, Tensor):
    batch = data.default_collate([(Tensor([1.0, 2.0]), 0), (Tensor([3.0, 4.0]), 1)])
    assert plain(batch) == ("list", [("float32", (2, 2), [[1, 2], [3, 4]]), ("int64", (2,), [0, 1])])
    assert not batch[0].requires_grad


@pytest.mark.parametrize(
    "batch, kind, why",
    [
        (
            [object(), object()],
            TypeError,
            "batch must contain tensors, numpy arrays, numbers, dicts or lists; found obj",
        ),
        ([None, None], TypeError, "found NoneType"),
        ([np.array(["a"]), np.array(["b"])], TypeError, "found an array of <U1"),
        ([{"x": None}], TypeError, "found NoneType"),
        ([(1, 2), (3,)], RuntimeError, "each element in list of batch should be of equal size"),
        ([np.zeros(2), np.zeros(3)], RuntimeError, r"wanted examples of one shape, got \(2,\) and \(3,\)"),
    ],
)
def test_what_can_not_be_collated_is_refused_as_by_pytorch(batch, kind, why, data):
    with pytest.raises(kind):
        pytest.importorskip("torch").utils.data.default_collate(batch)
    with pytest.raises(kind, match="default_collate: .*" + why):
        data.default_collate(batch)


def batches_of(data, n=10, **options):
    loader = data.DataLoader(data.TensorDataset(np.arange(n), -np.arange(n)), **options)
    return loader, [x.tolist() for x, _ in loader]


def test_batches_are_lists_of_tensors_in_order_and_the_last_is_smaller(data, Tensor):
    loader, batches = batches_of(data, batch_size=4)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    for batch in loader:
        assert type(batch) is list and [type(x) for x in batch] == [Tensor, Tensor]
        assert not any(x.requires_grad for x in batch)


def test_a_loader_that_is_told_nothing_gives_batches_of_one_in_order(data):
    assert [batch.tolist() for batch in data.DataLoader(range(3))] == [[0], [1], [2]]


def test_a_dataset_that_divides_evenly_has_no_empty_batch_at_its_end(data):
    loader = data.DataLoader(range(6), batch_size=3)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5]] and len(loader) == 2


def test_images_are_the_training_set_unless_told_otherwise(stage):
    sets = stage.part("datasets")
    assert [
        inspect.signature(load).parameters["split"].default for load in (sets.mnist, sets.digits, sets.cifar10)
    ] == ["train"] * 3


def test_drop_last_leaves_out_only_a_batch_that_is_not_full(data):
    loader, batches = batches_of(data, batch_size=4, drop_last=True)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]] and len(loader) == 2
    for drop_last in (True, False):
        loader, batches = batches_of(data, batch_size=5, drop_last=drop_last)
        assert batches == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]] and len(loader) == 2


def test_shuffled_batches_hold_every_example_once_with_what_belongs_to_it(data):
    loader = data.DataLoader(data.TensorDataset(np.arange(100), -np.arange(100)), 32, shuffle=True)
    xs, ys = (np.concatenate(arrays) for arrays in zip(*loader))
    assert sorted(xs) == list(range(100)) and xs.tolist() != list(range(100))
    assert (ys == -xs).all()


def test_a_dataset_is_asked_for_its_examples_one_by_one(data):
    """So that what __getitem__ draws at random, it draws for each of them."""
    asked = []

    class Squares(data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            asked.append(index)
            return index**2, float(index)

    batches = [(x.tolist(), str(y.dtype)) for x, y in data.DataLoader(Squares(), 2)]
    assert batches == [([0, 1], "float64"), ([4, 9], "float64"), ([16], "float64")]
    assert asked == [0, 1, 2, 3, 4] and {type(i) for i in asked} == {int}

    class Flipped(data.TensorDataset):
        def __getitem__(self, index):
            assert type(index) is int
            return (-super().__getitem__(index)[0],)

    assert [x.tolist() for (x,) in data.DataLoader(Flipped(np.arange(3)), 2)] == [[0, -1], [-2]]


def test_a_dataset_may_give_many_at_once(data, Tensor):
    class Listed(data.Dataset):
        """By PyTorch's protocol."""

        def __len__(self):
            return 5

        def __getitems__(self, indices):
            assert {type(i) for i in indices} == {int}
            return [(10 * i, "ab") for i in indices]

    class Whole(data.Dataset):
        whole_batches = True

        def __len__(self):
            return 5

        def __getitem__(self, index):
            assert isinstance(index, np.ndarray)
            return index * 10, {"y": index}

    assert [(x.tolist(), s) for x, s in data.DataLoader(Listed(), 3)] == [
        ([0, 10, 20], ("ab",) * 3),
        ([30, 40], ("ab",) * 2),
    ]
    part = data.Subset(Listed(), [4, 0])
    assert [x.tolist() for x, _ in data.DataLoader(part, 2)] == [[40, 0]]
    for options in ({"batch_size": 3}, {"batch_sampler": [[0, 1, 2], [3, 4]]}, {"sampler": range(5), "batch_size": 3}):
        batches = list(data.DataLoader(Whole(), **options))
        assert [x.tolist() for x, _ in batches] == [[0, 10, 20], [30, 40]]
        assert type(batches[0]) is list and type(batches[0][1]["y"]) is Tensor


def test_an_iterable_dataset_keeps_its_order(data):
    loader = data.DataLoader(stream(data), 2)
    assert [x.tolist() for x, _ in loader] == [[0, 1], [2, 3], [4]] and len(loader) == 3
    assert [x.tolist() for x, _ in data.DataLoader(stream(data), 2, drop_last=True)] == [[0, 1], [2, 3]]
    assert list(data.DataLoader(stream(data), batch_size=None)) == [[i, -i] for i in range(5)]


def test_a_sampler_a_batch_sampler_and_a_collate_fn_are_used(data):
    dataset = data.TensorDataset(np.arange(10))
    assert [x.tolist() for (x,) in data.DataLoader(dataset, 2, sampler=[5, 3, 1])] == [[5, 3], [1]]
    loader = data.DataLoader(dataset, batch_sampler=[[1, 2], [9]])
    assert [x.tolist() for (x,) in loader] == [[1, 2], [9]] and len(loader) == 2 and loader.batch_size is None
    examples = list(data.DataLoader(dataset, 4, collate_fn=lambda batch: [x.item() for (x,) in batch]))
    assert examples == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_what_workers_are_told_changes_nothing(data):
    told = {"num_workers": 4, "pin_memory": True, "timeout": 5, "prefetch_factor": 3, "persistent_workers": True}
    told |= {"worker_init_fn": print, "multiprocessing_context": "fork", "pin_memory_device": "cpu", "in_order": False}
    assert batches_of(data, batch_size=4, **told)[1] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_every_epoch_is_shuffled_anew_and_a_seed_fixes_them_all(data):
    options = {"n": 50, "batch_size": 50, "shuffle": True}
    loader, first = batches_of(data, **options, seed=3)
    second = [x.tolist() for x, _ in loader]
    assert first != second
    again, first_again = batches_of(data, **options, seed=3)
    assert first_again == first and [x.tolist() for x, _ in again] == second
    assert batches_of(data, **options, seed=4)[1] != first
    with pytest.raises(ValueError, match="seed needs shuffle=True"):
        batches_of(data, seed=4)


def test_a_loader_set_to_an_epoch_goes_on_like_one_that_never_stopped(data):
    options = {"n": 50, "batch_size": 8, "shuffle": True, "seed": 0}
    loader, _ = batches_of(data, **options)
    list(loader)
    assert loader.epoch == 2
    third = [x.tolist() for x, _ in loader]
    resumed, _ = batches_of(data, **options)
    resumed.epoch = 2
    assert [x.tolist() for x, _ in resumed] == third


# The sets


def test_digits_are_1797_images_of_28_by_28_in_two_parts(sets):
    (images, labels), (test_images, test_labels) = [
        [x.numpy() for x in sets.digits(split)] for split in ("train", "test")
    ]
    assert images.shape == (1500, 1, 28, 28) and test_images.shape == (297, 1, 28, 28)
    assert images.dtype == np.float32 and images.min() == 0 and images.max() == 1
    assert labels.dtype == np.int64 and np.bincount(labels).min() > 140 and len(test_labels) == 297


def test_digits_are_those_of_uci(sets):
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    theirs, (images, labels) = load_digits(), [x.numpy() for x in sets.digits("test")]
    assert (labels == theirs.target[1500:]).all()
    assert (images[:, 0, 2:26:3, 2:26:3] * 16 == theirs.images[1500:]).all()


def test_digits_take_less_than_60_kb(sets):
    assert Path(sets.__file__).with_name("digits.npz").stat().st_size < 60_000


@pytest.mark.parametrize("name", ["mnist", "digits", "cifar10"])
def test_another_split_is_refused(name, sets):
    with pytest.raises(ValueError, match=f"{name}: wanted the split 'train' or 'test', got 'valid'"):
        getattr(sets, name)("valid")


def test_moons_lie_on_their_half_circles_and_follow_from_the_seed(sets):
    points, labels = [x.numpy() for x in sets.moons(101, noise=0, seed=1)]
    assert points.shape == (101, 2) and labels.shape == (101, 1) and (labels == 1).sum() == 50
    assert points.dtype == labels.dtype == np.float32
    upper = points[labels[:, 0] == -1]
    lower = [1, 0.5] - points[labels[:, 0] == 1]
    for moon in (upper, lower):
        np.testing.assert_allclose(np.hypot(*moon.T), 1, rtol=1e-6)
        assert (moon[:, 1] >= 0).all() and moon[:, 0].min() < -0.5 and moon[:, 0].max() > 0.5
    assert (sets.moons(101, 0, 1)[0].numpy() == points).all()
    assert (sets.moons(101, 0, 2)[0].numpy() != points).any()


def test_moons_are_those_of_the_rungs_below(sets):
    from stage1_scalar.moons import make_moons

    points, labels = make_moons(20, 0.1, 5)
    mine, my_labels = sets.moons(20, 0.1, 5)
    np.testing.assert_array_equal(mine, np.array(points, np.float32))
    assert my_labels[:, 0].tolist() == labels


# MNIST's files


def test_mnists_format_is_read(sets, files):
    images, labels = [x.numpy() for x in sets.read_mnist(*files)]
    assert images.shape == (3, 1, 28, 28) and images.dtype == np.float32
    assert images[0, 0, 0, 1] == np.float32(1) / 255 and images.max() == 1
    assert labels.dtype == np.int64 and labels.tolist() == [7, 0, 9]


@pytest.mark.parametrize("end", [0, 5, 100, -9, -1])
def test_a_truncated_gzip_is_named(end, sets, files):
    files[0].write_bytes(files[0].read_bytes()[:end])
    with pytest.raises(ValueError, match=r"images\.gz: "):
        sets.read_mnist(*files)


def test_a_file_that_is_no_gzip_is_named(sets, files):
    files[1].write_bytes(b"<html>Please log in to this network</html>")
    with pytest.raises(ValueError, match=r"labels\.gz: not a whole gzip file"):
        sets.read_mnist(*files)


def test_a_damaged_gzip_is_named(sets, files):
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 0xFF
    files[0].write_bytes(content)
    with pytest.raises(ValueError, match=r"images\.gz: not a whole gzip file"):
        sets.read_mnist(*files)


def test_a_wrong_magic_number_is_named(sets, files):
    write_idx(files[0], np.zeros((3, 28, 28)), magic=2052)
    with pytest.raises(ValueError, match=r"images\.gz: wanted an idx file with the magic number 2051, found 2052"):
        sets.read_mnist(*files)


def test_labels_in_the_place_of_images_are_named(sets, files):
    with pytest.raises(ValueError, match=r"labels\.gz: .*2051, found 2049"):
        sets.read_mnist(files[1], files[1])


@pytest.mark.parametrize("size", [0, 3, 10, 20, 100])
def test_an_idx_file_that_ends_early_is_named(size, sets, files):
    files[0].write_bytes(gzip.compress(gzip.decompress(files[0].read_bytes())[:size]))
    with pytest.raises(ValueError, match=r"images\.gz: "):
        sets.read_mnist(*files)


def test_an_idx_file_with_more_than_its_shape_is_named(sets, files):
    files[1].write_bytes(gzip.compress(gzip.decompress(files[1].read_bytes()) + b"\1"))
    with pytest.raises(ValueError, match=r"labels\.gz: more than the 3 bytes of its shape \(3,\)"):
        sets.read_mnist(*files)


def test_a_label_outside_0_to_9_is_named(sets, files):
    write_idx(files[1], [7, 10, 9])
    with pytest.raises(ValueError, match=r"labels\.gz: label 10 is not a digit"):
        sets.read_mnist(*files)


def test_more_images_than_labels_are_named(sets, files):
    write_idx(files[1], [7, 0])
    with pytest.raises(ValueError, match=r"images\.gz: 3 images, but 2 labels in .*labels\.gz"):
        sets.read_mnist(*files)


# CIFAR-10's format


def records(n, labels=(7, 0, 9)):
    """The bytes of n images in CIFAR-10's binary format."""
    pixels = np.arange(n * 3072).reshape(n, 3072) % 251
    return np.column_stack([np.resize(labels, n), pixels]).astype(np.uint8).tobytes()


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """The folder of CIFAR-10, with 2 images to train on and 3 to test."""
    monkeypatch.setenv("GRADUAL_DATA", str(tmp_path))
    folder = tmp_path / "cifar10"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(records(2))
    (folder / "test_batch.bin").write_bytes(records(3))
    return folder


def test_colour_images_are_red_green_and_blue_from_0_to_1_and_labels_are_ints(sets, cifar):
    images, labels = [x.numpy() for x in sets.cifar10("test")]
    assert images.shape == (3, 3, 32, 32) and images.dtype == np.float32
    assert labels.dtype == np.int64 and labels.tolist() == [7, 0, 9]
    wanted = np.float32([[(i * 3072 + 1024 * c + 32 * 31 + 5) % 251 for c in range(3)] for i in range(3)])
    assert (images[:, :, 31, 5] == wanted / np.float32(255)).all()


def test_as_many_files_of_colour_images_are_read_as_are_there(sets, cifar):
    assert len(sets.cifar10()[0]) == 2
    (cifar / "data_batch_4.bin").write_bytes(records(3, [1, 2, 3]))
    assert sets.cifar10()[1].tolist() == [7, 0, 1, 2, 3]
    (cifar / "test_batch.bin").unlink()
    with pytest.raises(ValueError, match=r"test_batch\.bin is not there, but others of CIFAR-10's files are"):
        sets.cifar10("test")


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "wanted whole records of 3,073 bytes, found 0 bytes"),
        (records(2)[:-1], "wanted whole records of 3,073 bytes, found 6,145 bytes"),
        (records(2) + b"x", "wanted whole records of 3,073 bytes, found 6,147 bytes"),
        (b"<html>Please log in to this network</html>", "wanted whole records of 3,073 bytes, found 42 bytes"),
        (records(2, [3, 10]), "label 10 is not one from 0 to 9"),
    ],
    ids=["empty", "truncated", "longer", "another file", "another label"],
)
def test_a_file_that_holds_no_whole_colour_images_is_named(content, why, sets, cifar):
    (cifar / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(ValueError, match=rf"data_batch_1\.bin: {why}"):
        sets.cifar10()


def archive(*members):
    """A gzipped tar file; of each member the name, what is in it and of which type it is."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


WHOLE = [(f"data_batch_{i}.bin", records(i), tarfile.REGTYPE) for i in range(1, 6)]


def test_an_archive_is_read_where_it_is_and_nothing_of_it_is_written(sets, tmp_path):
    """Whatever its paths say, and in whatever order its files are."""
    path = tmp_path / "below" / "cifar.tar.gz"
    path.parent.mkdir()
    spread = [("../../evil/", "/tmp/", "a/../../", "", "./")[i] + name for i, (name, *_) in enumerate(WHOLE)]
    members = [(name, *rest) for name, (_, *rest) in zip(spread, WHOLE)]
    path.write_bytes(archive(("../evil.bin", b"x", tarfile.REGTYPE), *members[::-1]))
    found = sets.read_archive(path, [name for name, *_ in WHOLE])
    assert [len(part) for part in found] == [1, 2, 3, 4, 5]
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == ["below", "below/cifar.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_what_is_no_file_in_an_archive_is_not_taken_for_one(kind, sets, tmp_path):
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(archive(("data_batch_1.bin", b"", kind), *WHOLE[1:]))
    with pytest.raises(ValueError, match=r"cifar\.tar\.gz: holds no data_batch_1\.bin"):
        sets.read_archive(path, [name for name, *_ in WHOLE])


def test_a_file_in_an_archive_that_is_larger_than_it_can_be_is_not_read(sets, tmp_path):
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(archive(("test_batch.bin", bytes(3073 * 10_000 + 1), tarfile.REGTYPE)))
    with pytest.raises(ValueError, match=r"holds no test_batch\.bin of at most 10,000 images"):
        sets.read_archive(path, ["test_batch.bin"])
