/** What the commands of `tensor-consensus` end with. `--help` prints this table. */
export const exitCodes = {
  ok: 0,
  /** The server answered with an error, a check failed, or the server stopped with calls lost. */
  failed: 1,
  /** Wrong flags or an unreadable input file. */
  usage: 2,
  /** No server answers at the address, or it is not ready. */
  unreachable: 3,
  /** SIGINT. */
  interrupted: 130,
} as const;
