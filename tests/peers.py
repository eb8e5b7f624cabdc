"""Programs of other make that tests run against ours, each installed at its first use into a cache that clones share:
$INFENCLAVE_PEERS, else ~/.cache/infenclave-peers. What cannot be installed here skips its test, loudly.

    python("kserve==0.21.0")                            an interpreter with that package
    go_tool("github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3")   a program
    perf_analyzer()                                     the start of its command line
"""

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import unittest

CACHE = pathlib.Path(os.environ.get("INFENCLAVE_PEERS")
                     or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "infenclave-peers")
# Tests set a state and perhaps a home of their own, so the cache's place is decided before.


def _sh(*command, **kwargs):
    return subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=900, **kwargs).stdout


def _made(name, make):
    """The folder that make(folder) has filled: once, whoever comes first. A failure is remembered for this run only."""
    folder = CACHE / name
    if (folder / ".complete").exists():
        return folder
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with open(CACHE / f".{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / ".complete").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / ".complete").touch()
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "output", None) or str(error)).strip().splitlines()
        raise unittest.SkipTest(f"SKIPPED: {name} cannot be installed here: {said[-1] if said else error}") from error
    return folder


def python(*requirements):
    """The interpreter of a venv (of the system's Python) that holds these packages, each pinned by ==."""
    first = re.match(r"[\w-]+", requirements[0]).group()
    name = f"{first}-{hashlib.sha256(' '.join(requirements).encode()).hexdigest()[:12]}"

    def make(folder):
        _sh("/usr/bin/python3", "-m", "venv", folder / "venv")
        _sh(folder / "venv/bin/pip", "install", "-q", "--disable-pip-version-check", *requirements)

    return _made(name, make) / "venv/bin/python"


def go_tool(package):
    """A Go program by its package and version."""
    path, version = package.split("@")
    tool = path.rsplit("/", 1)[1]
    if shutil.which("go") is None:
        raise unittest.SkipTest(f"SKIPPED: {tool} needs Go to be built, and there is no 'go' here")
    folder = _made(f"{tool}-{version}", lambda folder: _sh("go", "install", package, env={**os.environ, "GOBIN": folder}))
    return folder / tool


def perf_analyzer():
    """Triton's perf_analyzer. Its wheel needs a newer C library than Debian 12's, so it runs under Debian 13's, unpacked."""

    def make(folder):
        _sh("/usr/bin/python3", "-m", "venv", folder / "venv")
        _sh(folder / "venv/bin/pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--platform",
            "manylinux_2_38_x86_64", "-d", folder, "perf-analyzer==2.60.0")
        _sh("/usr/bin/python3", "-m", "zipfile", "-e", *folder.glob("*.whl"), folder / "wheel")
        shutil.rmtree(folder / "venv")
        sources = pathlib.Path("/etc/apt/sources.list.d/debian.sources").read_text().split("\n\n")[0]
        (folder / "trixie.sources").write_text(re.sub(r"(?m)^Suites:.*$", "Suites: trixie", sources) + "\n")
        (folder / "status").touch()
        for part in ("lists/partial", "cache/archives/partial", "root"):
            (folder / part).mkdir(parents=True)
        apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", "Dir::Etc::SourceParts=/dev/null"]
        for key, value in (("Etc::SourceList", "trixie.sources"), ("State::Lists", "lists"), ("State::status", "status"),
                           ("Cache", "cache")):
            apt += ["-o", f"Dir::{key}={folder / value}"]
        _sh(*apt, "update")
        _sh(*apt, "download", "libc6", "libstdc++6", "libgcc-s1", "libssl3t64", "zlib1g", "libzstd1", cwd=folder)
        for package in folder.glob("*.deb"):
            _sh("dpkg-deb", "-x", package, folder / "root")
        for waste in ("lists", "cache"):
            shutil.rmtree(folder / waste)
        (folder / "wheel/perf_analyzer/bin/perf_analyzer").chmod(0o755)

    folder = _made("perf_analyzer-2.60.0", make)
    libraries = folder / "root/usr/lib/x86_64-linux-gnu"
    return [libraries / "ld-linux-x86-64.so.2", "--library-path", libraries,
            folder / "wheel/perf_analyzer/bin/perf_analyzer"]
