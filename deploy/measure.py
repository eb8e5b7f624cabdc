#!/usr/bin/env python3
"""Computes offline what hardware will measure, as JSON for `infenclave measurements`.

  measure.py sev-snp --ovmf OVMF.fd --vcpus 4 --vcpu-type EPYC-v4 [--kernel vmlinuz --initrd initrd.img --append CMDLINE]
  measure.py tdx --ovmf OVMF.fd
  measure.py sgx infenclave.sig

sev-snp: the launch digest of a guest that QEMU starts with these files. The kernel, the initrd and the command line are
in it when the firmware has a table for their hashes (OVMF's AmdSev build) and QEMU fills it (kernel-hashes=on). Sources:
AMD publications 56860 (SNP_LAUNCH_UPDATE) and 24593 (the state of a virtual processor), QEMU's and OVMF's interface.
tdx: MRTD, as Linux 6.16 and later build a guest of this firmware: each page added, and measured if the firmware wants it
so, in turn. Sources: Intel's TDX Virtual Firmware Design Guide (the metadata) and TDX Module ABI (TDH.MEM.PAGE.ADD,
TDH.MR.EXTEND). The RTMRs hold what the firmware measures at every start, tables that the host makes among it: take them
from a quote of a machine of your own, `infenclave measurements quote.bin`.
sgx: what the signature file of gramine-sgx-sign says of the enclave (Intel SDM, SIGSTRUCT).
"""

import argparse
import hashlib
import json
import struct
import sys
import uuid

PAGE = 4096
FOUR_GIB = 1 << 32

# ---- OVMF ------------------------------------------------------------------------------------------------------------

FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d"
RESET_BLOCK = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
SEV_METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc"
TDX_METADATA = "e47a6535-984a-4798-865e-4685a7bf8ec2"
HASH_TABLE = "7255371f-3a3b-4b04-927b-1da6efa8d454"
SEC_MEM, SECRETS, CPUID, SVSM_CAA, KERNEL_HASHES = 1, 2, 3, 4, 0x10


def guid(text):
    return uuid.UUID(text).bytes_le


def footer_table(ovmf):
    """The entries of the table at the firmware's end, by GUID: it is read backwards, its length with each entry."""
    end = len(ovmf) - 32
    size, name = struct.unpack("<H16s", ovmf[end - 18:end])
    if name != guid(FOOTER) or size < 18 or size > end:
        sys.exit("this firmware has no table of OVMF's at its end")
    table, out = ovmf[end - size:end - 18], {}
    while len(table) >= 18:
        size, name = struct.unpack("<H16s", table[-18:])
        if not 18 <= size <= len(table):
            sys.exit("an entry of the firmware's table has an impossible length")
        out[str(uuid.UUID(bytes_le=name))] = table[-size:-18]
        table = table[:-size]
    return out


def sev_sections(ovmf, table):
    """(address, size, kind) of the memory that the firmware wants prepared."""
    if SEV_METADATA not in table:
        sys.exit("this firmware does not support SEV-SNP: it has no SEV metadata")
    start = len(ovmf) - struct.unpack("<I", table[SEV_METADATA][:4])[0]
    magic, _, version, count = struct.unpack("<4sIII", ovmf[start:start + 16])
    if magic != b"ASEV" or version != 1:
        sys.exit("the firmware's SEV metadata is of another form")
    return [struct.unpack("<III", ovmf[start + 16 + 12 * i:start + 28 + 12 * i]) for i in range(count)]


def kernel_hashes_page(offset, kernel, initrd, append):
    """The page with the hashes of kernel, initrd and command line, as QEMU writes it into the guest."""
    def entry(name, digest):
        return guid(name) + struct.pack("<H", 50) + digest

    entries = (entry("97d02dd8-bd20-4c94-aa78-e7714d36ab2a", hashlib.sha256(append.encode() + b"\0").digest()) +
               entry("44baf731-3a2f-4bd7-9af1-41e29169781d", hashlib.sha256(initrd).digest()) +
               entry("4de79437-abd2-427f-b835-d5b172d2045b", hashlib.sha256(kernel).digest()))
    table = guid("9438d606-4f22-4cc9-b479-a793d411fd21") + struct.pack("<H", 18 + len(entries)) + entries
    return (bytes(offset) + table).ljust(PAGE, b"\0")


# ---- virtual processors ----------------------------------------------------------------------------------------------

def signature(family, model, stepping):
    """CPUID 1, EAX."""
    low, high = (family, 0) if family <= 15 else (15, family - 15)
    return high << 20 | (model >> 4) << 16 | low << 8 | (model & 15) << 4 | stepping


VCPU_TYPES = {name: signature(*cpu) for names, cpu in (
    (("EPYC", "EPYC-v1", "EPYC-v2", "EPYC-v3", "EPYC-v4"), (23, 1, 2)),
    (("EPYC-Rome", "EPYC-Rome-v1", "EPYC-Rome-v2", "EPYC-Rome-v3"), (23, 49, 0)),
    (("EPYC-Milan", "EPYC-Milan-v1", "EPYC-Milan-v2"), (25, 1, 1)),
    (("EPYC-Genoa", "EPYC-Genoa-v1"), (25, 17, 0)),
) for name in names}


def vmsa(eip, vcpu_signature, guest_features):
    """A virtual processor at reset, as QEMU sets it up under KVM; offsets of AMD's 24593, appendix B."""
    page = bytearray(PAGE)

    def put(offset, form, *values):
        struct.pack_into("<" + form, page, offset, *values)

    def segment(offset, selector, attributes, limit, base=0):
        put(offset, "HHIQ", selector, attributes, limit, base)

    segment(0x00, 0, 0x93, 0xffff)                           # ES
    segment(0x10, 0xf000, 0x9b, 0xffff, eip & 0xffff0000)    # CS
    for offset in (0x20, 0x30, 0x40, 0x50):                  # SS, DS, FS, GS
        segment(offset, 0, 0x93, 0xffff)
    segment(0x60, 0, 0, 0xffff)                              # GDTR
    segment(0x70, 0, 0x82, 0xffff)                           # LDTR
    segment(0x80, 0, 0, 0xffff)                              # IDTR
    segment(0x90, 0, 0x8b, 0xffff)                           # TR
    put(0x0d0, "Q", 0x1000)                                  # EFER: SVME
    put(0x148, "Q", 0x40)                                    # CR4: MCE
    put(0x158, "Q", 0x10)                                    # CR0: ET
    put(0x160, "Q", 0x400)                                   # DR7
    put(0x168, "Q", 0xffff0ff0)                              # DR6
    put(0x170, "Q", 2)                                       # RFLAGS
    put(0x178, "Q", eip & 0xffff)                            # RIP
    put(0x268, "Q", 0x0007040600070406)                      # G_PAT
    put(0x310, "Q", vcpu_signature)                          # RDX
    put(0x3b0, "Q", guest_features)                          # SEV_FEATURES
    put(0x3e8, "Q", 1)                                       # XCR0
    put(0x408, "I", 0x1f80)                                  # MXCSR
    put(0x410, "H", 0x37f)                                   # x87 control word
    return bytes(page)


# ---- the launch digest -----------------------------------------------------------------------------------------------

class LaunchDigest:
    NORMAL, VMSA, ZERO, SECRETS, CPUID = 1, 2, 3, 5, 6

    def __init__(self):
        self.value = bytes(48)

    def add(self, kind, address, page=None):
        contents = hashlib.sha384(page).digest() if page is not None else bytes(48)
        info = self.value + contents + struct.pack("<HBBBBBBQ", 0x70, kind, 0, 0, 0, 0, 0, address)
        self.value = hashlib.sha384(info).digest()

    def add_range(self, kind, address, data):
        for at in range(0, len(data), PAGE):
            self.add(kind, address + at, data[at:at + PAGE])

    def add_empty(self, kind, address, size):
        for at in range(0, size, PAGE):
            self.add(kind, address + at)


def snp_launch_digest(ovmf, vcpus, vcpu_signature, kernel=None, initrd=b"", append="", guest_features=1):
    table = footer_table(ovmf)
    digest = LaunchDigest()
    digest.add_range(digest.NORMAL, FOUR_GIB - len(ovmf), ovmf)
    hashed = False
    for address, size, kind in sev_sections(ovmf, table):
        if kind in (SEC_MEM, SVSM_CAA):
            digest.add_empty(digest.ZERO, address, size)
        elif kind == SECRETS:
            digest.add_empty(digest.SECRETS, address, PAGE)
        elif kind == CPUID:
            digest.add_empty(digest.CPUID, address, PAGE)
        elif kind == KERNEL_HASHES and kernel is not None:
            at = struct.unpack("<I", table[HASH_TABLE][:4])[0]
            digest.add_range(digest.NORMAL, address, kernel_hashes_page(at % PAGE, kernel, initrd, append))
            hashed = True
        elif kind == KERNEL_HASHES:
            digest.add_empty(digest.ZERO, address, size)
        else:
            sys.exit(f"the firmware has a section of kind {kind}, which is not known here")
    if kernel is not None and not hashed:
        sys.exit("this firmware has no table for the kernel's hashes: a host could start any kernel with it. Build "
                 "OvmfPkg/AmdSev/AmdSevX64.dsc")
    first = struct.unpack("<I", table[RESET_BLOCK][:4])[0]
    for i in range(vcpus):
        page = vmsa(0xfffffff0 if i == 0 else first, vcpu_signature, guest_features)
        digest.add(digest.VMSA, 0xfffffffff000, page)
    return digest.value


# ---- TDX -------------------------------------------------------------------------------------------------------------

MEASURED, ADDED_LATER = 1, 2  # attributes of a section


def tdx_sections(ovmf):
    """(offset and size in the file, address and size in memory, kind, attributes) of what the firmware wants in place."""
    table = footer_table(ovmf)
    if TDX_METADATA not in table:
        sys.exit("this firmware does not support TDX: it has no TDX metadata")
    start = len(ovmf) - struct.unpack("<I", table[TDX_METADATA][:4])[0]
    header = ovmf[start:start + 16] if start >= 0 else b""
    magic, length, version, count = struct.unpack("<4sIII", header) if len(header) == 16 else (b"", 0, 0, 0)
    if magic != b"TDVF" or version != 1 or length != 16 + 32 * count or start + length > len(ovmf):
        sys.exit("the firmware's TDX metadata is of another form")
    return [struct.unpack("<IIQQII", ovmf[start + 16 + 32 * i:start + 48 + 32 * i]) for i in range(count)]


def tdx_mrtd(ovmf):
    digest = hashlib.sha384()

    def call(name, address, data=b""):
        digest.update(name.ljust(16, b"\0") + struct.pack("<Q", address) + bytes(104) + data)

    for offset, in_file, address, size, _, attributes in tdx_sections(ovmf):
        if offset + in_file > len(ovmf) or in_file > size or address % PAGE or size % PAGE or size > FOUR_GIB:
            sys.exit("a section of the firmware's TDX metadata has an impossible place or size")
        data = ovmf[offset:offset + in_file].ljust(size, b"\0") if attributes & MEASURED else b""
        for at in range(0, size if not attributes & ADDED_LATER else 0, PAGE):
            call(b"MEM.PAGE.ADD", address + at)
            for chunk in range(at, at + PAGE if attributes & MEASURED else at, 256):
                call(b"MR.EXTEND", address + chunk, data[chunk:chunk + 256])
    return digest.digest()


# ---- SGX -------------------------------------------------------------------------------------------------------------

def sgx_measurements(sigstruct):
    """(MRENCLAVE, MRSIGNER) that an enclave's signature file is for."""
    if len(sigstruct) != 1808 or sigstruct[:16] != bytes.fromhex("06000000e10000000000010000000000"):
        sys.exit("this is no SIGSTRUCT: expected the .sig file of gramine-sgx-sign, of 1808 bytes")
    return sigstruct[960:992], hashlib.sha256(sigstruct[128:512]).digest()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="tee", required=True)
    snp = commands.add_parser("sev-snp")
    snp.add_argument("--ovmf", required=True)
    snp.add_argument("--vcpus", type=int, required=True)
    snp.add_argument("--vcpu-type", choices=sorted(VCPU_TYPES), required=True)
    snp.add_argument("--kernel")
    snp.add_argument("--initrd")
    snp.add_argument("--append", default="")
    snp.add_argument("--guest-features", type=lambda v: int(v, 0), default=1, help="SEV_FEATURES; 1 is SNP alone")
    tdx = commands.add_parser("tdx")
    tdx.add_argument("--ovmf", required=True)
    sgx = commands.add_parser("sgx")
    sgx.add_argument("sig")
    args = parser.parse_args()
    if args.tee == "sgx":
        out = {"sgx": {"mrenclave": [sgx_measurements(read(args.sig))[0].hex()]}}
    elif args.tee == "tdx":
        out = {"tdx": {"mrtd": [tdx_mrtd(read(args.ovmf)).hex()]}}
    else:
        digest = snp_launch_digest(read(args.ovmf), args.vcpus, VCPU_TYPES[args.vcpu_type],
                                   read(args.kernel) if args.kernel else None,
                                   read(args.initrd) if args.initrd else b"", args.append, args.guest_features)
        out = {"sev-snp": {"measurements": [digest.hex()]}}
    print(json.dumps(out, indent=2))


if __name__ == "__main__":
    main()
