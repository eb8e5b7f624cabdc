"""Verification of evidence on one core, beside dcap-qvl and go-tdx-guest on the same quotes in the same run.

cached: collateral verified beforehand, as a client has it (goal: 1 ms for SGX and TDX, 2.5 ms for SEV-SNP, and less than
the others take). each: collateral parsed beforehand and verified with every quote, which is the only form dcap-qvl has.
bare: signatures and chains alone, which is what go-tdx-guest can do with these. Where there is no cargo or no go, dcap-qvl
is the Python package alone, and go-tdx-guest is left out. Needs the vectors that the tests use: attestation.py FOLDER (of
index.json), or INFENCLAVE_SHARED in the environment.
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
    return numbers or [None, None]


def python_qvl(quote, collateral, at):
    parsed = dcap_qvl.QuoteCollateralV3.from_json(collateral)
    best = float("inf")
    for _ in range(300):
        start = time.perf_counter()
        dcap_qvl.verify(quote, parsed, at)
        best = min(best, time.perf_counter() - start)
    return best * 1e6


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.environ.get("INFENCLAVE_SHARED", "../shared"),
                                                                "vectors", "attestation")
    peers = build_peers()
    slow = False
    with open(os.path.join(folder, "index.json")) as index:
        entries = json.load(index)
    columns = ["ours cached", "ours each", "dcap-qvl", "(Python)", "ours bare", "go bare"]
    print(f"{'microseconds':16}" + "".join(f"{c:>13}" for c in columns) + "  limit")
    for entry in entries:
        extra = entry.get("collateral") or entry.get("vek")
        if "reference_error" in entry:
            continue
        at = entry.get("verify_at", "2025-02-19T00:00:00Z" if "vek" in entry else "2026-05-28T00:00:00Z")
        seconds = int(datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp())
        quote = os.path.join(folder, entry["file"])
        row = dict.fromkeys(columns)
        if extra is not None:
            collateral = os.path.join(folder, extra)
            ours = run(BENCH, at, quote, collateral)
            row["ours cached"] = ours[0]
            slow |= ours[0] is None or ours[0] > LIMITS[entry["kind"]]
            if entry["kind"] == "intel-quote":
                row["ours each"] = ours[1]
                with open(quote, "rb") as q, open(collateral) as c:
                    row["(Python)"] = python_qvl(q.read(), c.read(), seconds)
                if "dcap-qvl" in peers:
                    row["dcap-qvl"] = run(peers["dcap-qvl"], str(seconds), quote, collateral)[0]
        if entry["kind"] == "intel-quote":
            row["ours bare"] = run(BENCH, at, quote)[0]
            if "go-tdx-guest" in peers and entry["name"].startswith("tdx"):
                row["go bare"] = run(peers["go-tdx-guest"], at, quote)[0]
        others = [row[c] for c in ("dcap-qvl", "(Python)", "go bare") if row[c] is not None]
        if row["ours cached"] is not None and others:
            slow |= row["ours cached"] > min(others)
        print(f"{entry['name']:16}" + "".join(f"{row[c]:13.0f}" if row[c] is not None else f"{'':13}" for c in columns)
              + f"  {LIMITS[entry['kind']]}")
    sys.exit("slower than the goal" if slow else 0)


if __name__ == "__main__":
    main()
