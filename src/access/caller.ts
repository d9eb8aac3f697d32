/** Who calls and what that allows. */
import { CoordinatorError } from '../errors.js';

/** What may be called: `Coordinate`, `CoordinateStream`, `ListPolicies`, and reflection. Health is open to all. */
export const permissions = ['coordinate', 'stream', 'list', 'reflection'] as const;
export type Permission = (typeof permissions)[number];

export const allPermissions: ReadonlySet<Permission> = new Set(permissions);

export interface Caller {
  /** For the log. */
  readonly identity: string;
  /** Those it may call for, the first where it names none; null: any, and the common one where it names none. */
  readonly tenants: readonly string[] | null;
  readonly permissions: ReadonlySet<Permission>;
  /** Milliseconds since 1970; Infinity: the credential does not expire by itself. */
  readonly expiresMs: number;
}

/** Throws METHOD_FORBIDDEN. */
export function assertAllowed({ identity, permissions: allowed }: Caller, permission: Permission): void {
  if (allowed.has(permission)) return;
  throw new CoordinatorError('METHOD_FORBIDDEN', `${identity} lacks the permission ${permission}`);
}

/** The tenant that a call counts as; `claimed`: what it names, '' where it names none. Throws TENANT_FORBIDDEN. */
export function tenantFor({ identity, tenants }: Caller, claimed: string): string {
  if (tenants === null) return claimed;
  if (claimed === '') return tenants[0] ?? '';
  if (tenants.includes(claimed)) return claimed;
  throw new CoordinatorError('TENANT_FORBIDDEN', `${identity} may not call for the tenant ${claimed}`);
}
