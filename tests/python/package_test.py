"""The Python package as a user has it: installed by pip into a venv of its own, asked against a served bundle, its types
checked, and its docs' examples run."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent.parent), str(pathlib.Path(__file__).parent.parent / "e2e")]
import peers  # noqa: E402
from deployment import PHOTOGRAPHS, WHERE_READY, Deployment, run  # noqa: E402

SOURCE = pathlib.Path(os.environ["INFENCLAVE_SOURCE_DIR"])

# Runs in the venv, with what it needs in sys.argv.
CHECKS = '''
import asyncio, pathlib, pickle, sys, threading
import infenclave, numpy as np
from PIL import Image
server, policy, credential, expected, *photographs = sys.argv[1:]
expected = eval(expected)  # label and probability per photograph, as the command line says

def near(answer, wanted):
    assert answer.label == wanted[0] and abs(answer.probability - wanted[1]) < 1e-6, (answer, wanted)
    assert len(answer.classes) == 5 and all(a.probability >= b.probability for a, b in zip(answer.classes, answer.classes[1:]))

with infenclave.Client(server, policy, credential=credential) as client:
    assert client.model.simulated and client.model.version == 1 and client.model.width > 0, client.model
    near(client.classify(photographs[0]), expected[0])
    near(client.classify(pathlib.Path(photographs[0])), expected[0])
    near(client.classify(open(photographs[0], "rb").read()), expected[0])
    for answer, wanted in zip(client.classify_many(photographs), expected, strict=True):
        near(answer, wanted)
    pixels = np.asarray(Image.open(photographs[0]).convert("RGB"))
    assert client.classify(pixels).label == expected[0][0]
    assert client.classify(pixels[::-1, ::-1][::-1, ::-1]).label == expected[0][0]  # strides of any kind
    # Threads share a client.
    labels = []
    threads = [threading.Thread(target=lambda: labels.append(client.classify(photographs[1]).label)) for _ in range(8)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert labels == [expected[1][0]] * 8, labels

    for bad, kind in ((b"no picture", infenclave.InvalidInputError), (b"no picture", ValueError),
                      ("/nowhere.jpg", FileNotFoundError), (np.zeros((4, 4), np.uint8), ValueError),
                      (np.zeros((4, 4, 3), np.float32), ValueError), (np.zeros((0, 4, 3), np.uint8), ValueError),
                      (3, infenclave.InvalidInputError)):
        try:
            client.classify(bad)
        except kind as error:
            assert isinstance(error, infenclave.InfenclaveError) and error.code and str(error), error
        else:
            raise AssertionError(f"{bad!r} was classified")
try:
    client.classify(photographs[0])
except infenclave.InfenclaveError as error:
    assert "closed" in str(error)

for arguments, kind in (((server, "/nowhere.toml"), infenclave.NotFoundError),
                        (("127.0.0.1:1", policy), infenclave.UnavailableError),
                        (("127.0.0.1:1", policy), ConnectionError)):
    try:
        infenclave.Client(*arguments, timeout=5)
    except kind:
        pass
    else:
        raise AssertionError(f"{arguments} made a client")
try:  # no credential
    infenclave.Client(server, policy).classify(photographs[0])
except infenclave.RefusedError as error:
    assert error.code == "PERMISSION_DENIED" and isinstance(error, PermissionError)
else:
    raise AssertionError("classified without a credential")

async def main():
    async with await infenclave.AsyncClient.connect(server, policy, credential=credential) as client:
        answers = await asyncio.gather(*(client.classify(photograph) for photograph in photographs))
        for answer, wanted in zip(answers, expected, strict=True):
            near(answer, wanted)
        many = [answer async for answer in client.classify_many(photographs)]
        assert many == answers
        try:
            await client.classify(b"no picture")
        except infenclave.InvalidInputError:
            pass
        else:
            raise AssertionError("no picture was classified")
        # Given up: nothing breaks, and the client goes on.
        task = asyncio.create_task(client.classify(photographs[0]))
        await asyncio.sleep(0.001)
        task.cancel()
        near(await client.classify(photographs[0]), expected[0])
asyncio.run(main())

leaked = infenclave.Client(server, policy, credential=credential)
futures = [leaked.submit(photograph) for photograph in photographs]  # in flight when the interpreter ends
print("all checks passed")
'''


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        os.environ["XDG_STATE_HOME"] = cls.folder.name
        base = peers.python("numpy==2.4.6", "pillow==11.3.0", "mypy==2.4.1")
        # Beside the build, so that a second run compiles only what has changed.
        cls.venv = SOURCE / "build/python/venv"
        shutil.rmtree(cls.venv, ignore_errors=True)
        subprocess.run(["/usr/bin/python3", "-m", "venv", cls.venv], check=True)
        cls.python = cls.venv / "bin/python"
        site = next((base.parent.parent / "lib").glob("python3*")) / "site-packages"
        next((cls.venv / "lib").glob("python3*")).joinpath("site-packages/peers.pth").write_text(f"{site}\n")
        done = subprocess.run([cls.venv / "bin/pip", "install", "-q", "--disable-pip-version-check", SOURCE],
                              capture_output=True, text=True, env={**os.environ, "CMAKE_BUILD_PARALLEL_LEVEL": "2", "CCACHE_BASEDIR": str(SOURCE),
                                   "CCACHE_NOHASHDIR": "1"})
        if done.returncode:
            raise AssertionError(f"pip install .: {done.stdout[-3000:]}{done.stderr[-3000:]}")

    def run_python(self, *arguments, **kwargs):
        done = subprocess.run([self.python, *map(str, arguments)], capture_output=True, text=True, timeout=300, **kwargs)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def test_1_types(self):
        program = pathlib.Path(self.folder.name) / "typed.py"
        program.write_text('import infenclave\nclient = infenclave.Client("a:1", "p")\n'
                           'label: str = client.classify("x.jpg").label\nclient.classify(3)\n')
        self.run_python("-m", "mypy", "--strict", "--cache-dir", self.folder.name, "-p", "infenclave")
        done = subprocess.run([self.python, "-m", "mypy", "--strict", "--cache-dir", self.folder.name, program],
                              capture_output=True, text=True)
        self.assertIn("typed.py:4: error: Argument 1", done.stdout)
        self.assertIn("Found 1 error", done.stdout)

    def test_2_the_version_is_the_projects(self):
        done = self.run_python("-c", "import importlib.metadata as m; print(m.version('infenclave'))")
        version = re.search(r"project\(infenclave VERSION ([\d.]+)", (SOURCE / "CMakeLists.txt").read_text())[1]
        self.assertEqual(done.stdout.strip(), version)

    @WHERE_READY
    def test_3_asks_a_served_bundle(self):
        deployment = Deployment(pathlib.Path(self.folder.name) / "closed", open_to_all=False)
        credential = pathlib.Path(self.folder.name) / "alice"
        run("invite", "--owner-key", deployment.owner, "--name", "alice", "-o", credential)
        some = PHOTOGRAPHS[:20]
        with deployment.serve() as server:
            said = json.loads(run("classify", *some, "--policy", deployment.policy, "--server", server.address,
                                  "--credential", credential, "--json").stdout)
            expected = [(entry["classes"][0]["label"], entry["classes"][0]["probability"]) for entry in said]
            done = self.run_python("-c", CHECKS, server.address, deployment.policy, credential, repr(expected), *some)
        self.assertIn("all checks passed", done.stdout)
        self.assertEqual(done.stderr, "")

    @WHERE_READY
    def test_4_the_docs_examples_run(self):
        folder = pathlib.Path(self.folder.name) / "docs"
        deployment = Deployment(folder)
        shutil.copy(PHOTOGRAPHS[0], folder / "cat.jpg")
        shutil.copy(PHOTOGRAPHS[1], folder / "dog.jpg")
        shutil.copy(deployment.policy, folder / "lite0.bundle.policy.toml")
        examples = re.findall(r"```python\n(.*?)```", (SOURCE / "docs/python.md").read_text(), re.DOTALL)
        self.assertGreaterEqual(len(examples), 4)
        with deployment.serve() as server:
            for example in examples:
                program = example.replace("127.0.0.1:8001", server.address)
                self.assertTrue(self.run_python("-c", program, cwd=folder).stdout.strip())


if __name__ == "__main__":
    unittest.main()
