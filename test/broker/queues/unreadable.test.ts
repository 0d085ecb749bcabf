import { pino } from 'pino'
import * as assert from 'uvu/assert'
import { readSome } from '../../../broker/queues/read_records.js'
import { defineTopic, string } from '../../../client/index.js'
import { RecordBatchBuilder, stampBaseOffset } from '../../../protocol/index.js'
import type { LogReadResult, PartitionLog } from '../../../storage/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { lyingBatch, unopenableBatch } from '../../helpers/lying_batches.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/unreadable')

const group = 'crew'

for (const [what, batch] of [
  ['that is not compressed as it says', unopenableBatch(3)],
  ['with more records than it says', lyingBatch(['a', 'b', 'c', 'd'], { recordCount: 3 })],
  ['with fewer records than it says', lyingBatch(['a', 'b'], { recordCount: 3 })],
] as const) {
  test(`a batch ${what} becomes one dead letter with the reason, and the log tells it`, async (context) => {
    const lines: Record<string, unknown>[] = []
    const logger = pino({ level: 'warn' }, { write: (line: string) => lines.push(JSON.parse(line)) })
    const harness = await Harness.start(context, { logger })
    const topicId = await harness.createTopic('tasks')
    await harness.publish(topicId, 0, ['before'])
    await harness.publishBatch(topicId, 0, batch)
    await harness.publish(topicId, 0, ['after'])
    const handled: string[] = []
    const tasks = defineTopic('tasks', { value: string })
    const worker = harness.client.work(tasks, { group }, ({ value }) => {
      handled.push(value)
    })
    context.defer(() => worker.close())
    await waitFor('the message behind the batch', () => handled.length === 2)
    assert.equal(handled.sort(), ['after', 'before'])
    const letters = []
    for await (const letter of harness.client.queues.deadLetters(group)) letters.push(letter)
    assert.equal(
      letters.map(({ reason, topic, partition, originOffset, attempts }) => ({
        ...{ reason, topic, partition, originOffset, attempts },
      })),
      [{ reason: 'unreadable', topic: 'tasks', partition: 0, originOffset: 1, attempts: 0 }],
    )
    assert.match(letters[0]?.error ?? '', /can't decompress|malformed/)
    const [line] = lines.filter(({ msg }) =>
      String(msg).includes('a record batch of a publisher is malformed'),
    )
    assert.equal([line?.group, line?.topic, line?.from, line?.to], [group, 'tasks', 1, 4])
    await waitFor('the group to be done', async () => {
      const { partitions } = await harness.client.queues.describe(group)
      return partitions.find(({ topic }) => topic === 'tasks')?.waiting === 0
    })
  })
}

test('a read opens no more batches than fit into memory, and at least one', async () => {
  const builder = new RecordBatchBuilder()
  builder.append({ value: Buffer.alloc(3 * 1024 * 1024), timestamp: 1_000 })
  const packed = builder.finish('brotli')
  const chunks = [0, 1, 2].map((offset) => {
    const batch = Buffer.from(packed)
    stampBaseOffset(batch, 0, offset)
    return batch
  })
  const log = { startOffset: 0, endOffset: 3 } as PartitionLog
  const result = (offset: number) => ({ chunks: chunks.slice(offset) }) as unknown as LogReadResult
  const reader = {
    readTail: ({ offset }: { offset: number }) => result(offset),
    read: () => Promise.reject(new Error('not asked')),
  }
  for (const offset of [0, 1, 2]) {
    const { records, nextOffset } = await readSome(reader, log, offset)
    assert.equal([records.length, nextOffset], [1, offset + 1])
  }
})

test.run()
