# The server's image with Python and pip, which `plugin install` needs and serving does not: for the init containers of
# deploy/kubernetes. docker build -f deploy/installer.Dockerfile --build-arg SERVER=tensor-consensus:0.1.0 -t tensor-consensus-installer:0.1.0 .
ARG SERVER=tensor-consensus:0.1.0
FROM ${SERVER}
LABEL org.opencontainers.image.title="tensor-consensus-installer" \
      org.opencontainers.image.description="Installs the pinned PJRT plugins of tensor-consensus into a volume."
USER root
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-pip \
 && rm -rf /var/lib/apt/lists/*
USER 1000:1000
HEALTHCHECK NONE
CMD ["plugin", "install", "cpu"]
