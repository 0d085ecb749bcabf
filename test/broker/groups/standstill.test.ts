import * as assert from 'uvu/assert'
import { reasonsOf } from '../../../broker/groups/standstill.js'
import { defineTopic, string } from '../../../client/index.js'
import { commands, RecordBatchBuilder, type ReplyOf } from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/groups/standstill')

type Description = ReplyOf<typeof commands.groupDescribe>

const nowMs = 1_000_000
const member: Description['members'][number] = {
  memberId: 'm',
  instanceId: undefined,
  clientName: 'app',
  address: '127.0.0.1:1',
  topics: ['orders'],
  sessionTimeoutMs: 30_000,
  connected: true,
  partitions: 1,
}
const partition: Description['partitions'][number] = {
  topic: 'orders',
  topicId: 1,
  partition: 3,
  committedOffset: 40,
  committedAtMs: nowMs - 45_000,
  metadata: undefined,
  startOffset: 0,
  endOffset: 50,
  lag: 10,
  memberId: 'm',
}

function reasons(
  members: Description['members'],
  partitions: Description['partitions'],
  rest: Partial<Description> = {},
): string[] {
  const description = { group: 'g', state: 'stable', generation: 1, members, partitions, ...rest } as const
  return reasonsOf(description, undefined, () => true, nowMs)
}

test('a group that is at the end, or commits, has no reasons', () => {
  assert.equal(reasons([], [{ ...partition, lag: 0 }]), [])
  assert.equal(reasons([member], [{ ...partition, committedAtMs: nowMs - 1_000 }]), [])
})

test('each reason names the member and the place', () => {
  assert.equal(reasons([], [partition], { paused: true }), ['the group is paused', 'no member is connected'])
  const away = { ...member, instanceId: 'i', connected: false }
  assert.match(
    reasons([away], [partition])[0] as string,
    /member "m" \(instance "i"\) is disconnected; the group keeps its 1 partitions/,
  )
  assert.equal(reasons([member], [{ ...partition, topic: 'bills', memberId: undefined }]), [
    'no member reads topic "bills"',
  ])
  assert.equal(reasons([member], [partition]), [
    'partition 3 of topic "orders" is 10 messages behind: member "m" last committed 45 s ago, and offset 40 is not acknowledged',
  ])
  const never = { ...partition, committedOffset: undefined, committedAtMs: undefined, startOffset: 7 }
  assert.match(reasons([member], [never])[0] as string, /has never committed, and offset 7 is not/)
})

test('describe shows the reasons of a running group', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('events')
  const { client } = harness
  const events = defineTopic('events', { value: string })
  await client.publish(events, { value: 'a' })
  const consumer = client.consume(events, { group: 'readers', from: 'earliest' })
  context.defer(() => consumer.close())
  const [message] = [await consumer[Symbol.asyncIterator]().next()]
  const reasonsNow = async (): Promise<readonly string[]> => (await client.groups.describe('readers')).reasons
  assert.match((await reasonsNow())[0] as string, /offset 0 is not acknowledged/)
  message.value?.ack()
  await waitFor('the commit', async () => (await reasonsNow()).length === 0)
  await consumer.close()
  await client.publish(events, { value: 'b' })
  assert.equal(await reasonsNow(), ['no member is connected'])
})

test('describe shows the age of the oldest message, also without members', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('events', 2)
  const { client } = harness
  const events = defineTopic('events', { value: string })
  const consumer = client.consume(events, { group: 'readers', from: 'earliest' })
  const worker = client.work(events, { group: 'crew' }, () => {})
  await Promise.all([consumer.start(), worker.ready])
  await consumer.close()
  await worker.close()
  const builder = new RecordBatchBuilder()
  for (const timestamp of [5_000, 6_000, 7_000]) builder.append({ key: null, value: 'x', timestamp })
  await harness.publishBatch(topicId, 1, builder.finish())
  await harness.cluster.call(commands.groupSeek, {
    group: 'readers',
    topic: 'events',
    partitions: [1],
    kind: 'offset',
    value: 1,
    create: true,
  })
  const oldest = (described: { partitions: readonly { oldestTimestampMs?: number | undefined }[] }) =>
    described.partitions.map(({ oldestTimestampMs }) => oldestTimestampMs)
  assert.equal(oldest(await client.groups.describe('readers')), [undefined, 6_000])
  assert.equal(oldest(await client.queues.describe('crew')), [undefined, 5_000])
})

test.run()
