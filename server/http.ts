/** The admin address: /metrics for Prometheus, /livez and /readyz for probes, /log-level for operators. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { formatAddress, type ListenAddress } from '../src/config.js';
import type { Logger } from './log.js';
import type { LogLevel } from './log-level.js';
import { openMetricsType, prefersOpenMetrics, renderOpenMetrics } from './open-metrics.js';

export interface AdminOptions {
  readonly address: ListenAddress;
  readonly registry: Registry;
  /** Whether calls should be sent here: warm and not draining. */
  readonly isReady: () => boolean;
  readonly log: Logger;
  readonly logLevel: LogLevel;
}

export interface AdminServer {
  readonly address: string;
  close(): Promise<void>;
}

/** A probe or a scrape is one small request; whoever takes longer is cut off within a second (Node by itself looks every 30 s). */
const requestTimeoutMs = 5_000;

/** Rejects where the address cannot be listened on. */
export async function startAdminServer(options: AdminOptions): Promise<AdminServer> {
  const server = createServer({ connectionsCheckingInterval: requestTimeoutMs / 5 }, (request, response) => {
    answer(request, response, options).catch((error: unknown) => {
      options.log.error({ err: error, path: request.url }, 'admin request failed');
      if (response.headersSent) response.destroy();
      else reply(response, 500, 'internal error\n');
    });
  });
  server.requestTimeout = requestTimeoutMs;
  server.headersTimeout = requestTimeoutMs;
  server.keepAliveTimeout = requestTimeoutMs;
  await listen(server, options.address);
  const { address, port } = server.address() as AddressInfo;
  return {
    address: formatAddress({ host: address, port }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, options: AdminOptions): Promise<void> {
  const path = (request.url ?? '/').split('?', 1)[0];
  const isLevel = path === '/log-level';
  if (request.method !== 'GET' && request.method !== 'HEAD' && !(isLevel && request.method === 'PUT')) {
    const allowed = isLevel ? 'GET, HEAD, PUT' : 'GET, HEAD';
    response.setHeader('Allow', allowed);
    reply(response, 405, `only ${allowed}\n`);
    return;
  }
  if (isLevel) {
    const { status, text } = options.logLevel.answer(request);
    reply(response, status, text);
  } else if (path === '/metrics' && prefersOpenMetrics(request.headers.accept)) {
    const text = await renderOpenMetrics(options.registry);
    response.setHeader('Content-Type', openMetricsType);
    response.end(text);
  } else if (path === '/metrics') {
    const text = await options.registry.metrics();
    response.setHeader('Content-Type', options.registry.contentType);
    response.end(text);
  } else if (path === '/livez') {
    reply(response, 200, 'ok\n');
  } else if (path === '/readyz') {
    const ready = options.isReady();
    reply(response, ready ? 200 : 503, ready ? 'ok\n' : 'not serving\n');
  } else {
    reply(response, 404, 'not found: /metrics, /livez, /readyz and /log-level are here\n');
  }
}

function reply(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status;
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end(text);
}

function listen(server: Server, { host, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new Error(`cannot listen on ${formatAddress({ host, port })} (admin): ${error.message}`)),
    );
    server.listen(port, host, resolve);
  });
}
