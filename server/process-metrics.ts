/** Metrics of the process itself: memory, CPU, garbage collection, event-loop delay. */
import { collectDefaultMetrics, type Registry } from 'prom-client';

/** Gauges whose names end in `_total`, which is for counters: `promtool check metrics` refuses them. Their like without the suffix stay. */
const misnamed = ['nodejs_active_handles_total', 'nodejs_active_resources_total', 'nodejs_active_requests_total'];

export function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
  for (const name of misnamed) registry.removeSingleMetric(name);
}
