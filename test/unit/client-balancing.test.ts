import { experimental } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { type Balancing, serviceConfig, targetOf } from '../../client/balancing.js';
import { HedgeBudget } from '../../client/hedging.js';
import { reconnectDelayMs } from '../../client/reconnect-delay.js';
import { registerReplicaPolicy, replicaPolicy } from '../../client/replica-balancer.js';
import { RetryBudget } from '../../client/retry-budget.js';

describe('addresses', () => {
  it('become a target, which is balanced over where there may be several', () => {
    expect(targetOf('127.0.0.1:1')).toEqual({ target: '127.0.0.1:1', balancing: 'pick_first' });
    expect(targetOf('swarm.example:1')).toEqual({ target: 'swarm.example:1', balancing: 'pick_first' });
    expect(targetOf('dns:///swarm.example:1')).toEqual({ target: 'dns:///swarm.example:1', balancing: 'round_robin' });
    expect(targetOf('ipv4:10.0.0.1:1,10.0.0.2:1').balancing).toBe('round_robin');
    const several = { target: 'ipv4:10.0.0.1:1,127.0.0.1:2', balancing: 'round_robin' };
    expect(targetOf(['10.0.0.1:1', 'localhost:2'])).toEqual(several);
    expect(targetOf('10.0.0.1:1, localhost:2')).toEqual(several);
    expect(targetOf(['[::1]:1', '[fd00::2]:1']).target).toBe('ipv6:[::1]:1,[fd00::2]:1');
  });

  it('are refused where a list has names, no ports, both families or nothing', () => {
    expect(() => targetOf(['swarm.example:1', '10.0.0.1:1'])).toThrow(
      "a name of several replicas is dns:///NAME:PORT), received 'swarm.example:1'",
    );
    expect(() => targetOf(['10.0.0.1', '10.0.0.2'])).toThrow("received '10.0.0.1'");
    expect(() => targetOf(['10.0.0.1:1', '[::1]:1'])).toThrow('expected one family');
    expect(() => targetOf([])).toThrow('expected at least one');
  });
});

describe('the balancer in the service config', () => {
  /** What grpc-js makes of it: where it cannot read one it takes pick_first without a word. */
  function understood(balancing: Balancing, ejectOutliers: boolean): object {
    registerReplicaPolicy();
    const config = serviceConfig({
      balancing,
      outliers: ejectOutliers ? {} : null,
      retries: 3,
      retryBudget: new RetryBudget(),
      hedging: null,
    }) as { readonly loadBalancingConfig: Parameters<typeof experimental.parseLoadBalancingConfig>[0][] };
    return experimental.parseLoadBalancingConfig(config.loadBalancingConfig[0]!).toJsonObject();
  }

  it('is one that grpc-js understands, with its own balancer inside of ours', () => {
    expect(understood('pick_first', false)).toHaveProperty('pick_first');
    expect(understood('round_robin', false)).toEqual({ [replicaPolicy]: { child_policy: [{ round_robin: {} }] } });
    expect(understood('round_robin', true)).toMatchObject({
      [replicaPolicy]: {
        child_policy: [
          {
            outlier_detection: {
              interval: { seconds: 5, nanos: 0 },
              failure_percentage_ejection: { threshold: 50, request_volume: 20 },
              child_policy: [{ round_robin: {} }],
            },
          },
        ],
      },
    });
  });
});

describe('the hedging budget', () => {
  it('never lets more extra calls out than its burst and a share of the answered calls', () => {
    const budget = new HedgeBudget({ delayMs: 1, maxAttempts: 3, burst: 10, ratio: 0.25 });
    let extra = 0;
    for (let calls = 1; calls <= 1000; calls += 1) {
      if (budget.reserve()) {
        budget.settle(3);
        extra += 2;
      }
      budget.succeeded();
      expect(extra).toBeLessThanOrEqual(10 + 0.25 * calls);
    }
    expect(extra).toBeGreaterThan(200);
  });

  it('gives back what was not used', () => {
    const budget = new HedgeBudget({ delayMs: 1, burst: 1, ratio: 0 });
    for (let i = 0; i < 10; i += 1) {
      expect(budget.reserve()).toBe(true);
      expect(budget.reserve()).toBe(false);
      budget.settle(1);
    }
    expect(budget.reserve()).toBe(true);
    budget.settle(2);
    expect(budget.reserve()).toBe(false);
  });
});

describe('options out of range', () => {
  it('are refused by name', () => {
    expect(() => new RetryBudget({ maxTokens: 0 })).toThrow('retryBudget.maxTokens: expected a number from 1 to 1000');
    expect(() => new RetryBudget({ tokenRatio: 2 })).toThrow('retryBudget.tokenRatio');
    expect(() => new HedgeBudget({ delayMs: -1 })).toThrow('hedging.delayMs: expected a finite number from 0');
  });
});

describe('the pause before a stream is opened anew', () => {
  it('doubles up to two seconds and is drawn from all of it', () => {
    expect([1, 2, 3, 7, 20].map((attempt) => reconnectDelayMs(attempt, 0.5))).toEqual([25, 50, 100, 1000, 1000]);
    expect(reconnectDelayMs(3, 0)).toBe(0);
  });
});
