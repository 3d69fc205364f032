# The service with a C compiler, because measuring and exporting need one. Not exercised in the tests, which only parse it.
FROM python:3.11-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev make \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 tradespace \
 && install -d -o tradespace -g tradespace /data
WORKDIR /srv/tradespace
COPY requirements.lock pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock \
 && pip install --no-cache-dir "psycopg[binary]>=3.3" "distributed>=2026.1"
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e .
USER tradespace
ENV TRADESPACE_DATA=/data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["tradespace", "serve", "--host", "0.0.0.0"]
