"""What a build must not depend on, so that whoever has the sources can recompute a measurement: where it was made, and
when. `./dev reproducible` builds the whole enclave twice; this compiles a few of its sources in two folders.
"""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["INFENCLAVE_SOURCE_DIR"]).resolve()
BINARY = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]).resolve()
# With checks, which hold a file's name and line; with templates from headers; with tables; and what is linked alone.
SOURCES = ["src/base/status.cc", "src/crypto/secret.cc", "src/tee/simulated.cc", "src/enclave/main.cc"]


class Reproducible(unittest.TestCase):
    def test_the_enclave_holds_no_path_of_its_build(self):
        whole = (BINARY / "infenclave-enclave").read_bytes()
        for folder in {SOURCE, BINARY, pathlib.Path.home()} - {pathlib.Path("/"), pathlib.Path("/root")}:
            self.assertNotIn(os.fsencode(folder), whole)
        dynamic = subprocess.run(["readelf", "--dynamic", BINARY / "infenclave-enclave"], capture_output=True, check=True)
        self.assertNotRegex(dynamic.stdout.decode(), r"\((RPATH|RUNPATH)\)")

    def test_no_source_asks_for_the_time_of_the_build(self):
        for file in (SOURCE / "src").rglob("*.[ch]*"):
            self.assertNotRegex(file.read_text(), r"__(DATE|TIME|TIMESTAMP)__", str(file))

    def test_sources_compile_to_the_same_in_two_folders(self):
        commands = {entry["file"]: entry for entry in json.loads((BINARY / "compile_commands.json").read_text())}
        for source in SOURCES:
            with self.subTest(source), tempfile.TemporaryDirectory() as scratch:
                entry = commands[str(SOURCE / source)]
                first, second = (self.compile(entry, pathlib.Path(scratch) / folder) for folder in ("a", "longer/b"))
                self.assertEqual(first, second)

    def compile(self, entry, folder):
        """The object that the entry's command makes of a copy of the sources in that folder."""
        shutil.copytree(SOURCE / "src", folder / "src")
        command = [re.sub(rf"{re.escape(str(SOURCE))}(?=[/=]|$)", str(folder), word)
                   for word in shlex.split(entry["command"]) if not word.endswith("/ccache")]
        command[command.index("-o") + 1] = str(folder / "object")
        build = folder / "build"
        build.mkdir()
        subprocess.run(command, cwd=build, check=True)
        return (folder / "object").read_bytes()


if __name__ == "__main__":
    unittest.main()
