/**
 * What Node is started with to serve; V8 reads it before any of our code runs, so it stands wherever a server is started
 * (the command's first line, `npm start`, the Dockerfile), and a test compares them.
 *
 * Requests are external memory, which V8 counts against a limit that follows the few megabytes of live heap: without this a
 * major collection comes every 50 calls of 51 KB, each up to 7 ms long. A lone caller's p99 at N=100 was 10.6 ms without and
 * 4.8 ms with it, and 32 callers got 1.15 times the rate.
 *
 * Space for new objects begins at the size to which V8 lets it grow: with less, what 32 calls hold is copied and promoted again and again. Server and
 * load generator together took 8 to 9 % less CPU time a call so on two cores; twice the size gained nothing more.
 *
 * Objects that outlive a call are made rarely, but during a start most do, and V8 would go on making their like in the old generation from then on:
 * each of them keeps a request alive until the next full collection. With what roster.ts says, 32 callers cause one full collection every 4500 calls instead of every 450.
 */
export const serverNodeFlags = [
  '--initial-old-space-size=256',
  '--min-semi-space-size=16',
  '--no-allocation-site-pretenuring',
] as const;
