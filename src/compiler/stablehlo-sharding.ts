/** One problem over several devices: how XLA's partitioner (Shardy) is told to spread the agents. */
import type { Axis } from '../operators/signature.js';

const meshName = 'devices';
const meshAxis = 'agents';

/** The line that declares `partitions` devices in a row. */
export function meshLine(partitions: number): string {
  return `sdy.mesh @${meshName} = <["${meshAxis}"=${partitions}]>`;
}

/**
 * Attribute of an argument or result of `main`, with a space before it: its agents' axis is cut into one piece for each device; what has none
 * is whole on all. XLA decides about everything between.
 */
export function shardingAttribute(axes: readonly Axis[]): string {
  const cut = axes.map((axis) => (axis === 'N' ? `{"${meshAxis}"}` : '{}'));
  return ` {sdy.sharding = #sdy.sharding<@${meshName}, [${cut.join(', ')}]>}`;
}
