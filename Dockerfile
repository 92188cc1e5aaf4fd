# The cell as an image: one binary, one volume, no shell needed. Build it with BuildKit or buildah:
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t crm-cell .
#
# OCI images carry no health check: buildah needs `--format docker` to keep it. docs/OPERATIONS.md says how to run it.

ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
# Anything with libgcc and the C library of the build image, or newer ones. No shell, package manager or CA bundle is needed.
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${RUNTIME_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="crm-cell" \
      org.opencontainers.image.description="A headless, multi-tenant CRM service: one SQLite file per tenant." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV CRM_DATABASE_URL=sqlite:////data/crm.db
USER 65532:65532
EXPOSE 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=40s CMD ["/usr/local/bin/crm-cell", "health"]
ENTRYPOINT ["/usr/local/bin/crm-cell"]
COPY --chmod=0644 LICENSE THIRD-PARTY-LICENSES.txt /usr/share/licenses/crm-cell/

# `--target prebuilt`: the same image without compiling, of what lies in the build context: the binary, the two files of
# licences and an empty directory `data`.
FROM runtime AS prebuilt
COPY --chmod=0755 crm-cell /usr/local/bin/crm-cell
COPY --chown=65532:65532 data /data
VOLUME /data

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# With .cargo/: it holds the flags that SQLite is compiled with.
COPY . .
# Dependencies stay in the caches: a change of the cell's own code compiles only that.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/crm-cell /crm-cell && mkdir /data

FROM runtime
COPY --from=build --chmod=0755 /crm-cell /usr/local/bin/crm-cell
# A new volume takes the owner of the directory that it is mounted over.
COPY --from=build --chown=65532:65532 /data /data
VOLUME /data
