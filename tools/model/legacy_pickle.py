"""Reads a legacy (not zip) torch.save file of a state dict into numpy arrays, without torch.

A pickle can name any function and have it called. This reader resolves four names, each to something harmless of its
own, and refuses every other; tensor data lies after the pickles and is read as plain numbers, bounds checked.
"""

import collections
import io
import pickle
import struct

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class FormatError(ValueError):
    pass


class _Storage:
    def __init__(self, dtype, count):
        self.dtype, self.count, self.data = np.dtype(dtype), count, None


class _Tensor:
    """A view of a storage whose data has not been read yet."""

    def __init__(self, storage, offset, size, stride, _requires_grad, _hooks):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self):
        size, stride = tuple(self.size), tuple(self.stride)
        if not isinstance(self.storage, _Storage) or len(size) != len(stride) or self.offset < 0:
            raise FormatError("a tensor is not a view of a storage")
        if any(n < 0 for n in size) or any(s < 0 for s in stride):
            raise FormatError(f"a tensor has shape {size}, strides {stride}")
        last = self.offset + sum((n - 1) * s for n, s in zip(size, stride)) if 0 not in size else -1
        if last >= self.storage.count:
            raise FormatError(f"a tensor of shape {size} reaches past its storage of {self.storage.count}")
        view = np.lib.stride_tricks.as_strided(
            self.storage.data[self.offset:], size, [s * self.storage.dtype.itemsize for s in stride])
        return np.ascontiguousarray(view).reshape(size)


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise FormatError(f"the pickle asks for {module}.{name}, which no state dict needs")
        return _ALLOWED[module, name]

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) != 6 or pid[0] != "storage" or pid[5] is not None:
            raise FormatError("the pickle holds a reference that is not a storage")
        _, dtype, key, _, count, _ = pid
        if dtype not in ("<f4", "<i8") or not isinstance(count, int) or count < 0:
            raise FormatError(f"storage {key!r} has an unknown type or size")
        return self.storages.setdefault(key, _Storage(dtype, count))


def _load(file, expected):
    unpickler = _Unpickler(file)
    value = unpickler.load()
    if not isinstance(value, expected):
        raise FormatError(f"expected {expected.__name__}, found {type(value).__name__}")
    return value, unpickler.storages


def read_state_dict(data):
    """The state dict in `data` (bytes): name -> numpy array, in the file's order."""
    file = io.BytesIO(data)
    try:
        if _load(file, int)[0] != _MAGIC or _load(file, int)[0] != _PROTOCOL:
            raise FormatError("not a legacy torch.save file")
        system, _ = _load(file, dict)
        if system.get("little_endian") is not True:
            raise FormatError("not written on a little-endian machine")
        state, storages = _load(file, dict)
        keys, _ = _load(file, list)
    except (pickle.UnpicklingError, EOFError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise FormatError(f"not a legacy torch.save file: {error}") from error
    if sorted(keys) != sorted(storages):
        raise FormatError("the list of storages does not match the tensors")
    for key in keys:
        storage, header = storages[key], file.read(8)
        if len(header) != 8 or struct.unpack("<q", header)[0] != storage.count:
            raise FormatError(f"storage {key!r} is truncated or of another size")
        raw = file.read(storage.count * storage.dtype.itemsize)
        if len(raw) != storage.count * storage.dtype.itemsize:
            raise FormatError(f"storage {key!r} is truncated")
        storage.data = np.frombuffer(raw, storage.dtype)
    if file.read(1):
        raise FormatError("bytes are left over")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise FormatError(f"entry {name!r} is not a tensor")
    return {name: tensor.array() for name, tensor in state.items()}
