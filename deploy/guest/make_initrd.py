#!/usr/bin/env python3
"""Makes the initrd of a TDX or SEV-SNP guest that holds the enclave and nothing else: the same files give the same bytes.

  make_initrd.py --enclave build/infenclave-enclave --bundle lite0.bundle --busybox /usr/bin/busybox -o initrd.img
                 [--module tsm.ko --module sev-guest.ko …]

busybox must be static (Debian: busybox-static). Modules are loaded in the order given; a kernel that has vsock,
configfs and the TEE's driver built in needs none. The guest has no disk, no network but vsock, no shell that anybody
reaches; it listens on vsock port 7001 (`infenclave serve --enclave vsock:CID:7001`).
"""

import argparse
import gzip
import os
import stat
import subprocess
import sys

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do [ -e "$module" ] && /bin/busybox insmod "$module"; done
/bin/busybox mount -t configfs configfs /sys/kernel/config
ulimit -l unlimited
/infenclave-enclave --bundle /bundle --listen vsock:4294967295:7001 @OPTIONS@
echo "infenclave-enclave ended: $?"
/bin/busybox poweroff -f
"""
BUNDLE_FILES = ("manifest", "manifest.sig", "frontnet.sealed", "mapping.sealed", "tail.sealed", "audit.sealed")


class Archive:
    """A cpio archive in the kernel's format (newc), without times, owners and inode numbers of this machine."""

    def __init__(self):
        self.out = bytearray()
        self.names = set()

    def _entry(self, name, mode, content=b"", inode=None):
        fields = (len(self.names) + 1 if inode is None else inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0,
                  len(name) + 1, 0)
        self.out += b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        self.out += bytes(-len(self.out) % 4) + content
        self.out += bytes(-len(self.out) % 4)

    def folder(self, name):
        parent = os.path.dirname(name)
        if parent:
            self.folder(parent)
        if name not in self.names:
            self.names.add(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, content, mode=0o644):
        if os.path.dirname(name):
            self.folder(os.path.dirname(name))
        if name not in self.names:
            self.names.add(name)
            self._entry(name, stat.S_IFREG | mode, content)

    def finish(self):
        self._entry("TRAILER!!!", 0, inode=0)
        return gzip.compress(bytes(self.out), mtime=0)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def libraries(executable):
    """The shared libraries that it loads, and the loader, where the loader will look for them."""
    paths = []
    for line in subprocess.run(["ldd", executable], check=True, capture_output=True, text=True).stdout.splitlines():
        words = line.split()
        path = words[2] if "=>" in words else words[0]
        if path == "not":
            sys.exit(f"{executable} needs {words[0]}, which is not here")
        if path.startswith("/"):
            paths.append(path)
    return sorted(set(paths))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--enclave", required=True)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--busybox", required=True)
    parser.add_argument("--module", action="append", default=[])
    parser.add_argument("--options", default="", help="more options of infenclave-enclave, such as '--lanes 4'")
    parser.add_argument("-o", required=True)
    args = parser.parse_args()

    archive = Archive()
    for name in ("proc", "sys", "dev", "tmp"):
        archive.folder(name)
    archive.file("init", INIT.replace("@OPTIONS@", args.options).encode(), 0o755)
    archive.file("bin/busybox", read(args.busybox), 0o755)
    archive.file("infenclave-enclave", read(args.enclave), 0o755)
    for path in libraries(args.enclave):
        archive.file(path.lstrip("/"), read(path), 0o755)
    for name in BUNDLE_FILES:
        path = os.path.join(args.bundle, name)
        if os.path.exists(path):
            archive.file("bundle/" + name, read(path))
    for i, path in enumerate(args.module):
        archive.file(f"modules/{i:02}-{os.path.basename(path)}", read(path))
    with open(args.o, "wb") as f:
        f.write(archive.finish())


if __name__ == "__main__":
    main()
