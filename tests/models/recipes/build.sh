#!/bin/sh
# Builds the test models, or blows them up to the real models' shapes, in a venv of its own.
# What each recipe does, how long it takes and what comes out the same: ../README.md
set -eu

usage() {
    cat <<'TEXT'
usage: build.sh RECIPE [--kept] [--install] [--steps N] [--shape S]

  whisper | llama | gpt2 | piper                  train, export and measure; into build/RECIPE
  inflate-whisper | inflate-llama | inflate-voice  the same answers at a real model's size; into build/inflated
  inflate                                          all of these that benchmarks load and that are not there yet,
                                                   and language models of other real shapes with random weights

  --kept      do not train: export the weights that are kept beside the recipe (not for gpt2)
  --install   then replace the models in tests/models, and their lines in SHA256SUMS
  --steps N   stop training early, to see that it runs
  --shape S   inflate-whisper: tiny.en (default) or base.en; inflate-voice: medium (default) or high;
              inflate-llama: q4_k_m (default), q4_0 or q8_0, always in TinyLlama-1.1B's shape

PYTHON names the Python to make the venv with (default python3).
Needs: espeak-ng; wamerican for piper; a C++ compiler and cmake for llama-cpp-python.
TEXT
    exit 2
}

recipes=$(cd "$(dirname "$0")" && pwd)
models=$(dirname "$recipes")
build=$recipes/build
recipe=${1-}
kept=''
install=''
steps=''
shape=''
case $recipe in
    whisper | llama | gpt2 | piper | inflate | inflate-whisper | inflate-llama | inflate-voice) shift ;;
    *) usage ;;
esac
while [ $# -gt 0 ]; do
    case $1 in
        --kept) kept=1 ;;
        --install) install=1 ;;
        --steps) steps="--steps ${2?}"; shift ;;
        --shape) shape=${2?}; shift ;;
        *) usage ;;
    esac
    shift
done
case $recipe-$kept in gpt2-1) usage ;; esac
case $recipe-$install in inflate*-1) usage ;; esac

# The seeds give the same numbers only if they are added up in the same order.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# GCC 12 breaks ggml's kernels for AMX: such processors get a build without them.
if grep -q amx_tile /proc/cpuinfo && [ -z "${CMAKE_ARGS-}" ]; then
    export CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
fi

requirements="$recipes/requirements-train.txt"
case $recipe-$kept in inflate* | *-1) requirements="$recipes/requirements.txt" ;; esac
[ -d "$build/venv" ] || "${PYTHON:-python3}" -m venv "$build/venv"
"$build/venv/bin/pip" install --quiet --requirement "$requirements"

run() {
    module=$1
    shift
    echo "== $module $*"
    "$build/venv/bin/python" -m "recipes.$module" "$@"
}

# What benchmarks need: SHAPE:QUANTIZATION of models with random weights (recipes/llama/random_gguf.py)
random_models="smollm2-135m:Q8_0 smollm2-360m:Q8_0 smollm2-360m:Q4_K_M qwen2.5-0.5b:Q4_K_M qwen3-0.6b:Q8_0
    llama-3.2-1b:Q4_K_M gemma-3-270m:Q8_0 gemma-3-1b:Q4_K_M lfm2.5-350m:Q4_K_M gpt2:Q8_0"

inflate_missing() {
    to=$build/inflated
    for shape in tiny.en base.en; do
        [ -e "$to/whisper-inflated-$shape/model.bin" ] || run whisper.inflate --out "$to" --shape "$shape"
    done
    [ -e "$to/en_US-inflated-medium.onnx.json" ] || run voice.inflate --out "$to"
    missing=''
    for kind in q4_k_m q4_0 q8_0; do
        [ -e "$to/tiny-chat-1.1b-$kind.gguf" ] || missing="$missing $kind"
    done
    # shellcheck disable=SC2086 # several words
    [ -z "$missing" ] || run llama.inflate --out "$to" --quantization $missing
    for one in $random_models; do
        kind=${one#*:}
        file=$to/random-${one%:*}-$(echo "$kind" | tr '[:upper:]' '[:lower:]').gguf
        [ -e "$file" ] || run llama.random_gguf "${one%:*}" "$kind" "$file"
    done
}

cd "$models"
out=$build/$recipe
made=''
case $recipe in
    whisper)
        master=recipes/whisper/master.safetensors
        if [ -z "$kept" ]; then
            run whisper.shards --out "$build/shards"
            # shellcheck disable=SC2086 # an option and its value
            run whisper.train --shards "$build/shards" --out "$out" $steps
            master=$out/master.safetensors
        fi
        run whisper.ct2 --master "$master" --out "$out"
        run whisper.fixtures --out "$out/audio"
        run whisper.evaluate --model "$out/whisper-tiny-test"
        made=whisper-tiny-test
        ;;
    llama)
        f16=recipes/llama/tiny-chat-f16.gguf
        if [ -z "$kept" ]; then
            # shellcheck disable=SC2086
            run llama.train --out "$out" $steps
            f16=$out/tiny-chat-f16.gguf
        fi
        run llama.gguf_file --f16 "$f16" --out "$out"
        run llama.evaluate "$out/tiny-chat-q8_0.gguf" "$out/tiny-chat-q4_k_m.gguf"
        made="tiny-chat-q8_0.gguf tiny-chat-q4_k_m.gguf"
        ;;
    gpt2)
        # shellcheck disable=SC2086
        run llama.gpt2 --out "$out" $steps
        run llama.evaluate --completion "$out/tiny-gpt2-f16.gguf"
        made=tiny-gpt2-f16.gguf
        ;;
    piper)
        weights=recipes/voice/voice.npz
        if [ -z "$kept" ]; then
            run voice.teacher --out "$out"
            # shellcheck disable=SC2086
            run voice.train --out "$out" $steps
            weights=$out/voice.npz
        fi
        run voice.export --weights "$weights" --out "$out"
        run voice.evaluate "$out/en_US-tiny-low.onnx" "$out/en_US-tiny-medium.onnx"
        for quality in low medium; do
            made="$made en_US-tiny-$quality.onnx en_US-tiny-$quality.onnx.json"
        done
        ;;
    inflate) inflate_missing ;;
    inflate-whisper) run whisper.inflate --out "$build/inflated" ${shape:+--shape "$shape"} ;;
    inflate-llama) run llama.inflate --out "$build/inflated" ${shape:+--quantization "$shape"} ;;
    inflate-voice) run voice.inflate --out "$build/inflated" ${shape:+--shape "$shape"} ;;
esac

if [ -n "$install" ]; then
    for one in $made; do
        cp -R "$out/$one" "$models/"
    done
    find . -path ./recipes/build -prune -o \
        \( -name '*.bin' -o -name '*.gguf' -o -name '*.onnx' -o -name '*.onnx.json' -o -name '*.npz' \
        -o -name '*.safetensors' -o -path './whisper-tiny-test/*.json' \) -print |
        LC_ALL=C sort | xargs sha256sum >SHA256SUMS
    echo "installed; the kept weights in recipes/ stay as they are"
fi
