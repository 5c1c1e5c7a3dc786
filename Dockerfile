# nanobot as a container: the gateway of one data directory, as a user without rights.
#
#   docker build -t nanobot .
#   docker run --init -v nanobot:/home/nanobot/.nanobot -e ANTHROPIC_API_KEY nanobot
#
# `--init` (or `init: true`) matters: process 1 must reap what others leave behind.

FROM node:22-slim AS bridge
WORKDIR /bridge
COPY bridge/package.json bridge/package-lock.json bridge/tsconfig.json bridge/.npmrc ./
COPY bridge/src ./src
RUN npm ci --ignore-scripts \
    && npx tsc \
    && npm prune --omit=dev --ignore-scripts

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY nanobot ./nanobot
COPY bridge ./bridge
RUN python -m venv /opt/nanobot && /opt/nanobot/bin/pip install --no-cache-dir '.[all]'
# beside the sources that the wheel brings: there nanobot looks for a bridge that is built
COPY --from=bridge /bridge/dist /opt/nanobot/lib/python3.12/site-packages/nanobot/bridge/dist
COPY --from=bridge /bridge/node_modules /opt/nanobot/lib/python3.12/site-packages/nanobot/bridge/node_modules

FROM python:3.12-slim
# Debian takes old versions of its packages away, so that fixed ones would not be there one day.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap git libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 nanobot \
    && install -d -o nanobot -g nanobot -m 0700 /home/nanobot/.nanobot
COPY --from=bridge /usr/local/bin/node /usr/local/bin/node
COPY --from=build /opt/nanobot /opt/nanobot
ENV PATH=/opt/nanobot/bin:$PATH PYTHONUNBUFFERED=1
USER 1000
WORKDIR /home/nanobot
VOLUME /home/nanobot/.nanobot
EXPOSE 18790
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["nanobot", "status", "--health"]
ENTRYPOINT ["nanobot"]
CMD ["gateway"]
