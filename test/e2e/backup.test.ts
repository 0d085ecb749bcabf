import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { type Client, connect, defineTopic, isMillraceError, string } from '../../client/index.js'
import { restoreBackup, writeBackup } from '../../storage/index.js'
import { diskFiller, diskFillerUnavailable } from '../faults/machine/disk_filler.js'
import { LoopVolume, loopVolumeUnavailable } from '../faults/machine/loop_volume.js'
import { checkOnce } from '../faults/machine/requirements.js'
import { type SpawnedProcess, spawnMillrace } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('e2e/backup')

const events = defineTopic('events', { value: string })
const jobs = defineTopic('jobs', { value: string })
const later = defineTopic('later', { value: string })
const unavailable = checkOnce(loopVolumeUnavailable, diskFillerUnavailable)

interface Served {
  readonly broker: SpawnedProcess
  readonly client: Client
  readonly port: number
}

async function serve(context: TestContext, data: string, port = 0): Promise<Served> {
  const broker = spawnMillrace(context, ['serve', '--data', data, '--port', String(port)])
  const [, found] = await broker.waitForOutput('stderr', /ready on 127\.0\.0\.1:(\d+)/)
  const client = await connect({ servers: `127.0.0.1:${found}`, reconnect: { initialMs: 10, maxMs: 50 } })
  context.defer(() => client.close({ timeoutMs: 0 }))
  return { broker, client, port: Number(found) }
}

async function millrace(
  context: TestContext,
  ...args: string[]
): Promise<{ code: number | null; text: string }> {
  const child = spawnMillrace(context, args)
  const { code } = await child.exited
  return { code, text: child.output.stdout + child.output.stderr }
}

async function valuesOf(client: Client, name: string): Promise<string[]> {
  const topic = defineTopic(name, { value: string })
  const values: string[] = []
  for await (const { messages } of client.consume(topic, { from: 'earliest', until: 'end' }).batches())
    for (const { value } of messages) values.push(value)
  return values
}

/** Publishes to all topics, works on jobs, and remembers what was acknowledged, until it is stopped. */
function load(client: Client, stop: AbortSignal) {
  const acked = { events: [] as string[], later: [] as string[], jobs: [] as string[], done: [] as string[] }
  const worker = client.work(
    jobs,
    {
      group: 'crew',
      onSettled: ({ value }, outcome) => void (outcome === 'ack' && acked.done.push(String(value))),
    },
    () => {},
  )
  const publish = async (): Promise<void> => {
    for (let n = 0; !stop.aborted; n++) {
      await Promise.all([
        client.publish(events, { value: `${n}` }).then(() => acked.events.push(`${n}`)),
        client.publish(jobs, { value: `${n}` }).then(() => acked.jobs.push(`${n}`)),
        client
          .publish(later, { value: `${n}`, delay: '1h', id: `${n}` })
          .then(() => acked.later.push(`${n}`)),
      ])
    }
  }
  const finished = publish().finally(() => worker.close())
  finished.catch(() => {})
  return { acked, finished }
}

test(
  'a backup under load has all messages acknowledged before it, none from after it, and works in another folder',
  async (context) => {
    const { client } = await serve(context, await context.tempDir())
    await client.topics.create('events', { partitions: 4 })
    await client.topics.create('jobs', { partitions: 2 })
    await client.topics.create('later', { partitions: 1 })
    await client.topics.create('after', { partitions: 1 })
    const stop = new AbortController()
    const { acked, finished } = load(client, stop.signal)
    await waitFor('some work to be done', () => acked.done.length > 50 && acked.later.length > 50, {
      deadlineMs: 20_000,
    })
    const before = { events: [...acked.events], later: [...acked.later], jobs: [...acked.jobs] }
    const backup = await client.backup()
    const marker = defineTopic('after', { value: string })
    await client.publish(marker, { value: 'x' })
    const dir = join(await context.tempDir(), 'backup')
    const { position, brokerVersion } = backup
    let chunks = 0
    await writeBackup(dir, { position, brokerVersion }, backup.chunks(), () => chunks++)
    assert.ok(chunks > 1)
    const count = acked.events.length
    await waitFor('publishing to continue', () => acked.events.length > count)
    stop.abort()
    await finished
    const data = join(await context.tempDir(), 'data')
    await restoreBackup(dir, data)
    const restored = await serve(context, data)
    const found = new Set(await valuesOf(restored.client, 'events'))
    assert.equal(
      before.events.filter((value) => !found.has(value)),
      [],
    )
    assert.equal(await valuesOf(restored.client, 'after'), [])
    const waiting = new Set<string>()
    for await (const { id } of restored.client.delayed.list('later')) if (id !== undefined) waiting.add(id)
    assert.equal(
      before.later.filter((id) => !waiting.has(id)),
      [],
    )
    const foundJobs = new Set(await valuesOf(restored.client, 'jobs'))
    assert.equal(
      before.jobs.filter((value) => !foundJobs.has(value)),
      [],
    )
    // The queue group continues where it was.
    const worked = new Set<string>()
    const worker = restored.client.work(jobs, { group: 'crew' }, ({ value }) => void worked.add(value))
    await restored.client.publish(jobs, { value: 'last' })
    await waitFor('the restored group to work', () => worked.has('last'), { deadlineMs: 40_000 })
    await worker.close()
    assert.ok(worked.size < foundJobs.size, 'jobs that were done are not done again')
    assert.is((await restored.client.status()).health.status, 'ok')
  },
  { deadlineMs: 90_000 },
)

test('the command line backs up and restores', async (context) => {
  const { client, port } = await serve(context, await context.tempDir())
  await client.topics.create('events', { partitions: 1 })
  for (const value of ['a', 'b', 'c']) await client.publish(events, { value })
  const dir = join(await context.tempDir(), 'backup')
  const backedUp = await millrace(context, 'backup', '--to', dir, '--server', String(port))
  assert.is(backedUp.code, 0, backedUp.text)
  const again = await millrace(context, 'backup', '--to', dir, '--server', String(port))
  assert.is(again.code === 0, false)
  assert.match(again.text, 'is not empty')
  assert.match((await millrace(context, 'restore', '--from', dir, '--check')).text, 'is complete')
  const data = join(await context.tempDir(), 'data')
  const restored = await millrace(context, 'restore', '--from', dir, '--data', data)
  assert.is(restored.code, 0, restored.text)
  const other = await serve(context, data)
  assert.equal(await valuesOf(other.client, 'events'), ['a', 'b', 'c'])
})

test('a broker that is killed during a backup ends it with an error, and no backup is left', async (context) => {
  const data = await context.tempDir()
  const first = await serve(context, data)
  const { client } = first
  await client.topics.create('events', { partitions: 1 })
  await client.publish(events, { value: 'a' })
  const backup = await client.backup()
  const dir = await context.tempDir()
  async function* chunks() {
    for await (const chunk of backup.chunks()) {
      yield chunk
      first.broker.kill('SIGKILL')
      await first.broker.exited
      await serve(context, data, first.port)
    }
  }
  const error = await writeBackup(dir, backup, chunks()).catch((reason: unknown) => reason)
  assert.ok(isMillraceError(error, 'UNKNOWN_BACKUP', 'CONNECTION_LOST'), String(error))
  assert.equal(await readdir(dir), [])
})

test('a backup to a full disk fails with a named error and is not usable as a backup', async (context) => {
  const reason = await unavailable()
  if (reason !== undefined) context.skip(reason)
  const { client, port } = await serve(context, await context.tempDir())
  await client.topics.create('events', { partitions: 1 })
  const random = context.random()
  for (let n = 0; n < 40; n++)
    await client.publish(events, { value: Buffer.from(random.bytes(200_000)).toString('base64') })
  const volume = await LoopVolume.create(context, { sizeBytes: 32 * 1024 * 1024 })
  await diskFiller(context, volume.dir).fill(2 * 1024 * 1024)
  const dir = join(volume.dir, 'backup')
  const { code, text } = await millrace(context, 'backup', '--to', dir, '--server', String(port))
  assert.is(code === 0, false)
  assert.match(text, /the disk is full/)
  assert.is(existsSync(join(dir, 'BACKUP.json')), false)
  assert.match((await millrace(context, 'restore', '--from', dir, '--check')).text, 'no complete backup')
  await client.publish(events, { value: 'after the backup' })
  const again = join(await context.tempDir(), 'backup')
  assert.is((await millrace(context, 'backup', '--to', again, '--server', String(port))).code, 0)
})

test.run()
