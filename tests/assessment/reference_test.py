"""The KL oracle's figures, computed again by other means: ONNX Runtime runs both networks, Pillow resizes (photographs in
8 bits, feature maps in mode "F"), NumPy does the rest. `infenclave assess` must agree.

Needs EfficientNet-Lite0 and Lite2 in INFENCLAVE_MODELS and the photographs of INFENCLAVE_SHARED/imagenet-samples.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime
from PIL import Image

PHOTOGRAPHS = pathlib.Path(os.environ["INFENCLAVE_SHARED"], "imagenet-samples")
MODELS = pathlib.Path(os.environ.get("INFENCLAVE_MODELS", "/nonexistent"))
INFENCLAVE = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"], "infenclave")
CUTS = ["stem", "block04/project", "block06/project"]
TOLERANCE = 2e-3  # nats; f32 logits differ by about 1e-5


class Network:
    def __init__(self, path, outputs=None):
        model = onnx.load(path)
        metadata = {p.key: p.value for p in model.metadata_props}
        self.preprocessing = json.loads(metadata["infenclave.preprocessing"])
        if outputs:
            del model.graph.output[:]
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        self.input = self.session.get_inputs()[0].name

    def run(self, tensor):
        return self.session.run(None, {self.input: tensor.astype(np.float32)})

    def normalise(self, pixels):  # [H,W,3] in 0..255 -> [1,3,H,W]
        mean, scale = np.array(self.preprocessing["mean"]), np.array(self.preprocessing["scale"])
        return ((pixels - mean) * scale).transpose(2, 0, 1)[None]

    def photograph(self, path):
        p = self.preprocessing
        assert p["resize"] == "crop-square" and p["channels"] == "rgb" and p["filter"] == "bicubic", p
        image = Image.open(path).convert("RGB")
        w, h = image.size
        c = int(p["width"] / (p["width"] + p["crop_padding"]) * min(w, h))
        x, y = (w - c + 1) // 2, (h - c + 1) // 2
        image = image.crop((x, y, x + c, y + c)).resize((p["width"], p["height"]), Image.BICUBIC)
        return self.normalise(np.asarray(image, np.float64))


def softmax(z):
    e = np.exp(z.astype(np.float64) - z.max())
    return e / e.sum()


def kl(p, q):
    p, q = np.maximum(p, 1e-12), np.maximum(q, 1e-12)
    return float((p * np.log(p / q)).sum())


def as_picture(map_, size):
    low, high = map_.min(), map_.max()
    grey = np.full_like(map_, 127.5) if low == high else (map_ - low) * (255.0 / (high - low))
    grey = np.asarray(Image.fromarray(grey.astype(np.float32), "F").resize(size, Image.BILINEAR), np.float64)
    return np.repeat(grey[:, :, None], 3, axis=2)


def divergences(assessment, folder):
    """V(x) for every photograph, and d[i,x,y]."""
    target = Network(assessment["model"], [c["name"] for c in assessment["cuts"]])
    oracle = Network(assessment["oracle"])
    size = (oracle.preprocessing["width"], oracle.preprocessing["height"])
    files = [folder / image["file"] for image in assessment["images"]]
    answers = [softmax(oracle.run(oracle.photograph(f))[0].ravel()) for f in files]
    d = np.full((len(assessment["cuts"]), len(files), len(files)), np.inf)
    for y, file in enumerate(files):
        for i, maps in enumerate(target.run(target.photograph(file))):
            for map_ in maps[0]:
                v = softmax(oracle.run(oracle.normalise(as_picture(map_.astype(np.float64), size)))[0].ravel())
                d[i, :, y] = np.minimum(d[i, :, y], [kl(p, v) for p in answers])
    return answers, d


class AgreesWithOnnxRuntimeAndPillow(unittest.TestCase):
    def test_divergences_ratios_and_auc(self):
        models = [MODELS / "efficientnet-lite0.onnx", MODELS / "efficientnet-lite2.onnx"]
        for needed in [*models, PHOTOGRAPHS, INFENCLAVE]:
            if not needed.exists():
                self.skipTest(f"SKIPPED: there is no {needed}")
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary, "images")
            folder.mkdir()
            for file in sorted(PHOTOGRAPHS.glob("*.jpg"))[::67][:3]:
                shutil.copy(file, folder)
            subprocess.run([INFENCLAVE, "assess", models[0], "--oracle", models[1], "--images", folder, "-o",
                            temporary + "/out", "--cuts", ",".join(CUTS)], check=True, stdout=subprocess.DEVNULL)
            assessment = json.loads(pathlib.Path(temporary, "out", "assessment.json").read_text())
            answers, d = divergences(assessment, folder)
        self.assertEqual([c["name"] for c in assessment["cuts"]], CUTS)
        bound = np.array([kl(p, np.full_like(p, 1 / len(p))) for p in answers])
        others = ~np.eye(len(answers), dtype=bool)
        for cut, distances in zip(assessment["cuts"], d):
            own = np.diag(distances)
            np.testing.assert_allclose(cut["kl"]["d"], own, atol=TOLERANCE)
            np.testing.assert_allclose(cut["kl"]["bound"], bound, atol=TOLERANCE)
            self.assertAlmostEqual(cut["kl"]["ratio"]["median"], np.median(own / bound), delta=TOLERANCE)
            wins = (own[:, None] < distances) + 0.5 * (own[:, None] == distances)
            # A pair may change sides where its two divergences are equal to within the tolerance.
            doubtful = (np.abs(own[:, None] - distances) < 2 * TOLERANCE)[others].mean()
            self.assertAlmostEqual(cut["kl"]["auc"], wins[others].mean(), delta=doubtful + 1e-9)


if __name__ == "__main__":
    unittest.main()
