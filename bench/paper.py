"""The paper's performance figure: latency and throughput against the layers inside, for Darknet Reference, Extraction and
DenseNet201, with the definitions of Debian's darknet package and random weights. Leaves build/layers.svg."""

import pathlib
import subprocess
import sys
import tempfile

from engine import PAPER, ROOT, make_paper

with tempfile.TemporaryDirectory() as folder:
    found = [make_paper(pathlib.Path(folder), name) for name in sys.argv[1:] or PAPER]
    if None in found:
        sys.exit("bench: Debian's darknet package is not installed")
    subprocess.run([ROOT / "build/layers_bench", ROOT / "build/layers.svg", *found], check=True)
    print(f"drawn into {ROOT / 'build/layers.svg'}")
