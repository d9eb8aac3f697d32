/** How long a stream waits before it is opened anew. */

const firstMs = 50;
const longestMs = 2000;

/**
 * Anything up to 50 ms for the first attempt, twice that for each further one, up to 2 s: a server that ends lets go of all its streams
 * at once, and they should not all come back at once. `random` in [0, 1).
 */
export function reconnectDelayMs(attempt: number, random: number): number {
  return random * Math.min(longestMs, firstMs * 2 ** (attempt - 1));
}
