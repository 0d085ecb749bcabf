import * as assert from 'uvu/assert'
import { type ConsumeOptions, DecodeError } from '../../../client/index.js'
import { lyingBatch, unopenableBatch } from '../../helpers/lying_batches.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { Harness } from './harness.js'

const test = suite('client/consumer/unreadable')

const kinds: Readonly<Record<string, { readonly batch: Uint8Array; readonly readable: number }>> = {
  'that is not compressed as it says': { batch: unopenableBatch(3), readable: 0 },
  'with more records than it says': {
    batch: lyingBatch(['a', 'b', 'c', 'd'], { recordCount: 3 }),
    readable: 2,
  },
  'with fewer records than it says': { batch: lyingBatch(['a', 'b'], { recordCount: 3 }), readable: 2 },
  'that unpacks to another size': { batch: lyingBatch(['a', 'b', 'c'], { recordsBytes: 10 }), readable: 0 },
}
const badCount = 3

async function fixture(context: TestContext, batch: Uint8Array): Promise<Harness> {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, ['before'])
  await harness.publishBatch(topicId, 0, batch)
  await harness.publish(topicId, 0, ['after'])
  return harness
}

async function read(
  harness: Harness,
  options: ConsumeOptions,
): Promise<{ offsets: number[]; error: unknown }> {
  const offsets: number[] = []
  const consumer = harness.consume('tasks', { until: 'end', ...options })
  try {
    for await (const message of consumer) {
      offsets.push(message.offset)
      message.ack()
    }
    return { offsets, error: undefined }
  } catch (error) {
    return { offsets, error }
  } finally {
    await consumer.close().catch(() => {})
  }
}

for (const [what, { batch, readable }] of Object.entries(kinds)) {
  const first = 1 + readable
  const end = 1 + badCount
  const before = Array.from({ length: first }, (_, offset) => offset)

  test(`a batch ${what} is a decode error of its offsets`, async (context) => {
    const harness = await fixture(context, batch)
    const { offsets, error } = await read(harness, {})
    assert.equal(offsets, before)
    assert.instance(error, DecodeError)
    const { code, part, raw, endOffset, message } = error as DecodeError
    assert.equal([code, part, raw.offset, endOffset], ['DECODE_FAILED', 'batch', first, end])
    assert.match(message, new RegExp(`topic "tasks", partition 0, offsets ${first} to ${end - 1} `))
  })

  test(`the policies leave out a batch ${what}, and a group commits past it`, async (context) => {
    const harness = await fixture(context, batch)
    const asked: number[] = []
    const decide = (_: DecodeError, { offset }: { readonly offset: number }) => {
      asked.push(offset)
      return 'skip' as const
    }
    assert.equal(await read(harness, { onDecodeError: decide }), {
      offsets: [...before, end],
      error: undefined,
    })
    assert.equal(asked, [first])
    const inGroup = await read(harness, { onDecodeError: 'skip', group: 'readers' })
    assert.equal(inGroup, { offsets: [...before, end], error: undefined })
    assert.is(await harness.committed('readers', 'tasks'), end + 1)
  })

  test(`batches() leaves out a batch ${what}`, async (context) => {
    const harness = await fixture(context, batch)
    const consumer = harness.consume('tasks', { until: 'end', onDecodeError: 'skip' })
    const offsets: number[] = []
    for await (const { messages } of consumer.batches())
      for (const message of messages) offsets.push(message.offset)
    assert.equal(offsets, [...before, end])
    assert.is(consumer.stats().skipped, badCount - readable)
  })
}

test('handlers of a consumer continue after a batch that does not open', async (context) => {
  const harness = await fixture(context, unopenableBatch(badCount))
  const consumer = harness.consume('tasks', { onDecodeError: 'skip', group: 'readers' })
  const offsets: number[] = []
  const running = consumer.run(({ offset }) => {
    offsets.push(offset)
  })
  running.catch(() => {})
  await waitFor('the last message', () => offsets.length === 2)
  assert.equal(offsets, [0, 1 + badCount])
  await consumer.close()
})

test('a time selects the batch that does not open and says that it has messages of that time', async (context) => {
  const harness = await Harness.start(context)
  const topicId = await harness.createTopic('tasks')
  await harness.publishBatch(topicId, 0, unopenableBatch(badCount))
  await harness.publish(topicId, 0, ['after'])
  const { offsets, error } = await read(harness, { from: new Date(500), onDecodeError: 'skip' })
  assert.is(error, undefined)
  assert.equal(offsets, [badCount])
})

test.run()
