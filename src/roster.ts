/**
 * Members that come and go with every call, in no order. A Set would do, but for what V8 makes of one: whenever its table is full of members that
 * left, it is replaced, and goes on pointing to those that were in it then and to the table after it. One such table in the old
 * generation keeps all that follow from dying young, with every call that was in them and its request, until a full collection; and that one
 * moves the next table there. With Sets, 32 callers cause a full collection every 450 calls, a tenth of the server's CPU time.
 */

/** What can be in a roster, in one at a time. */
export interface Seated {
  /** Where it is in its roster, which alone writes to it; -1 where it is in none. */
  seat: number;
}

export class Roster<M extends Seated> {
  readonly #members: M[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** Valid until somebody comes or goes. */
  get members(): readonly M[] {
    return this.#members;
  }

  has(member: M): boolean {
    return member.seat >= 0;
  }

  add(member: M): void {
    member.seat = this.#members.length;
    this.#members.push(member);
  }

  /** False where it has left already. */
  delete(member: M): boolean {
    const { seat } = member;
    if (seat < 0) return false;
    const last = this.#members.pop()!;
    if (last !== member) {
      last.seat = seat;
      this.#members[seat] = last;
    }
    member.seat = -1;
    return true;
  }
}
