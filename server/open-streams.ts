/** Long-lived streams of the standard services (health watches, reflection), which would hold up a shutdown. */
import type { Server, ServerDuplexStream, ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js';

type StreamingCall = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;
type StreamingHandler = (call: StreamingCall) => void;

export class OpenStreams {
  readonly #calls = new Set<StreamingCall>();
  #ending = false;

  /** A stand-in for `server` to register services with: their streams are remembered while they are open. */
  registrar(server: Server): Pick<Server, 'addService'> {
    return {
      addService: (definition, implementation) => {
        const tracked: UntypedServiceImplementation = { ...implementation };
        for (const [name, method] of Object.entries(definition)) {
          const handler = implementation[name] ?? implementation[method.originalName ?? ''];
          if (!method.responseStream || handler === undefined) continue;
          tracked[name] = (call: StreamingCall) => {
            this.#track(call);
            (handler as unknown as StreamingHandler)(call);
          };
        }
        server.addService(definition, tracked);
      },
    };
  }

  /** Ends all streams with status OK, and those still to come. */
  endAll(): void {
    this.#ending = true;
    for (const call of this.#calls) call.end();
  }

  #track(call: StreamingCall): void {
    this.#calls.add(call);
    // grpc-js emits `cancelled` at the end of every call, however it ended.
    call.once('cancelled', () => this.#calls.delete(call));
    if (this.#ending) setImmediate(() => call.end());
  }
}
