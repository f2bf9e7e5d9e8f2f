# The operator's image: Debian's Python, what requirements/operator.txt locks, the operator, and the packages that ship
# with it (for an init container or a file server to hand on). Each step is a script under hack/image, which a test runs
# without a container engine too. docs/operations/image.md tells how it is built, and what of that was tried.
#
# The base is named by tag and not by digest: pin it to one that you have verified, with --build-arg BASE=...@sha256:...
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
ARG SOURCE_DATE_EPOCH=0
COPY hack/image /source/hack/image
RUN /source/hack/image/install-debian-packages python3 python3-pip
COPY requirements/operator.txt /source/requirements/
RUN /source/hack/image/collect-dependencies /source /image/opt/vmext
COPY operator/vmext_operator /source/operator/vmext_operator
RUN /source/hack/image/collect-operator /source /image/opt/vmext
COPY hack/packages /source/hack/packages
COPY extensions /source/extensions
RUN /source/hack/image/collect-packages /source /image/packages /image/opt/vmext

FROM ${BASE}
ARG SOURCE_DATE_EPOCH=0
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vmext-operator" \
      org.opencontainers.image.description="VM extensions for any Linux machine, declared in Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN --mount=type=bind,from=build,source=/source/hack/image,target=/steps \
    /steps/install-debian-packages python3
COPY --from=build /image/ /
ENV PYTHONPATH=/opt/vmext PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["python3", "-m", "vmext_operator"]
