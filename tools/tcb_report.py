"""What the enclave trusts: lines of code and size of each trusted module, and the shared libraries that
infenclave-enclave loads.

Usage: tcb_report.py EXECUTABLE SOURCE_DIR MODULE...   (`cmake --build build --target tcb` runs it)
A line counts if it holds more than white space and a // comment. A module's size is that of its machine code and data in
the static library beside EXECUTABLE; the linker takes from it what the enclave uses.
"""
import pathlib
import re
import subprocess
import sys


def lines_of_code(folder):
    files = sorted(f for f in folder.iterdir() if f.suffix in (".h", ".cc"))
    code = sum(1 for f in files for line in f.read_text().splitlines() if line.split("//")[0].strip())
    return len(files), code


def size_of_code(library):
    out = subprocess.run(["size", "--totals", str(library)], check=True, capture_output=True, text=True).stdout
    text, data = out.splitlines()[-1].split()[:2]
    return int(text) + int(data)


def libraries(executable):
    out = subprocess.run(["ldd", str(executable)], check=True, capture_output=True, text=True).stdout
    return [pathlib.Path(p).resolve() for p in re.findall(r"(?:=> )?(/\S+) \(0x", out)]


def package_of(library):
    path = str(library)
    try:
        for name in (path, path.removeprefix("/usr")):  # dpkg may know /usr/lib by its older name, /lib
            out = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True).stdout
            if out:
                return out.split(":")[0]
    except FileNotFoundError:  # not a Debian system
        pass
    return "-"


def main():
    executable, source = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    print(f"{'module':<12}{'files':>7}{'lines':>9}{'KiB':>9}")
    total = total_size = 0
    for module in sys.argv[3:]:
        files, code = lines_of_code(source / "src" / module)
        size = size_of_code(executable.parent / "src" / module / f"libinfenclave_{module}.a")
        total += code
        total_size += size
        print(f"{module:<12}{files:>7}{code:>9}{size / 2**10:>9.0f}")
    print(f"{'sum':<12}{'':>7}{total:>9}{total_size / 2**10:>9.0f}\n")
    size = executable.stat().st_size
    print(f"{executable.name}: {size / 2**20:.2f} MiB, and the libraries that it loads\n")
    print(f"{'MiB':>8}  {'library':<46}package")
    for library in sorted(libraries(executable), key=lambda f: -f.stat().st_size):
        bytes_ = library.stat().st_size
        size += bytes_
        print(f"{bytes_ / 2**20:>8.2f}  {library.name:<46}{package_of(library)}")
    print(f"{size / 2**20:>8.2f}  sum")


if __name__ == "__main__":
    main()
