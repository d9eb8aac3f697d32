/** Which tenant a call is of, as its metadata says. */
import type { Metadata } from '@grpc/grpc-js';
import { isTenantName, maxTenantLength } from '../src/batching/fairness.js';
import { CoordinatorError } from '../src/errors.js';

const tenantKey = 'tc-tenant';

/** '' where the call names none: all such calls are of one tenant. Throws REQUEST_INVALID where the name is not allowed, or there are several. */
export function tenantOf(metadata: Metadata): string {
  const values = metadata.get(tenantKey);
  if (values.length === 0) return '';
  const [name] = values;
  if (values.length > 1 || typeof name !== 'string' || (name !== '' && !isTenantName(name))) {
    const expected = `one name of at most ${maxTenantLength} letters, digits and ._:/@-`;
    throw CoordinatorError.field(
      'REQUEST_INVALID',
      tenantKey,
      expected,
      JSON.stringify(values.join(', ').slice(0, 100)),
    );
  }
  return name;
}
