#!/bin/bash
# The assessments of EfficientNet-Lite0, MobileNetV2 and SqueezeNet over all block boundaries, by one command, which goes
# on where it was interrupted.
#   tools/reproduce-assessment.sh PHOTOGRAPHS OUT MODELS [FLAG...]
# PHOTOGRAPHS are split in halves, the attacker's and those under attack. MODELS is a folder with efficientnet-lite0.onnx
# and, as oracle and as the attacker's public network, efficientnet-lite2.onnx and efficientnet-lite1.onnx (`./dev model`
# fetches them), and where they are to be had mobilenet_v2.onnx and squeezenet1.1-fp16.onnx; one that is missing is left
# out, and named. FLAGs go to `infenclave assess`; THREADS=1 bounds the processor. OUT/NAME has report.html and
# assessment.json of each.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
photographs=$1 out=$2 models=$3
shift 3
infenclave=${INFENCLAVE:-build/infenclave}
[ -x "$infenclave" ] || { echo "$infenclave: not built; ./dev build makes it, or set INFENCLAVE" >&2; exit 1; }
for network in efficientnet-lite1 efficientnet-lite2; do
  [ -e "$models/$network.onnx" ] || { echo "$models/$network.onnx: missing; ./dev model $network -o $models/$network.onnx" >&2; exit 1; }
done

lite0=stem,block01/project,block02/project,block03/add,block04/project,block05/add,block06/project,block07/add
lite0+=,block08/add,block09/project,block10/add,block11/add,block12/project,block13/add,block14/add,block15/add
lite0+=,block16/project,head,pool
mobilenet=t56a,t60,t66,t73,t79,t86,t93,t99,t106,t113,t120,t126,t133,t140,t146,t153,t160,t166,t168a,t169
squeezenet=conv1_2,pool1_1,fire2/concat_1,fire3/concat_1,pool3_1,fire4/concat_1,fire5/concat_1,pool5_1
squeezenet+=,fire6/concat_1,fire7/concat_1,fire8/concat_1,fire9/concat_1,conv10_2

# assess NAME FILE PREPROCESSING CUTS [FLAG...]
assess() {
  local name=$1 model=$models/$2 preprocessing=$3 cuts=$4
  shift 4
  if [ ! -e "$model" ]; then
    echo "== $name: left out, there is no $model"
    return
  fi
  echo "== $name"
  nice -n 19 "$infenclave" assess "$model" --preprocessing "$preprocessing" --cuts "$cuts" --images "$photographs" \
    --oracle "$models/efficientnet-lite2.onnx" --oracle-preprocessing efficientnet-lite2 \
    --public "$models/efficientnet-lite1.onnx" --public-preprocessing efficientnet-lite1 -o "$out/$name" \
    --attacks kl,patch,decoder,whitebox,nearest,label --maps 16 --attack-steps 1500 --threads "${THREADS:-0}" "$@"
}
assess squeezenet squeezenet1.1-fp16.onnx squeezenet1.1 "$squeezenet" "$@"
assess efficientnet-lite0 efficientnet-lite0.onnx efficientnet-lite0 "$lite0" "$@"
assess mobilenet-v2 mobilenet_v2.onnx mobilenet-v2 "$mobilenet" "$@"
