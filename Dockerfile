FROM python:3.11-slim

RUN useradd --create-home dse
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY dse dse
COPY evaluators evaluators
COPY storage storage
COPY api api
RUN PIP_CONSTRAINT=constraints.txt pip install --no-cache-dir '.[server]' \
    && mkdir /data && chown dse /data
COPY examples examples

USER dse
ENV DSE_HOME=/data
VOLUME /data
ENTRYPOINT ["dse"]
CMD ["--help"]
