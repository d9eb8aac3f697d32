/** grpc.health.v1: the server as a whole ('') and the Coordinator service say the same. */
import type { Server } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { coordinatorServiceName } from './definitions.js';

export class Health {
  readonly #implementation = new HealthImplementation({ '': 'NOT_SERVING', [coordinatorServiceName]: 'NOT_SERVING' });

  addTo(registrar: Pick<Server, 'addService'>): void {
    this.#implementation.addToServer(registrar);
  }

  /** Told to every watcher at once. */
  setServing(serving: boolean): void {
    const status = serving ? 'SERVING' : 'NOT_SERVING';
    this.#implementation.setStatus('', status);
    this.#implementation.setStatus(coordinatorServiceName, status);
  }
}
