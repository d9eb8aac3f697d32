/** Flags and variables that say how commands are let in by a server: TLS, a client certificate, a token, a tenant. */
import { readFileSync } from 'node:fs';
import { type ClientAccess, type ClientTls, tokenFile } from '../credentials.js';
import { UsageError } from '../usage.js';

export const accessFlags = {
  tls: { type: 'boolean', default: false },
  ca: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  'server-name': { type: 'string' },
  'token-file': { type: 'string' },
  tenant: { type: 'string' },
} as const;

export const accessHelp = `  --tls                  TLS, with the authorities that Node trusts (also: each of the next four flags)
  --ca FILE              the authorities that the server's certificate may come from, PEM (TC_CLIENT_CA)
  --cert FILE            the client's own certificate, PEM (TC_CLIENT_CERT)
  --key FILE             its key, PEM (TC_CLIENT_KEY)
  --server-name NAME     that the server's certificate must have, where it is not the address's
  --token-file FILE      holds the bearer token (TC_CLIENT_TOKEN_FILE); a token itself is not given, as others could see it
  --tenant NAME          to call for (TC_CLIENT_TENANT)`;

export interface AccessValues {
  readonly tls: boolean;
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly 'server-name'?: string | undefined;
  readonly 'token-file'?: string | undefined;
  readonly tenant?: string | undefined;
}

/** A flag wins over its variable. @throws UsageError */
export function accessOf(values: AccessValues, env: Readonly<Record<string, string | undefined>>): ClientAccess {
  const of = (flag: string | undefined, variable: string): string | undefined => flag ?? (env[variable] || undefined);
  const ca = fileContent('--ca', of(values.ca, 'TC_CLIENT_CA'));
  const cert = fileContent('--cert', of(values.cert, 'TC_CLIENT_CERT'));
  const key = fileContent('--key', of(values.key, 'TC_CLIENT_KEY'));
  const serverName = values['server-name'];
  if ((cert === undefined) !== (key === undefined))
    throw new UsageError('--cert: expected --key beside it, and the other way round');
  const tls: ClientTls = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined ? {} : { serverName }),
  };
  const token = of(values['token-file'], 'TC_CLIENT_TOKEN_FILE');
  const tenant = of(values.tenant, 'TC_CLIENT_TENANT');
  return {
    ...(values.tls || Object.keys(tls).length > 0 ? { tls } : {}),
    ...(token === undefined ? {} : { token: readable('--token-file', () => tokenFile(token)) }),
    ...(tenant === undefined ? {} : { tenant }),
  };
}

function fileContent(flag: string, path: string | undefined): Buffer | undefined {
  return path === undefined ? undefined : readable(flag, () => readFileSync(path));
}

function readable<T>(flag: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UsageError(`${flag}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
