/**
 * The policy around grpc-js's own balancer (`round_robin`, with `outlier_detection` where asked for): it adds the health of
 * each replica, and another replica for another attempt. It is registered under a name of ours in grpc-js's registry and
 * named in the service config; picking is the child's.
 *
 * Of the other balancers in grpc-js 1.14.7, `weighted_round_robin` is not offered: a replica that has not reported its load yet
 * gets w⁻² of an average share, w being the average weight of the others (`WeightedRoundRobinPicker` takes the weight itself
 * for the period), so one that was just restarted stays idle. There is no `least_request`.
 */
import { type ChannelOptions, connectivityState, experimental } from '@grpc/grpc-js';
import { Attempts } from './attempts.js';
import { HealthCheckedSubchannel } from './replica-health.js';

export const replicaPolicy = 'tensor_consensus_replicas';

type Endpoints = experimental.StatusOr<experimental.Endpoint[]>;

class ReplicaConfig implements experimental.TypedLoadBalancingConfig {
  readonly child: experimental.TypedLoadBalancingConfig;

  constructor(child: experimental.TypedLoadBalancingConfig) {
    this.child = child;
  }

  getLoadBalancerName(): string {
    return replicaPolicy;
  }

  toJsonObject(): object {
    return { [replicaPolicy]: { child_policy: [this.child.toJsonObject()] } };
  }

  static createFromJson(json: { readonly child_policy: Parameters<typeof experimental.selectLbConfigFromList>[0] }) {
    const child = experimental.selectLbConfigFromList(json.child_policy);
    if (child === null) throw new Error(`${replicaPolicy}: child_policy: expected a policy that grpc-js has`);
    return new ReplicaConfig(child);
  }
}

/** Asks the child again while it names a replica that the call was sent to before, once for each replica at most. */
class ReplicaPicker implements experimental.Picker {
  readonly #child: experimental.Picker;
  readonly #replicas: () => number;

  constructor(child: experimental.Picker, replicas: () => number) {
    this.#child = child;
    this.#replicas = replicas;
  }

  pick(args: experimental.PickArgs): experimental.PickResult {
    const attempts = Attempts.takeFrom(args.metadata);
    let result = this.#child.pick(args);
    if (attempts !== null && attempts.count > 0) {
      const tried = ({ subchannel }: experimental.PickResult): boolean =>
        subchannel !== null && attempts.has(subchannel.getAddress());
      for (let more = this.#replicas() - 1; more > 0 && tried(result); more -= 1) result = this.#child.pick(args);
    }
    const { subchannel } = result;
    if (!(subchannel instanceof HealthCheckedSubchannel)) return result;
    attempts?.add(subchannel.getAddress());
    return { ...result, subchannel: subchannel.wrapped };
  }
}

class ReplicaBalancer implements experimental.LoadBalancer {
  readonly #child: experimental.ChildLoadBalancerHandler;
  #replicas = 1;

  constructor(channel: experimental.ChannelControlHelper) {
    const helper = experimental.createChildChannelControlHelper(channel, {
      createSubchannel: (address, options) => new HealthCheckedSubchannel(channel.createSubchannel(address, options)),
      updateState: (state, picker, message) => {
        const ready = state === connectivityState.READY;
        channel.updateState(state, ready ? new ReplicaPicker(picker, () => this.#replicas) : picker, message);
      },
    });
    this.#child = new experimental.ChildLoadBalancerHandler(helper);
  }

  updateAddressList(
    endpoints: Endpoints,
    config: experimental.TypedLoadBalancingConfig,
    options: ChannelOptions,
    note: string,
  ): boolean {
    if (!(config instanceof ReplicaConfig)) return false;
    if (endpoints.ok) this.#replicas = endpoints.value.length;
    return this.#child.updateAddressList(endpoints, config.child, options, note);
  }

  exitIdle(): void {
    this.#child.exitIdle();
  }

  resetBackoff(): void {
    this.#child.resetBackoff();
  }

  destroy(): void {
    this.#child.destroy();
  }

  getTypeName(): string {
    return replicaPolicy;
  }
}

/** Makes the policy known to grpc-js, for the process. */
export function registerReplicaPolicy(): void {
  if (!experimental.isLoadBalancerNameRegistered(replicaPolicy))
    experimental.registerLoadBalancerType(replicaPolicy, ReplicaBalancer, ReplicaConfig);
}
