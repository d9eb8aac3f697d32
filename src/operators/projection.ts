/** Adaptive projection: each agent's share of k resource kinds (the paper's Algorithm 1). */
import { numpy as np } from '@jax-js/jax';

const layerNormEpsilon = 1e-5;
const smallestTotal = 1e-30;

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
  const centred = states.ref.sub(np.mean(states, -1, { keepdims: true }));
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
  const limits = resourceMax.reshape([batch, 1, kinds]).mul(agentMask.reshape([batch, agents, 1]));
  const wanted = share.mul(limits);
  const total = np.sum(wanted.ref, 1, { keepdims: true });
  const scale = np.minimum(budget.reshape([batch, 1, kinds]).div(np.maximum(total, smallestTotal)), 1);
  return wanted.mul(scale);
}
