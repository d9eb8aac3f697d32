/**
 * The bounded waiting room: jobs in the order in which the policy serves them, counted by submission and by bytes.
 *
 * The order, from the outside in:
 * - Between tenants: those that are ahead of their share stand back (`fairness.ts`). Among the others the higher priority goes first,
 *   then the more urgent job.
 * - Between the priorities of a tenant: the higher one first. While a lower one waits it is owed an eighth of the engine time that goes to those
 *   above it, and goes first when it is owed what its first job costs; so it cannot starve.
 * - Within a priority: the most urgent first (`urgencyOf`), at equal urgency by arrival. What comes `patienceMs` after a job stays behind it.
 *
 * Past 400 lines, as the three levels of the order and what waits in front of a job are read from the same lines.
 */
import type { Priority } from '../problem.js';
import { burstMs, type TenantAccount, TenantShares } from './fairness.js';
import { Roster, type Seated } from '../roster.js';
import type { WaitingJob } from './policy.js';

/** A submission's place in the room. One object for all of its jobs. */
export interface Party {
  readonly tenant: string;
  /** Memory that it holds. */
  readonly bytes: number;
  /** Jobs of the submission in the room; kept by the room, 0 to start with. */
  waiting: number;
  /** Its tenant's; kept by the room, null while it is not there. */
  account: TenantAccount | null;
  /** Whether any of its jobs has left for an engine. */
  readonly started: boolean;
}

export interface QueuedJob extends WaitingJob, Seated {
  readonly party: Party;
  /** Expected engine time of its share of a full batch; more than 0. */
  readonly costMs: number;
}

/** Someone who asks for a place. */
export interface Newcomer {
  readonly tenant: string;
  readonly priority: Priority;
  readonly urgencyMs: number;
  readonly bytes: number;
}

export interface RoomLimits {
  /** Most submissions that wait at a time. */
  readonly maxQueue: number;
  /** Most bytes that they hold together; one that holds more may wait alone. */
  readonly maxQueueBytes?: number;
  readonly tenantWeights?: ReadonlyMap<string, number>;
}

/** Jobs whose deadline is later than this after their arrival count as having it then. */
export const patienceMs = 10_000;

/** Of the engine time of higher priorities, what a lower one that waits is owed. */
export const leastShare = 1 / 8;

/** When a job should be done at the latest, for the order among its like: `dueMs`, or `patienceMs` after its arrival. */
export function urgencyOf(enqueuedMs: number, dueMs: number): number {
  return Math.min(dueMs, enqueuedMs + patienceMs);
}

const descending = ['HIGH', 'NORMAL', 'LOW'] as const;

interface Line<J> {
  /** By urgency; those that have left are taken out when the order is made. */
  jobs: J[];
  /** Of `jobs`, how many have left. */
  left: number;
  /** Engine time that is owed to the line. */
  owedMs: number;
}

interface Lane<J> {
  readonly account: TenantAccount;
  readonly lines: Readonly<Record<Priority, Line<J>>>;
  parties: number;
  bytes: number;
}

/** Adding costs a look at those who came last, removing O(1), the order after a change O(n) and for every job a look at each tenant. */
export class WaitingRoom<J extends QueuedJob> {
  readonly #maxQueue: number;
  readonly #maxBytes: number;
  readonly #shares: TenantShares;
  readonly #jobs = new Roster<J>();
  /** Of tenants with jobs in the room. */
  readonly #lanes = new Map<TenantAccount, Lane<J>>();
  #depth = 0;
  #bytes = 0;
  #order: readonly J[] | null = null;
  /** Null: not known since the job that had it left. */
  #earliestStartByMs: number | null = Infinity;

  constructor({ maxQueue, maxQueueBytes = Infinity, tenantWeights }: RoomLimits) {
    this.#maxQueue = maxQueue;
    this.#maxBytes = maxQueueBytes;
    this.#shares = new TenantShares(tenantWeights);
  }

  /** Submissions with at least one job in the room. */
  get depth(): number {
    return this.#depth;
  }

  /** Jobs in the room. */
  get jobCount(): number {
    return this.#jobs.size;
  }

  /** What the submissions in the room hold. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Jobs in the room, in no order. Valid until the room changes. */
  all(): readonly J[] {
    return this.#jobs.members;
  }

  /** Whether a newcomer that holds so much displaces nobody. */
  hasRoomFor(bytes: number): boolean {
    return this.depth < this.#maxQueue && (this.depth === 0 || this.#bytes + bytes <= this.#maxBytes);
  }

  /** Of all jobs in the room. */
  get totalCostMs(): number {
    let sumMs = 0;
    for (const { costMs } of this.#jobs.members) sumMs += costMs;
    return sumMs;
  }

  /** Of all jobs in the room; Infinity where there is none. */
  get earliestStartByMs(): number {
    if (this.#earliestStartByMs === null) {
      let earliestMs = Infinity;
      for (const { startByMs } of this.#jobs.members) if (startByMs < earliestMs) earliestMs = startByMs;
      this.#earliestStartByMs = earliestMs;
    }
    return this.#earliestStartByMs;
  }

  /**
   * The submissions that have to leave for a newcomer to be let in: none where there is room; null where it may not come in. Whoever leaves is
   * of the tenant that holds most for its weight, and goes last there: where that is the newcomer's own, it is less urgent than the newcomer.
   */
  wouldDisplace(newcomer: Newcomer): readonly J['party'][] | null {
    const { depth } = this;
    let tooMany = depth + 1 - this.#maxQueue;
    let tooMuch = depth === 0 ? 0 : this.#bytes + newcomer.bytes - this.#maxBytes;
    const leaving: Party[] = [];
    while (tooMany > 0 || tooMuch > 0) {
      // One that is large does not clear out the room.
      if (leaving.length === mostDisplaced) return null;
      const found = this.#lastToGo(newcomer, leaving, tooMany > 0 ? 'parties' : 'bytes');
      if (found === null) return null;
      leaving.push(found);
      tooMany--;
      tooMuch -= found.bytes;
    }
    return leaving;
  }

  /** Jobs of one submission arrive together; whether there is room for it is for the caller to ask before. */
  add(job: J): void {
    this.#insert(job, false);
  }

  /** Takes jobs back that have been in the room: each stands where it stood, before equals. */
  restore(jobs: readonly J[]): void {
    for (const job of jobs.toReversed()) this.#insert(job, true);
  }

  /** Safe to call for a job that has left already. */
  remove(job: J): void {
    if (!this.#jobs.delete(job)) return;
    this.#order = null;
    if (job.startByMs === this.#earliestStartByMs) this.#earliestStartByMs = this.#jobs.size === 0 ? Infinity : null;
    const { party } = job;
    const lane = this.#laneOf(party);
    const line = lane.lines[job.priority];
    if (++line.left === line.jobs.length) {
      line.jobs = [];
      line.left = 0;
      line.owedMs = 0;
    }
    lane.account.waiting--;
    if (--party.waiting > 0) return;
    this.#depth--;
    party.account = null;
    this.#bytes -= party.bytes;
    lane.bytes -= party.bytes;
    if (--lane.parties === 0) this.#lanes.delete(lane.account);
  }

  /**
   * Removes jobs that an engine is given, and charges their tenants for the `engineMs` that these take it together. Returns who pays for
   * how many.
   */
  take(jobs: readonly J[], engineMs: number): ReadonlyMap<TenantAccount, number> {
    const shareMs = engineMs / jobs.length;
    const counts = new Map<TenantAccount, number>();
    for (const job of jobs) {
      const lane = this.#laneOf(job.party);
      const { account } = lane;
      counts.set(account, (counts.get(account) ?? 0) + 1);
      this.#shares.charge(account, shareMs);
      if (account.waiting > 1) pay(lane.lines, job.priority, shareMs);
      this.remove(job);
    }
    return counts;
  }

  /** In the order of service. Valid until the room changes. */
  inOrder(): readonly J[] {
    this.#order ??= this.#ordered();
    return this.#order;
  }

  /** Engine time of what would be served before a newcomer, about. */
  aheadMs({ tenant, priority, urgencyMs }: Omit<Newcomer, 'bytes'>): number {
    if (this.#jobs.size === 0) return 0;
    const account = this.#shares.accountOf(tenant);
    const own = this.#lanes.get(account);
    const ownMs = own === undefined ? 0 : aheadInMs(own.lines, priority, urgencyMs, this.#jobs);
    let sumMs = ownMs;
    if (this.#lanes.size === (own === undefined ? 0 : 1)) return sumMs;
    let usedMs = account.usedMs;
    if (account.waiting === 0) {
      let leastMs = Infinity;
      for (const other of this.#lanes.keys()) leastMs = Math.min(leastMs, other.usedMs);
      usedMs = Math.max(usedMs, leastMs);
    }
    for (const [other, { lines }] of this.#lanes) {
      if (other === account) continue;
      // Virtual time by which the other is behind when it is the newcomer's turn.
      const behindMs = usedMs + ownMs / account.weight - other.usedMs;
      const mostMs = Math.max(behindMs + burstMs, 0) * other.weight;
      const leastMs = Math.max(behindMs - burstMs, 0) * other.weight;
      const urgentMs = Math.min(aheadInMs(lines, priority, urgencyMs, this.#jobs), mostMs);
      sumMs += Math.max(urgentMs, leastMs === 0 ? 0 : Math.min(leastMs, totalMs(lines, this.#jobs)));
    }
    return sumMs;
  }

  #insert(job: J, beforeEquals: boolean): void {
    const lane = this.#laneFor(job.party);
    const line = lane.lines[job.priority];
    if (beforeEquals) this.#clear(line);
    this.#jobs.add(job);
    this.#order = null;
    if (this.#earliestStartByMs !== null && job.startByMs < this.#earliestStartByMs) {
      this.#earliestStartByMs = job.startByMs;
    }
    lane.account.waiting++;
    const { jobs } = line;
    let at = jobs.length;
    const { urgencyMs } = job;
    while (at > 0 && (jobs[at - 1]!.urgencyMs > urgencyMs || (beforeEquals && jobs[at - 1]!.urgencyMs === urgencyMs)))
      at--;
    if (at === jobs.length) jobs.push(job);
    else jobs.splice(at, 0, job);
  }

  #laneFor(party: Party): Lane<J> {
    if (party.account !== null) {
      party.waiting++;
      return this.#laneOf(party);
    }
    const account = this.#shares.accountOf(party.tenant);
    let lane = this.#lanes.get(account);
    if (lane === undefined) {
      if (account.waiting === 0) this.#shares.enter(account, this.#lanes.keys());
      lane = { account, lines: { HIGH: newLine(), NORMAL: newLine(), LOW: newLine() }, parties: 0, bytes: 0 };
      this.#lanes.set(account, lane);
    }
    party.waiting = 1;
    party.account = account;
    this.#depth++;
    lane.parties++;
    lane.bytes += party.bytes;
    this.#bytes += party.bytes;
    return lane;
  }

  /** Of a submission that is in the room. */
  #laneOf({ account }: Party): Lane<J> {
    return this.#lanes.get(account!)!;
  }

  /** Who leaves first for the newcomer, besides those who leave already; null where it is the newcomer. */
  #lastToGo(newcomer: Newcomer, leaving: readonly Party[], by: 'parties' | 'bytes'): J['party'] | null {
    const account = this.#shares.accountOf(newcomer.tenant);
    const own = this.#lanes.get(account);
    const least = by === 'parties' ? 1 : newcomer.bytes;
    let worst: Lane<J> | undefined = own;
    let most = ((own?.[by] ?? 0) + least) / account.weight;
    for (const lane of this.#lanes.values()) {
      const held = lane[by] / lane.account.weight;
      if (held > most) [worst, most] = [lane, held];
    }
    if (worst === undefined) return null;
    const order = this.#orderOf(worst);
    for (let at = order.length - 1; at >= 0; at--) {
      const { party, priority, urgencyMs } = order[at]!;
      if (party.started || leaving.includes(party)) continue;
      const isLess = isBefore(newcomer.priority, newcomer.urgencyMs, priority, urgencyMs);
      return worst !== own || isLess ? party : null;
    }
    return null;
  }

  #ordered(): readonly J[] {
    if (this.#lanes.size === 0) return [];
    const lists = Array.from(this.#lanes.values(), (lane) => ({
      jobs: this.#orderOf(lane),
      next: 0,
      usedMs: lane.account.usedMs,
      weight: lane.account.weight,
    }));
    if (lists.length === 1) return lists[0]!.jobs;
    const order: J[] = [];
    while (order.length < this.#jobs.size) {
      let leastMs = Infinity;
      for (const { jobs, next, usedMs } of lists) if (next < jobs.length && usedMs < leastMs) leastMs = usedMs;
      let first: (typeof lists)[number] | null = null;
      for (const list of lists) {
        if (list.next === list.jobs.length || list.usedMs > leastMs + burstMs) continue;
        const head = list.jobs[list.next]!;
        const best = first?.jobs[first.next];
        if (best === undefined || isBefore(head.priority, head.urgencyMs, best.priority, best.urgencyMs)) first = list;
      }
      const job = first!.jobs[first!.next++]!;
      first!.usedMs += job.costMs / first!.weight;
      order.push(job);
    }
    return order;
  }

  #clear(line: Line<J>): void {
    if (line.left === 0) return;
    line.jobs = line.jobs.filter((job) => this.#jobs.has(job));
    line.left = 0;
  }

  /** One tenant's jobs. */
  #orderOf({ lines }: Lane<J>): readonly J[] {
    const filled = descending.filter((priority) => {
      this.#clear(lines[priority]);
      return lines[priority].jobs.length > 0;
    });
    if (filled.length <= 1) return filled.length === 0 ? [] : lines[filled[0]!].jobs.slice();
    const merging = filled.map((priority) => ({ jobs: lines[priority].jobs, next: 0, owedMs: lines[priority].owedMs }));
    const order: J[] = [];
    for (;;) {
      let first: (typeof merging)[number] | null = null;
      for (const line of merging) {
        if (line.next === line.jobs.length) continue;
        const top = first;
        first ??= line;
        if (top !== null && line.owedMs >= line.jobs[line.next]!.costMs) {
          first = line;
          break;
        }
      }
      if (first === null) return order;
      const job = first.jobs[first.next++]!;
      order.push(job);
      first.owedMs = Math.max(first.owedMs - job.costMs, 0);
      for (let below = merging.indexOf(first) + 1; below < merging.length; below++) {
        merging[below]!.owedMs += job.costMs * leastShare;
      }
    }
  }
}

/** Most submissions that one newcomer displaces. */
const mostDisplaced = 8;

function newLine<J>(): Line<J> {
  return { jobs: [], left: 0, owedMs: 0 };
}

/** Books `engineMs` that went to a job of a priority. */
function pay<J>(lines: Lane<J>['lines'], priority: Priority, engineMs: number): void {
  const line = lines[priority];
  line.owedMs = Math.max(line.owedMs - engineMs, 0);
  for (let below = descending.indexOf(priority) + 1; below < descending.length; below++) {
    const lower = lines[descending[below]!];
    if (lower.jobs.length > 0) lower.owedMs += engineMs * leastShare;
  }
}

function isBefore(priority: Priority, urgencyMs: number, other: Priority, otherUrgencyMs: number): boolean {
  if (priority !== other) return descending.indexOf(priority) < descending.indexOf(other);
  return urgencyMs < otherUrgencyMs;
}

/** What goes before a job of this priority and urgency, and an eighth for what is owed to lower priorities. */
function aheadInMs<J extends QueuedJob>(
  lines: Lane<J>['lines'],
  priority: Priority,
  urgencyMs: number,
  present: Roster<J>,
): number {
  let sumMs = 0;
  let owes = false;
  for (const each of descending) {
    const { jobs, left } = lines[each];
    if (each === priority) {
      for (const job of jobs) {
        if (job.urgencyMs > urgencyMs) break;
        if (left === 0 || present.has(job)) sumMs += job.costMs;
      }
    } else if (descending.indexOf(each) < descending.indexOf(priority)) {
      for (const job of jobs) if (left === 0 || present.has(job)) sumMs += job.costMs;
    } else if (jobs.length > 0) owes = true;
  }
  return owes ? sumMs * (1 + leastShare) : sumMs;
}

function totalMs<J extends QueuedJob>(lines: Lane<J>['lines'], present: Roster<J>): number {
  let sumMs = 0;
  for (const each of descending) for (const job of lines[each].jobs) if (present.has(job)) sumMs += job.costMs;
  return sumMs;
}
