# The density explorer on a CPU: a page on port 8501, for a proxy to stand in front of (docs/security.md).
# Linted (hadolint), not built yet.
#
#   docker build -t density .
#   docker run --rm -p 127.0.0.1:8501:8501 -v density:/data density
#
# Models and results are kept in the volume. The first question fetches the default model (93 MB) into it; to have it
# before: docker run --rm -v density:/data density python -m density fetch smollm2-135m
FROM python:3.11.13-slim-bookworm

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/tmp \
    DENSITY_HOME=/data \
    HF_HOME=/data/huggingface

RUN useradd --system --uid 10001 --user-group --home-dir /nonexistent --shell /usr/sbin/nologin density \
    && install --directory --owner density --group density --mode 0700 /data

WORKDIR /app

# torch first, from where it has no CUDA in it: gigabytes less.
COPY requirements.txt .
RUN pip install --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' requirements.txt)" \
    && pip install --requirement requirements.txt

COPY . .

USER 10001:10001
VOLUME /data
EXPOSE 8501

HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]

# Inside a container 127.0.0.1 is the container; who reaches port 8501 is what docker run -p says.
CMD ["python", "-m", "pages.parts.serve", "--server.address", "0.0.0.0"]
