"""The served path as a user sees it, with the real programs: partition, serve, provision, attest, classify."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from deployment import BINARY, PHOTOGRAPHS, DeployedTest, Deployment, Server, error_line, run


class ServedBundle(DeployedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(cls.deployment.serve())

    def test_same_answers_as_the_whole_network(self):
        deployment = self.deployment
        served = json.loads(deployment.classify(self.server, *PHOTOGRAPHS).stdout)
        whole = json.loads(run("run", deployment.model, *PHOTOGRAPHS, "--labels", deployment.labels,
                               *deployment.model_arguments, "--json").stdout)
        self.assertEqual([entry["file"] for entry in served], [str(path) for path in PHOTOGRAPHS])
        self.assertEqual(len(whole), len(served))
        for one, other in zip(served, whole):
            self.assertEqual(one["file"], other["file"])
            self.assertEqual(one["classes"][0]["label"], other["classes"][0]["label"], one["file"])
            self.assertAlmostEqual(one["classes"][0]["probability"], other["classes"][0]["probability"], delta=1e-4)

    def test_a_table_for_people(self):
        deployment = self.deployment
        done = run("classify", PHOTOGRAPHS[0], "--policy", deployment.policy, "--server", self.server.address)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], str(PHOTOGRAPHS[0]))
        self.assertEqual(len(lines), 6)
        self.assertRegex(lines[1], r"^ +\d+\.\d\d %  \S")
        self.assertIn("SIMULATED TEE", done.stderr)

    def test_a_picture_that_is_none_fails_alone(self):
        bad = self.folder / "bad.jpg"
        bad.write_bytes(b"this is no picture")
        done = self.deployment.classify(self.server, PHOTOGRAPHS[0], bad, "/nowhere.jpg", PHOTOGRAPHS[1], expect=1)
        files = [entry["file"] for entry in json.loads(done.stdout)]
        self.assertEqual(files, [str(PHOTOGRAPHS[0]), str(PHOTOGRAPHS[1])])
        lines = [line for line in done.stderr.splitlines() if line.startswith("infenclave ")]
        self.assertEqual(len(lines), 3)
        self.assertIn(str(bad), lines[0])
        self.assertIn("/nowhere.jpg", lines[1])
        self.assertIn("2 of 4 pictures failed", lines[2])
        self.assertIn(str(bad), error_line(self.deployment.classify(self.server, bad, expect=1)))

    def test_folders_and_streams_keep_their_order(self):
        folder = self.folder / "album"
        (folder / "b").mkdir(parents=True)
        (folder / "notes.txt").write_text("not a picture")
        for i, photograph in enumerate(PHOTOGRAPHS[:20]):
            shutil.copy(photograph, folder / ("b" if i % 2 else "") / f"{i:02}.JPG")
        stream = [str(path) for path in PHOTOGRAPHS[20:45]] + ["/nowhere.jpg"]
        done = self.deployment.classify(self.server, folder, PHOTOGRAPHS[50], "-", PHOTOGRAPHS[51], expect=1,
                                        text_in="\n".join(stream) + "\n\n")
        files = [entry["file"] for entry in json.loads(done.stdout)]
        in_folder = sorted(str(path) for path in folder.rglob("*.JPG"))
        self.assertEqual(files, [*in_folder, str(PHOTOGRAPHS[50]), *stream[:-1], str(PHOTOGRAPHS[51])])
        self.assertIn("1 of 48 pictures failed", done.stderr)
        self.assertRegex(done.stderr, r"classify: \d+ of ")  # progress, which stays off standard output
        empty = folder / "empty"
        empty.mkdir()
        self.assertIn("no .jpg", error_line(self.deployment.classify(self.server, empty, expect=1)))

    def test_a_stream_is_answered_while_it_lasts(self):
        process = subprocess.Popen([BINARY, "classify", "-", "--policy", self.deployment.policy, "--server",
                                    self.server.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        for photograph in PHOTOGRAPHS[:3]:
            process.stdin.write(f"{photograph}\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline().strip(), str(photograph))
            for _ in range(5):
                process.stdout.readline()
        process.stdin.close()
        self.assertEqual(process.wait(timeout=60), 0)
        process.stdout.close()

    def test_attest_says_what_the_evidence_proves(self):
        done = run("attest", "--server", self.server.address, "--policy", self.deployment.policy, "--json")
        claims = json.loads(done.stdout)
        self.assertEqual(claims["tee"], "simulated")
        self.assertTrue(claims["provisioned"])
        self.assertTrue(all(finding["passed"] for finding in claims["findings"]))
        self.assertEqual(claims["verdict"], "accepted by the policy")
        self.assertIn("SIMULATED TEE", done.stderr)
        unjudged = run("attest", "--server", self.server.address)
        self.assertIn("not judged", unjudged.stdout)
        with tempfile.TemporaryDirectory() as folder:
            run("attest", "--server", self.server.address, "-o", f"{folder}/evidence")
            self.assertIn(b"PROVES NOTHING", pathlib.Path(f"{folder}/evidence").read_bytes())

    def test_a_policy_that_refuses(self):
        policy = self.deployment.policy.read_text()
        measurement = policy.split('measurements = ["')[1][:64]
        owner = policy.split("ed25519:")[1][:64]
        cases = {
            "measurement": policy.replace(measurement, "00" * 32),
            "owner": policy.replace(owner, "11" * 32),
            "TEE": policy.replace('accept = ["simulated"]', 'accept = ["sgx", "tdx"]').split("[simulated]")[0],
            "bundle version": policy.replace("min_bundle_version = 1", "min_bundle_version = 2"),
        }
        for finding, text in cases.items():
            with self.subTest(finding):
                self.assertNotEqual(text, policy)
                path = self.folder / "refuses.toml"
                path.write_text(text)
                for command in (["classify", PHOTOGRAPHS[0]], ["provision", self.deployment.keys], ["attest"]):
                    done = run(*command, "--policy", path, "--server", self.server.address, expect=3)
                    self.assertIn(finding, error_line(done))

    def test_keys_of_another_bundle_are_not_given(self):
        other = Deployment(self.folder / "other")
        policy = self.deployment.policy
        done = run("provision", other.keys, "--policy", policy, "--server", self.server.address, expect=3)
        self.assertIn("these keys are for bundle", error_line(done))

    def test_an_older_bundle_is_refused_once_a_newer_was_seen(self):
        with tempfile.TemporaryDirectory() as state:
            owner = self.deployment.policy.read_text().split("ed25519:")[1][:64]
            claims = json.loads(run("attest", "--server", self.server.address, "--json").stdout)
            versions = pathlib.Path(state) / "infenclave" / "versions"
            versions.parent.mkdir()
            versions.write_text(f"ed25519:{owner} {claims['model']} 7\n")
            environment = {**os.environ, "XDG_STATE_HOME": state}
            done = subprocess.run([BINARY, "classify", PHOTOGRAPHS[0], "--policy", self.deployment.policy, "--server",
                                   self.server.address], env=environment, capture_output=True, text=True)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("version 7", error_line(done))

    def test_a_port_in_use(self):
        for command in ("serve", "backnet"):
            done = run(command, self.deployment.bundle, "--listen", self.server.address, expect=1)
            self.assertIn("is in use", error_line(done))

    def test_an_altered_bundle_is_not_served(self):
        with tempfile.TemporaryDirectory() as folder:
            for part, word in (("manifest", "signature"), ("frontnet.sealed", "frontnet"), ("backnet.onnx", "backnet")):
                altered = pathlib.Path(folder) / f"altered-{part}"
                shutil.copytree(self.deployment.bundle, altered)
                content = bytearray((altered / part).read_bytes())
                content[len(content) // 2] ^= 1
                (altered / part).write_bytes(content)
                for command in ("serve", "backnet"):
                    done = run(command, altered, "--listen", "127.0.0.1:0", expect=3)
                    self.assertIn(word, error_line(done).replace(str(altered), ""))

    def test_an_enclave_that_was_started_by_itself(self):
        with tempfile.TemporaryDirectory() as folder:
            address = f"unix:{folder}/enclave.sock"
            enclave = subprocess.Popen([BINARY.with_name("infenclave-enclave"), "--bundle", self.deployment.bundle,
                                        "--listen", address, "--lanes", "1"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            try:
                while not pathlib.Path(f"{folder}/enclave.sock").exists():
                    time.sleep(0.05)
                with self.deployment.serve("--enclave", address) as server:
                    some = PHOTOGRAPHS[:3]
                    self.assertEqual(json.loads(self.deployment.classify(server, *some).stdout),
                                     json.loads(self.deployment.classify(self.server, *some).stdout))
            finally:
                enclave.kill()
                enclave.wait()

    def test_a_remote_backnet_gives_the_same_answers(self):
        claims = json.loads(run("attest", "--server", self.server.address, "--json").stdout)
        with Server("backnet", self.deployment.bundle) as backnet:
            remote = f"grpc://{backnet.address}/{claims['model']}"
            done = run("attest", "--server", backnet.address, expect=1)
            self.assertIn("is no 'infenclave serve'", error_line(done))
            with self.deployment.serve("--backnet", remote) as server:
                some = PHOTOGRAPHS[:40]
                self.assertEqual(json.loads(self.deployment.classify(server, *some).stdout),
                                 json.loads(self.deployment.classify(self.server, *some).stdout))
                backnet.stop(signal.SIGTERM)
                done = self.deployment.classify(server, some[0], expect=1)
                self.assertIn("BackNet grpc://", error_line(done))

    def test_a_backnet_by_its_name(self):
        """Targets in gRPC's own form: by name, which localhost is everywhere, and a list of addresses."""
        some = PHOTOGRAPHS[:4]
        expected = json.loads(self.deployment.classify(self.server, *some).stdout)
        model = json.loads(run("attest", "--server", self.server.address, "--json").stdout)["model"]
        with Server("backnet", self.deployment.bundle) as one, Server("backnet", self.deployment.bundle) as two:
            port = one.address.rpartition(":")[2]
            for target in (f"dns:///localhost:{port}", f"ipv4:{one.address},{two.address}"):
                with self.deployment.serve("--backnet", f"grpc://{target}/{model}") as server:
                    self.assertEqual(json.loads(self.deployment.classify(server, *some).stdout), expected, target)

    def test_a_remote_backnet_that_is_not_there_or_another_is_one_error(self):
        with Server("backnet", self.deployment.bundle) as backnet:
            # Many times: what gRPC still does when it has answered must not end the program in another way.
            for _ in range(60):
                done = run("serve", self.deployment.bundle, "--listen", "127.0.0.1:0", "--backnet",
                           f"grpc://{backnet.address}/other", expect=1)
                self.assertIn(f"BackNet grpc://{backnet.address}/other", error_line(done))
        done = run("serve", self.deployment.bundle, "--listen", "127.0.0.1:0", "--backnet",
                   f"grpc://{backnet.address}/other", expect=1)
        self.assertIn("BackNet", error_line(done))

    def test_a_tail_and_audits_inside_give_the_same_answers(self):
        deployment = Deployment(self.folder / "inside", "--tail", "2", "--audits", "1")
        some = PHOTOGRAPHS[:20]
        plain = json.loads(self.deployment.classify(self.server, *some).stdout)
        with deployment.serve() as server:
            inside = json.loads(deployment.classify(server, *some).stdout)
        for one, other in zip(inside, plain):
            self.assertEqual(one["classes"][0]["label"], other["classes"][0]["label"], one["file"])
            self.assertAlmostEqual(one["classes"][0]["probability"], other["classes"][0]["probability"], delta=1e-4)

    def test_an_audit_finds_a_backnet_that_lies(self):
        """The BackNet of another bundle has the same interface, but its classes are in another order."""
        deployment = Deployment(self.folder / "audited", "--audits", "1")
        model = json.loads(run("attest", "--server", self.server.address, "--json").stdout)["model"]
        with Server("backnet", self.deployment.bundle) as liar:
            with deployment.serve("--backnet", f"grpc://{liar.address}/{model}") as server:
                done = deployment.classify(server, PHOTOGRAPHS[0], expect=3)
                self.assertIn("the audit failed", error_line(done))


class Failures(DeployedTest):
    OPEN_TO_ALL = False

    def test_without_keys_it_says_what_to_do(self):
        with self.deployment.serve(provision=False) as server:
            done = self.deployment.classify(server, PHOTOGRAPHS[0], expect=1)
            self.assertIn("infenclave provision", error_line(done))
            self.assertTrue(any("infenclave provision" in line for line in server.errors))
            self.assertTrue(any("SIMULATED TEE" in line for line in server.errors))

    def test_who_may_ask_is_the_owners_decision(self):
        invitation = self.folder / "alice.credential"
        run("invite", "--owner-key", self.deployment.owner, "--name", "alice", "-o", invitation)
        stranger_key = self.folder / "stranger.pem"
        forged = self.folder / "forged.credential"
        run("keygen", "-o", stranger_key)
        run("invite", "--owner-key", stranger_key, "--name", "alice", "-o", forged)
        revoked = self.folder / "revoked.credential"
        run("invite", "--owner-key", self.deployment.owner, "--name", "mallory", "--first-version", 2, "--last-version",
            3, "-o", revoked)
        with self.deployment.serve() as server:
            photograph = PHOTOGRAPHS[0]
            self.assertIn("credential", error_line(self.deployment.classify(server, photograph, expect=3)))
            done = run("classify", photograph, "--policy", self.deployment.policy, "--server", server.address,
                       "--credential", forged, expect=3)
            self.assertIn("credential", error_line(done))
            done = run("classify", photograph, "--policy", self.deployment.policy, "--server", server.address,
                       "--credential", revoked, expect=3)
            self.assertIn("good for versions 2 to 3 of the model, this is 1", error_line(done))
            run("classify", photograph, "--policy", self.deployment.policy, "--server", server.address, "--credential",
                invitation)

    def test_an_enclave_that_died(self):
        with self.deployment.serve() as server:
            enclaves = [pid for pid in server.children()
                        if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"enclave")]
            self.assertEqual(len(enclaves), 1)
            os.kill(enclaves[0], signal.SIGKILL)
            done = self.deployment.classify(server, PHOTOGRAPHS[0], expect=1)
            self.assertIn("the enclave has died", error_line(done))
            self.assertIn("infenclave serve", error_line(done))
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and not any("has died" in line for line in server.errors):
                time.sleep(0.1)
            self.assertTrue(any("has died" in line for line in server.errors))

    def test_no_server_there(self):
        done = run("classify", PHOTOGRAPHS[0], "--policy", self.deployment.policy, "--server", "127.0.0.1:1", expect=1)
        self.assertIn("is 'infenclave serve' running there?", error_line(done))

    def test_both_signals_stop_it(self):
        for how in (signal.SIGINT, signal.SIGTERM):
            with self.deployment.serve(provision=False) as server:
                enclaves = server.children()
                server.stop(how)
                for pid in enclaves:
                    self.assertFalse(pathlib.Path(f"/proc/{pid}").exists(), "the enclave outlived its host")

    def test_watch_gives_keys_to_an_enclave_that_comes_anew(self):
        with self.deployment.serve(provision=False) as server:
            watcher = subprocess.Popen([BINARY, "provision", self.deployment.keys, "--policy", self.deployment.policy,
                                        "--server", server.address, "--watch", "--lease", "1"],
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            try:
                self.assertIn("provisioned", watcher.stdout.readline())
                invitation = self.folder / "bob.credential"
                run("invite", "--owner-key", self.deployment.owner, "--name", "bob", "-o", invitation)
                ask = ["classify", PHOTOGRAPHS[0], "--policy", self.deployment.policy, "--server", server.address,
                       "--credential", invitation]
                run(*ask)
                self.assertIn("provisioned", watcher.stdout.readline(), "the lease of one request is used up")
                run(*ask)
            finally:
                watcher.send_signal(signal.SIGTERM)
                self.assertEqual(watcher.wait(timeout=30), 0)
                watcher.stdout.close()

    def test_a_hardware_bundle_never_runs_simulated(self):
        with tempfile.TemporaryDirectory() as folder:
            hardware = pathlib.Path(folder) / "hardware.bundle"
            run("partition", self.deployment.model, *self.deployment.model_arguments, "--labels",
                self.deployment.labels, "--owner-key", self.deployment.owner, "-o", hardware, "--cut",
                self.deployment.middle_cut(), "--tee", "hardware")
            run("serve", hardware, "--listen", "127.0.0.1:0", "--tee", "simulated", expect=3)
            self.assertIn("hardware TEEs", error_line(run("serve", hardware, "--listen", "127.0.0.1:0", expect=1)))
        done = run("serve", self.deployment.bundle, "--listen", "127.0.0.1:0", "--tee", "sgx", expect=3)
        self.assertIn("simulated TEE only", error_line(done))

    def test_wrong_usage(self):
        run("serve", expect=2)
        run("serve", self.deployment.bundle, "--backnet", "http://x", expect=2)
        run("classify", "--server", "127.0.0.1:1", expect=2)
        run("provision", self.deployment.keys, "--server", "127.0.0.1:1", expect=2)


if __name__ == "__main__":
    unittest.main()
