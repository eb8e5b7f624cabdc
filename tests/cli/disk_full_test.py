"""Every command that writes files, on a disk that fills up while it does: one line that says so, exit status 1, and nothing
half written left behind. The disk is a tmpfs of a few pages, in a mount namespace of the test's own.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy
from PIL import Image

sys.path[:0] = [str(pathlib.Path(__file__).parents[1] / folder) for folder in ("bundle", "e2e")]
from commands_test import LABELS, make_model  # noqa: E402
from deployment import BINARY, Server, error_line, run  # noqa: E402

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
PAGE = os.sysconf("SC_PAGE_SIZE")
FULL = "No space left on device"


def enter_namespace():
    """Starts this script again where it may mount, or says that it cannot."""
    if os.environ.get("INFENCLAVE_MAY_MOUNT"):
        return
    if subprocess.run([*NAMESPACE, "true"], stderr=subprocess.DEVNULL).returncode != 0:
        print("SKIPPED: this machine allows no mount namespace")
        sys.exit(0)
    os.environ["INFENCLAVE_MAY_MOUNT"] = "1"
    os.execvp(NAMESPACE[0], [*NAMESPACE, sys.executable, "-B", *sys.argv])


class DiskFull(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.at = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.disk = cls.at / "disk"
        cls.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", cls.disk], check=True)
        cls.addClassCleanup(subprocess.run, ["umount", cls.disk], check=True)
        cls.state = cls.at / "state"
        os.environ["XDG_STATE_HOME"] = os.environ["XDG_CACHE_HOME"] = str(cls.state)
        cls.model, cls.labels, cls.owner = cls.at / "model.onnx", cls.at / "labels.txt", cls.at / "owner.pem"
        make_model(cls.model)
        cls.labels.write_text("".join(f"{label}\n" for label in LABELS))
        run("keygen", "-o", cls.owner)
        cls.photographs = cls.at / "photographs"
        cls.photographs.mkdir()
        random = numpy.random.default_rng(3)
        for i in range(24):
            picture = random.integers(0, 256, (8, 8, 3), dtype=numpy.uint8)
            Image.fromarray(picture).save(cls.photographs / f"{i:03}.png")
        numpy.save(cls.at / "input.npy", random.standard_normal((1, 3, 8, 8)).astype(numpy.float32))
        cls.bundle = cls.at / "served"
        cls.keys, cls.policy = cls.at / "served.keys", cls.at / "served.policy.toml"
        run(*cls.partition(cls.bundle), "--open")

    @classmethod
    def partition(cls, out):
        return ["partition", cls.model, "--labels", cls.labels, "--owner-key", cls.owner, "--cut", "conv1", "--tee",
                "simulated", "-o", out]

    def setUp(self):
        self.empty()

    def empty(self):
        for entry in self.disk.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def contents(self):
        return {str(file.relative_to(self.disk)): file.read_bytes() for file in self.disk.rglob("*") if file.is_file()}

    def pages(self):
        """Used on the disk."""
        status = os.statvfs(self.disk)
        return status.f_blocks - status.f_bfree

    def leave(self, pages):
        """Fills the disk so that only these are free."""
        status = os.statvfs(self.disk)
        with open(self.disk / "filler", "wb") as filler:
            filler.write(bytes((status.f_bavail - pages) * PAGE))
        self.assertEqual(os.statvfs(self.disk).f_bavail, pages)

    def fails(self, *command, **options):
        done = run(*command, expect=1, **options)
        self.assertIn(FULL, error_line(done))
        return done

    def sweep(self, command, before=lambda: None, after=lambda: None):
        """The command with room for anything from nothing to one page less than it needs (at most 12 sizes)."""
        before()
        used = self.pages()
        run(*command)
        needs = self.pages() - used
        self.assertGreater(needs, 0)
        whole = set(self.contents())
        for room in sorted({needs * i // 12 for i in range(12)}):
            with self.subTest(room=room, of=needs):
                self.empty()
                before()
                self.leave(room)
                kept = self.contents()
                self.fails(*command)
                self.assertEqual(self.contents(), kept)
                (self.disk / "filler").unlink()
                after()
                run(*command)  # as if nothing had been
                self.assertEqual(set(self.contents()), whole)

    def test_what_the_owner_writes(self):
        out = self.disk / "out"
        for command in [("keygen", "-o", out), ("invite", "--owner-key", self.owner, "--name", "bob", "-o", out),
                        ("run", self.model, "--input", self.at / "input.npy", "-o", out),
                        ("quantize", self.model, "--images", self.photographs, "-o", out),
                        ("quantize", self.model, "--images", self.photographs, "-o", out, "--json")]:
            with self.subTest(command[0]):
                self.empty()
                self.sweep(command)

    def test_a_bundle_with_all_that_belongs_to_it(self):
        narrowed = ["--images", self.photographs, "--ir-rank", "2", "--narrowed", self.disk / "narrowed.onnx"]
        for more in [[], ["--tail", "1"], narrowed]:
            with self.subTest(more):
                self.empty()
                self.sweep([*self.partition(self.disk / "bundle"), *more])

    @staticmethod
    def scores(assessment):
        """Without what was timed."""
        return {cut["name"]: cut["kl"] for cut in json.loads(assessment)["cuts"]}

    def test_assess_goes_on_where_it_stopped(self):
        command = ["assess", self.model, "--oracle", self.model, "--images", self.photographs, "--attacks", "kl", "-o",
                   self.disk / "out"]
        used = self.pages()
        run(*command)
        needs = self.pages() - used
        result = self.contents()
        for room in range(0, needs, max(1, needs // 8)):
            with self.subTest(room=room, of=needs):
                self.empty()
                self.leave(room)
                self.fails(*command)
                for name in set(self.contents()) - {"filler"}:
                    self.assertIn(name, result, "a part of a file was left")
                (self.disk / "filler").unlink()
                run(*command)
                self.assertEqual(self.scores((self.disk / "out/assessment.json").read_text()),
                                 self.scores(result["out/assessment.json"]))

    def test_keys_are_not_given_where_that_cannot_be_written_down(self):
        log = self.disk / "log"
        provision = ["provision", self.keys, "--policy", self.policy, "--log", log, "--server"]
        with Server("serve", self.bundle) as server:
            asked = ["classify", self.photographs / "000.png", "--policy", self.policy, "--server", server.address]
            self.leave(0)
            self.fails(*provision, server.address)
            self.assertIn("no keys yet", error_line(run(*asked, expect=1)))
            (self.disk / "filler").unlink()
            run(*provision, server.address)
            run(*asked)
            # The next line does not fit into what is left of the page.
            while PAGE - log.stat().st_size % PAGE > log.stat().st_size // len(log.read_text().splitlines()):
                run(*provision, server.address)
            self.leave(0)
            kept = log.read_bytes()
            self.fails(*provision, server.address)
            self.assertEqual(log.read_bytes(), kept)
            (self.disk / "filler").unlink()
            run(*provision, server.address)
            self.assertEqual(len(json.loads(run("releases", log, "--json").stdout)["releases"]),
                             len(kept.splitlines()) + 1)

    def test_what_was_attested(self):
        out = self.disk / "out"
        with Server("serve", self.bundle) as server:
            for command in [("attest", "--server", server.address, "-o", out),
                            ("attest", "--server", server.address, "--policy", self.policy, "--pin", out)]:
                with self.subTest(command):
                    self.empty()
                    self.sweep(command)

    def test_nothing_is_asked_where_versions_cannot_be_remembered(self):
        with Server("serve", self.bundle) as server:
            run("provision", self.keys, "--policy", self.policy, "--server", server.address)
            asked = ["classify", self.photographs / "000.png", "--policy", self.policy, "--server", server.address]
            state = {**os.environ, "XDG_STATE_HOME": str(self.disk)}

            def classify():
                return subprocess.run([BINARY, *map(str, asked)], capture_output=True, text=True, env=state, timeout=60)

            self.leave(0)
            done = classify()
            self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
            self.assertIn(FULL, error_line(done))
            self.assertEqual(set(self.contents()), {"filler", "infenclave/versions.lock"})
            (self.disk / "filler").unlink()
            self.assertEqual(classify().returncode, 0)
            self.assertIn("infenclave/versions", self.contents())

    def test_what_is_printed(self):
        """Standard output may be a file on that disk, too."""
        for command in [("inspect", self.model, "--json"), ("inspect", self.model), ("--help",), ("--version",),
                        ("run", self.model, self.photographs / "000.png", "--json")]:
            with self.subTest(command), open("/dev/full", "w") as full:
                done = subprocess.run([BINARY, *map(str, command)], stdout=full, stderr=subprocess.PIPE, text=True)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn("standard output", done.stderr)


if __name__ == "__main__":
    enter_namespace()
    unittest.main()
