"""The Debian package, made from this build: lintian has nothing to say, and its programs run from where it puts them."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["INFENCLAVE_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"])


def sh(*command, **kwargs):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **kwargs)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


@unittest.skipUnless(shutil.which("dpkg-shlibdeps"), "SKIPPED: needs dpkg-dev")
class DebianPackage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        sh("cpack", "-G", "DEB", "--config", BUILD / "CPackConfig.cmake", "-B", cls.folder.name)
        cls.package = next(pathlib.Path(cls.folder.name).glob("*.deb"))
        cls.root = pathlib.Path(cls.folder.name) / "root"
        sh("dpkg-deb", "-x", cls.package, cls.root)

    @unittest.skipUnless(shutil.which("lintian"), "SKIPPED: needs lintian")
    def test_lintian_is_content(self):
        out = sh("lintian", "--fail-on", "error,warning", self.package)
        self.assertEqual([line for line in out.splitlines() if line[:2] in ("E:", "W:")], [])

    def test_its_programs_run(self):
        infenclave = self.root / "usr/bin/infenclave"
        self.assertIn("0.", sh(infenclave, "--version"))
        with tempfile.TemporaryDirectory() as folder:
            sh(infenclave, "keygen", "-o", f"{folder}/owner.pem")
        self.assertTrue((self.root / "lib/systemd/system/infenclave@.service").exists())

    def test_what_it_needs_is_named(self):
        depends = sh("dpkg-deb", "-f", self.package, "Depends")
        for library in ("libgrpc++1.51", "libdnnl2", "libssl3", "libonnx1", "libprometheus-cpp-core1.0"):
            self.assertIn(library, depends)
        self.assertNotIn("torch", depends)

    def test_the_bill_of_materials_names_what_it_needs(self):
        """A check against dpkg-shlibdeps, which worked out Depends by itself, and of the versions against dpkg."""
        bill = json.loads((self.root / "usr/share/doc/infenclave/sbom.cdx.json").read_text())
        self.assertEqual((bill["bomFormat"], bill["specVersion"]), ("CycloneDX", "1.5"))
        self.assertEqual(bill["metadata"]["component"]["version"], sh("dpkg-deb", "-f", self.package, "Version").split("-")[0])
        parts = {part["name"]: part for part in bill["components"]}
        self.assertEqual(bill["dependencies"][0]["dependsOn"], [part["bom-ref"] for part in bill["components"]])

        def has(name, key, value):
            return {"name": f"infenclave:{key}", "value": value} in parts[name]["properties"]

        for needed in sh("dpkg-deb", "-f", self.package, "Depends").split(","):
            name = needed.split()[0]
            self.assertTrue(has(name, "use", "loaded"), name)
            self.assertEqual(parts[name]["version"], sh("dpkg-query", "-W", "-f", "${Version}", name))
        for headers in ("libcli11-dev", "nlohmann-json3-dev", "libtomlplusplus-dev"):  # they are nothing else
            self.assertTrue(has(headers, "use", "compiled in"), headers)
        self.assertTrue(has("libdnnl2", "trusted", "true"))
        self.assertFalse(has("libgrpc++1.51", "trusted", "true"))

    def test_the_manual_names_every_command(self):
        page = sh("zcat", self.root / "usr/share/man/man1/infenclave.1.gz")
        help_text = sh(self.root / "usr/bin/infenclave", "--help")
        commands = [line.split()[0] for line in help_text.split("Commands:")[1].split("Exit status")[0].splitlines()
                    if line.startswith("  ") and line[2] != " "]
        self.assertGreater(len(commands), 10)
        for command in commands:
            self.assertIn(f".B {command}\n", page)


if __name__ == "__main__":
    unittest.main()
