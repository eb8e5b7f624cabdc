"""clang-tidy over sources, several at once. What it had nothing to say of is not looked at again until it changes: the file,
something that it includes, how it is compiled, .clang-tidy, or clang-tidy itself.

Usage: tidy.py BUILD_DIR FILE...   (`./dev tidy` runs it; BUILD_DIR has compile_commands.json)
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

TIDY, CLANG = "clang-tidy-16", "clang++-16"


def output_of(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, **options).stdout


def clean_mark(entry, common):
    """A name for all that clang-tidy could say something about."""
    command = shlex.split(entry["command"])[1:]
    at = command.index("-o")
    del command[at:at + 2]
    text = output_of(CLANG, "-E", "-w", *(part for part in command if part != "-c"), cwd=entry["directory"])
    digest = hashlib.sha256(common + " ".join(command).encode() + text)
    digest.update(pathlib.Path(entry["file"]).read_bytes())  # with its comments: NOLINT is one
    return digest.hexdigest()


def main():
    build, files = pathlib.Path(sys.argv[1]), sys.argv[2:]
    entries = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        entries.setdefault(os.path.realpath(entry["file"]), entry)
    marks = build / "tidy"
    marks.mkdir(exist_ok=True)
    common = output_of(TIDY, "--version") + pathlib.Path(".clang-tidy").read_bytes()

    def check(file):
        """What there is to say of it."""
        entry = entries.get(os.path.realpath(file))
        if entry is None:
            return f"{file}: is in no target\n"
        mark = marks / clean_mark(entry, common)
        if mark.exists():
            return ""
        done = subprocess.run([TIDY, "-p", build, "--quiet", file], capture_output=True, text=True)
        if done.returncode == 0:
            mark.touch()
        return done.stdout if done.returncode else ""

    found, begin = 0, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for number, said in enumerate(pool.map(check, files), 1):
            print(said, end="", flush=True)
            found += bool(said)
            print(f"{number} of {len(files)}, {time.monotonic() - begin:.0f} s", file=sys.stderr)
    sys.exit(f"{found} of {len(files)} files have findings" if found else 0)


if __name__ == "__main__":
    main()
