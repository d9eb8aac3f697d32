# Build: everything that compiling needs; nothing of it but the results goes on.
FROM node:22.21-bookworm-slim AS build
WORKDIR /app
# ONNX Runtime's CPU library comes with its package; without this the install step would look for CUDA and download more.
ENV ONNXRUNTIME_NODE_INSTALL=skip
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY proto ./proto
COPY src ./src
COPY server ./server
COPY client ./client
COPY deploy/release/sbom.mjs ./deploy/release/
# The bill of materials goes into dist with the rest.
RUN npm run build && npm run sbom
RUN npm prune --omit=dev --no-audit --no-fund
# ONNX Runtime ships a library for every platform (300 MB); one is used. Its CUDA libraries are not in the package and not fetched.
RUN find node_modules/onnxruntime-node/bin -mindepth 3 -maxdepth 3 -type d ! -path "*/linux/$(node -p process.arch)" -exec rm -rf {} +

FROM node:22.21-bookworm-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tensor-consensus" \
      org.opencontainers.image.description="A gRPC service that coordinates swarms: resources, assignment and robust consensus for thousands of agents every tick." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/node:22.21-bookworm-slim"
WORKDIR /app
ENV NODE_ENV=production
# A container is reached from outside; on a host the defaults stay on 127.0.0.1.
ENV TC_GRPC_ADDRESS=0.0.0.0:50051
ENV TC_ADMIN_ADDRESS=0.0.0.0:9464
# ONNX Runtime would send usage data to its maker and keep a device id in the home folder.
ENV ORT_DISABLE_TELEMETRY=1
# libuv's pool does blocking work of native libraries; four threads would make file reads wait behind it. Read at start only.
ENV UV_THREADPOOL_SIZE=16
COPY package.json LICENSE ./
COPY proto ./proto
COPY policies ./policies
COPY plugins ./plugins
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# By number, so that Kubernetes can tell that it is not root; it is the base image's user node.
USER 1000:1000
EXPOSE 50051 9464
HEALTHCHECK --interval=5s --timeout=2s --start-period=30s CMD ["node", "-e", "fetch('http://127.0.0.1:9464/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "--initial-old-space-size=256", "--min-semi-space-size=16", "--no-allocation-site-pretenuring", "dist/client/cli.js"]
CMD ["serve"]
