"""The weights' reader takes what torch.save wrote and refuses everything else that a pickle can do."""

import collections
import functools
import io
import os
import pathlib
import pickle
import struct
import sys
import unittest

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "model"))
import legacy_pickle  # noqa: E402


class _Persistent(pickle.Pickler):
    """Writes the pickles that torch.save writes: storages by reference, tensors by _rebuild_tensor_v2."""

    def persistent_id(self, value):
        return value.reference if isinstance(value, FakeStorage) else None

    def reducer_override(self, value):
        if isinstance(value, FakeTensor):
            return _name("torch._utils", "_rebuild_tensor_v2"), value.arguments
        return NotImplemented


class FakeStorage:
    def __init__(self, key, count, kind="FloatStorage"):
        self.reference = ("storage", _name("torch", kind), key, "cpu", count, None)


class FakeTensor:
    def __init__(self, storage, offset, size, stride):
        self.arguments = (storage, offset, size, stride, False, collections.OrderedDict())


@functools.cache
def _name(module, name):
    """A function that pickles as module.name: what the pickler writes for a global is these two strings."""
    if module not in sys.modules:
        sys.modules[module] = type(sys)(module)
    function = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, function)
    return function


def save(state, storages, magic=0x1950A86A20F9469CFC6C):
    out = b"".join(pickle.dumps(x, 2) for x in (magic, 1001, {"little_endian": True}))
    body = io.BytesIO()
    _Persistent(body, 2).dump(state)
    out += body.getvalue() + pickle.dumps(list(storages), 2)
    for values in storages.values():
        out += struct.pack("<q", len(values)) + np.asarray(values, "<f4").tobytes()
    return out


class LegacyPickle(unittest.TestCase):
    STORAGES = {"7": [0, 1, 2, 3, 4, 5]}

    def good(self):
        return save({"w": FakeTensor(FakeStorage("7", 6), 0, (2, 3), (3, 1)),
                     "t": FakeTensor(FakeStorage("7", 6), 1, (2,), (3,))}, self.STORAGES)

    def test_reads_tensors_as_views(self):
        state = legacy_pickle.read_state_dict(self.good())
        np.testing.assert_array_equal(state["w"], [[0, 1, 2], [3, 4, 5]])
        np.testing.assert_array_equal(state["t"], [1, 4])

    def test_refuses_other_functions(self):
        with self.assertRaisesRegex(legacy_pickle.FormatError, "posix.system"):
            legacy_pickle.read_state_dict(save({"w": os.system}, {}))

    def test_refuses_every_truncation(self):
        good = self.good()
        for length in range(len(good)):
            with self.subTest(length), self.assertRaises(legacy_pickle.FormatError):
                legacy_pickle.read_state_dict(good[:length])
        with self.assertRaisesRegex(legacy_pickle.FormatError, "left over"):
            legacy_pickle.read_state_dict(good + b"\0")

    def test_refuses_views_past_their_storage(self):
        for size, stride, offset in [((7,), (1,), 0), ((2, 3), (4, 1), 0), ((2,), (-1,), 1), ((2,), (1,), 5)]:
            state = {"w": FakeTensor(FakeStorage("7", 6), offset, size, stride)}
            with self.subTest(size), self.assertRaisesRegex(legacy_pickle.FormatError, "reaches past|strides"):
                legacy_pickle.read_state_dict(save(state, self.STORAGES))

    def test_refuses_another_format(self):
        with self.assertRaisesRegex(legacy_pickle.FormatError, "not a legacy"):
            legacy_pickle.read_state_dict(save({}, {}, magic=1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
