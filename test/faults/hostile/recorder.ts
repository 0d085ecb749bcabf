import { type Client, connect, defineService, defineTopic, Reject, string } from '../../../client/index.js'
import { commands, compressions } from '../../../protocol/index.js'
import type { TestContext } from '../../helpers/context.js'
import { connectHello } from '../../helpers/raw_client.js'
import { waitFor } from '../../helpers/wait_for.js'
import { frameFields, partsOf } from './frame_bytes.js'
import { FrameRelay } from './frame_relay.js'

/** A whole frame in its wire format. */
export interface Sample {
  readonly command: number
  readonly bytes: Buffer
}

/** Real traffic, both directions. */
export interface Recording {
  readonly requests: readonly Sample[]
  readonly replies: readonly Sample[]
  /** Topics after the recording, with the ids in its frames. */
  readonly topics: readonly { readonly name: string; readonly topicId: number }[]
}

const samplesPerCommandMax = 60
const messagesPerPublish = 40
const payloadBytesMax = 64 * 1024

/** Names in the recording, which generated frames use too. */
export const recordedNames = {
  topics: ['hostile-a', 'hostile-b'],
  sideTopics: ['side-0', 'side-1', 'side-2'],
  groups: ['hostile-group', 'side-group'],
  queueGroup: 'hostile-queue',
} as const

/** Runs a client through all its functions, against the broker on `port`, and keeps the frames. */
export async function recordTraffic(context: TestContext, port: number): Promise<Recording> {
  const requests = new SampleSet()
  const replies = new SampleSet()
  const relay = await FrameRelay.start(context, {
    targetPort: port,
    taps: () => ({
      fromClient: (frame) => {
        requests.add(frame)
        return [frame]
      },
      fromBroker: (frame) => {
        replies.add(frame)
        return [frame]
      },
    }),
  })
  const client = await connect({ servers: `127.0.0.1:${relay.port}`, clientName: 'recorded' })
  try {
    await administer(client)
    for (const compression of compressions) await publishWith(relay.port, compression)
    await consumeAlone(client)
    await consumeInGroup(client)
    await administerGroups(client)
    await workInGroup(client, relay.port)
    await publishLater(client)
    await askService(client)
    await refusals(client)
    const raw = await connectHello({ host: '127.0.0.1', port: relay.port })
    await raw.request(commands.ping, {})
    raw.destroy()
    await client.topics.purge('side-2')
    await client.topics.delete('side-2')
    for await (const _ of (await client.backup()).chunks()) break
    const listed = await client.topics.list()
    return {
      requests: requests.samples,
      replies: replies.samples,
      topics: listed.map(({ name, topicId }) => ({ name, topicId })),
    }
  } finally {
    await client.close({ timeoutMs: 1_000 })
    await relay.close()
  }
}

/** Keeps the first frames of each command. */
class SampleSet {
  readonly samples: Sample[] = []
  readonly #counts = new Map<number, number>()

  add(frame: Buffer): void {
    const { command, payload } = partsOf(frame)
    const count = this.#counts.get(command) ?? 0
    if (count >= samplesPerCommandMax || payload.length > payloadBytesMax) return
    this.#counts.set(command, count + 1)
    const bytes = Buffer.from(frame)
    bytes.writeUInt32LE(1, frameFields.correlation)
    this.samples.push({ command, bytes })
  }
}

async function administer(client: Client): Promise<void> {
  await client.topics.create('hostile-a', { partitions: 3, retention: { time: '1d', bytes: '4MB' } })
  await client.topics.create('hostile-b', { partitions: 2, batchBytesMax: '1MB' })
  for (const name of recordedNames.sideTopics) await client.topics.create(name, { partitions: 1 })
  await client.topics.alter('side-0', { partitions: 4, retention: { bytes: '1MB' } })
  await client.topics.list()
  await client.topics.describe('hostile-a')
  await client.status()
}

async function publishWith(port: number, compression: (typeof compressions)[number]): Promise<void> {
  const client = await connect({
    servers: `127.0.0.1:${port}`,
    clientName: `producer-${compression}`,
    producer: { compression, batchBytes: 4096 },
  })
  const messages = Array.from({ length: messagesPerPublish }, (_, number) => ({
    key: number % 3 === 0 ? undefined : `key-${number}`,
    value: Buffer.from(`value ${number} `.repeat((number % 7) * 8)),
    headers: number % 5 === 0 ? { trace: `trace-${number}`, empty: '' } : undefined,
  }))
  await client.publishMany('hostile-a', messages)
  for (const message of messages.slice(0, 5)) await client.publish('hostile-b', message)
  await client.close()
}

async function consumeAlone(client: Client): Promise<void> {
  for (const at of ['earliest', 'latest', new Date(1)] as const) await client.topics.offsets('hostile-a', at)
  const options = { from: 'earliest', until: 'end', fetchWaitMs: 2 } as const
  for (const fetchBytesMax of [1024, 8192, 65_536]) {
    for await (const message of client.consume(['hostile-a', 'hostile-b'], { ...options, fetchBytesMax }))
      void message.value
  }
}

async function consumeInGroup(client: Client): Promise<void> {
  const topic = defineTopic('hostile-a', { value: string })
  const read = async (instanceId?: string): Promise<void> => {
    const consumer = client.consume(topic, {
      group: 'hostile-group',
      instanceId,
      from: 'earliest',
      until: 'end',
      fetchWaitMs: 2,
      commitIntervalMs: 0,
      sessionTimeoutMs: 2_000,
    })
    for await (const batch of consumer.batches()) batch.ack()
  }
  await Promise.all([read(), read('pod-1')])
}

async function administerGroups(client: Client): Promise<void> {
  const group = 'side-group'
  await client.groups.commit(group, [
    { topic: 'hostile-b', partition: 0, offset: 1, metadata: 'note' },
    { topic: 'hostile-b', partition: 1, offset: 0 },
  ])
  for (const to of ['earliest', 'latest', new Date(1), 1] as const)
    await client.groups.seek(group, 'hostile-b', to, { partitions: [0] })
  await client.groups.seek(group, 'hostile-b', 'earliest')
  await client.groups.pause(group)
  await client.groups.resume(group)
  await client.groups.list()
  for (const name of recordedNames.groups) await client.groups.describe(name)
  await client.groups.delete(group)
}

async function workInGroup(client: Client, port: number): Promise<void> {
  const group = recordedNames.queueGroup
  const topic = defineTopic('hostile-b', { value: string })
  const outcomes: string[] = []
  const worker = client.work(
    topic,
    { group, concurrency: 3, prefetch: 4, settings: { retry: { kind: 'fixed', delay: 0 }, attemptsMax: 2 } },
    async (message) => {
      outcomes.push(message.value)
      if (outcomes.length % 3 === 0) throw new Error('an attempt that fails')
      if (outcomes.length % 3 === 1) throw new Reject('a message that is rejected')
      await client.transaction((transaction) => {
        transaction.publish('side-0', { value: Buffer.from('done') })
        transaction.ack(message)
        transaction.commitOffsets('side-group', [{ topic: 'hostile-b', partition: 0, offset: 1 }])
      })
    },
  )
  await worker.ready
  const dead = async (): Promise<boolean> => (await client.queues.describe(group)).dead > 2
  await waitFor('some dead letters', dead, { deadlineMs: 10_000 })
  await client.queues.configure(group, { attemptsMax: 5 })
  await client.queues.redrive(group)
  await client.queues.peek(group)
  await client.queues.list()
  const raw = await connectHello({ host: '127.0.0.1', port })
  await raw.request(commands.queueExtend, { group, grants: [1], leaseMs: 1_000 })
  raw.destroy()
  await worker.close()
  await client.queues.describe(group)
  const passing = client.work(topic, { group: 'side-queue' }, () => {})
  await passing.ready
  await passing.close()
  await client.queues.delete('side-queue')
}

async function publishLater(client: Client): Promise<void> {
  const topic = defineTopic('hostile-a', { value: string })
  await client.publish(topic, { key: 'k', value: 'now', id: 'id-1' })
  await client.publish(topic, { value: 'again', id: 'id-1' })
  await client.publishMany(topic, [
    { value: 'soon', delay: 1 },
    { key: 'k', value: 'later', delay: '1h', id: 'id-2', headers: { trace: 'x' } },
    { value: 'never', delay: '1h', id: 'id-3' },
  ])
  await client.delayed.cancel('hostile-a', 'id-3')
  for await (const _ of client.delayed.list('hostile-a'));
  await client.delayed.count()
  const message = { key: 'k', value: 'tick' }
  await client.schedules.set('nightly', { topic, message, cron: '30 2 * * *', timeZone: 'Europe/Berlin' })
  await client.schedules.set('side-schedule', { topic, message, cron: '0 0 1 1 *', missed: 'all' })
  for await (const _ of client.schedules.list());
  await client.schedules.delete('side-schedule')
}

async function askService(client: Client): Promise<void> {
  const service = defineService('side-1', { request: string, reply: string })
  const worker = client.respond(service, {}, ({ value }) => {
    if (value === 'bad') throw new Error('it is bad')
    return `reply to ${value}`
  })
  await client.request(service, { value: 'good' })
  await client.request(service, { value: 'bad' }).catch(() => {})
  await worker.close()
}

/** Error replies are part of the traffic. */
async function refusals(client: Client): Promise<void> {
  await Promise.allSettled([
    client.topics.describe('missing'),
    client.topics.create('hostile-a'),
    client.topics.create('no spaces'),
    client.groups.describe('missing'),
    client.publish('hostile-a', { value: Buffer.alloc(0), partition: 99 }),
    client.groups.commit('x', [{ topic: 'hostile-a', partition: 0, offset: 1e9 }]),
  ])
}
