"""A benchmark on the paper's networks: Darknet Reference, Extraction and DenseNet201, with the definitions of Debian's
darknet package and random weights.

    paper.py layers [NETWORK…]    latency and throughput against the layers inside; leaves build/layers.svg
    paper.py backnets [NETWORK…]  what a second BackNet worker process brings
"""

import pathlib
import subprocess
import sys
import tempfile

from engine import PAPER, ROOT, make_paper

which, wanted = sys.argv[1], sys.argv[2:]
with tempfile.TemporaryDirectory() as folder:
    found = [make_paper(pathlib.Path(folder), name) for name in wanted or (PAPER if which == "layers" else PAPER[1:])]
    if None in found:
        sys.exit("bench: Debian's darknet package is not installed")
    drawing = [ROOT / "build/layers.svg"] if which == "layers" else []
    subprocess.run([ROOT / f"build/{which}_bench", *drawing, *found], check=True)
    if drawing:
        print(f"drawn into {drawing[0]}")
