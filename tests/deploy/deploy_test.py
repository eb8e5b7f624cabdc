"""What lies in deploy/: the chart is linted and rendered by helm and each manifest held to Kubernetes' own schemas, the
unit to systemd's, Triton's configuration to its protocol, and every option named is one that the programs have."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

sys.path[:0] = [str(pathlib.Path(__file__).parent.parent), str(pathlib.Path(__file__).parent.parent / "e2e")]
import peers  # noqa: E402
from deployment import run  # noqa: E402

SOURCE = pathlib.Path(os.environ["INFENCLAVE_SOURCE_DIR"])
DEPLOY = SOURCE / "deploy"
CHART = DEPLOY / "helm/infenclave"
KINDS = {"builtin": [], "workers": ["backnet.model=m"],
         "triton": ["backnet.model=m", "backnet.triton.repositoryClaim=t"],
         "remote": ["backnet.remote={grpc://a:1/m,grpc://b:1/m}"]}
VALIDATE = """
import sys, yaml, kubernetes_validate
for document in yaml.safe_load_all(sys.stdin):
    if document is None or not document["apiVersion"].split("/")[0] in ("v1", "apps", "policy"):
        continue
    kubernetes_validate.validate(document, "1.31", strict=True)
    print(document["kind"])
"""


def options_of(command):
    return set(re.findall(r"(--[a-z-]+)", run(command, "--help").stdout))


class Deploy(unittest.TestCase):
    def sh(self, *command, expect=0, **kwargs):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **kwargs)
        self.assertEqual(done.returncode == 0, expect == 0, done.stdout + done.stderr)
        return done.stdout + done.stderr if expect else done.stdout

    def validate(self, manifests):
        python = peers.python("kubernetes-validate==1.31.0", "PyYAML==6.0.2", "setuptools==75.6.0")
        return self.sh(python, "-W", "ignore", "-c", VALIDATE, input=manifests).split()

    def template(self, *values, expect=0):
        helm = peers.go_tool("helm.sh/helm/v3/cmd/helm@v3.17.3")
        settings = [part for value in values for part in ("--set", value)]
        return self.sh(helm, "template", "test", CHART, "--kube-version", "1.31", *settings, expect=expect)

    def test_the_chart_lints(self):
        helm = peers.go_tool("helm.sh/helm/v3/cmd/helm@v3.17.3")
        out = self.sh(helm, "lint", "--strict", CHART, "--set", "bundle.claim=b")
        self.assertIn("0 chart(s) failed", out)

    def test_the_chart_renders_what_kubernetes_takes(self):
        for kind, values in KINDS.items():
            with self.subTest(kind):
                rendered = self.template("bundle.claim=b", f"backnet.kind={kind}", "replicas=2",
                                         "serviceMonitor.enabled=true", *values)
                kinds = self.validate(rendered)
                workers = kind in ("workers", "triton")
                self.assertEqual(sorted(kinds), sorted(["Deployment", "Service", "Service", "PodDisruptionBudget"]
                                                       + ["Deployment", "Service"] * workers))
                backnet = {"builtin": "builtin", "remote": "grpc://a:1/m,grpc://b:1/m"}.get(
                    kind, "grpc://test-backnet:8011/m")
                self.assertIn(f'- --backnet\n            - "{backnet}"', rendered)
                self.assertIn("ServiceMonitor", rendered)

    def test_the_chart_refuses_what_makes_no_sense(self):
        for values, reason in ((["backnet.kind=builtin"], "claim"), (["bundle.claim=b", "tee=magic"], "tee"),
                               (["bundle.claim=b", "backnet.kind=workers"], "backnet.model"),
                               (["bundle.claim=b", "typo=1"], "typo"),
                               (["bundle.claim=b", "backnet.remote={http://x}"], "remote")):
            self.assertIn(reason, self.template(*values, expect=1))

    def test_every_option_exists(self):
        rendered = "".join(self.template("bundle.claim=b", f"backnet.kind={kind}", "enclave=unix:/e", *values)
                           for kind, values in KINDS.items())
        unit = (DEPLOY / "systemd/infenclave@.service").read_text()
        runtime = (DEPLOY / "kserve/serving-runtime.yaml").read_text()
        known = options_of("serve") | options_of("backnet")
        own = rendered.replace("--model-repository", "").replace("--grpc-port", "").replace("--http-port", "").replace(
            "--metrics-port", "")
        for text in (own, unit.replace("enable --now", ""), runtime):
            self.assertLessEqual(set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", text)), known)

    def test_kserves_manifests(self):
        python = peers.python("kubernetes-validate==1.31.0", "PyYAML==6.0.2", "setuptools==75.6.0")
        load = "import sys, yaml, json; print(json.dumps(yaml.safe_load(sys.stdin)))"
        runtime, service = (json.loads(self.sh(python, "-c", load, input=(DEPLOY / "kserve" / name).read_text()))
                            for name in ("serving-runtime.yaml", "inference-service.yaml"))
        model = service["spec"]["predictor"]["model"]
        self.assertEqual(model["runtime"], runtime["metadata"]["name"])
        self.assertIn(model["modelFormat"]["name"], [f["name"] for f in runtime["spec"]["supportedModelFormats"]])
        self.assertIn(model["protocolVersion"], runtime["spec"]["protocolVersions"])
        # The runtime's container is a Kubernetes container.
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": runtime["spec"]["containers"]}}
        self.assertEqual(self.validate(json.dumps(pod)), ["Pod"])

    def test_the_unit(self):
        if shutil.which("systemd-analyze") is None:
            raise unittest.SkipTest("SKIPPED: there is no systemd-analyze here")
        with tempfile.TemporaryDirectory() as folder:
            unit = (DEPLOY / "systemd/infenclave@.service").read_text()
            self.assertIn("LimitMEMLOCK=infinity", unit)
            path = pathlib.Path(folder) / "infenclave@test.service"
            path.write_text(unit.replace("/usr/bin/infenclave", "/usr/bin/true").replace("man:infenclave(1)", "man:true(1)"))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
            mine = [line for line in done.stderr.splitlines() if "infenclave" in line]
            self.assertEqual(mine, [], done.stderr)

    def test_tritons_configuration(self):
        config = text_format.Parse((DEPLOY / "triton/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        self.assertEqual(config.platform, "onnxruntime_onnx")
        self.assertEqual(config.max_batch_size, 64)

    def test_gramines_manifest(self):
        """Rendered by Jinja, as gramine-manifest does it: no debugging, evidence by DCAP, and every file that is mounted
        is measured, but for the bundle, which its owner has signed."""
        python = peers.python("Jinja2==3.1.6")
        render = """
import json, sys, tomllib, jinja2
gramine = {"libos": "/g/libsysdb.so", "runtimedir": lambda: "/g/runtime"}
text = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(sys.stdin.read()).render(
    gramine=gramine, enclave="/bin/enclave", bundle="/srv/b", arch_libdir="/lib/x")
print(json.dumps(tomllib.loads(text)))"""
        template = (DEPLOY / "gramine/infenclave.manifest.template").read_text()
        manifest = json.loads(self.sh(python, "-c", render, input=template))
        sgx, mounts = manifest["sgx"], {m["path"]: m["uri"] for m in manifest["fs"]["mounts"]}
        self.assertEqual((sgx["debug"], sgx["remote_attestation"], sgx["edmm_enable"]), (False, "dcap", True))
        self.assertIn(manifest["libos"]["entrypoint"], mounts)
        trusted = {uri.rstrip("/") for uri in sgx["trusted_files"]}
        self.assertEqual({uri for uri in mounts.values()} - trusted, {"file:/srv/b"})
        self.assertEqual(sgx["allowed_files"], ["file:/srv/b/"])
        self.assertIn("file:/g/libsysdb.so", trusted)
        self.assertNotIn("loader.insecure__use_host_env", template)
        usage = subprocess.run([os.environ["INFENCLAVE_BINARY_DIR"] + "/infenclave-enclave"], capture_output=True, text=True)
        for option in re.findall(r"(?m)^# +gramine-sgx infenclave (.*)$", template)[0].split()[::2]:
            self.assertIn(option, usage.stdout + usage.stderr)

    def test_the_image_takes_what_cpack_makes(self):
        text = (DEPLOY / "Containerfile").read_text()
        self.assertIn("COPY infenclave_*.deb", text)
        self.assertRegex(text, r"(?m)^USER \d+")

    def test_the_dashboard_loads(self):
        dashboard = json.loads((DEPLOY / "grafana/infenclave.json").read_text())
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
            self.assertTrue(panel["targets"])
            self.assertIn(panel["type"], ("timeseries", "stat"))
        squares = [(x, y) for p in dashboard["panels"] for g in [p["gridPos"]]
                   for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])]
        self.assertEqual(len(squares), len(set(squares)), "panels overlap")


if __name__ == "__main__":
    unittest.main()
