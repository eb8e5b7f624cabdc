"""The converted networks, run by ONNX Runtime, reach the accuracy that was measured with their authors' own code."""

import csv
import io
import json
import os
import pathlib
import sys
import unittest

import numpy as np
import onnx
import onnxruntime
from PIL import Image

SHARED = pathlib.Path(os.environ["INFENCLAVE_SHARED"])
MODELS = os.environ.get("INFENCLAVE_MODELS")


def prepare(photograph, size):
    """The authors' preprocessing: centre square, antialiased bicubic, (v - 127) / 128."""
    width, height = photograph.size
    side = int(size / (size + 32) * min(width, height))
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    square = photograph.crop((left, top, left + side, top + side)).resize((size, size), Image.BICUBIC)
    return ((np.asarray(square, np.float32) - 127) / 128).transpose(2, 0, 1)[None]


@unittest.skipUnless(MODELS, "SKIPPED: INFENCLAVE_MODELS names no folder of converted networks")
class EfficientNetLite(unittest.TestCase):
    def load(self, name):
        path = pathlib.Path(MODELS) / f"{name}.onnx"
        if not path.exists():
            self.skipTest(f"SKIPPED: no {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        return path, onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    @unittest.skipUnless((SHARED / "imagenet-samples").is_dir(), f"SKIPPED: no photographs in {SHARED}")
    def test_accuracy_on_200_photographs(self):
        # Measured with the authors' PyTorch code: top-1 and top-5 in photographs of 200.
        for name, size, top1, top5 in [("efficientnet-lite0", 224, 180, 196), ("efficientnet-lite1", 240, 185, 195),
                                       ("efficientnet-lite2", 260, 181, 195)]:
            if name == "efficientnet-lite1" and not (pathlib.Path(MODELS) / f"{name}.onnx").exists():
                continue  # ./dev test makes the two that the main job needs
            with self.subTest(name):
                _, session = self.load(name)
                hits = [0, 0]
                with open(SHARED / "imagenet-samples" / "labels.tsv") as table:
                    for row in csv.DictReader(table, delimiter="\t"):
                        photograph = Image.open(SHARED / "imagenet-samples" / row["file"]).convert("RGB")
                        logits = session.run(None, {"input": prepare(photograph, size)})[0][0]
                        best = np.argsort(-logits)[:5]
                        hits[0] += int(row["class_index"]) == best[0]
                        hits[1] += int(row["class_index"]) in best
                self.assertEqual(hits, [top1, top5])

    def test_labels_are_in_synset_order(self):
        path, _ = self.load("efficientnet-lite0")
        labels = path.with_suffix(".labels.txt").read_text().splitlines()
        self.assertEqual(len(labels), 1000)
        # Fixed points of the ILSVRC-2012 order.
        for index, label in [(0, "tench"), (151, "Chihuahua"), (207, "golden retriever"), (281, "tabby"),
                             (504, "coffee mug"), (817, "sports car"), (954, "banana"), (999, "toilet tissue")]:
            self.assertEqual(labels[index], label)

    def test_the_file_says_how_it_wants_photographs(self):
        path, _ = self.load("efficientnet-lite2")
        metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
        self.assertEqual(json.loads(metadata["infenclave.preprocessing"])["width"], 260)


if __name__ == "__main__":
    unittest.main(verbosity=2)
