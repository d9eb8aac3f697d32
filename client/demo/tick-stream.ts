/** The demo's ticks over a stream; where the stream ended, over another one that takes up where it was left. */
import type { CoordinatorClient, CoordinatorStream } from '../client.js';
import type { CoordinateAnswer, CoordinateRequest } from '../request.js';

export class TickStream {
  readonly #client: CoordinatorClient;
  readonly #signal: AbortSignal;
  #stream: CoordinatorStream;

  constructor(client: CoordinatorClient, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
    this.#stream = client.openStream({ signal });
  }

  send(request: CoordinateRequest, options: { readonly deadlineMs: number }): Promise<CoordinateAnswer> {
    if (!this.#stream.isClosed || this.#signal.aborted) return this.#stream.send(request, options);
    const { warmStart } = this.#stream;
    this.#stream = this.#client.openStream({ signal: this.#signal });
    const resumed = warmStart === null ? request : { ...request, assignment: { ...request.assignment, warmStart } };
    return this.#stream.send(resumed, options);
  }

  close(): Promise<void> {
    return this.#stream.close();
  }
}
