import * as assert from 'uvu/assert'
import type { ConsumeOptions, Consumer, TopicPartition } from '../../../client/consumer/index.js'
import { commands } from '../../../protocol/index.js'
import { FaultyProxy } from '../../faults/machine/faulty_proxy.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { Harness, numbered, take, valuesOf } from './harness.js'

const test = suite('client/consumer/group')

test('a member continues at the committed offset', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 6))
  const first = harness.consume('t', { group: 'g' })
  const messages = await take(first[Symbol.asyncIterator](), 4)
  for (const message of messages.slice(0, 3)) message.ack()
  await first.close()
  assert.is(await harness.committed('g', 't'), 3)
  const second = harness.consume('t', { group: 'g' })
  assert.equal(valuesOf(await take(second[Symbol.asyncIterator](), 3)), numbered('v', 3, 6))
})

test('commit() resolves when acknowledged offsets are committed, and not past a gap', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 6))
  const consumer = harness.consume('t', { group: 'g', commitIntervalMs: 600_000 })
  const messages = await take(consumer[Symbol.asyncIterator](), 6)
  for (const index of [5, 0, 1, 3]) messages[index]?.ack()
  await consumer.commit()
  assert.is(await harness.committed('g', 't'), 2)
  messages[2]?.ack()
  await consumer.commit()
  assert.is(await harness.committed('g', 't'), 4)
})

test('acknowledged offsets are committed in the background', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 3))
  const consumer = harness.consume('t', { group: 'g', commitIntervalMs: 5 })
  for (const message of await take(consumer[Symbol.asyncIterator](), 3)) message.ack()
  await waitFor('the commit', async () => (await harness.committed('g', 't')) === 3)
})

test('the first offset of "latest" is committed, so that a restart misses nothing', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, ['old'])
  const first = harness.consume('t', { group: 'g', from: 'latest' })
  await first.start()
  await first.close()
  await harness.publish(topicId, 0, ['between'])
  const second = harness.consume('t', { group: 'g', from: 'latest' })
  assert.equal(valuesOf(await take(second[Symbol.asyncIterator](), 1)), ['between'])
})

test('members share the partitions, and each message reaches one of them', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 6)
  const consumers = [1, 2, 3].map(() => harness.consume('t', { group: 'g' }))
  await Promise.all(consumers.map((consumer) => consumer.start()))
  await waitFor('two partitions each', () => consumers.every(({ assignment }) => assignment.length === 2))
  for (let partition = 0; partition < 6; partition++) {
    await harness.publish(topicId, partition, numbered(`p${partition}`, 0, 10))
  }
  const perMember = await Promise.all(consumers.map((consumer) => take(consumer[Symbol.asyncIterator](), 20)))
  const all = perMember.flat().map(({ value }) => value)
  assert.is(new Set(all).size, 60)
})

test('a partition that moves is released only after its messages were acknowledged', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 2)
  for (const partition of [0, 1]) await harness.publish(topicId, partition, numbered(`p${partition}`, 0, 5))
  const revoked: TopicPartition[] = []
  const reasons: boolean[] = []
  const first = harness.consume('t', {
    group: 'g',
    commitIntervalMs: 600_000,
    revokeGraceMs: 8_000,
    onRevoked: (partitions, { lost }) => {
      revoked.push(...partitions)
      reasons.push(lost)
    },
  })
  const held = await take(first[Symbol.asyncIterator](), 10)
  const second = harness.consume('t', { group: 'g' })
  await second.start()
  await waitFor('the revocation', () => revoked.length === 1)
  assert.equal(reasons, [false])
  assert.equal(second.assignment, [])
  const moved = revoked[0]?.partition
  for (const message of held.filter(({ partition }) => partition === moved).slice(0, 4)) message.ack()
  await first.commit()
  assert.equal(second.assignment, [])
  held.filter(({ partition }) => partition === moved)[4]?.ack()
  await waitFor('the partition', () => second.assignment.length === 1)
  await harness.publish(topicId, moved ?? 0, ['after'])
  assert.equal(valuesOf(await take(second[Symbol.asyncIterator](), 1)), ['after'])
  assert.is(await harness.committed('g', 't', moved), 5)
})

test('messages that are not acknowledged in time are delivered to the next owner', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 2)
  for (const partition of [0, 1]) await harness.publish(topicId, partition, numbered(`p${partition}`, 0, 3))
  const first = harness.consume('t', { group: 'g', revokeGraceMs: 20 })
  const held = await take(first[Symbol.asyncIterator](), 6)
  const second = harness.consume('t', { group: 'g' })
  const again = await take(second[Symbol.asyncIterator](), 3)
  const moved = again[0]?.partition
  assert.equal(valuesOf(again), numbered(`p${moved}`, 0, 3))
  for (const message of held) message.ack()
  await first.commit()
  assert.is((await harness.committed('g', 't', moved)) ?? 0, 0)
})

test('a member that disappears is replaced, and only unacknowledged messages come again', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 10))
  const proxy = await FaultyProxy.start(context, () => harness.broker.address.port)
  const doomedClient = await harness.newClient(proxy.port)
  const doomed = harness.consume('t', { group: 'g' }, doomedClient)
  const held = await take(doomed[Symbol.asyncIterator](), 10)
  for (const message of held.slice(0, 6)) message.ack()
  await doomed.commit()
  const heir = harness.consume('t', { group: 'g' })
  const next = heir[Symbol.asyncIterator]()
  await heir.start()
  proxy.refuse()
  assert.equal(valuesOf(await take(next, 4)), numbered('v', 6, 10))
})

test('after a lost connection the member joins again, and acknowledged messages do not come again', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 6))
  const proxy = await FaultyProxy.start(context, () => harness.broker.address.port)
  const lost: boolean[] = []
  const consumer = harness.consume(
    't',
    {
      group: 'g',
      commitIntervalMs: 600_000,
      onRevoked: (_partitions, reason) => void lost.push(reason.lost),
    },
    await harness.newClient(proxy.port),
  )
  const iterator = consumer[Symbol.asyncIterator]()
  const held = await take(iterator, 6)
  for (const message of held.slice(0, 4)) message.ack()
  proxy.cut()
  assert.equal(valuesOf(await take(iterator, 2)), ['v-4', 'v-5'])
  assert.equal(lost, [true])
  held[4]?.ack()
  held[5]?.ack()
  await consumer.commit()
  assert.is(await harness.committed('g', 't'), 4)
})

test(
  'the group survives a restart of the broker',
  async (context) => {
    const dir = await context.tempDir()
    const harness = await Harness.start(context, { engine: 'level', dir })
    const topicId = await harness.createTopic('t', 2)
    for (const partition of [0, 1]) await harness.publish(topicId, partition, numbered(`p${partition}`, 0, 4))
    const consumers = [1, 2].map(() => harness.consume('t', { group: 'g' }))
    const iterators = consumers.map((consumer) => consumer[Symbol.asyncIterator]())
    await waitFor('a partition each', async () => {
      await Promise.all(consumers.map((consumer) => consumer.start()))
      return consumers.every(({ assignment }) => assignment.length === 1)
    })
    const before = await Promise.all(iterators.map((iterator) => take(iterator, 4)))
    for (const message of before.flat()) message.ack()
    await Promise.all(consumers.map((consumer) => consumer.commit()))
    await harness.restartBroker(dir)
    for (const partition of [0, 1]) await harness.publish(topicId, partition, numbered(`p${partition}`, 4, 6))
    const after: string[] = []
    await Promise.all(
      iterators.map(async (iterator) => {
        while (after.length < 4) {
          const { value } = await iterator.next()
          if (value === undefined) return
          value.ack()
          after.push(value.value)
          if (after.length === 4) await Promise.all(consumers.map((consumer) => consumer.close()))
        }
      }),
    )
    assert.equal(after.sort(), [...numbered('p0', 4, 6), ...numbered('p1', 4, 6)])
  },
  { deadlineMs: 20_000 },
)

test('a seek of the group moves its members', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 5))
  const consumer = harness.consume('t', { group: 'g' })
  const iterator = consumer[Symbol.asyncIterator]()
  for (const message of await take(iterator, 5)) message.ack()
  await consumer.commit()
  await harness.cluster.control(commands.groupSeek, { group: 'g', topic: 't', kind: 'offset', value: 2 })
  assert.equal(valuesOf(await take(iterator, 3)), numbered('v', 2, 5))
})

test('a second member with the same instance id ends the first with FENCED', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t')
  const first = harness.consume('t', { group: 'g', instanceId: 'one' })
  await first.start()
  const next = first[Symbol.asyncIterator]()
    .next()
    .then(
      () => 'no error',
      (error: { code?: string }) => error.code,
    )
  const second: Consumer<string, string> = harness.consume('t', { group: 'g', instanceId: 'one' })
  await second.start()
  assert.is(await next, 'FENCED')
  assert.is(second.assignment.length, 1)
})

test('a member that hangs is replaced after its session timeout, and its late acknowledgements do not count', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 4))
  const proxy = await FaultyProxy.start(context, () => harness.broker.address.port)
  const options = { group: 'g', sessionTimeoutMs: 1_000, commitIntervalMs: 5 }
  const hung = harness.consume('t', options, await harness.newClient(proxy.port))
  const held = await take(hung[Symbol.asyncIterator](), 4)
  proxy.freeze()
  const heir = harness.consume('t', options)
  const iterator = heir[Symbol.asyncIterator]()
  assert.equal(valuesOf(await take(iterator, 4)), numbered('v', 0, 4))
  for (const message of held) message.ack()
  proxy.thaw()
  await waitFor('the loss to be noticed', () => hung.assignment.length === 0)
  assert.is((await harness.committed('g', 't')) ?? 0, 0)
})

test('after a commit with a lost reply, later acknowledged messages do not come again', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 2))
  const proxy = await FaultyProxy.start(context, () => harness.broker.address.port)
  let isLost = false
  const options: ConsumeOptions = {
    group: 'g',
    commitIntervalMs: 0,
    onRevoked: (_partitions, { lost }) => {
      isLost = lost
    },
  }
  const consumer = harness.consume('t', options, await harness.newClient(proxy.port))
  const iterator = consumer[Symbol.asyncIterator]()
  const [first, second] = await take(iterator, 2)
  await waitFor('the first commit', () => consumer.stats().partitions[0]?.committedOffset === 0)
  proxy.set({ swallow: true }, 'replies')
  first?.ack()
  await waitFor('the commit', async () => (await harness.committed('g', 't')) === 1)
  second?.ack()
  proxy.heal()
  await waitFor('the new membership', () => isLost && consumer.stats().state === 'joined')
  await harness.publish(topicId, 0, ['v-2'])
  assert.is((await iterator.next()).value?.value, 'v-2')
})

test('while the broker is unreachable a member delivers nothing', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, numbered('v', 0, 4))
  const proxy = await FaultyProxy.start(context, () => harness.broker.address.port)
  const consumer = harness.consume('t', { group: 'g' }, await harness.newClient(proxy.port))
  const iterator = consumer[Symbol.asyncIterator]()
  const [first] = await take(iterator, 1)
  first?.ack()
  // Without this the first message may come again, which is not what this is about.
  await consumer.commit()
  proxy.refuse()
  await waitFor('the suspension', () => consumer.stats().state === 'suspended')
  let delivered = false
  const next = iterator.next().then((result) => {
    delivered = true
    return result
  })
  await new Promise(setImmediate)
  assert.is(delivered, false)
  proxy.accept()
  assert.is((await next).value?.value, 'v-1')
})

test(
  'members that join and leave continuously lose no message and keep the order',
  async (context) => {
    const harness = await Harness.start(context)
    const partitions = 6
    const perPartition = 400
    const topicId = await harness.createTopic('t', partitions)
    const seen = new Map<string, number>()
    const lastAcked = new Array<number>(partitions).fill(-1)
    const random = context.random()
    let stop = false
    const member = async (): Promise<void> => {
      while (!stop) {
        const consumer = harness.consume('t', { group: 'g', commitIntervalMs: 1 })
        let left = random.int(20, 300)
        for await (const message of consumer) {
          seen.set(message.value, (seen.get(message.value) ?? 0) + 1)
          const number = Number(message.value.split('-')[1])
          assert.is(number, message.offset)
          assert.ok(number <= (lastAcked[message.partition] ?? -1) + 1, `gap before ${message.value}`)
          lastAcked[message.partition] = Math.max(lastAcked[message.partition] ?? -1, number)
          message.ack()
          if (--left === 0 || stop) break
        }
      }
    }
    const members = [member(), member(), member()]
    for (let at = 0; at < perPartition; at += 20) {
      for (let partition = 0; partition < partitions; partition++) {
        await harness.publish(topicId, partition, numbered(`p${partition}`, at, at + 20))
      }
    }
    await waitFor('all messages', () => seen.size === partitions * perPartition, { deadlineMs: 20_000 })
    stop = true
    for (let partition = 0; partition < partitions; partition++) {
      await harness.publish(topicId, partition, [`p${partition}-${perPartition}`])
    }
    context.defer(() => Promise.all(members))
    const again = [...seen.values()].filter((count) => count > 1).length
    assert.is(again, 0)
  },
  { deadlineMs: 30_000 },
)

test('a static member that restarts gets its partitions again, and no other member gets them in between', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', 2)
  for (const partition of [0, 1]) await harness.publish(topicId, partition, numbered(`p${partition}`, 0, 2))
  const assigned: TopicPartition[] = []
  const other = harness.consume('t', {
    group: 'g',
    instanceId: 'b',
    onAssigned: (partitions) => void assigned.push(...partitions),
  })
  const before = harness.consume('t', { group: 'g', instanceId: 'a' })
  await Promise.all([other.start(), before.start()])
  await waitFor('a partition each', () => [other, before].every(({ assignment }) => assignment.length === 1))
  const own = before.assignment
  assigned.length = 0
  await before.close()
  const { members } = await harness.cluster.control(commands.groupDescribe, { group: 'g' })
  assert.equal(members.map(({ instanceId }) => instanceId).sort(), ['a', 'b'])
  const after = harness.consume('t', { group: 'g', instanceId: 'a' })
  await after.start()
  assert.equal(after.assignment, own)
  assert.equal(assigned, [])
})

test('a member of a deleted topic ends with UNKNOWN_TOPIC', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t', 2)
  for (const options of [{ group: 'g' }, {}]) {
    const consumer = harness.consume('t', options)
    await consumer.start()
    const next = consumer[Symbol.asyncIterator]()
      .next()
      .catch((error: { code?: string }) => error.code)
    await harness.client.topics.delete('t')
    assert.is(await next, 'UNKNOWN_TOPIC')
    await harness.createTopic('t', 2)
  }
})

test('hooks run before the first message and after the last', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t')
  await harness.publish(topicId, 0, ['v'])
  const log: string[] = []
  const consumer = harness.consume('t', {
    group: 'g',
    onAssigned: async (partitions) => {
      await new Promise(setImmediate)
      log.push(`assigned ${partitions.length}`)
    },
  })
  const [message] = await take(consumer[Symbol.asyncIterator](), 1)
  log.push(message?.value ?? '')
  assert.equal(log, ['assigned 1', 'v'])
})

test('an error of a hook throws from the loop', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t')
  const consumer = harness.consume('t', {
    group: 'g',
    onAssigned: () => {
      throw new Error('no room')
    },
  })
  const outcome = await consumer[Symbol.asyncIterator]()
    .next()
    .then(
      () => 'no error',
      (error: Error) => error.message,
    )
  assert.is(outcome, 'no room')
})

test.run()
