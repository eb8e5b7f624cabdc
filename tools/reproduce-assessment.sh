#!/bin/bash
# The assessments of docs/assessments: one command, which goes on where it was interrupted.
#   tools/reproduce-assessment.sh PHOTOGRAPHS OUT NAME MODEL.onnx ORACLE.onnx PUBLIC.onnx [FLAG...]
# PHOTOGRAPHS are split in halves, the attacker's and those under attack. `./dev model` fetches and converts networks.
# Everything that was found is in OUT/NAME: report.html and assessment.json.
set -euo pipefail
[ $# -ge 6 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
photographs=$1 out=$2 name=$3 model=$4 oracle=$5 public=$6
shift 6
infenclave=${INFENCLAVE:-build/infenclave}
[ -x "$infenclave" ] || { echo "$infenclave: not built; ./dev build makes it, or set INFENCLAVE" >&2; exit 1; }
exec nice -n 19 "$infenclave" assess "$model" --oracle "$oracle" --public "$public" --images "$photographs" \
  -o "$out/$name" --attacks kl,patch,decoder,whitebox,nearest,label --maps 16 "$@"
