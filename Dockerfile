# nanobot as a container: the gateway of one data directory, as a user without rights.
#
#   docker build -t nanobot .
#   docker run --init -v nanobot:/home/nanobot/.nanobot -e ANTHROPIC_API_KEY nanobot
#
# `--init` (or `init: true`) matters: process 1 must reap what others leave behind.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY nanobot ./nanobot
RUN python -m venv /opt/nanobot && /opt/nanobot/bin/pip install --no-cache-dir '.[all]'

FROM python:3.12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 nanobot \
    && install -d -o nanobot -g nanobot -m 0700 /home/nanobot/.nanobot
COPY --from=build /opt/nanobot /opt/nanobot
ENV PATH=/opt/nanobot/bin:$PATH PYTHONUNBUFFERED=1
USER nanobot
WORKDIR /home/nanobot
VOLUME /home/nanobot/.nanobot
EXPOSE 18790
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["nanobot", "status", "--health"]
ENTRYPOINT ["nanobot"]
CMD ["gateway"]
