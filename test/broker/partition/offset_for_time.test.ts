import * as assert from 'uvu/assert'
import { offsetForTime } from '../../../broker/partition/offset_for_time.js'
import type { Partition } from '../../../broker/partition/partition.js'
import type { Shard } from '../../../broker/shard.js'
import { isMillraceError, MillraceError } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/partition/offset_for_time')

test('a block that retention drops while it is read is passed over', async () => {
  const entries = [
    { firstOffset: 0, recordCount: 10, bytes: 100, position: 1, lastTimestamp: 500 },
    { firstOffset: 10, recordCount: 10, bytes: 100, position: 2, lastTimestamp: 300 },
  ]
  const log = { startOffset: 0, endOffset: 20, index: { from: async () => entries } }
  let reads = 0
  const shard = {
    read: async () => {
      reads++
      log.startOffset = 10
      return [{ chunks: [], bytes: 0, error: new MillraceError('OFFSET_OUT_OF_RANGE') }]
    },
  } as unknown as Shard
  assert.is(await offsetForTime(shard, { log } as unknown as Partition, 400), 20)
  assert.is(reads, 1)
})

test('a topic that is deleted while its index is read has no offset of a time', async () => {
  const log = { startOffset: 0, endOffset: 20, dropped: false, index: { from: async () => [] } }
  const partition = { log, topic: { name: 'orders' } } as unknown as Partition
  const asked = offsetForTime({} as Shard, partition, 400).catch((error: unknown) => error)
  log.dropped = true
  const error = await asked
  assert.ok(isMillraceError(error, 'UNKNOWN_TOPIC'))
})

test.run()
