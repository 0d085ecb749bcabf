import * as assert from 'uvu/assert'
import { DeletedTopics } from '../../../client/consumer/deleted_topics.js'
import { type Consumer, isMillraceError } from '../../../client/index.js'
import { commands, MillraceError } from '../../../protocol/index.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { Harness, numbered } from './harness.js'

const test = suite('client/consumer/deleted_topics')

interface Reading {
  readonly consumer: Consumer<string, string>
  readonly values: string[]
  /** Set when the loop has ended. */
  readonly end: { error?: unknown; isOver: boolean }
}

/** Reads in the background. */
function read(consumer: Consumer<string, string>): Reading {
  const values: string[] = []
  const end: Reading['end'] = { isOver: false }
  const loop = async (): Promise<void> => {
    for await (const message of consumer) {
      values.push(message.value)
      message.ack()
    }
  }
  void loop()
    .catch((error: unknown) => {
      end.error = error
    })
    .finally(() => {
      end.isOver = true
    })
  return { consumer, values, end }
}

/** Deletes the topic and creates it again; returns its id. */
async function recreate({ cluster }: Harness, partitions: number): Promise<number> {
  await cluster.call(commands.topicDelete, { topic: 't' })
  const { topicId } = await cluster.call(commands.topicCreate, { topic: 't', partitions })
  return topicId
}

async function publishEach(
  harness: Harness,
  topicId: number,
  partitions: number,
  name: string,
): Promise<void> {
  for (let partition = 0; partition < partitions; partition++)
    await harness.publish(topicId, partition, [`${name}-${partition}`])
}

async function started(
  context: TestContext,
  partitions: number,
  group: string | undefined,
  from: 'earliest' | 'latest' = 'earliest',
) {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('t', partitions)
  const reading = read(harness.consume('t', { ...(group === undefined ? {} : { group }), from }))
  await reading.consumer.start()
  return { harness, topicId, reading }
}

for (const [before, after] of [
  [1, 1],
  [3, 1],
  [1, 4],
] as const)
  test(`a member of a group continues with a topic that is created again, ${before} partitions before, ${after} after`, async (context) => {
    const { harness, topicId, reading } = await started(context, before, 'g')
    await publishEach(harness, topicId, before, 'old')
    await waitFor('the old messages', () => reading.values.length === before)
    await reading.consumer.commit()
    const newId = await recreate(harness, after)
    await publishEach(harness, newId, after, 'new')
    await waitFor('the new messages', () => reading.values.length === before + after)
    assert.equal(reading.values.slice(before).sort(), numbered('new', 0, after))
    await reading.consumer.commit()
    assert.is(await harness.committed('g', 't'), 1)
    assert.is(reading.end.isOver, false)
  })

test('a member that reads from the end gets all messages of a topic that is created again', async (context) => {
  const { harness, topicId, reading } = await started(context, 1, 'g', 'latest')
  await harness.publish(topicId, 0, ['old'])
  await waitFor('the old message', () => reading.values.length === 1)
  const newId = await recreate(harness, 1)
  await harness.publish(newId, 0, ['new'])
  await waitFor('the new message', () => reading.values.length === 2)
  assert.equal(reading.values, ['old', 'new'])
})

test('offsets of a deleted topic do not count for the new one', async (context) => {
  const { harness, topicId, reading } = await started(context, 1, 'g')
  await harness.publish(topicId, 0, numbered('old', 0, 5))
  await waitFor('the old messages', () => reading.values.length === 5)
  await reading.consumer.close()
  assert.is(await harness.committed('g', 't'), 5)
  const newId = await recreate(harness, 1)
  await harness.publish(newId, 0, numbered('new', 0, 7))
  const next = read(harness.consume('t', { group: 'g' }))
  await waitFor('the new messages', () => next.values.length === 7)
  assert.equal(next.values, numbered('new', 0, 7))
})

for (const group of [undefined, 'g'])
  test(`a consumer ${group === undefined ? 'without' : 'with'} a group ends with UNKNOWN_TOPIC when its topic is deleted and not created again`, async (context) => {
    const { harness, reading } = await started(context, 2, group)
    await harness.cluster.call(commands.topicDelete, { topic: 't' })
    await waitFor('the end', () => reading.end.isOver)
    assert.ok(isMillraceError(reading.end.error, 'UNKNOWN_TOPIC'), String(reading.end.error))
    assert.match(reading.end.error.message, /topic "t" was deleted/)
  })

test('a consumer without a group ends with UNKNOWN_TOPIC when its topic is created again', async (context) => {
  const { harness, reading } = await started(context, 2, undefined)
  const newId = await recreate(harness, 2)
  await publishEach(harness, newId, 2, 'new')
  await waitFor('the end', () => reading.end.isOver)
  assert.ok(isMillraceError(reading.end.error, 'UNKNOWN_TOPIC'), String(reading.end.error))
  assert.equal(reading.values, [])
})

for (const isRecreated of [true, false])
  test(`a member without partitions learns that its topic was deleted, ${isRecreated ? '' : 'not '}created again`, async (context) => {
    const { harness, reading } = await started(context, 1, 'g')
    const standby = read(harness.consume('t', { group: 'g' }, await harness.newClient()))
    await standby.consumer.start()
    await harness.cluster.call(commands.topicDelete, { topic: 't' })
    if (isRecreated) {
      const newId = await harness.createTopic('t', 2)
      await publishEach(harness, newId, 2, 'new')
      await waitFor('both', () => reading.values.length === 1 && standby.values.length === 1)
      assert.equal([...reading.values, ...standby.values].sort(), ['new-0', 'new-1'])
    } else {
      await waitFor('both ends', () => reading.end.isOver && standby.end.isOver)
      for (const { error } of [reading.end, standby.end])
        assert.ok(isMillraceError(error, 'UNKNOWN_TOPIC'), String(error))
    }
  })

test('a paused member continues with a topic that is created again', async (context) => {
  const { harness, topicId, reading } = await started(context, 1, 'g')
  await harness.publish(topicId, 0, ['old'])
  await waitFor('the old message', () => reading.values.length === 1)
  reading.consumer.pause()
  const newId = await recreate(harness, 1)
  await harness.publish(newId, 0, ['new'])
  reading.consumer.resume()
  await waitFor('the new message', () => reading.values.length === 2)
})

test('a transaction that acknowledges a message of a deleted topic is refused by name', async (context) => {
  const { harness, topicId } = await started(context, 1, undefined)
  await harness.publish(topicId, 0, ['old'])
  const consumer = harness.consume('t', { group: 'g' })
  for await (const message of consumer) {
    await recreate(harness, 1)
    const error = await harness.client
      .transaction((tx) => {
        tx.ack(message)
        tx.publish('t', { value: Buffer.from('out') })
      })
      .then(
        () => undefined,
        (reason: unknown) => reason,
      )
    assert.ok(isMillraceError(error, 'FENCED', 'UNKNOWN_TOPIC'), String(error))
    break
  }
})

test('a member that joins again waits for its topic to be created again', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  const topicId = await harness.createTopic('t')
  const codes: string[] = []
  const onError = (error: unknown): void => void (isMillraceError(error) && codes.push(error.code))
  const reading = read(harness.consume('t', { group: 'g', onError }))
  await harness.publish(topicId, 0, ['old'])
  await waitFor('the old message', () => reading.values.length === 1)
  const { port } = harness.broker.address
  await harness.broker.close()
  const aside = await Harness.start(context, { engine: 'level', dir })
  await aside.cluster.call(commands.topicDelete, { topic: 't' })
  await aside.broker.close()
  const next = await Harness.start(context, { engine: 'level', dir, port })
  await waitFor('the refusal', () => codes.includes('UNKNOWN_TOPIC'))
  const newId = await next.createTopic('t')
  await next.publish(newId, 0, ['new'])
  await waitFor('the new message', () => reading.values.includes('new'))
  // The refused fetch may be reported beside the refused join.
  const reports = codes.filter((code) => code === 'UNKNOWN_TOPIC').length
  assert.ok(reports <= 2, `${reports} reports of one deletion`)
  await reading.consumer.close()
})

test('a topic is deleted again before the reply about it arrives', async (context) => {
  const answers: ((isThere: boolean) => void)[] = []
  const info = { name: 't', topicId: 1, partitions: 1 }
  const deletions: string[] = []
  const deleted = new DeletedTopics({
    port: {
      topic: () =>
        new Promise((resolve, reject) => {
          answers.push((isThere) => (isThere ? resolve(info) : reject(new MillraceError('UNKNOWN_TOPIC'))))
        }),
    },
    onMissing: () => void deletions.push('missing'),
    onDeleted: ({ message }) => void deletions.push(message),
  })
  context.defer(() => deleted.close())
  deleted.check('t')
  deleted.check('t')
  assert.is(answers.length, 1, 'one question at a time')
  answers[0]?.(true)
  await waitFor('the second question', () => answers.length === 2)
  answers[1]?.(false)
  await waitFor('the loss', () => deletions.length === 1)
  await waitFor('the third question', () => answers.length === 3)
  answers[2]?.(true)
  assert.equal(deletions, ['missing'])
  assert.is(deleted.has('t'), true)
})

test('the reasons of a group name a topic that its members wait for', async (context) => {
  const { harness, reading } = await started(context, 1, 'g')
  await harness.cluster.call(commands.topicDelete, { topic: 't' })
  const { reasons } = await harness.cluster.control(commands.groupDescribe, { group: 'g' })
  assert.equal(reasons, ['members read topic "t", which was deleted'])
  await reading.consumer.close()
})

for (const group of [undefined, 'g'])
  test(`a topic that is created again while the broker is down for a consumer ${group === undefined ? 'without' : 'with'} a group`, async (context) => {
    const dir = await context.tempDir()
    const harness = await Harness.start(context, { engine: 'level', dir })
    const topicId = await harness.createTopic('t', 2)
    const reading = read(harness.consume('t', group === undefined ? {} : { group }))
    await publishEach(harness, topicId, 2, 'old')
    await waitFor('the old messages', () => reading.values.length === 2)
    const { port } = harness.broker.address
    await harness.broker.close()
    const aside = await Harness.start(context, { engine: 'level', dir })
    const newId = await recreate(aside, 1)
    await publishEach(aside, newId, 1, 'new')
    await aside.broker.close()
    await Harness.start(context, { engine: 'level', dir, port })
    if (group === undefined) {
      await waitFor('the end', () => reading.end.isOver)
      assert.ok(isMillraceError(reading.end.error, 'UNKNOWN_TOPIC'), String(reading.end.error))
    } else await waitFor('the new message', () => reading.values.includes('new-0'))
    await reading.consumer.close().catch(() => {})
  })

test.run()
