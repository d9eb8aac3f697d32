/** A TCP proxy on a port of 127.0.0.1 that counts its connections, and can fall silent without closing them: what is left of a client that vanished. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class TcpProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #silent = false;
  /** That were opened so far. */
  connections = 0;
  /** From clients, given to the server. */
  forwardedBytes = 0;

  private constructor(host: string, port: number) {
    this.#server = createServer((client) => {
      this.connections += 1;
      const upstream = connect({ host, port });
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        this.#sockets.add(from);
        from.on('error', () => undefined);
        from.on('data', (bytes: Buffer) => {
          if (this.#silent) return;
          if (from === client) this.forwardedBytes += bytes.length;
          to.write(bytes);
        });
        from.on('end', () => this.#silent || to.end());
        from.on('close', () => {
          this.#sockets.delete(from);
          if (!this.#silent) to.destroy();
        });
      }
    });
  }

  /** In front of `address`, HOST:PORT. */
  static async to(address: string): Promise<TcpProxy> {
    const [host = '', port = ''] = address.split(':');
    const proxy = new TcpProxy(host, Number(port));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From now on no byte and no end of a connection gets through, in either direction; nothing more is read. */
  fallSilent(): void {
    this.#silent = true;
    for (const socket of this.#sockets) socket.pause();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
