import * as assert from 'uvu/assert'
import { type DelayedMessage, delayedKey } from '../../../broker/later/delayed_codec.js'
import { DelayedFiring } from '../../../broker/later/delayed_firing.js'
import type { Later } from '../../../broker/later/index.js'
import { opKinds } from '../../../storage/index.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/later/delayed_firing')

const message: DelayedMessage = {
  dueMs: 1_000,
  sequence: 7,
  topicId: 1,
  partition: 0,
  id: 'one',
  body: new Uint8Array(3),
}

test('a message that is appended while its place is read is not cancelled as well', async () => {
  const committed: number[] = []
  const stored = delayedKey(message.dueMs, message.sequence).subarray(1)
  const reads: ((place: Uint8Array | undefined) => void)[] = []
  let isThere = true
  const near = { lacks: () => false, first: () => (isThere ? [message] : []), nextDueMs: undefined }
  const later = {
    delayed: { near },
    pendingIds: new Map(),
    metrics: { publishedRecords: 0, publishedBytes: 0 },
    shard: {
      catalog: { topic: () => ({ topicId: 1 }), byId: () => undefined },
      store: { state: { get: () => new Promise((resolve) => reads.push(resolve)) } },
      commit: async (ops: readonly { readonly kind: number }[]) => {
        isThere = false
        committed.push(...ops.map(({ kind }) => kind))
      },
    },
  } as unknown as Later
  const firing = new DelayedFiring(later)
  const cancelled = firing.cancel('jobs', 'one')
  await new Promise((resolve) => setImmediate(resolve))
  await firing.fire(2_000)
  // The database tells what it had when it was asked.
  reads.shift()?.(stored)
  await new Promise((resolve) => setImmediate(resolve))
  reads.shift()?.(undefined)
  assert.is(await cancelled, false)
  assert.equal(committed, [opKinds.delayedFired])
})

test.run()
