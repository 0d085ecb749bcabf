import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { configSchema, envName, loadConfig, startBroker } from '../../broker/index.js'
import { isMillraceError } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('broker/config')

async function problemOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await work()
  } catch (error) {
    assert.ok(isMillraceError(error, 'BAD_CONFIG'), String(error))
    return (error as Error).message
  }
  throw new Error('nothing was thrown')
}

test('flags override the environment, which overrides the file, which overrides defaults', async ({
  tempDir,
}) => {
  const file = join(await tempDir(), 'millrace.yaml')
  await writeFile(file, 'port: 1\nhost: "::1"\nretentionMs: 1h\nbrokerId: 4\n')
  const settings = await loadConfig({
    flags: { port: '3', logLevel: undefined },
    env: { MILLRACE_PORT: '2', MILLRACE_HOST: '0.0.0.0', PATH: '/bin' },
    file,
  })
  assert.is(settings.port, 3)
  assert.is(settings.host, '0.0.0.0')
  assert.is(settings.retentionMs, 3_600_000)
  assert.is(settings.brokerId, 4)
  assert.is(settings.logLevel, configSchema.logLevel.default)
})

test('reads bytes and times with units', async () => {
  const settings = await loadConfig({
    flags: { tailCacheBytes: '8MiB', retentionBytes: '10GB', retentionMs: '7d', drainTimeoutMs: '1.5s' },
  })
  assert.is(settings.tailCacheBytes, 8 * 1024 * 1024)
  assert.is(settings.retentionBytes, 10e9)
  assert.is(settings.retentionMs, 7 * 86_400_000)
  assert.is(settings.drainTimeoutMs, 1_500)
  assert.is((await loadConfig({ flags: { retentionMs: -1 } })).retentionMs, -1)
})

test('refuses unknown settings and names the nearest', async ({ tempDir }) => {
  assert.match(
    await problemOf(() => loadConfig({ flags: { prot: 1 } })),
    /"prot" in flags; did you mean "port"/,
  )
  assert.match(
    await problemOf(() => loadConfig({ env: { MILLRACE_RETENTION_M: '1' } })),
    /MILLRACE_RETENTION_M; did you mean "MILLRACE_RETENTION_MS"/,
  )
  const file = join(await tempDir(), 'a.yaml')
  await writeFile(file, 'retensionMs: 1\n')
  assert.match(
    await problemOf(() => loadConfig({ file })),
    /retensionMs.*a\.yaml; did you mean "retentionMs"/,
  )
  assert.match(await problemOf(() => loadConfig({ flags: { toString: 1 } })), /unknown setting "toString"/)
})

test('refuses wrong values and names the expected ones', async ({ tempDir }) => {
  assert.match(
    await problemOf(() => loadConfig({ env: { MILLRACE_PORT: 'abc' } })),
    /MILLRACE_PORT: expected a whole number, from 0 to 65535, got "abc"/,
  )
  assert.match(await problemOf(() => loadConfig({ flags: { port: 65_536 } })), /got 65536/)
  assert.match(await problemOf(() => loadConfig({ flags: { drainTimeoutMs: '10 parsecs' } })), /like "10s"/)
  assert.match(await problemOf(() => loadConfig({ flags: { connectionsMax: -1 } })), /at least 1/)
  assert.match(
    await problemOf(() => loadConfig({ flags: { batchBytesMax: '8MiB', frameBytesMax: '4MiB' } })),
    /frameBytesMax/,
  )
  const file = join(await tempDir(), 'b.yaml')
  await writeFile(file, 'port: [1]\n')
  assert.match(await problemOf(() => loadConfig({ file })), /got a list/)
  await writeFile(file, 'port: {\n')
  assert.match(await problemOf(() => loadConfig({ file })), /can't read the configuration file/)
  await writeFile(file, '- a\n')
  assert.match(await problemOf(() => loadConfig({ file })), /expected a map/)
  assert.match(await problemOf(() => loadConfig({ file: `${file}.missing` })), /ENOENT/)
  await writeFile(file, '')
  assert.is((await loadConfig({ file })).port, 7420)
})

/** What Kubernetes sets for a service with this name and a port that is called "client". */
function serviceLinks(name: string): Record<string, string> {
  return {
    [`${name}_SERVICE_HOST`]: '10.0.0.1',
    [`${name}_SERVICE_PORT`]: '7420',
    [`${name}_SERVICE_PORT_CLIENT`]: '7420',
    [`${name}_PORT`]: 'tcp://10.0.0.1:7420',
    [`${name}_PORT_7420_TCP`]: 'tcp://10.0.0.1:7420',
    [`${name}_PORT_7420_TCP_PROTO`]: 'tcp',
    [`${name}_PORT_7420_TCP_PORT`]: '7420',
    [`${name}_PORT_7420_TCP_ADDR`]: '10.0.0.1',
  }
}

for (const service of ['MILLRACE', 'MILLRACE_ANYTHING', 'MILLRACE_HOST', 'MILLRACE_2']) {
  test(`variables of a Kubernetes service are not settings: ${service}`, async () => {
    const links = serviceLinks(service)
    let reported: readonly string[] = []
    const settings = await loadConfig({
      env: { ...links, MILLRACE_SERVER: 'localhost:7420', MILLRACE_BROKER_ID: '3' },
      onServiceLinks: (variables) => {
        reported = variables
      },
    })
    assert.is(settings.port, 7420)
    assert.is(settings.brokerId, 3)
    assert.equal(reported, Object.keys(links))
  })
}

test('variables that only resemble those of a service are refused', async () => {
  for (const [variable, value] of [
    ['MILLRACE_PROT', '7421'],
    ['MILLRACE_PORT_', '1'],
    ['MILLRACE_ANYTHING_PORT', '7421'],
    ['MILLRACE_PORT_7420', '1'],
    ['MILLRACE_SERVICE_NAME', 'x'],
  ] as const) {
    assert.match(
      await problemOf(() => loadConfig({ env: { [variable]: value } })),
      `unknown environment variable ${variable}`,
    )
  }
})

test('every setting has a variable of its own and a default that it accepts', () => {
  const names = Object.keys(configSchema)
  assert.is(new Set(names.map(envName)).size, names.length)
  for (const [name, setting] of Object.entries(configSchema)) {
    assert.is(setting.parse(setting.default), setting.default, name)
  }
  assert.is(envName('retentionMs'), 'MILLRACE_RETENTION_MS')
})

test('startBroker refuses unknown options by name', async () => {
  const options = { prot: 0 } as unknown as Parameters<typeof startBroker>[0]
  assert.match(await problemOf(() => startBroker(options)), /"prot" in options; did you mean "port"/)
})

test.run()
