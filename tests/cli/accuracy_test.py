"""`infenclave run` on photographs: decoding, preprocessing, import and engine together reach the accuracy that ONNX Runtime
and the networks' own preprocessing reach, within one photograph; in bf16 where the processor has it, within three."""

import csv
import json
import os
import pathlib
import subprocess
import unittest

INFENCLAVE = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]) / "infenclave"
SHARED = pathlib.Path(os.environ["INFENCLAVE_SHARED"])
MODELS = pathlib.Path(os.environ.get("INFENCLAVE_MODELS", "/nonexistent"))
PHOTOGRAPHS = SHARED / "imagenet-samples"

# Network, preset (none: the model says it itself), index of class 0, photographs of 200 right at first, among five.
NETWORKS = [
    (MODELS / "efficientnet-lite0.onnx", None, 0, 180, 196),
    (MODELS / "efficientnet-lite2.onnx", None, 0, 181, 195),
    (SHARED / "models" / "mobilenet_v2.onnx", "mobilenet-v2", 1, 178, 197),
    (SHARED / "models" / "squeezenet1.1-fp16.onnx", "squeezenet1.1", 0, 136, 176),
]


@unittest.skipUnless(PHOTOGRAPHS.is_dir(), f"SKIPPED: no photographs in {PHOTOGRAPHS}")
class Accuracy(unittest.TestCase):
    def hits(self, model, preset, offset, precision):
        with open(PHOTOGRAPHS / "labels.tsv", encoding="utf-8") as table:
            classes = {row["file"]: int(row["class_index"]) for row in csv.DictReader(table, delimiter="\t")}
        command = [INFENCLAVE, "run", model, *(PHOTOGRAPHS / file for file in classes), "--json", "--threads", "1",
                   "--precision", precision]
        command += ["--preprocessing", preset] if preset else []
        answers = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        self.assertEqual(len(answers), len(classes))
        first = five = 0
        for answer in answers:
            want = classes[pathlib.Path(answer["file"]).name] + offset
            found = [c["index"] for c in answer["classes"]][:5]
            first += want == found[0]
            five += want in found
        return first, five

    def test_top_1_and_top_5(self):
        for precision, slack in [("f32", 1), ("bf16", 3)]:
            for model, preset, offset, first, five in NETWORKS:
                with self.subTest(f"{model.name} {precision}"):
                    if not model.exists():
                        self.skipTest(f"SKIPPED: no {model}")
                    got = self.hits(model, preset, offset, precision)
                    print(f"{model.name} {precision}: {got[0]} and {got[1]} of 200, reference {first} and {five}")
                    self.assertLessEqual(abs(got[0] - first), slack)
                    self.assertLessEqual(abs(got[1] - five), slack)


if __name__ == "__main__":
    unittest.main()
