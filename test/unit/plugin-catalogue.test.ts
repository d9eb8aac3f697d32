import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.js';
import { knownPlugins, pluginDirectory, pluginNames } from '../../src/pjrt/plugins.js';

describe('the pinned plugins', () => {
  it.each(pluginNames)('%s: the requirements name the same version, with one hash for each build', (name) => {
    const { distribution, version, builds } = knownPlugins[name];
    const text = readFileSync(join(packageRoot, 'plugins', `${name}.txt`), 'utf8');
    const requirement = text
      .replace(/^#.*\n/gm, '')
      .replace(/\\\n/g, ' ')
      .trim();
    expect(requirement.split(/\s+/)[0]).toBe(`${distribution}==${version}`);
    const hashes = [...requirement.matchAll(/--hash=sha256:([0-9a-f]{64})(?=\s|$)/g)].map((match) => match[1]);
    expect(new Set(hashes).size).toBe(Object.keys(builds).length);
    for (const { sha256 } of Object.values(builds)) expect(sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('are shipped with the package', () => {
    const { files } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { files: string[] };
    expect(files).toContain('plugins');
  });
});

describe('the plugin folder', () => {
  it('is the one chosen, else in the cache folder of the XDG base directories, else in ~/.cache', () => {
    expect(pluginDirectory({}, '/home/ada')).toBe('/home/ada/.cache/tensor-consensus/plugins');
    expect(pluginDirectory({ XDG_CACHE_HOME: '/cache' }, '/home/ada')).toBe('/cache/tensor-consensus/plugins');
    expect(pluginDirectory({ XDG_CACHE_HOME: '/cache', TC_PLUGIN_DIR: '/plugins' }, '/home/ada')).toBe('/plugins');
  });

  it('ignores empty variables and a relative cache folder', () => {
    const environment = { XDG_CACHE_HOME: 'cache', TC_PLUGIN_DIR: '' };
    expect(pluginDirectory(environment, '/home/ada')).toBe('/home/ada/.cache/tensor-consensus/plugins');
  });
});
