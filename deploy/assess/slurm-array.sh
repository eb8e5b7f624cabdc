#!/bin/bash
# An assessment spread over eight tasks of a Slurm array, on a file system that all nodes share:
#   sbatch slurm-array.sh MODEL.onnx ORACLE.onnx PHOTOGRAPHS OUT
# then the same command once without --shard, which puts the shards together and does what only the whole can: the checks
# at the cut that would be recommended (--merge in its place does none of that).
#SBATCH --job-name=assess
#SBATCH --array=0-7
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail
[ $# -eq 4 ] || { echo "usage: sbatch $0 MODEL.onnx ORACLE.onnx PHOTOGRAPHS OUT" >&2; exit 2; }
exec infenclave assess "$1" --oracle "$2" --images "$3" -o "$4" \
  --attacks kl,patch,decoder,nearest,label --maps 16 --threads "$SLURM_CPUS_PER_TASK" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
