# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
#
# The program hqgnet in a container: not root, no network, and nothing written but results. See docs/program.md.
#
#   docker build --tag hqgnet .
#   docker run --rm --network none --read-only --tmpfs /tmp --user "$(id -u):$(id -g)" \
#       --volume /path/to/studies:/input:ro --volume /path/to/results:/output hqgnet

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY bundle bundle
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
# PyTorch without CUDA is a tenth in size. For a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# To record trainings in MLflow: --build-arg EXTRAS=[train]
ARG EXTRAS=
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
RUN python -m venv /opt/hqgnet \
    && wheel=$(echo /wheels/*.whl) \
    && /opt/hqgnet/bin/python -m pip install --no-cache-dir --extra-index-url "${TORCH_INDEX}" \
        --constraint /wheels/constraints.txt "${wheel}${EXTRAS}" \
    && rm -r /wheels

# Whatever a library wants to keep goes to /tmp: the rest may be read-only, and the user need not be known.
ENV PATH=/opt/hqgnet/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    TMPDIR=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    USER=hqgnet \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=true \
    GOMP_SPINCOUNT=1000

RUN mkdir /input /output && chown 10001:10001 /output
USER 10001:10001
WORKDIR /output
ENTRYPOINT ["hqgnet"]
CMD ["enhance", "/input", "/output"]
