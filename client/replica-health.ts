/**
 * Which replicas of a channel serve, told by their own health services (`grpc.health.v1.Health/Watch`).
 *
 * grpc-js 1.14.7 reads no `healthCheckConfig` from a service config, and grpc-health-check 2.1.0 has the server's side only.
 * What it has is everything that one needs: wrappers of subchannels whose health its balancers ask for, one shared watcher
 * for each connection ("data producer"), and calls over exactly that connection. Only balancers that pick among
 * several replicas ask for health; `pick_first` on its own does not.
 */
import {
  type ChannelOptions,
  Client,
  type ClientReadableStream,
  connectivityState,
  credentials,
  experimental,
  Metadata,
  type ServiceError,
  status as grpcStatus,
} from '@grpc/grpc-js';
import { coordinatorServiceName, type Health, healthWatchMethod } from './methods.js';

type Subchannel = ReturnType<experimental.SubchannelInterface['getRealSubchannel']>;
type DataProducer = ReturnType<Subchannel['getOrCreateDataProducer']>;
type DataWatcher = Parameters<experimental.SubchannelInterface['addDataWatcher']>[0];

/** All watchers of our producers are of this kind. */
interface HealthListener extends DataWatcher {
  hear(health: ReplicaHealth): void;
}

/** `unknown`: the connection is up, but its health service has not spoken. */
type ReplicaHealth = 'unknown' | 'serving' | 'not serving';

const producerName = 'tensor-consensus.health';

/** What says nothing about the replica: it has no health service, does not know of the service, or does not tell this caller. */
const untold: ReadonlySet<number> = new Set([
  grpcStatus.UNIMPLEMENTED,
  grpcStatus.NOT_FOUND,
  grpcStatus.UNAUTHENTICATED,
  grpcStatus.PERMISSION_DENIED,
]);

/** Watches one connection, for all channels of the process that share it. */
class HealthProducer implements DataProducer {
  readonly #subchannel: Subchannel;
  readonly #client: Client;
  readonly #watchers = new Set<HealthListener>();
  readonly #backoff = new experimental.BackoffTimeout(() => this.#follow());
  readonly #onState = (): void => this.#follow();
  #call: ClientReadableStream<{ status: Health }> | null = null;
  #health: ReplicaHealth = 'unknown';

  constructor(subchannel: Subchannel) {
    this.#subchannel = subchannel;
    this.#backoff.unref();
    // Address and credentials are those of the subchannel.
    const overridden: ChannelOptions & { channelOverride: unknown } = { channelOverride: subchannel.getChannel() };
    this.#client = new Client('unused', credentials.createInsecure(), overridden as ChannelOptions);
    subchannel.addConnectivityStateListener(this.#onState);
  }

  addDataWatcher(watcher: DataWatcher): void {
    this.#watchers.add(watcher as HealthListener);
    (watcher as HealthListener).hear(this.#health);
    this.#follow();
  }

  /** A balancer that is told the same addresses again lets go of its wrappers before it makes new ones: the watch outlives that moment. */
  removeDataWatcher(watcher: DataWatcher): void {
    this.#watchers.delete(watcher as HealthListener);
    setImmediate(() => this.#endIfUnused());
  }

  #endIfUnused(): void {
    if (this.#watchers.size > 0) return;
    this.#subchannel.removeDataProducer(producerName);
    this.#subchannel.removeConnectivityStateListener(this.#onState);
    this.#backoff.stop();
    this.#stop();
    this.#client.close();
  }

  #stop(): void {
    const call = this.#call;
    this.#call = null;
    call?.cancel();
  }

  /** Opens a watch on a new connection, and forgets what was heard on one that is gone. */
  #follow(): void {
    if (this.#subchannel.getConnectivityState() !== connectivityState.READY) {
      this.#backoff.stop();
      this.#backoff.reset();
      this.#stop();
      this.#tell('unknown');
      return;
    }
    if (this.#call !== null || this.#watchers.size === 0 || this.#backoff.isRunning()) return;
    const { path, requestSerialize, responseDeserialize } = healthWatchMethod();
    const call = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { service: coordinatorServiceName },
      new Metadata(),
    );
    this.#call = call;
    call.on('data', ({ status }: { status: Health }) => {
      if (call !== this.#call) return;
      this.#backoff.reset();
      this.#tell(status === 'SERVING' ? 'serving' : 'not serving');
    });
    call.on('error', (error: ServiceError) => this.#lost(call, error.code));
    call.on('end', () => this.#lost(call, grpcStatus.OK));
  }

  /** While the connection stays up, what was heard last holds until another watch says otherwise. */
  #lost(call: ClientReadableStream<{ status: Health }>, code: number): void {
    if (call !== this.#call) return;
    if (untold.has(code)) {
      // The watch is kept as if it were open, so that no other is tried on this connection.
      this.#tell('serving');
      return;
    }
    this.#call = null;
    this.#backoff.runOnce();
  }

  #tell(health: ReplicaHealth): void {
    if (health === this.#health) return;
    this.#health = health;
    for (const watcher of [...this.#watchers]) watcher.hear(health);
  }
}

/** One wrapper's ear at the producer of its connection. */
class HealthWatcher implements HealthListener {
  readonly hear: (health: ReplicaHealth) => void;
  #producer: DataProducer | null = null;

  constructor(hear: (health: ReplicaHealth) => void) {
    this.hear = hear;
  }

  setSubchannel(subchannel: Subchannel): void {
    this.#producer = subchannel.getOrCreateDataProducer(producerName, (created) => new HealthProducer(created));
    this.#producer.addDataWatcher(this);
  }

  destroy(): void {
    this.#producer?.removeDataWatcher(this);
  }
}

/**
 * A subchannel that counts as connecting until its replica has said whether it serves, and as unhealthy while it says that it does
 * not. Balancers pick it only while it serves; calls that are under way on it go on.
 */
export class HealthCheckedSubchannel extends experimental.BaseSubchannelWrapper {
  readonly #listeners = new Set<experimental.ConnectivityStateListener>();
  readonly #onChild: experimental.ConnectivityStateListener = (_child, _before, _now, keepaliveTime, message) =>
    this.#report(keepaliveTime, message);
  #health: ReplicaHealth = 'unknown';
  #reported: connectivityState;

  constructor(child: experimental.SubchannelInterface) {
    super(child);
    this.#reported = child.getConnectivityState();
    this.addDataWatcher(
      new HealthWatcher((health) => {
        this.#health = health;
        // First: whoever is told that this one is ready asks whether it is healthy.
        this.setHealthy(health !== 'not serving');
        this.#report(0);
      }),
    );
    this.#reported = this.getConnectivityState();
    child.addConnectivityStateListener(this.#onChild);
  }

  /** What is wrapped: the picker hands that out, as grpc-js asks of whoever wraps. */
  get wrapped(): experimental.SubchannelInterface {
    return this.child;
  }

  override getConnectivityState(): connectivityState {
    const state = this.child.getConnectivityState();
    return state === connectivityState.READY && this.#health === 'unknown' ? connectivityState.CONNECTING : state;
  }

  override addConnectivityStateListener(listener: experimental.ConnectivityStateListener): void {
    this.#listeners.add(listener);
  }

  override removeConnectivityStateListener(listener: experimental.ConnectivityStateListener): void {
    this.#listeners.delete(listener);
  }

  protected override destroy(): void {
    this.child.removeConnectivityStateListener(this.#onChild);
    super.destroy();
  }

  #report(keepaliveTime: number, message?: string): void {
    const before = this.#reported;
    const now = this.getConnectivityState();
    if (now === before) return;
    this.#reported = now;
    for (const listener of [...this.#listeners]) listener(this, before, now, keepaliveTime, message);
  }
}
