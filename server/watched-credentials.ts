/** The files that say who may call and how much: read at start, watched, and put into service as they change. */
import { Authenticator, type VerifyJwt } from '../src/access/authenticator.js';
import { type AccessRules, parseAccessRules } from '../src/access/access-rules.js';
import type { Clock } from '../src/clock.js';
import { ConfigError, type Config } from '../src/config.js';
import type { Metrics } from '../src/metrics.js';
import { parseQuotaRules } from '../src/quota/quota-rules.js';
import { Quotas } from '../src/quota/quotas.js';
import { WatchedFiles } from '../src/watched-files.js';
import { CallGate } from './call-gate.js';
import type { Logger } from './log.js';

export interface CredentialOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export interface WatchedCredentials {
  /** Null where calls need no credentials and have no quotas. */
  readonly gate: CallGate | null;
  close(): void;
}

const noRules: AccessRules = { tokens: new Map(), certificates: new Map(), subjects: new Map() };
const wallMs = (): number => Date.now();

/** Rejects with ConfigError where a file cannot be used. */
export async function openCredentials(options: CredentialOptions): Promise<WatchedCredentials> {
  const { config, clock, metrics, log } = options;
  const opened: { close(): void }[] = [];
  const watch = async <T>(
    flag: string,
    file: 'access' | 'jwks' | 'quota',
    path: string,
    parse: (text: string) => T,
    onChange: (value: T) => void,
  ): Promise<WatchedFiles<T>> => {
    const files = await WatchedFiles.open<T>({
      paths: [path],
      pollMs: config.credentialPollMs,
      clock,
      parse: ([content]) => parse(content!.toString('utf8')),
      onChange(value) {
        metrics.fileReload.inc({ file, result: 'loaded' });
        log.info({ file: path }, `${file} file changed`);
        onChange(value);
      },
      onRefused(reason) {
        metrics.fileReload.inc({ file, result: 'refused' });
        log.error({ file: path, reason }, `changed ${file} file is refused; what was before stays in use`);
      },
    }).catch((error: unknown) => {
      for (const each of opened) each.close();
      throw new ConfigError(`${flag}: ${error instanceof Error ? error.message : String(error)}`);
    });
    metrics.fileReload.inc({ file, result: 'loaded' });
    opened.push(files);
    return files;
  };

  let gate: CallGate | null = null;
  const checkStreams = (): void => void gate?.checkStreams();
  let authenticator: Authenticator | null = null;
  const access =
    config.accessFile === null
      ? null
      : await watch('--access-file', 'access', config.accessFile, parseAccessRules, (rules) => {
          authenticator?.use(rules);
          checkStreams();
        });
  let verifyJwt: VerifyJwt | null = null;
  const { jwtJwksFile, jwtIssuer, jwtAudience } = config;
  if (jwtJwksFile !== null && jwtIssuer !== null && jwtAudience !== null) {
    // jose is loaded where it is needed.
    const jwt = await import('../src/access/jwt.js');
    const keys = await watch('--jwt-jwks-file', 'jwks', jwtJwksFile, jwt.parseKeySet, () => {
      authenticator?.forget();
      checkStreams();
    });
    const rules = {
      issuer: jwtIssuer,
      audience: jwtAudience,
      algorithms: config.jwtAlgorithms,
      clockToleranceSeconds: config.jwtClockToleranceS,
      tenantsClaim: config.jwtTenantsClaim,
    };
    verifyJwt = async (token, { subjects }) => {
      const claims = await jwt.verifyJwt(token, keys.current, rules, new Date(wallMs()));
      return jwt.callerOf(claims, subjects.get(claims.sub ?? ''), rules);
    };
  }
  if (access !== null || verifyJwt !== null)
    authenticator = new Authenticator({ rules: access?.current ?? noRules, verifyJwt, wallMs });
  let quotas: Quotas | null = null;
  if (config.quotaFile !== null) {
    const file = await watch('--quota-file', 'quota', config.quotaFile, parseQuotaRules, (rules) => quotas?.use(rules));
    quotas = new Quotas({ rules: file.current, clock, metrics });
  }
  if (authenticator !== null || quotas !== null)
    gate = new CallGate({ authenticator, quotas, clock, wallMs, metrics, log });
  return {
    gate,
    close() {
      for (const each of opened) each.close();
    },
  };
}
