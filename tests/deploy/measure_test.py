"""deploy/measure.py against sev-snp-measure, another make of the same: synthetic firmwares, with and without a kernel."""

import gzip
import hashlib
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


class Tdx(unittest.TestCase):
    """Synthetic firmwares; what is expected is spelt out here from the TDX module's ABI."""

    SECTIONS = [(0x100, 0x1000, 0xffff0000, 0x2000, 0, 1),  # firmware, measured, the second page empty
                (0, 0, 0x809000, 0x1000, 2, 0),             # the TD's hand-off block: added, not measured
                (0, 0, 0x900000, 0x5000, 4, 2)]             # memory that the guest accepts later

    @staticmethod
    def firmware(sections, size=1 << 14, length=None):
        data = bytearray(random.Random(size).randbytes(size))
        metadata = b"TDVF" + struct.pack("<III", length or 16 + 32 * len(sections), 1, len(sections))
        metadata += b"".join(struct.pack("<IIQQII", *s) for s in sections)
        data[0x2000:0x2000 + len(metadata)] = metadata
        entry = struct.pack("<IH", size - 0x2000, 22) + uuid.UUID(measure.TDX_METADATA).bytes_le
        table = entry + struct.pack("<H", len(entry) + 18) + uuid.UUID(measure.FOOTER).bytes_le
        data[size - 32 - len(table):size - 32] = table
        return bytes(data)

    def test_pages_and_chunks_in_their_order(self):
        ovmf = self.firmware(self.SECTIONS)
        log = []
        memory = ovmf[0x100:0x1100] + bytes(0x1000)
        for page in range(2):
            log.append(b"MEM.PAGE.ADD\0\0\0\0" + (0xffff0000 + 4096 * page).to_bytes(8, "little") + bytes(104))
            for chunk in range(4096 * page, 4096 * (page + 1), 256):
                log.append(b"MR.EXTEND\0\0\0\0\0\0\0" + (0xffff0000 + chunk).to_bytes(8, "little") + bytes(104))
                log.append(memory[chunk:chunk + 256])
        log.append(b"MEM.PAGE.ADD\0\0\0\0" + (0x809000).to_bytes(8, "little") + bytes(104))
        expected = hashlib.sha384(b"".join(log)).hexdigest()
        with tempfile.NamedTemporaryFile() as f:
            f.write(ovmf)
            f.flush()
            done = subprocess.run([sys.executable, MEASURE, "tdx", "--ovmf", f.name], check=True, capture_output=True,
                                  text=True)
        self.assertEqual(json.loads(done.stdout), {"tdx": {"mrtd": [expected]}})

    def test_every_measured_byte_counts(self):
        base = measure.tdx_mrtd(self.firmware(self.SECTIONS))
        ovmf = bytearray(self.firmware(self.SECTIONS))
        ovmf[0x10ff] ^= 1
        self.assertNotEqual(measure.tdx_mrtd(bytes(ovmf)), base)
        ovmf[0x10ff] ^= 1
        ovmf[0x1100] ^= 1  # the first byte that no section holds
        self.assertEqual(measure.tdx_mrtd(bytes(ovmf)), base)

    def test_what_is_no_firmware_for_tdx(self):
        bad = (bytes(64), firmware(PLAIN), self.firmware(self.SECTIONS, length=15),
               self.firmware([(0x100, 0x3000, 0, 0x2000, 0, 1)]), self.firmware([(0x3fff, 2, 0, 0x1000, 0, 1)]),
               self.firmware([(0, 0, 1, 0x1000, 0, 1)]), self.firmware([(0, 0, 0, 1 << 60, 0, 0)]))
        for ovmf in bad:
            with self.assertRaises(SystemExit):
                measure.tdx_mrtd(ovmf)


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
