/** The admin address: /metrics for Prometheus, /livez and /readyz for probes. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { formatAddress, type ListenAddress } from '../src/config.js';
import type { Logger } from './log.js';

export interface AdminOptions {
  readonly address: ListenAddress;
  readonly registry: Registry;
  /** Whether calls should be sent here: warm and not draining. */
  readonly isReady: () => boolean;
  readonly log: Logger;
}

export interface AdminServer {
  readonly address: string;
  close(): Promise<void>;
}

/** A probe or a scrape is one small request; whoever takes longer is cut off. */
const requestTimeoutMs = 5_000;

/** Rejects where the address cannot be listened on. */
export async function startAdminServer(options: AdminOptions): Promise<AdminServer> {
  const server = createServer((request, response) => {
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
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    reply(response, 405, 'only GET and HEAD\n');
    return;
  }
  const path = (request.url ?? '/').split('?', 1)[0];
  if (path === '/metrics') {
    const text = await options.registry.metrics();
    response.setHeader('Content-Type', options.registry.contentType);
    response.end(text);
  } else if (path === '/livez') {
    reply(response, 200, 'ok\n');
  } else if (path === '/readyz') {
    const ready = options.isReady();
    reply(response, ready ? 200 : 503, ready ? 'ok\n' : 'not serving\n');
  } else {
    reply(response, 404, 'not found: /metrics, /livez and /readyz are here\n');
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
