/**
 * Where idling never pays. Costs that hold an idle utility far below all others would round those away, and bids would have to climb all the way down to
 * it; but then its size decides nothing: as many agents as possible work, which is what is solved where there is no idle utility.
 */
import type { HardDemands, HardProblem, HardResult } from './hard.js';

/** Of the values (utility, bias and keep bonus) of pairs of active agents and tasks; may be further apart than the values are. */
export interface ValueRange {
  readonly low: number;
  readonly high: number;
  /** No pair is forbidden. */
  readonly dense: boolean;
}

/**
 * Whether every best assignment within the limit of changes has as many agents as any. Without forbidden pairs and without a limit whoever idles beside a free place could
 * take it, so idling has to be worth less than any pair; else one more agent may cost the others something: less than N + 1 times the range of values.
 */
export function idlingNeverPays(
  { idleUtility, agentCount, maxChange }: HardDemands,
  range: ValueRange | null,
): boolean {
  if (idleUtility === null || range === null || !(range.low <= range.high)) return false;
  const { low, high, dense } = range;
  return dense && maxChange === null ? idleUtility < low : idleUtility < low - (agentCount + 1) * (high - low);
}

/** The answer with the idle utility from the one without; `objective` and `totalUtility` are its scores with it. */
export function withIdling(
  result: HardResult,
  { objective, totalUtility }: Pick<HardResult, 'objective' | 'totalUtility'>,
): HardResult {
  return { ...result, objective, totalUtility, upperBound: objective + (result.upperBound - result.objective) };
}

/** Of all pairs of `problem` of active agents and tasks; null where one is not worth more than idling. O(N M), where not that. */
export function rangeAboveIdling(problem: HardDemands & Pick<HardProblem, 'utility'>): ValueRange | null {
  const { agentCount, taskCount, agentActive, taskActive, capacities, utility, bias } = problem;
  const idle = problem.idleUtility ?? -Infinity;
  const bonus = problem.previous === null ? 0 : problem.keepBonus;
  let low = Infinity;
  let high = -Infinity;
  let dense = true;
  for (let agent = 0; agent < agentCount; agent++) {
    if (agentActive[agent] !== 1) continue;
    const base = agent * taskCount;
    for (let task = 0; task < taskCount; task++) {
      if (taskActive[task] !== 1 || capacities?.[task] === 0) continue;
      const value = utility[base + task]! + (bias === null ? 0 : bias[base + task]!);
      if (!Number.isFinite(value)) dense = false;
      else if (value <= idle) return null;
      else if (value < low) low = value;
      if (value > high && value < Infinity) high = value;
    }
  }
  return { low: low + Math.min(bonus, 0), high: high + Math.max(bonus, 0), dense };
}
