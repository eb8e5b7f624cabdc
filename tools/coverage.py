"""Which lines of the trusted modules the tests ran: a table per module, and with --missing the lines that they did not.

Usage: coverage.py BUILD_DIR SOURCE_DIR [--missing] [--least PERCENT] MODULE...   (`./dev coverage` runs it)
Fails where they ran less than PERCENT of all.
BUILD_DIR was configured with the preset `coverage`, and its tests have run. Counters lie in memory shared with
BUILD_DIR/profiles, so that what a process did counts however it ended: killed, or in a sandbox that lets it write nothing.
"""
import argparse
import pathlib
import subprocess
import sys


def ran_lines(build):
    """{file: {line with code: whether it ran}}"""
    merged = build / "merged.profdata"
    profiles = sorted(map(str, (build / "profiles").glob("*.profraw")))
    subprocess.run(["llvm-profdata-16", "merge", "-sparse", *profiles, "-o", merged], check=True)
    programs = [file for file in sorted(build.iterdir()) if file.is_file() and file.stat().st_mode & 0o100]
    objects = [part for program in programs for part in ("-object", program)][1:]
    out = subprocess.run(["llvm-cov-16", "export", "-format=lcov", "-instr-profile", merged, *objects], check=True,
                         capture_output=True, text=True).stdout
    files, lines = {}, {}
    for kind, _, rest in (line.partition(":") for line in out.splitlines()):
        if kind == "SF":
            lines = files.setdefault(pathlib.Path(rest).resolve(), {})
        elif kind == "DA":
            number, count = map(int, rest.split(",")[:2])
            lines[number] = lines.get(number, False) or count > 0
    return files


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--least", type=float, default=0)
    parser.add_argument("modules", nargs="+")
    options = parser.parse_args()
    build, source = options.build, options.source
    files = ran_lines(build)
    print(f"{'module':<12}{'lines':>9}{'ran':>9}{'%':>8}")
    sums = [0, 0]
    for module in options.modules:
        total = covered = 0
        for path in sorted((source / "src" / module).resolve().iterdir()):
            if path not in files:
                if path.suffix == ".cc":
                    sys.exit(f"{path}: in no test program")
                continue
            ran = files[path]
            total += len(ran)
            covered += sum(ran.values())
            left = [number for number in sorted(ran) if not ran[number]]
            if options.missing and left:
                print(f"  {path.relative_to(source.resolve())}: {', '.join(map(str, left))}")
        sums = [sums[0] + total, sums[1] + covered]
        print(f"{module:<12}{total:>9}{covered:>9}{100 * covered / max(total, 1):>8.1f}")
    share = 100 * sums[1] / sums[0]
    print(f"{'sum':<12}{sums[0]:>9}{sums[1]:>9}{share:>8.1f}")
    if share < options.least:
        sys.exit(f"less than {options.least:g} % were run")


if __name__ == "__main__":
    main()
