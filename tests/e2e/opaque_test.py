"""A network whose stem is convolutional and whose rest is attention, by operators that Infenclave does not know: inspected,
partitioned behind the stem, and served with ONNX Runtime as its BackNet, it answers as ONNX Runtime does for the whole."""

import json
import os
import pathlib
import sys
import tempfile
import unittest

import numpy as np
import onnx
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from deployment import Deployment, error_line, run  # noqa: E402
from onnx_runtime_server import OnnxRuntimeServer, session  # noqa: E402
from onnx_net import Net  # noqa: E402

SIDE, WIDTH, HEADS, TOKENS, CLASSES = 64, 48, 4, 16, 10
PREPROCESSING = {"width": SIDE, "height": SIDE, "resize": "stretch", "filter": "bilinear", "channels": "rgb",
                 "mean": [127.5] * 3, "scale": [1 / 127.5] * 3}


def hybrid_transformer(path, declare=True):
    """Three convolutions, then two blocks of attention and Gelu as ONNX Runtime's optimiser writes them, for exporters
    write ONNX's own operators and these are of another domain. Gives the name of the stem's last activation."""
    n = Net(side=SIDE, spread=0.2)

    def declared(*shape):
        return ["N", *shape] if declare else None

    def norm(x):
        return n("LayerNormalization", x, n.weight(WIDTH, spread=1), n.weight(WIDTH), axis=-1)

    x = n("Relu", n.conv("x", 3, 16, 3, strides=[2, 2], pads=[1] * 4))
    stem = x = n("Relu", n.conv(x, 16, 32, 3, strides=[2, 2], pads=[1] * 4))
    x = n.conv(x, 32, WIDTH, 4, strides=[4, 4])
    x = n("Transpose", n("Reshape", x, n.ints(0, WIDTH, TOKENS)), perm=[0, 2, 1])
    x = n("Add", x, n.weight(1, TOKENS, WIDTH))
    for _ in range(2):
        qkv = n("Add", n("MatMul", norm(x), n.weight(WIDTH, 3 * WIDTH)), n.weight(3 * WIDTH))
        y = n("MultiHeadAttention", *n("Split", qkv, n.ints(WIDTH, WIDTH, WIDTH), outputs=3, axis=2), num_heads=HEADS,
              domain="com.microsoft", shape=declared(TOKENS, WIDTH))
        x = n("Add", x, n("MatMul", y, n.weight(WIDTH, WIDTH)))
        y = n("Gelu", n("MatMul", norm(x), n.weight(WIDTH, 4 * WIDTH)), domain="com.microsoft",
              shape=declared(TOKENS, 4 * WIDTH))
        x = n("Add", x, n("MatMul", y, n.weight(4 * WIDTH, WIDTH)))
    x = n("Einsum", norm(x), n.weight(TOKENS), equation="btc,t->bc")
    n.save(n("Gemm", x, n.weight(WIDTH, CLASSES), n.weight(CLASSES)), path)
    return stem


class OpaqueRest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        os.environ["XDG_STATE_HOME"] = str(cls.folder)
        cls.model = cls.folder / "hybrid.onnx"
        cls.stem = hybrid_transformer(cls.model)
        cls.preprocessing = cls.folder / "preprocessing.json"
        cls.preprocessing.write_text(json.dumps(PREPROCESSING))
        cls.labels = cls.folder / "labels.txt"
        cls.labels.write_text("".join(f"class {i}\n" for i in range(CLASSES)))
        cls.deployment = Deployment(cls.folder, "--preprocessing", cls.preprocessing, model=cls.model,
                                    labels=cls.labels, cut=cls.stem)
        # Of the size that the network wants, so that no filter has a say.
        random = np.random.default_rng(1)
        cls.pictures, cls.pixels = [], []
        for i in range(24):
            coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
            cls.pixels.append(np.kron(coarse, np.ones((8, 8, 1), np.uint8)))
            cls.pictures.append(cls.folder / f"{i:02}.png")
            Image.fromarray(cls.pixels[-1]).save(cls.pictures[-1])

    def test_inspect_names_what_it_does_not_know(self):
        seen = json.loads(run("inspect", self.model, "--json").stdout)
        self.assertEqual(seen["opaque"], ["Einsum", "com.microsoft.Gelu", "com.microsoft.MultiHeadAttention"])
        cuts = {cut["name"]: cut for cut in seen["cuts"]}
        self.assertEqual(cuts[self.stem]["shape"], [1, 32, SIDE // 4, SIDE // 4])
        self.assertGreater(cuts[self.stem]["frontnet"]["flops"], 0)
        self.assertIn("com.microsoft.MultiHeadAttention", run("inspect", self.model).stdout)

    def test_the_backnet_is_valid_and_anonymous(self):
        backnet = onnx.load(self.deployment.bundle / "backnet.onnx")
        onnx.checker.check_model(backnet, full_check=True)
        self.assertEqual({node.op_type for node in backnet.graph.node} & {"Einsum", "Gelu", "MultiHeadAttention"},
                         {"Einsum", "Gelu", "MultiHeadAttention"})
        names = [value for node in backnet.graph.node for value in [*node.input, *node.output]]
        self.assertTrue(all(name.startswith("t") and name[1:].isdigit() for name in names), names)
        self.assertEqual([node.name + node.doc_string for node in backnet.graph.node], [""] * len(backnet.graph.node))

    def test_served_answers_are_those_of_the_whole_in_onnx_runtime(self):
        pictures = np.stack(self.pixels).transpose(0, 3, 1, 2)
        scores = session(self.model).run(None, {"x": ((pictures - 127.5) / 127.5).astype(np.float32)})[0]
        self.assertGreater(len(set(scores.argmax(1))), 2, "a network that tells nothing apart tests nothing")
        exp = np.exp(scores - scores.max(1, keepdims=True))
        want = exp / exp.sum(1, keepdims=True)
        with (OnnxRuntimeServer(self.deployment.bundle / "backnet.onnx", "hybrid") as backnet,
              self.deployment.serve("--backnet", f"grpc://{backnet.address}/hybrid") as server):
            answers = json.loads(self.deployment.classify(server, *self.pictures).stdout)
            self.assertEqual(backnet.asked, len(self.pictures))
        self.assertEqual([answer["file"] for answer in answers], [str(picture) for picture in self.pictures])
        for answer, row in zip(answers, want, strict=True):
            best = np.argsort(-row)[:5]
            self.assertEqual([c["label"] for c in answer["classes"]], [f"class {i}" for i in best])
            for c, i in zip(answer["classes"], best, strict=True):
                self.assertAlmostEqual(c["probability"], row[i], delta=1e-5)

    def test_what_needs_the_operators_says_so(self):
        cases = [
            (["serve", self.deployment.bundle, "--listen", "127.0.0.1:0"], "--backnet grpc://"),
            (["backnet", self.deployment.bundle, "--listen", "127.0.0.1:0"], "does not know (Einsum"),
            (["run", self.model, self.pictures[0], "--preprocessing", self.preprocessing], "MultiHeadAttention"),
            (["bench", self.model], "MultiHeadAttention"),
        ]
        for command, message in cases:
            with self.subTest(command[0]):
                self.assertIn(message, error_line(run(*command, expect=1)))
        # Behind the first of them there is no cut, and audits would have to compute them.
        arguments = ["partition", self.model, "--labels", self.labels, "--owner-key", self.deployment.owner, "-o",
                     self.folder / "none.bundle", "--preprocessing", self.preprocessing, "--tee", "simulated"]
        late = json.loads(run("inspect", self.model, "--json").stdout)["cuts"][-1]["name"]
        self.assertIn("MultiHeadAttention", error_line(run(*arguments, "--cut", late, expect=1)))
        self.assertIn("cannot be audited", error_line(run(*arguments, "--cut", self.stem, "--audits", "0.1", expect=1)))
        self.assertFalse((self.folder / "none.bundle").exists())

    def test_without_declared_shapes_the_classes_cannot_be_hidden(self):
        """The last layer's shape is not known then: the message says how to mend the file."""
        bare = self.folder / "bare.onnx"
        stem = hybrid_transformer(bare, declare=False)
        done = run("partition", bare, "--labels", self.labels, "--owner-key", self.deployment.owner, "-o",
                   self.folder / "bare.bundle", "--preprocessing", self.preprocessing, "--tee", "simulated", "--cut", stem,
                   expect=1)
        self.assertIn("run onnx.shape_inference on it", error_line(done))


if __name__ == "__main__":
    unittest.main()
