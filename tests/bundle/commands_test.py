"""The owner's commands as a user sees them: keygen, invite, inspect, run, partition."""
import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest

import numpy
import onnx
import onnxruntime
from PIL import Image

INFENCLAVE = str(pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]).absolute() / "infenclave")
LABELS = ["ant", "bee", "cat", "dog", "elk"]


def make_model(path, preprocessing=True):
    """Picture [N,3,8,8] to 5 scores, then Softmax; cut points conv1 (its Relu), pool, flat, scores."""
    random = numpy.random.default_rng(5)
    weights = [onnx.numpy_helper.from_array(random.standard_normal(s).astype(numpy.float32), n)
               for n, s in [("w1", (4, 3, 3, 3)), ("w2", (4, 5))]]
    node = onnx.helper.make_node
    nodes = [node("Conv", ["picture", "w1"], ["conv1/raw"]), node("Relu", ["conv1/raw"], ["conv1"]),
             node("GlobalAveragePool", ["conv1"], ["pool"]), node("Flatten", ["pool"], ["flat"]),
             node("MatMul", ["flat", "w2"], ["scores"]), node("Softmax", ["scores"], ["probabilities"])]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "net", [value("picture", 1, ["N", 3, 8, 8])],
                                   [value("probabilities", 1, ["N", 5])], weights)
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 13)])
    if preprocessing:
        text = json.dumps({"width": 8, "height": 8, "resize": "stretch", "filter": "bilinear", "channels": "rgb",
                           "mean": [127, 127, 127], "scale": [0.01, 0.01, 0.01]})
        onnx.helper.set_model_props(model, {"infenclave.preprocessing": text})
    onnx.save(model, path)


class CommandsTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.at = pathlib.Path(self.folder.name)
        make_model(self.at / "model.onnx")
        (self.at / "labels.txt").write_text("\n".join(LABELS) + "\n")

    def run_command(self, *arguments, **options):
        return subprocess.run([INFENCLAVE, *map(str, arguments)], cwd=self.at, capture_output=True, text=True, **options)

    def succeed(self, *arguments):
        result = self.run_command(*arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)
        return result.stdout

    def fail_with(self, status, message, *arguments, **options):
        result = self.run_command(*arguments, **options)
        self.assertEqual((result.returncode, result.stdout), (status, ""), result.stderr)
        self.assertTrue(result.stderr.startswith(f"infenclave {arguments[0]}: "), result.stderr)
        self.assertIn(message, result.stderr)

    def partition(self, *more, model="model.onnx", labels="labels.txt", out="b"):
        if not (self.at / "owner.pem").exists():
            self.succeed("keygen", "-o", "owner.pem")
        return ["partition", model, "--labels", labels, "--owner-key", "owner.pem", "-o", out, *more]

    def mode(self, name):
        return stat.S_IMODE((self.at / name).stat().st_mode)

    def photographs(self, count=24):
        folder = self.at / "photographs"
        folder.mkdir()
        random = numpy.random.default_rng(3)
        for i in range(count):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=numpy.uint8)).save(folder / f"{i:03}.png")
        (self.at / "truth.tsv").write_text("file\tclass\n" + "".join(f"{i:03}.png\t{i % 5}\n" for i in range(count)))
        return folder

    def narrow(self, *more):
        """Its standard output; how far it is goes to standard error."""
        done = self.run_command(*self.partition("--cut", "conv1", "--images", self.photographs(), *more))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_partition_narrows_what_crosses_the_cut_and_says_what_it_costs(self):
        text = self.narrow("--ir-rank", "2", "--ir-noise", "0.5", "--labels-tsv", "truth.tsv", "--narrowed", "narrowed.onnx")
        self.assertRegex(text, r"2 of 4 channels, which keep [0-9.]+ % of what the IR does to the scores; "
                               r"noise of 0.5 deviations; fitted on 12 photographs")
        self.assertRegex(text, r"priced on 12 others \(90 % intervals\): top-1 as before for [0-9.]+ \(")
        self.assertRegex(text, r"right for [0-9.]+ % instead of [0-9.]+ %: loss -?[0-9.]+ \(-?[0-9.]+ to [0-9.]+\) points")
        manifest = json.loads((self.at / "b" / "manifest.json").read_text())
        self.assertEqual(manifest["ir"], {"shape": [2, 6, 6], "dtype": "f32", "noise": 0.5})
        self.assertEqual(self.mode("narrowed.onnx"), 0o600)
        cuts = json.loads(self.succeed("inspect", "narrowed.onnx", "--json"))["cuts"]
        self.assertIn("conv1/narrowed", [cut["name"] for cut in cuts])

    def test_all_channels_narrowed_compute_what_the_network_did(self):
        self.narrow("--ir-rank", "4", "--ir-precision", "bf16", "--narrowed", "narrowed.onnx")
        self.assertEqual(json.loads((self.at / "b" / "manifest.json").read_text())["ir"]["dtype"], "bf16")
        picture = numpy.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(numpy.float32)
        before, after = (onnxruntime.InferenceSession(self.at / name).run(None, {"picture": picture})[0]
                         for name in ["model.onnx", "narrowed.onnx"])
        numpy.testing.assert_allclose(after, before, atol=1e-4)

    def test_integers_cross_the_cut_in_bytes(self):
        photographs = self.photographs()
        picture = numpy.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(numpy.float32)
        before = onnxruntime.InferenceSession(self.at / "model.onnx").run(None, {"picture": picture})[0]
        for precision, shape, pack, bound in [
                ("int8", [4, 6, 6], lambda codes: codes, 0.02),
                ("int4", [2, 6, 6], lambda codes: codes[:, :2] | codes[:, 2:] << 4, 0.3)]:
            with self.subTest(precision):
                done = self.run_command(*self.partition(
                    "--cut", "conv1", "--images", photographs, "--ir-precision", precision, "--narrowed",
                    f"{precision}.onnx", out=precision))
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertRegex(done.stdout, r"codes [0-9.]+ deviations apart, [0-9.]+ \(root mean square\) off; fitted on 12")
                self.assertRegex(done.stdout, rf"ir +{precision}: {numpy.prod(shape)} bytes instead of 576, which hardly hinders")
                ir = json.loads((self.at / precision / "manifest.json").read_text())["ir"]
                self.assertEqual((ir["shape"], ir["dtype"]), ([4, 6, 6], precision))
                # What the whole network with its rounding computes is what the BackNet makes of the codes.
                narrowed = onnx.load(self.at / f"{precision}.onnx")
                narrowed.graph.output.append(onnx.helper.make_tensor_value_info("conv1/narrowed", 1, ["N", 4, 6, 6]))
                after, values = onnxruntime.InferenceSession(narrowed.SerializeToString()).run(
                    ["probabilities", "conv1/narrowed"], {"picture": picture})
                numpy.testing.assert_allclose(after, before, atol=bound)
                codes = numpy.rint(values / ir["step"]).astype(numpy.uint8)
                numpy.testing.assert_allclose(codes * numpy.float32(ir["step"]), values, atol=1e-5)
                back = onnx.load(self.at / precision / "backnet.onnx")
                onnx.checker.check_model(back, full_check=True)
                tensor = back.graph.input[0].type.tensor_type
                self.assertEqual(tensor.elem_type, onnx.TensorProto.UINT8)
                self.assertEqual([d.dim_value for d in tensor.shape.dim][1:], shape)
                scores = onnxruntime.InferenceSession(back.SerializeToString()).run(
                    None, {back.graph.input[0].name: pack(codes)})[0]
                exp = numpy.exp(scores - scores.max(1, keepdims=True))
                numpy.testing.assert_allclose(numpy.sort(exp / exp.sum(1, keepdims=True)), numpy.sort(after), atol=1e-5)

    def test_partition_says_what_it_needs_to_narrow(self):
        self.fail_with(2, "integers are fitted", *self.partition("--cut", "conv1", "--ir-precision", "int4"))
        self.fail_with(1, "has the shape [1,4]", *self.partition("--cut", "flat", "--ir-precision", "int8", "--images",
                                                                 self.photographs()))
        shutil.rmtree(self.at / "photographs")
        self.fail_with(2, "name a folder with --images", *self.partition("--cut", "conv1", "--ir-noise", "1"))
        self.fail_with(2, "--narrowed needs", *self.partition("--cut", "conv1", "--narrowed", "n.onnx"))
        self.fail_with(1, "has 4 channels", *self.partition("--cut", "conv1", "--ir-rank", "5", "--images",
                                                            self.photographs()))
        self.assertFalse((self.at / "b").exists())

    def test_keygen_never_replaces_a_key_unasked(self):
        self.assertIn("ed25519:", self.succeed("keygen", "-o", "owner.pem"))
        self.assertEqual(self.mode("owner.pem"), 0o600)
        pem = (self.at / "owner.pem").read_text()
        self.assertTrue(pem.startswith("-----BEGIN PRIVATE KEY-----\n"))
        shown = subprocess.run(["openssl", "pkey", "-in", self.at / "owner.pem", "-noout", "-text"],
                               capture_output=True, text=True)
        self.assertIn("ED25519 Private-Key", shown.stdout)
        self.fail_with(1, "owner.pem exists already", "keygen", "-o", "owner.pem")
        self.assertEqual((self.at / "owner.pem").read_text(), pem)
        self.succeed("keygen", "-o", "owner.pem", "--force")
        self.assertNotEqual((self.at / "owner.pem").read_text(), pem)

    def test_invite(self):
        self.succeed("keygen", "-o", "owner.pem")
        self.succeed("invite", "--owner-key", "owner.pem", "--name", "alice", "-o", "alice.credential")
        self.assertEqual(self.mode("alice.credential"), 0o600)
        self.assertIn(b"alice", (self.at / "alice.credential").read_bytes())
        self.fail_with(2, "expected 1 to 128", "invite", "--owner-key", "owner.pem", "--name", "a" * 129, "-o", "x")
        self.fail_with(1, "`infenclave keygen` makes one", "invite", "--owner-key", "labels.txt", "--name", "a", "-o",
                       "x")
        self.assertFalse((self.at / "x").exists())

    def test_inspect(self):
        text = self.succeed("inspect", "model.onnx")
        for word in ["picture [1,3,8,8]", "probabilities [1,5]", "conv1", "FLOPs", "peak"]:
            self.assertIn(word, text)
        found = json.loads(self.succeed("inspect", "model.onnx", "--json"))
        self.assertEqual(list(found), ["model", "inputs", "opaque", "cuts"])
        self.assertEqual(found["inputs"], [{"name": "picture", "shape": [1, 3, 8, 8]}])
        self.assertEqual([c["name"] for c in found["cuts"]], ["conv1", "pool", "flat", "scores"])
        front = found["cuts"][0].pop("frontnet")
        self.assertEqual(found["cuts"][0], {"name": "conv1", "shape": [1, 4, 6, 6], "ir_bytes": 4 * 4 * 36})
        self.assertEqual(list(front), ["flops", "weight_bytes", "peak_bytes"])
        self.assertEqual(front["flops"], 4 * 36 * 27 * 2 + 4 * 36)
        # As the engine lays them out: 4 channels may be padded to 16.
        self.assertIn(front["weight_bytes"] // (4 * 108), range(1, 5))
        self.assertIn(front["peak_bytes"] // (4 * 4 * 36), range(1, 5))
        self.fail_with(1, "nothing.onnx: No such file", "inspect", "nothing.onnx")
        self.fail_with(1, "labels.txt: not an ONNX model", "inspect", "labels.txt")

    def test_run_of_a_tensor_agrees_with_onnx_runtime(self):
        x = numpy.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(numpy.float32)
        numpy.save(self.at / "x.npy", x)
        self.succeed("run", "model.onnx", "--input", "x.npy", "-o", "y.npy")
        want = onnxruntime.InferenceSession(str(self.at / "model.onnx")).run(None, {"picture": x})[0]
        numpy.testing.assert_allclose(numpy.load(self.at / "y.npy"), want, atol=1e-5)
        self.succeed("run", "model.onnx", "--input", "x.npy", "--output", "conv1", "-o", "z.npy")
        self.assertEqual(numpy.load(self.at / "z.npy").shape, (1, 4, 6, 6))
        self.fail_with(1, "no tensor 'nope'", "run", "model.onnx", "--input", "x.npy", "--output", "nope", "-o", "q.npy")
        self.fail_with(2, "--input needs -o", "run", "model.onnx", "--input", "x.npy")
        self.fail_with(2, "either images or --input", "run", "model.onnx")
        numpy.save(self.at / "bad.npy", x[:, :2])
        self.fail_with(1, "[1,2,8,8]", "run", "model.onnx", "--input", "bad.npy", "-o", "q.npy")
        self.assertFalse((self.at / "q.npy").exists())

    def test_run_of_pictures(self):
        pixels = numpy.random.default_rng(2).integers(0, 256, (8, 8, 3), numpy.uint8)
        Image.fromarray(pixels).save(self.at / "p.png")
        found = json.loads(self.succeed("run", "model.onnx", "p.png", "p.png", "--labels", "labels.txt", "--json"))
        self.assertEqual([f["file"] for f in found], ["p.png", "p.png"])
        x = ((pixels.astype(numpy.float32) - 127) * 0.01).transpose(2, 0, 1)[None]
        want = onnxruntime.InferenceSession(str(self.at / "model.onnx")).run(None, {"picture": x})[0][0]
        order = numpy.argsort(-want)
        self.assertEqual([c["index"] for c in found[0]["classes"]], list(order))
        self.assertEqual([c["label"] for c in found[0]["classes"]], [LABELS[i] for i in order])
        numpy.testing.assert_allclose([c["probability"] for c in found[0]["classes"]], want[order], atol=1e-5)
        self.assertIn(LABELS[order[0]], self.succeed("run", "model.onnx", "p.png", "--labels", "labels.txt"))
        self.fail_with(1, "labels.txt: not a picture", "run", "model.onnx", "labels.txt")
        (self.at / "four.txt").write_text("a\nb\nc\nd\n")
        self.fail_with(1, "4 labels for a model of 5 classes", "run", "model.onnx", "p.png", "--labels", "four.txt")
        make_model(self.at / "bare.onnx", preprocessing=False)
        self.fail_with(1, "give --preprocessing", "run", "bare.onnx", "p.png")

    def test_partition(self):
        text = self.succeed(*self.partition("--cut", "conv1", "--tee", "simulated", out="b/"))
        self.assertIn("simulated: it protects nothing from the machine's owner", text)
        self.assertEqual(sorted(p.name for p in (self.at / "b").iterdir()),
                         ["backnet.onnx", "frontnet.sealed", "manifest", "manifest.json", "manifest.sig",
                          "mapping.sealed"])
        self.assertEqual(self.mode("b.keys"), 0o600)
        self.assertIn('accept = ["simulated"]', (self.at / "b.policy.toml").read_text())
        onnx.checker.check_model(onnx.load(self.at / "b/backnet.onnx"), full_check=True)
        for path in (self.at / "b").iterdir():
            for secret in [b"ant\n", b"elk", b"conv1", b"picture"]:
                self.assertNotIn(secret, path.read_bytes(), path)
        self.fail_with(1, "b exists already", *self.partition("--cut", "conv1"))
        manifest = json.loads(self.succeed(*self.partition("--cut", "conv1", "--json", "--open", "--name", "n",
                                                           "--model-version", "7", out="c")))
        self.assertEqual(manifest, json.loads((self.at / "c/manifest.json").read_text()))
        self.assertEqual((manifest["model_name"], manifest["model_version"], manifest["open"], manifest["tee_class"]),
                         ("n", 7, True, "hardware"))
        self.assertEqual(manifest["ir"]["shape"], [4, 6, 6])

    def test_partition_refusals_leave_nothing_behind(self):
        make_model(self.at / "bare.onnx", preprocessing=False)
        (self.at / "four.txt").write_text("a\nb\nc\nd\n")
        cases = [
            (1, "no cut point is named 'conv'; the nearest names are 'conv1'", self.partition("--cut", "conv")),
            (1, "4 labels for a model of 5 classes", self.partition("--cut", "conv1", labels="four.txt")),
            (1, "give --preprocessing", self.partition("--cut", "conv1", model="bare.onnx")),
            (1, "--tail", self.partition("--cut", "scores")),
            (2, "give --cut NAME or --assessment FILE", self.partition()),
            (2, "'tpm' is not one of hardware|simulated", self.partition("--cut", "conv1", "--tee", "tpm")),
            (1, "model name", self.partition("--cut", "conv1", "--name", "two words")),
        ]
        before = sorted(self.at.iterdir())
        for status, message, arguments in cases:
            with self.subTest(message):
                self.fail_with(status, message, *arguments)
                self.assertEqual(sorted(self.at.iterdir()), before)

    def test_partition_on_a_full_disk_leaves_nothing_behind(self):
        arguments = self.partition("--cut", "conv1")
        before = sorted(self.at.iterdir())

        def fill():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))

        self.fail_with(1, "b", *arguments, preexec_fn=fill)
        self.assertEqual(sorted(self.at.iterdir()), before)

    def assessment(self, recommended, why="because.", model="model.onnx"):
        """As `infenclave assess` writes it: conv1 unsafe, the later cuts safe."""
        cuts = [{"name": n, "verdict": {"safe": n != "conv1"}} for n in ["conv1", "pool", "flat"]]
        digest = hashlib.sha256((self.at / model).read_bytes()).hexdigest()
        text = json.dumps({"format": "infenclave.assessment/1", "model_sha256": digest, "attacks_run": ["kl", "decoder"],
                           "cuts": cuts, "recommended": {"cut": recommended, "why": why, "provisional": True}})
        (self.at / "assessment.json").write_text(text)

    def test_partition_by_assessment(self):
        self.assessment("pool")
        manifest = json.loads(self.succeed(*self.partition("--assessment", "assessment.json", "--json", out="a")))
        self.assertEqual(manifest["ir"]["shape"], [4, 1, 1])
        self.assertTrue(manifest["verdict"]["assessed"] and manifest["verdict"]["safe"])
        self.assertIn("safe by the attacks that ran: kl, decoder; provisional", manifest["verdict"]["summary"])
        self.assertNotIn("pool", json.dumps(manifest))
        digest = subprocess.run(["sha256sum", self.at / "assessment.json"], capture_output=True, text=True).stdout[:64]
        self.assertEqual(manifest["verdict"]["assessment_sha256"], digest)
        for cut, safe in [("conv1", False), ("flat", True)]:
            arguments = self.partition("--assessment", "assessment.json", "--cut", cut, "--json", out=cut)
            manifest = json.loads(self.succeed(*arguments))
            self.assertEqual((manifest["verdict"]["assessed"], manifest["verdict"]["safe"]), (True, safe), cut)

    def test_an_assessment_of_another_model_is_refused(self):
        make_model(self.at / "bare.onnx", preprocessing=False)
        self.assessment("pool", model="bare.onnx")
        self.fail_with(1, "assesses another model than model.onnx", *self.partition("--assessment", "assessment.json"))

    def test_partition_where_the_assessment_recommends_no_cut(self):
        self.assessment(None, "every map was recognised.")
        self.fail_with(1, "recommends no cut: every map was recognised. --cut NAME",
                       *self.partition("--assessment", "assessment.json"))
        arguments = self.partition("--assessment", "assessment.json", "--cut", "conv1", "--json")
        manifest = json.loads(self.succeed(*arguments))
        self.assertFalse(manifest["verdict"]["safe"])
        self.assertTrue(manifest["verdict"]["assessed"])
        (self.at / "assessment.json").write_text("[" * 100000)
        self.fail_with(1, "assessment.json: not JSON", *self.partition("--assessment", "assessment.json", out="d"))


if __name__ == "__main__":
    unittest.main()
