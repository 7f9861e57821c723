# Our two images, built from wheels that this machine's pip fetches; sourced after engine.sh.
#
# Reads $work, $PYTHON, $BASE_IMAGE, $PROXY_IMAGE, $MURMURATION_IMAGE, $MURMURATION_PROXY_IMAGE; sets $building while
# something is under way that must be ended first. Wheels that it adds to docker/wheels go by `drop_wheels`.

there=" $(ls docker/wheels | tr '\n' ' ')"
building=""

# PyPI's torch brings CUDA; where this machine's own torch is for CPUs, its pip knows where such a one lies.
torch_index() {
  "$PYTHON" -c 'from importlib.metadata import version as v; exit("+cpu" not in v("torch"))' 2> /dev/null \
    || echo --extra-index-url https://download.pytorch.org/whl/cpu
}

drop_wheels() {
  local wheel
  for wheel in docker/wheels/*.whl; do [[ "$there" == *" ${wheel##*/} "* ]] || rm -f "$wheel"; done
}

build_images() {
  say "fetching wheels"
  "$PYTHON" docker/requirements.py pyproject.toml > "$work/requirements.txt"
  # shellcheck disable=SC2046
  "$PYTHON" -m pip download --quiet --only-binary :all: --python-version 3.11 --constraint constraints.txt $(torch_index) \
    --requirement "$work/requirements.txt" --dest docker/wheels > "$work/pip.log" 2>&1 &
  building=$!
  need_base_image
  need_proxy_image
  wait "$building" || { tail "$work/pip.log"; fail "pip cannot fetch the wheels"; }
  say "building from $BASE_IMAGE"
  docker build --network none --file docker/Dockerfile --tag "$MURMURATION_IMAGE" --build-arg BASE_IMAGE="$BASE_IMAGE" \
    --build-arg PIP_NO_INDEX=1 . > "$work/build.log" 2>&1 &
  building=$!
  wait "$building" || { tail -n 30 "$work/build.log"; fail "the image does not build"; }
  building=""
  docker build --network none --file docker/proxy.Dockerfile --tag "$MURMURATION_PROXY_IMAGE" --build-arg PROXY_IMAGE="$PROXY_IMAGE" . \
    > "$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; fail "the proxy's image does not build"; }
}
