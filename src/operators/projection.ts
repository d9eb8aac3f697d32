/** Adaptive projection: each agent's share of k resource kinds (the paper's Algorithm 1). */
import { numpy as np } from '@jax-js/jax';

const layerNormEpsilon = 1e-5;
/** Least divisor of shares and limits. */
const smallest = 1e-30;

/**
 * R = softmax((LayerNorm(S) W + b) / sqrt(d)) * r_max, inactive agents zero; then each column is scaled down to its
 * budget where its sum exceeds it (the budget is an addition to the paper).
 *
 * states [B,N,d], weight [d,k], bias [k], resourceMax [B,k], budget [B,k], agentMask [B,N] -> resources [B,N,k]
 */
export function project(
  states: np.Array,
  weight: np.Array,
  bias: np.Array,
  resourceMax: np.Array,
  budget: np.Array,
  agentMask: np.Array,
): np.Array {
  const [batch, agents, width] = states.shape as [number, number, number];
  const kinds = resourceMax.shape[1]!;
  // LayerNorm does not see what a row has in common, but float32 does: where a row lies far from 0, the rounding of its
  // mean would pass for variance.
  const seen = states.ref.sub(states.slice([], [], [0, 1]));
  const centred = seen.ref.sub(np.mean(seen, -1, { keepdims: true }));
  const variance = np.mean(np.square(centred.ref), -1, { keepdims: true });
  // The division by the deviation commutes with W and is cheaper on k columns than on d.
  const deviation = np.sqrt(variance.add(layerNormEpsilon));
  const logits = np
    .matmul(centred, weight)
    .div(deviation)
    .add(bias)
    .mul(1 / Math.sqrt(width));
  const powers = np.exp(logits.ref.sub(np.max(logits, -1, { keepdims: true })));
  const share = powers.ref.div(np.sum(powers, -1, { keepdims: true }));
  const limit = resourceMax.reshape([batch, 1, kinds]);
  const wanted = share.mul(agentMask.reshape([batch, agents, 1]));
  // In units of the limit: sums of resources themselves may leave float32's range.
  const total = np.sum(wanted.ref, 1, { keepdims: true });
  const allowed = budget.reshape([batch, 1, kinds]).div(np.maximum(limit.ref, smallest));
  const scale = np.minimum(allowed.div(np.maximum(total, smallest)), 1);
  return wanted.mul(limit).mul(scale);
}
