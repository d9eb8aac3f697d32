/** Flags of `tensor-consensus demo`. */
import { parseArgs } from 'node:util';
import { accessFlags, accessOf } from '../commands/access-flags.js';
import type { ClientAccess } from '../credentials.js';
import { UsageError, wholeNumber } from '../usage.js';

export interface DemoOptions {
  readonly seed: number;
  readonly agents: number;
  readonly sites: number;
  /** Real seconds. */
  readonly seconds: number;
  /** Null: start a server. */
  readonly address: string | null;
  /** To that server. */
  readonly access: ClientAccess;
  readonly colour: boolean;
  readonly live: boolean;
  readonly help: boolean;
}

export const demoHelp = `tensor-consensus demo [options]

Coordinates a simulated rescue swarm through a real server, ten ticks a second, and says at the end how well it went.
Robots with speed limits and batteries drive to rescue sites on a 1 km map; each tick is one call that assigns robots to
sites and agrees on where a moving beacon is, although some robots' position sensors are stuck or lie. One tick is one
simulated second, so the picture runs ten times as fast as the world. The same seed gives the same world; a greedy
commander plays it too, for comparison.

  --seed NUMBER        which world (default 7)
  --agents COUNT       robots, 2..5000 (default 200)
  --sites COUNT        rescue sites, 1..5000 (default 150)
  --seconds COUNT      how long, in real seconds, 1..600 (default 20)
  --address HOST:PORT  use a running server, or several replicas with commas between or dns:///NAME:PORT (default: start
                       one on a free port, and stop it at the end)
  --tls, --ca FILE, --cert FILE, --key FILE, --server-name NAME, --token-file FILE, --tenant NAME
                       how that server lets clients in (see call --help)
  --no-live            progress lines instead of the picture, also on a terminal
  --no-color           no colours (also: NO_COLOR=1)
  -h, --help           this text

Exit codes: 0 every check passed; 1 one failed, the summary says which; 2 wrong use; 3 no server.
`;

/** @throws UsageError */
export function readDemoOptions(argv: readonly string[]): DemoOptions {
  const { values } = UsageError.from('demo', () =>
    parseArgs({
      args: [...argv],
      options: {
        seed: { type: 'string', default: '7' },
        agents: { type: 'string', default: '200' },
        sites: { type: 'string', default: '150' },
        seconds: { type: 'string', default: '20' },
        address: { type: 'string' },
        ...accessFlags,
        'no-live': { type: 'boolean', default: false },
        'no-color': { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }),
  );
  return {
    seed: wholeNumber('--seed', values.seed, 0, 2_147_483_647),
    agents: wholeNumber('--agents', values.agents, 2, 5000),
    sites: wholeNumber('--sites', values.sites, 1, 5000),
    seconds: wholeNumber('--seconds', values.seconds, 1, 600),
    address: values.address ?? null,
    access: values.address === undefined ? {} : accessOf(values, process.env),
    colour: !values['no-color'],
    live: !values['no-live'],
    help: values.help,
  };
}
