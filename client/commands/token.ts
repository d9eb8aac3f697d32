/** `tensor-consensus token`: a new bearer token, and the line of the access file that lets it in. */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parseAccessRules } from '../../src/access/access-rules.js';
import { permissions } from '../../src/access/caller.js';
import { createToken, tokenDigest } from '../../src/access/token.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError } from '../usage.js';

export const tokenHelp = `tensor-consensus token --identity NAME --token-file FILE [options]

Makes a bearer token, writes it to FILE (which must not exist; readable by its owner alone), and prints the line that
lets it in. The line goes into the server's --access-file and holds only the token's SHA-256.

  --identity NAME        whom the server's log names
  --tenant NAMES         comma list of the tenants that it may call for, the first where a call names none (default *: any)
  --permissions LIST     comma list of ${permissions.join(', ')} (default: all)
  --expires DATE         such as 2030-01-01T00:00:00Z (default: never)
  --token-file FILE      where the token is written; - is standard error
  -h, --help             this text

Example
  tensor-consensus token --identity depot-7 --tenant depot --token-file depot-7.token >> access.jsonl
`;

/** @throws UsageError */
export function runToken(argv: readonly string[]): number {
  const { values } = UsageError.from('token', () =>
    parseArgs({
      args: [...argv],
      options: {
        identity: { type: 'string' },
        tenant: { type: 'string', default: '*' },
        permissions: { type: 'string' },
        expires: { type: 'string' },
        'token-file': { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }),
  );
  if (values.help) {
    process.stdout.write(tokenHelp);
    return exitCodes.ok;
  }
  const path = values['token-file'];
  if (values.identity === undefined || path === undefined)
    throw new UsageError('expected --identity and --token-file (see tensor-consensus token --help)');
  const token = createToken();
  const line = JSON.stringify({
    identity: values.identity,
    tenants: values.tenant.split(','),
    ...(values.permissions === undefined ? {} : { permissions: values.permissions.split(',') }),
    ...(values.expires === undefined ? {} : { expires: values.expires }),
    sha256: tokenDigest(token),
  });
  try {
    parseAccessRules(line);
    if (path === '-') process.stderr.write(`${token}\n`);
    else writeFileSync(path, `${token}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    throw new UsageError((error instanceof Error ? error.message : String(error)).replace(/^line 1: /, ''));
  }
  process.stdout.write(`${line}\n`);
  return exitCodes.ok;
}
