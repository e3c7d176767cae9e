"""Checkpoints: Tensors in dicts, lists and tuples, written to files atomically and without pickle.

A file is a `.npz`, which NumPy reads, or a `.safetensors`, https://github.com/huggingface/safetensors. Both are a flat
dict of arrays; beside them, a tree in JSON has the nesting and all other values. PyTorch's files are read as well.
"""

import io
import json
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import numpy as np

from .device import moved
from .engine import array_of, constant
from .files import plain, shown, unpacked_limit, whole_file
from .unpickle import float32_of, read_torch

_TREE = "tree.json"  # in the .npz, in which the names of arrays end in .npy
_DTYPES = {"F16": "f2", "F32": "f4", "F64": "f8", "BOOL": "b1"}
_DTYPES |= {f"{kind}{8 * n}": f"{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


def save(
    obj,
    f,
    pickle_module=None,
    pickle_protocol=None,
    _use_new_zipfile_serialization=True,
    _disable_byteorder_record=False,
):
    """Write Tensors, arrays, numbers, strings and None, and dicts, lists and tuples of them, to a path or a file.

    A path that ends in `.safetensors` gets that format, any other that of `.npz`. The file is
    replaced at the end: whatever happens, the old file or the new one is there, complete.
    """
    if pickle_module or pickle_protocol or not _use_new_zipfile_serialization or _disable_byteorder_record:
        raise ValueError("save: nothing is pickled, so there is no other module, protocol or format to choose")
    arrays = {}
    tree = json.dumps(_tree(obj, (), arrays))
    if arrays and tree == json.dumps({"dict": [[name, {"array": name}] for name in arrays]}):
        tree = None  # without a tree the arrays are a flat dict
    write = _write_safetensors if str(f).endswith(".safetensors") else _write_npz
    if hasattr(f, "write"):
        content = io.BytesIO()
        write(content, arrays, tree)
        f.write(content.getvalue())
    else:
        with whole_file(Path(f)) as file:
            write(file, arrays, tree)


def _tree(x, path, arrays):
    """x as JSON; its arrays are added to `arrays`, each under its path in x."""
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, np.generic):
        return _tree(x.item(), path, arrays)
    if isinstance(x, dict):
        for key in x:
            if key is not None and not isinstance(key, (bool, int, float, str)):
                raise TypeError(f"save: {'.'.join(path) or 'a dict'}: wanted strings or numbers as keys, got {key!r}")
        return {"dict": [[key, _tree(value, (*path, str(key)), arrays)] for key, value in x.items()]}
    if isinstance(x, (list, tuple)):
        parts = [_tree(value, (*path, str(i)), arrays) for i, value in enumerate(x)]
        return {"tuple": parts} if isinstance(x, tuple) else parts
    array = np.asarray(moved(array_of(x), "cpu"), order="C") if hasattr(x, "__array__") else None
    if array is None or array.dtype.newbyteorder("=") not in _NAMES:
        hint = ": save its state_dict()" if hasattr(x, "state_dict") else ""
        raise TypeError(
            f"save: {'.'.join(path) or 'this'}: wanted Tensors, arrays of numbers, numbers, strings or None, "
            f"in dicts, lists and tuples, got {type(x).__name__}{hint}"
        )
    name = ".".join(path)
    while name in arrays or name == "__metadata__":
        name += "_"
    arrays[name] = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {"array": name}


def _write_npz(file, arrays, tree):
    """As np.savez, but an array may have the name "file"; and the tree."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
        if tree:
            archive.writestr(_TREE, tree)


def _write_safetensors(file, arrays, tree):
    """The length of the header in 8 bytes, the header in JSON, then the numbers of all arrays in order."""
    header, end = {"__metadata__": {_TREE: tree}} if tree else {}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        kind = _NAMES[array.dtype.newbyteorder("=")]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        file.write(array.tobytes())


def load(f, map_location=None, pickle_module=None, *, weights_only=None, mmap=None, **pickle_load_args):
    """What `save`, `np.savez`, safetensors or `torch.save` wrote to a path or a file, with its Tensors on a device.

    They require no grad and are in the host's memory, also those that were saved on a GPU, unless `map_location` names
    another device. Of PyTorch's files those are read that hold Tensors, numbers, strings and dicts, lists and tuples of
    them, whatever `weights_only` says. bfloat16 becomes float32. ValueError if the file is of another kind or damaged.
    """
    if pickle_module or pickle_load_args:
        named = ["pickle_module"] * bool(pickle_module) + list(pickle_load_args)
        raise ValueError(f"load: Python's pickle reads nothing here, so it takes no {', '.join(named)}")
    if not isinstance(map_location, (str, type(None))):
        raise ValueError(f"load: map_location: wanted the name of a device or None, got {map_location!r}")
    moved(np.empty(0), map_location or "cpu")  # an error if there is no such device
    path = None if hasattr(f, "read") else plain(Path(f))
    file = path.open("rb") if path else io.BytesIO(f.read())
    try:
        with file:
            return _read(file, lambda array: constant(moved(array, map_location or "cpu")))
    except UnpicklingError as error:
        raise ValueError(f"load: {path or 'the file'}: {shown(error)}") from None
    except Exception as error:
        kind = path and path.suffix or "checkpoint"
        raise ValueError(f"load: {path or 'this'} is not a whole {kind} file: {shown(error)}") from None


def _read(file, tensor):
    """The contents of a file, with `tensor(array)` for each array. Its first bytes tell its format."""
    beginning, most = file.read(9), unpacked_limit(file)
    if beginning[:2] == b"PK":
        with zipfile.ZipFile(file) as archive:
            names = _checked(archive, most)
            for name in names:
                if name.endswith("/data.pkl"):
                    return read_torch(archive, name.removesuffix("data.pkl"), tensor, most)
            arrays, tree = _read_npz(archive)
    elif beginning[6:] == b"\0\0{":  # of the eight bytes of the header's length
        arrays, tree = _read_safetensors(file, most)
    elif beginning[:1] == b"\x80":
        raise UnpicklingError(
            "a bare pickle, as PyTorch wrote before 1.6; to read it is to run it. Load it in PyTorch and save it anew"
        )
    else:
        raise ValueError(f"it begins with {beginning[:8]}")
    tensors = {name: tensor(_native(name, array)) for name, array in arrays.items()}
    if tree is None:
        return tensors

    def branch(pairs):
        ((kind, value),) = pairs
        if kind == "array":
            return tensors.pop(value)
        if not isinstance(value, list):
            raise ValueError(f"a {kind} of {value}")
        return {"tuple": tuple, "dict": _dict}[kind](value)

    obj = json.loads(tree, object_pairs_hook=branch)
    if tensors:
        raise ValueError(f"{list(tensors)} stand beside what it holds")
    return obj


def _dict(pairs):
    """A dict of pairs. ValueError if a name is there twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError(f"of {[name for name, _ in pairs]} one is there twice")
    return made


def _checked(archive, most):
    """The names in a zip file. ValueError if one is there twice or damaged, or all unpack to more than `most` bytes."""
    names, size = archive.namelist(), sum([entry.file_size for entry in archive.infolist()])
    archive.fp.seek(-22, 2)
    end = archive.fp.read()
    if end[:4] != b"PK\5\6":
        raise ValueError("something follows its end")
    if not names or int.from_bytes(end[10:12], "little") != min(len(names), 0xFFFF):
        raise ValueError(f"its directory has {len(names)} names, and others are in it")
    _dict([(name, None) for name in names])
    if size > most:
        raise ValueError(f"it would unpack to {size:,} bytes, more than the limit of {most:,}")
    if damaged := archive.testzip():
        raise ValueError(f"{damaged} is damaged")
    return names


def _native(name, array):
    """The array in the byte order of this machine. ValueError if it doesn't hold numbers."""
    dtype = array.dtype.newbyteorder("=")
    if dtype not in _NAMES:
        raise ValueError(f"{name} holds {array.dtype}")
    return array.astype(dtype, copy=False)


def _read_npz(archive):
    """Its arrays and, if it has one, its tree."""
    arrays, tree = {}, None
    for name in archive.namelist():
        with archive.open(name) as entry:
            if name == _TREE:
                tree = entry.read()
            elif not name.endswith(".npy"):
                raise ValueError(f"{name} is no array")
            else:
                arrays[name.removesuffix(".npy")] = np.lib.format.read_array(entry, allow_pickle=False)
                if entry.read():
                    raise ValueError(f"{name} goes on after its array")
    return arrays, tree


def _read_safetensors(file, most):
    """Its arrays and, if it has one, its tree. ValueError if there are gaps between the arrays."""
    size = file.seek(0, 2)
    file.seek(0)
    end = 8 + int.from_bytes(file.read(8), "little")
    if not size <= most or end > size:
        raise ValueError(f"a header up to {end:,} of {size:,} bytes, of which at most {most:,} would be read")
    header, arrays, at = json.loads(file.read(end - 8), object_pairs_hook=_dict), {}, 0
    tree = header.pop("__metadata__", {}).get(_TREE)
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (first, last), shape = entry["data_offsets"], entry["shape"]
        if first != at or not first <= last <= size - end:
            raise ValueError(
                f"{name} should be in bytes {first} to {last} of {size - end}, where byte {at} is the next"
            )
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{name} has shape {shape}")
        part, at = bytearray(last - first), last
        file.readinto(part)
        if entry["dtype"] == "BF16":
            array = float32_of(np.frombuffer(part, "<u2"))
        elif entry["dtype"] in _DTYPES:
            array = np.frombuffer(part, "<" + _DTYPES[entry["dtype"]])
        else:
            raise UnpicklingError(f"{name} holds {entry['dtype']}, which NumPy has not")
        arrays[name] = array.reshape(shape)
    if at != size - end:
        raise ValueError(f"{size - end - at} bytes follow its end")
    return arrays, tree
