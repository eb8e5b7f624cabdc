"""Verification of evidence on one core, and of the Intel quotes by dcap-qvl in the same run.

Ours has the collateral loaded, as a client has; dcap-qvl has no such form and verifies it each time. Needs the vectors
that the tests use: attestation.py FOLDER (of index.json), or INFENCLAVE_SHARED in the environment.
"""

import datetime
import json
import os
import subprocess
import sys
import time

import dcap_qvl

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "attestation_bench")
LIMITS = {"intel-quote": 1000, "amd-snp-report": 2500}


def theirs(quote, collateral, at):
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
    slow = False
    with open(os.path.join(folder, "index.json")) as index:
        entries = json.load(index)
    print(f"{'evidence':16} {'ours':>8} {'dcap-qvl':>9} {'ratio':>6}  limit")
    for entry in entries:
        extra = entry.get("collateral") or entry.get("vek")
        if extra is None or "reference_error" in entry:
            continue
        at = entry.get("verify_at", "2025-02-19T00:00:00Z")
        paths = [os.path.join(folder, entry["file"]), os.path.join(folder, extra)]
        ours = float(subprocess.run([BENCH, at, *paths], check=True, capture_output=True, text=True).stdout)
        limit = LIMITS[entry["kind"]]
        slow |= ours > limit
        line = f"{entry['name']:16} {ours:5.0f} us"
        if entry["kind"] == "intel-quote":
            with open(paths[0], "rb") as quote, open(paths[1]) as collateral:
                peer = theirs(quote.read(), collateral.read(),
                              int(datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()))
            line += f" {peer:6.0f} us {peer / ours:6.2f}"
            slow |= peer < ours
        else:
            line += f" {'':9} {'':6}"
        print(f"{line}  {limit} us")
    sys.exit("slower than the goal" if slow else 0)


if __name__ == "__main__":
    main()
