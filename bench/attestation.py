"""Verification of evidence on one core, beside dcap-qvl and go-tdx-guest on the same quotes in the same run.

ours: what clients call, quote and collateral handed over each time, the collateral recognised by its SHA-256 after the
first (goal: 1 ms for SGX and TDX, 2.5 ms for SEV-SNP, and less than the others take). loaded: collateral verified
beforehand. anew: collateral parsed beforehand and verified with every quote, which is the only form dcap-qvl has. bare:
signatures and chains alone, which is what go-tdx-guest can do with these. The last column is the time of the fastest peer
over ours; below it, those of its form over our "anew" and "bare". Peers are built at first, which needs cargo and go;
where there is none, dcap-qvl is the Python package alone, and go-tdx-guest is left out. Needs the vectors that the tests
use: attestation.py FOLDER (of index.json), or INFENCLAVE_SHARED in the environment.
"""

import datetime
import json
import os
import shutil
import subprocess
import sys
import time

import dcap_qvl

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "..", "build")
BENCH = os.path.join(BUILD, "attestation_bench")
COLUMNS = ["ours", "loaded", "dcap-qvl", "(Python)", "anew", "bare", "go bare"]
LIMITS = {"intel-quote": 1000, "amd-snp-report": 2500}


def build_peers():
    """The peers' programs that can be built here, by name."""
    peers = {}
    if shutil.which("cargo"):
        target = os.path.abspath(os.path.join(BUILD, "peers", "dcap-qvl"))
        subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", target], check=True,
                       cwd=os.path.join(HERE, "peers", "dcap-qvl"))
        peers["dcap-qvl"] = os.path.join(target, "release", "dcap-qvl-bench")
    if shutil.which("go"):
        peers["go-tdx-guest"] = os.path.abspath(os.path.join(BUILD, "peers", "go-tdx-guest-bench"))
        subprocess.run(["go", "build", "-o", peers["go-tdx-guest"], "."], check=True,
                       cwd=os.path.join(HERE, "peers", "go-tdx-guest"))
    return peers


def run(*command):
    """The numbers that a program prints; a peer that refuses says why and has none."""
    done = subprocess.run(command, capture_output=True, text=True)
    numbers = [float(line) for line in done.stdout.split("\n") if line.isdigit()]
    if not numbers:
        print(f"{os.path.basename(command[0])}: {(done.stderr or done.stdout).strip().splitlines()[-1]}", file=sys.stderr)
    return numbers or [None] * 3


def python_qvl(quote, collateral, at):
    parsed = dcap_qvl.QuoteCollateralV3.from_json(collateral)
    best = float("inf")
    for _ in range(300):
        start = time.perf_counter()
        dcap_qvl.verify(quote, parsed, at)
        best = min(best, time.perf_counter() - start)
    return best * 1e6


def measure(entry, folder, peers):
    """Microseconds of one vector by column."""
    row = dict.fromkeys(COLUMNS)
    extra = entry.get("collateral") or entry.get("vek")
    at = entry.get("verify_at", "2025-02-19T00:00:00Z" if "vek" in entry else "2026-05-28T00:00:00Z")
    seconds = int(datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp())
    quote = os.path.join(folder, entry["file"])
    if extra is not None:
        collateral = os.path.join(folder, extra)
        numbers = run(BENCH, at, quote, collateral)
        if entry["kind"] == "intel-quote":
            row["loaded"], row["ours"], row["anew"] = numbers
            with open(quote, "rb") as q, open(collateral) as c:
                row["(Python)"] = python_qvl(q.read(), c.read(), seconds)
            if "dcap-qvl" in peers:
                row["dcap-qvl"] = run(peers["dcap-qvl"], str(seconds), quote, collateral)[0]
        else:
            row["ours"] = numbers[0]
    if entry["kind"] == "intel-quote":
        row["bare"] = run(BENCH, at, quote)[0]
        if "go-tdx-guest" in peers and entry["name"].startswith("tdx"):
            row["go bare"] = run(peers["go-tdx-guest"], at, quote)[0]
    return row


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.environ.get("INFENCLAVE_SHARED", "../shared"),
                                                                "vectors", "attestation")
    peers = build_peers()
    with open(os.path.join(folder, "index.json")) as index:
        entries = [entry for entry in json.load(index) if "reference_error" not in entry]
    slow, ratios = False, []
    print(f"{'microseconds':16}" + "".join(f"{c:>10}" for c in COLUMNS) + "     limit  faster by")
    for entry in entries:
        row = measure(entry, folder, peers)
        cells = "".join(f"{row[c]:10.0f}" if row[c] is not None else f"{'':10}" for c in COLUMNS)
        others = [row[c] for c in ("dcap-qvl", "(Python)", "go bare") if row[c] is not None]
        ratio = ""
        if row["ours"] is not None:
            slow |= row["ours"] > LIMITS[entry["kind"]] or row["ours"] > min(others, default=float("inf"))
            ratio = f"{min(others) / row['ours']:11.2f}" if others else ""
            cells += f"{LIMITS[entry['kind']]:10}"
        print(f"{entry['name']:16}{cells}{ratio}")
        ratios += [(entry["name"], theirs, form, row[theirs] / row[form])
                   for theirs, form in (("dcap-qvl", "anew"), ("(Python)", "anew"), ("go bare", "bare"))
                   if row[theirs] is not None and row[form] is not None]
    for name, theirs, form, ratio in ratios:
        print(f"{name}: {theirs} takes {ratio:.2f} of our time '{form}'")
    sys.exit("slower than the goal" if slow else 0)


if __name__ == "__main__":
    main()
