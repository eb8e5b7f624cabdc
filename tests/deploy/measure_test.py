"""deploy/measure.py against sev-snp-measure, another make of the same: synthetic firmwares, with and without a kernel."""

import gzip
import importlib.util
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest
import uuid

SOURCE = os.environ["INFENCLAVE_SOURCE_DIR"]
MEASURE = os.path.join(SOURCE, "deploy", "measure.py")
spec = importlib.util.spec_from_file_location("measure", MEASURE)
measure = importlib.util.module_from_spec(spec)
spec.loader.exec_module(measure)
try:
    from sevsnpmeasure import guest, vcpu_types
    from sevsnpmeasure.sev_mode import SevMode
except ImportError:
    guest = None


def firmware(sections, size=1 << 16, hashes_at=0x80fc00):
    """A file that looks like OVMF to who measures it: random bytes, a table at its end, SEV metadata."""
    data = bytearray(random.Random(size).randbytes(size))
    metadata = b"ASEV" + struct.pack("<III", 16 + 12 * len(sections), 1, len(sections))
    metadata += b"".join(struct.pack("<III", *s) for s in sections)
    data[256:256 + len(metadata)] = metadata

    def entry(name, content):
        return content + struct.pack("<H", len(content) + 18) + uuid.UUID(name).bytes_le

    table = (entry(measure.SEV_METADATA, struct.pack("<I", size - 256)) +
             entry(measure.HASH_TABLE, struct.pack("<II", hashes_at, 1024)) +
             entry(measure.RESET_BLOCK, struct.pack("<I", 0x80b004)))
    table += struct.pack("<H", len(table) + 18) + uuid.UUID(measure.FOOTER).bytes_le
    data[size - 32 - len(table):size - 32] = table
    return bytes(data)


PLAIN = [(0x800000, 0x9000, 1), (0x80a000, 0x3000, 1), (0x80d000, 0x1000, 2), (0x80e000, 0x1000, 3),
         (0x811000, 0xf000, 1)]
WITH_HASHES = PLAIN[:4] + [(0x80f000, 0x1000, 0x10)] + PLAIN[4:]


@unittest.skipIf(guest is None, "SKIPPED: this Python lacks sev-snp-measure (tests/requirements.txt)")
class SevSnp(unittest.TestCase):
    def test_agrees_with_sev_snp_measure(self):
        with tempfile.TemporaryDirectory() as folder:
            def write(name, content):
                path = os.path.join(folder, name)
                with open(path, "wb") as f:
                    f.write(content)
                return path

            kernel, initrd = write("kernel", b"kernel" * 999), write("initrd", b"initrd" * 777)
            for sections, with_kernel in ((PLAIN, False), (WITH_HASHES, False), (WITH_HASHES, True)):
                ovmf = write("ovmf", firmware(sections))
                for vcpus, cpu in ((1, "EPYC-v4"), (3, "EPYC-Milan"), (2, "EPYC-Genoa")):
                    theirs = guest.calc_launch_digest(SevMode.SEV_SNP, vcpus, vcpu_types.CPU_SIGS[cpu], ovmf,
                                                      kernel if with_kernel else None,
                                                      initrd if with_kernel else None,
                                                      "console=ttyS0" if with_kernel else None, 1)
                    command = [sys.executable, MEASURE, "sev-snp", "--ovmf", ovmf, "--vcpus", str(vcpus), "--vcpu-type",
                               cpu]
                    if with_kernel:
                        command += ["--kernel", kernel, "--initrd", initrd, "--append", "console=ttyS0"]
                    ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                    self.assertEqual(ours, {"sev-snp": {"measurements": [theirs.hex()]}}, (vcpus, cpu, with_kernel))

    def test_every_input_counts(self):
        ovmf = firmware(WITH_HASHES)
        base = dict(ovmf=ovmf, vcpus=1, vcpu_signature=1, kernel=b"k", initrd=b"i", append="a")
        seen = {measure.snp_launch_digest(**base)}
        for change in (dict(vcpus=2), dict(vcpu_signature=2), dict(kernel=b"K"), dict(initrd=b"I"), dict(append="A"),
                       dict(guest_features=9), dict(ovmf=bytes([ovmf[0] ^ 1]) + ovmf[1:])):
            seen.add(measure.snp_launch_digest(**{**base, **change}))
        self.assertEqual(len(seen), 8)

    def test_a_kernel_that_would_not_be_measured_is_an_error(self):
        with self.assertRaises(SystemExit) as error:
            measure.snp_launch_digest(firmware(PLAIN), 1, 1, kernel=b"k")
        self.assertIn("a host could start any kernel", str(error.exception))


class Sgx(unittest.TestCase):
    def test_sigstruct(self):
        sig = bytearray(1808)
        sig[:16] = bytes.fromhex("06000000e10000000000010000000000")
        sig[960:992] = bytes(range(32))
        with tempfile.NamedTemporaryFile() as f:
            f.write(sig)
            f.flush()
            done = subprocess.run([sys.executable, MEASURE, "sgx", f.name], check=True, capture_output=True, text=True)
        self.assertEqual(json.loads(done.stdout), {"sgx": {"mrenclave": [bytes(range(32)).hex()]}})
        with self.assertRaises(SystemExit):
            measure.sgx_measurements(bytes(1808))


class Initrd(unittest.TestCase):
    def test_the_same_files_give_the_same_bytes(self):
        make = os.path.join(SOURCE, "deploy", "guest", "make_initrd.py")
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "bundle"))
            for name in ("manifest", "manifest.sig", "manifest.json"):
                with open(os.path.join(folder, "bundle", name), "w") as f:
                    f.write(name)
            images = []
            for name in ("a", "b"):
                image = os.path.join(folder, name)
                subprocess.run([sys.executable, make, "--enclave", "/bin/ls", "--bundle",
                                os.path.join(folder, "bundle"), "--busybox", "/bin/cat", "--module", __file__,
                                "--options", "--lanes 2", "-o", image], check=True)
                with open(image, "rb") as f:
                    images.append(f.read())
            self.assertEqual(images[0], images[1])
            content = gzip.decompress(images[0])
            # Read as the kernel does: header, name, content, each padded to four bytes.
            files, at = {}, 0
            while True:
                self.assertEqual(content[at:at + 6], b"070701")
                fields = [int(content[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
                name = content[at + 110:at + 110 + fields[11] - 1].decode()
                start = (at + 110 + fields[11] + 3) // 4 * 4
                if name == "TRAILER!!!":
                    break
                files[name] = (fields[1], content[start:start + fields[6]])
                at = (start + fields[6] + 3) // 4 * 4
            self.assertEqual(files["bundle/manifest"], (0o100644, b"manifest"))
            self.assertNotIn("bundle/manifest.json", files)
            self.assertEqual(files["init"][0], 0o100755)
            self.assertIn(b"--listen vsock:4294967295:7001 --lanes 2\n", files["init"][1])
            self.assertIn("modules/00-measure_test.py", files)
            with open("/bin/ls", "rb") as f:
                self.assertEqual(files["infenclave-enclave"], (0o100755, f.read()))
            self.assertTrue(any(name.endswith("libc.so.6") for name in files))


if __name__ == "__main__":
    unittest.main()
