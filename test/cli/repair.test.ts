import { cpSync } from 'node:fs'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { settingsOf } from '../../broker/config.js'
import { startBroker } from '../../broker/index.js'
import { Shard } from '../../broker/shard.js'
import { connect } from '../../client/index.js'
import { type Exit, spawnMillrace } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'

const test = suite('cli/repair')

async function run(
  context: TestContext,
  ...args: string[]
): Promise<Exit & { stdout: string; stderr: string }> {
  const child = spawnMillrace(context, ['repair', ...args])
  const exit = await child.exited
  return { ...exit, ...child.output }
}

/** A folder with one topic of two partitions. */
async function writtenFolder(context: TestContext): Promise<string> {
  const dir = await context.tempDir()
  const broker = await startBroker({ dir, port: 0, logLevel: 'silent' })
  const client = await connect(`127.0.0.1:${broker.address.port}`)
  await client.topics.create('orders', { partitions: 2 })
  for (let n = 0; n < 20; n++) await client.publish('orders', { key: `${n}`, value: Buffer.alloc(1_000, n) })
  await client.close()
  await broker.close()
  return dir
}

async function flip(dir: string, pattern: RegExp, placeIn: (bytes: Buffer) => number): Promise<void> {
  const folder = join(dir, 'shard-0', 'journal')
  const name = (await readdir(folder)).find((name) => pattern.test(name)) ?? ''
  const bytes = await readFile(join(folder, name))
  const at = placeIn(bytes)
  bytes[at] = (bytes[at] as number) ^ 1
  await writeFile(join(folder, name), bytes)
}

test(
  'reports an intact folder, and exits with 0',
  async (context) => {
    const dir = await writtenFolder(context)
    const checked = await run(context, '--data', dir, '--check')
    assert.equal([checked.code, checked.stdout], [0, 'no file is damaged\n'])
    const repaired = await run(context, '--data', dir)
    assert.equal([repaired.code, repaired.stdout], [0, 'all records of 2 partitions were read\n'])
  },
  { deadlineMs: 20_000 },
)

test(
  'a refused start names the command that repairs the folder',
  async (context) => {
    const dir = await writtenFolder(context)
    await flip(dir, /^MANIFEST/, () => 10)
    const refused = spawnMillrace(context, ['serve', '--data', dir, '--port', '0'])
    assert.is((await refused.exited).code, 1)
    assert.match(
      refused.output.stderr,
      /MANIFEST-\d+: its record at byte 0 is damaged.*"millrace repair --data DIR"/,
    )
    const checked = await run(context, '--data', dir, '--check')
    assert.is(checked.code, 1)
    assert.match(checked.stdout, /^journal\/MANIFEST-\d+: /)
    const repaired = await run(context, '--data', dir)
    assert.is(repaired.code, 0, repaired.stderr)
    assert.match(repaired.stdout, /rebuilt the file list of \S+\nall records of 2 partitions were read/)
  },
  { deadlineMs: 20_000 },
)

test(
  'prints lost partitions and offsets, and exits with 1',
  async (context) => {
    const dir = await writtenFolder(context)
    await flip(dir, /\.log$/, (bytes) => bytes.lastIndexOf('MBK1', bytes.length - 3_000) + 40 + 32 + 20)
    const { code, stdout } = await run(context, '--data', dir, '--json')
    assert.is(code, 1)
    const { damage } = JSON.parse(stdout) as { damage: string[] }
    assert.match(
      damage.at(-1) ?? '',
      /^partition \d of topic "orders": offsets \d+ to \d+ are damaged or lost$/,
    )
  },
  { deadlineMs: 20_000 },
)

test(
  'reports that the end of the journal is lost, exits with 1, and the broker reuses no id',
  async (context) => {
    const dir = await writtenFolder(context)
    const copy = join(await context.tempDir(), 'data')
    // The state of the copy is from before this start, as after a crash.
    const shard = await Shard.open(settingsOf({ dir }))
    cpSync(dir, copy, { recursive: true })
    const lastId = shard.uniqueId()
    await shard.close()
    await rm(join(copy, 'shard-0', 'journal'), { recursive: true })
    const { code, stdout } = await run(context, '--data', copy, '--missing')
    assert.is(code, 1)
    assert.match(stdout, /the journal may have lost its end from block 1 on/)
    assert.match(stdout, /partition 0 of topic "orders": offsets 0 to \d{10} are damaged or lost/)
    const again = await Shard.open(settingsOf({ dir: copy }))
    context.defer(() => again.close())
    assert.is(again.health.status, 'degraded')
    assert.ok(again.bootCount > 10_000, `${again.bootCount}`)
    assert.ok(again.uniqueId() > lastId)
  },
  { deadlineMs: 20_000 },
)

test.run()
