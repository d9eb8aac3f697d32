/** Which device runs what comes next: the least loaded of those that still answer. */
import type { CoordinatorError } from '../errors.js';
import type { PjrtDevice } from '../pjrt/device.js';

export class PooledDevice {
  readonly device: PjrtDevice;
  /** As `execution.device` says it. */
  readonly name: string;
  /** Position in the pool. */
  readonly index: number;
  /** Executions that were started and not settled. */
  inFlight = 0;
  /** Executions that failed since the last one that did not. */
  failures = 0;
  /** What those in flight are expected to take together, in milliseconds. */
  expectedMs = 0;
  /** Why nothing is given to it any more; null while it answers. */
  lost: string | null = null;
  /** What rejects the executions in flight, for when the device is lost. */
  readonly rejections: ((error: CoordinatorError) => void)[] = [];

  constructor(device: PjrtDevice, name: string, index: number) {
    this.device = device;
    this.name = name;
    this.index = index;
  }

  /** `reject` is one of `rejections`, whose run has settled. */
  forgetRun(reject: (error: CoordinatorError) => void): void {
    this.rejections.splice(this.rejections.indexOf(reject), 1);
  }
}

export class DevicePool {
  /** All of them, lost ones too. */
  readonly devices: readonly PooledDevice[];
  /** Of all together: `cpu`, `cpu:0-3`. */
  readonly name: string;

  /** At least one device. One alone goes by its kind; where there are several, their ids tell them apart. */
  constructor(devices: readonly PjrtDevice[]) {
    this.devices = devices.map(
      (device, index) => new PooledDevice(device, devices.length === 1 ? device.kind : nameOf([device]), index),
    );
    this.name = devices.length === 1 ? devices[0]!.kind : nameOf(devices);
  }

  get serving(): PooledDevice[] {
    return this.devices.filter(({ lost }) => lost === null);
  }

  /**
   * Takes a place on the device with the fewest executions in flight, among equals that with the least expected work, among
   * those the first; null where none of `among` is left. A failure counts as one in flight until the device succeeds again: one that fails
   * at once must not draw all work. `release` gives the place back.
   */
  acquire(expectedMs: number, among: { has(device: PooledDevice): boolean }): PooledDevice | null {
    let best: PooledDevice | null = null;
    for (const candidate of this.devices) {
      if (candidate.lost !== null || !among.has(candidate)) continue;
      if (best === null || isLessLoaded(candidate, best)) best = candidate;
    }
    if (best === null) return null;
    best.inFlight++;
    best.expectedMs += expectedMs;
    return best;
  }

  /** Takes a place on every one of `among`; null where one of the pool's devices is lost or not among them. */
  acquireAll(expectedMs: number, among: { has(device: PooledDevice): boolean }): readonly PooledDevice[] | null {
    if (this.devices.some((device) => device.lost !== null || !among.has(device))) return null;
    for (const device of this.devices) {
      device.inFlight++;
      device.expectedMs += expectedMs;
    }
    return this.devices;
  }

  /** `succeeded` null: it failed, and whose fault that was cannot be told. */
  release(device: PooledDevice, expectedMs: number, succeeded: boolean | null): void {
    device.inFlight--;
    device.expectedMs = device.inFlight === 0 ? 0 : device.expectedMs - expectedMs;
    if (succeeded !== null) device.failures = succeeded ? 0 : device.failures + 1;
  }
}

function isLessLoaded(a: PooledDevice, b: PooledDevice): boolean {
  const [load, other] = [a.inFlight + a.failures, b.inFlight + b.failures];
  return load < other || (load === other && a.expectedMs < b.expectedMs);
}

/** `cpu:1`, `cpu:0-3` for consecutive ids, else `cpu:0,2`. Devices of one client are of one kind. */
function nameOf(devices: readonly PjrtDevice[]): string {
  const ids = devices.map(({ id }) => id);
  const [first, last] = [ids[0]!, ids.at(-1)!];
  const consecutive = ids.every((id, index) => id === first + index);
  const named = ids.length > 1 && consecutive ? `${first}-${last}` : ids.join(',');
  return `${devices[0]!.kind}:${named}`;
}
