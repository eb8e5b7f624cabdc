"""`infenclave verify` on all the hardware-made evidence: JSON as the documentation names it, and exit statuses."""

import json
import os
import subprocess
import tempfile
import unittest

VECTORS = os.path.join(os.environ["INFENCLAVE_SHARED"], "vectors", "attestation")
INFENCLAVE = os.path.join(os.environ["INFENCLAVE_BINARY_DIR"], "infenclave")
FIELDS = ["file", "tee", "version", "measurements", "report_data", "debug", "tcb_status", "advisories", "verdict"]
OWNER = 'owner = "ed25519:' + "d7" * 32 + '"\n'


@unittest.skipUnless(os.path.exists(VECTORS), "SKIPPED: no " + VECTORS)
@unittest.skipUnless(os.path.exists(INFENCLAVE), "SKIPPED: no " + INFENCLAVE)
class Verify(unittest.TestCase):
    def setUp(self):
        with open(os.path.join(VECTORS, "index.json")) as index:
            self.entries = json.load(index)

    def verify(self, entry, *more):
        args = [os.path.join(VECTORS, entry["file"])]
        for key, flag in (("collateral", "--collateral"), ("vek", "--vek")):
            if key in entry:
                args += [flag, os.path.join(VECTORS, entry[key])]
        default = "2025-02-19T00:00:00Z" if "vek" in entry else "2026-05-28T00:00:00Z"
        args += ["--at", entry.get("verify_at", default)]
        done = subprocess.run([INFENCLAVE, "verify", *args, "--json", *more], capture_output=True, text=True)
        answer = json.loads(done.stdout)
        self.assertEqual(len(answer), 1)
        self.assertEqual(list(answer[0]), FIELDS)
        return done.returncode, answer[0]

    def test_facts_of_the_index(self):
        for entry in self.entries:
            facts = entry["facts"]
            status, claims = self.verify(entry)
            if "reference_error" in entry:
                self.assertEqual(status, 3)
                self.assertIn("refused: TCB", claims["verdict"])
                continue
            if entry["name"] == "tdx-v4-b":  # a guest that no policy could accept; its claims are printed all the same
                self.assertEqual((status, claims["verdict"]), (3, "refused: SEPT_VE_DISABLE: not set; wanted: set"))
            elif facts["debug"]:
                self.assertEqual(status, 3)
                self.assertIn("refused: debugging", claims["verdict"])
            else:
                self.assertEqual(status, 0, claims)
            self.assertEqual(claims["version"], facts["version"])
            self.assertEqual(claims["report_data"], facts["report_data"])
            self.assertEqual(claims["debug"], facts["debug"])
            self.assertEqual(claims["tcb_status"], entry.get("reference_status", "NotJudged"))
            self.assertEqual(claims["advisories"], entry.get("reference_advisories", []))
            for name, value in claims["measurements"].items():
                self.assertEqual(value, facts.get(name, value), name)
            self.assertTrue({"mrenclave", "mrtd", "measurement"} & set(claims["measurements"]))

    def test_policy(self):
        entry = next(e for e in self.entries if e["name"] == "tdx-v4-a")
        facts = entry["facts"]
        rules = "\n".join(f'{name} = ["{facts[name]}"]' for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2"))
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "policy.toml")
            for text, expected in ((f'accept = ["tdx"]\n{OWNER}[tdx]\n{rules}\n', 0),
                                   (f'accept = ["sgx"]\n{OWNER}[tdx]\n{rules}\n', 3),
                                   (f'accept = ["tdx"]\n{OWNER}[tdx]\n{rules.replace(facts["rtmr1"], "0" * 96)}\n', 3)):
                with open(path, "w") as f:
                    f.write(text)
                status, claims = self.verify(entry, "--policy", path)
                self.assertEqual(status, expected, claims["verdict"])
                self.assertEqual(claims["verdict"] == "accepted by the policy", expected == 0)

    def test_wrong_use(self):
        def run(*args):
            return subprocess.run([INFENCLAVE, "verify", *args], capture_output=True, text=True).returncode

        quote = os.path.join(VECTORS, "sgx-v3.quote.bin")
        self.assertEqual(run(), 2)
        self.assertEqual(run(quote, "--at", "yesterday"), 2)
        self.assertEqual(run("/nonexistent"), 1)
        self.assertEqual(run(os.path.join(VECTORS, "intel-root-ca.der")), 3)
        self.assertEqual(run(quote, "--at", "2035-01-01T00:00:00Z"), 3)


if __name__ == "__main__":
    unittest.main()
