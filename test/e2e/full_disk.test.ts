import { statSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { bytes, type Client, connect, defineTopic, isMillraceError, string } from '../../client/index.js'
import { type DiskFiller, diskFiller, diskFillerUnavailable } from '../faults/machine/disk_filler.js'
import { LoopVolume, loopVolumeUnavailable } from '../faults/machine/loop_volume.js'
import { checkOnce } from '../faults/machine/requirements.js'
import { type SpawnedProcess, spawnMillrace } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('e2e/full_disk')

const reserveBytes = (dir: string): number =>
  statSync(join(dir, 'RESERVE'), { throwIfNoEntry: false })?.size ?? 0

const mib = 1024 * 1024
const data = defineTopic('data', { value: bytes })
const other = defineTopic('other', { value: string })
const deadlines = { deadlineMs: 180_000 }
const unavailable = checkOnce(loopVolumeUnavailable, diskFillerUnavailable)

interface Full {
  readonly dir: string
  readonly broker: SpawnedProcess
  readonly client: Client
  readonly filler: DiskFiller
}

async function start(context: TestContext, dir: string): Promise<{ broker: SpawnedProcess; client: Client }> {
  const settings = ['--set', `diskFreeBytesMin=${64 * mib}`, '--set', 'retentionIntervalMs=100']
  const broker = spawnMillrace(context, ['serve', '--data', dir, '--port', '0', ...settings])
  const [, port] = await broker.waitForOutput('stderr', /ready on 127\.0\.0\.1:(\d+)/)
  const client = await connect({ servers: `127.0.0.1:${port}`, requestTimeoutMs: 5_000 })
  context.defer(() => client.close({ timeoutMs: 0 }))
  return { broker, client }
}

function refusal(client: Client): Promise<string | undefined> {
  return client.publish(other, { value: 'more' }, { signal: AbortSignal.timeout(300) }).then(
    () => undefined,
    (error: Error) => error.message,
  )
}

/** A broker with 100 MiB of data on a volume of which every byte is taken. */
async function fullBroker(context: TestContext): Promise<Full> {
  const reason = await unavailable()
  if (reason !== undefined) context.skip(reason)
  const volume = await LoopVolume.create(context, { sizeBytes: 400 * mib })
  const dir = join(volume.dir, 'data')
  const { broker, client } = await start(context, dir)
  await client.topics.create('data', { partitions: 1 })
  await client.topics.create('other', { partitions: 1 })
  const random = context.random()
  for (let i = 0; i < 100; i++) await client.publish(data, { value: random.bytes(mib - 1024) })
  await waitFor('the reserve to be made', () => reserveBytes(dir) > 0)
  const filler = diskFiller(context, volume.dir)
  await filler.fill()
  const full = { dir, broker, client, filler }
  await untilFull(full)
  return full
}

/**
 * LevelDB frees some space now and then, and the broker makes some writes while the disk is low: the filler takes the rest
 * until a write of the broker fails. It leaves the room of the reserve to the broker.
 */
async function untilFull({ client, filler, dir }: Full): Promise<void> {
  await waitFor(
    'the broker to report a full disk',
    async () => {
      if (reserveBytes(dir) > 0) await filler.fill()
      await client.groups.commit('g', [{ topic: 'data', partition: 0, offset: 0 }]).catch(() => {})
      const { reasons } = (await client.status()).health
      return reasons.some((reason) => reason.includes('the disk is full'))
    },
    { deadlineMs: 30_000 },
  )
}

async function publishingGoesOn({ client, dir }: Full): Promise<void> {
  await waitFor('publishing to continue', async () => (await refusal(client)) === undefined, {
    deadlineMs: 120_000,
  })
  await waitFor('the reserve to be made again', () => reserveBytes(dir) > 0, {
    deadlineMs: 30_000,
  })
  await waitFor('the broker to be well', async () => (await client.status()).health.status === 'ok')
}

test(
  'on a full disk lower retention is accepted, frees space, and publishing continues',
  async (context) => {
    const full = await fullBroker(context)
    assert.is(reserveBytes(full.dir), 0)
    await full.client.topics.alter('data', { retention: { bytes: 10 * mib } })
    await publishingGoesOn(full)
  },
  deadlines,
)

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  test(
    `a broker that ended by ${signal} on a full disk starts again, and the deletion of a topic frees space`,
    async (context) => {
      const full = await fullBroker(context)
      await full.client.close({ timeoutMs: 0 })
      full.broker.kill(signal)
      await full.broker.exited
      const again = { ...full, ...(await start(context, full.dir)) }
      await untilFull(again)
      const error = await again.client.topics.create('new').catch((reason: unknown) => reason)
      assert.ok(isMillraceError(error, 'STORAGE_FULL'), String(error))
      await again.client.topics.delete('data')
      await publishingGoesOn(again)
    },
    deadlines,
  )
}

test.run()
