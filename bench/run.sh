#!/usr/bin/env bash
# The benchmarks: all, or one of engine, serving, oracle, attestation, layers, backnets, peers, soak with arguments of its
# own. ./dev bench calls this.
# INFENCLAVE_MODELS names the folder of converted networks.
# shellcheck disable=SC2119,SC2120  # the functions' arguments come by way of "$@" below
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
models=${INFENCLAVE_MODELS:-build/models}

attestation() { build/venv/bin/python bench/attestation.py "$@"; }
engine() { build/venv/bin/python bench/engine.py "$@"; }
oracle() { build/oracle_bench "$models"/efficientnet-lite{0,2}.onnx "$@"; }
layers() { build/venv/bin/python bench/paper.py layers "$@"; }
backnets() { build/venv/bin/python bench/paper.py backnets "$@"; }
peers() { build/venv/bin/python bench/peers.py "$@"; }
soak() { build/soak --requests 1000000 --state build/soak.state "$@"; }
serving() { build/serving_bench "$models/efficientnet-lite0.onnx" "$@"; }

case ${1:-all} in
  all) engine && serving && oracle ;;
  engine | serving | oracle | attestation | layers | backnets | peers | soak) "$@" ;;
  *)
    echo "usage: bench/run.sh [engine|serving|oracle|attestation|layers|backnets|peers|soak [ARGUMENT…]]" >&2
    exit 2
    ;;
esac
