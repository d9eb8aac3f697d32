/**
 * The open streams of an HTTP/2 session by their numbers. Node keeps them in a Map, and where streams overlap, as those of calls that wait for a batch do,
 * that Map keeps every call from dying young: roster.ts says how.
 */
import type { Http2Session } from 'node:http2';

/** What Node asks of its Map. An object with many numbers that come and go is a hash table, which points to no other. */
export class StreamTable<Stream> implements Map<number, Stream> {
  readonly [Symbol.toStringTag] = 'StreamTable';
  #streams = newTable<Stream>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Stream | undefined {
    return this.#streams[id];
  }

  has(id: number): boolean {
    return id in this.#streams;
  }

  set(id: number, stream: Stream): this {
    if (!(id in this.#streams)) this.#size++;
    this.#streams[id] = stream;
    return this;
  }

  delete(id: number): boolean {
    if (!(id in this.#streams)) return false;
    this.#size--;
    return Reflect.deleteProperty(this.#streams, id);
  }

  clear(): void {
    this.#streams = newTable();
    this.#size = 0;
  }

  /** Of those that are open now; what closes meanwhile is left out. */
  forEach(look: (stream: Stream, id: number, map: Map<number, Stream>) => void): void {
    for (const [id, stream] of this) look(stream, id, this);
  }

  *entries(): MapIterator<[number, Stream]> {
    for (const id of Object.keys(this.#streams).map(Number)) {
      if (id in this.#streams) yield [id, this.#streams[id]!];
    }
  }

  *keys(): MapIterator<number> {
    for (const [id] of this) yield id;
  }

  *values(): MapIterator<Stream> {
    for (const [, stream] of this) yield stream;
  }

  [Symbol.iterator](): MapIterator<[number, Stream]> {
    return this.entries();
  }
}

function newTable<Stream>(): Record<number, Stream> {
  return Object.create(null) as Record<number, Stream>;
}

/** False where this version of Node keeps them in a way that is not known here: it is left as it is. Before the session's first stream. */
export function keepStreamsInTable(session: Http2Session): boolean {
  const name = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'state');
  if (name === undefined) return false;
  const state = (session as unknown as Record<symbol, { streams?: Partial<Map<number, unknown>> } | undefined>)[name];
  if (state?.streams?.size !== 0 || typeof state.streams.set !== 'function') return false;
  state.streams = new StreamTable();
  return true;
}
