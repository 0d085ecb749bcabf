import * as assert from 'uvu/assert'
import {
  type DelayedMessage,
  decodeDelayedRefs,
  decodeMessagesDelayed,
  delayedIdKey,
  delayedKey,
  encodeMessagesDelayed,
} from '../../../broker/later/delayed_codec.js'
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

test('a message that is appended during the read of its place is not cancelled', async () => {
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
  // The database answers with its content at the time of the call.
  reads.shift()?.(stored)
  await new Promise((resolve) => setImmediate(resolve))
  reads.shift()?.(undefined)
  assert.is(await cancelled, false)
  assert.equal(committed, [opKinds.delayedFired])
})

test('only messages that are due are appended, to the millisecond', async () => {
  const waiting = [1_000, 1_001, 1_400].map((dueMs, sequence) => ({ ...message, dueMs, sequence }))
  const appended: number[] = []
  const near = { lacks: () => false, first: () => waiting, nextDueMs: undefined }
  const later = {
    delayed: { near },
    metrics: { publishedRecords: 0, publishedBytes: 0 },
    shard: {
      catalog: { byId: () => undefined },
      commit: async (ops: readonly { readonly payload: Uint8Array }[]) => {
        for (const { payload } of ops)
          for (const { dueMs } of decodeDelayedRefs(payload)) appended.push(dueMs)
      },
    },
  } as unknown as Later
  const firing = new DelayedFiring(later)
  assert.is(await firing.fire(999), false)
  assert.equal(appended, [])
  await firing.fire(1_000)
  assert.equal(appended, [1_000])
  waiting.shift()
  await firing.fire(1_399)
  assert.equal(appended, [1_000, 1_001])
})

test('a message that is being appended or cancelled is not appended as well', async () => {
  const committed: number[] = []
  const endings: (() => void)[] = []
  const near = { lacks: () => false, first: () => [message], nextDueMs: undefined }
  const stored = delayedKey(message.dueMs, message.sequence).subarray(1)
  const later = {
    delayed: { near },
    pendingIds: new Map(),
    metrics: { publishedRecords: 0, publishedBytes: 0 },
    shard: {
      catalog: { topic: () => ({ topicId: 1 }), byId: () => undefined },
      store: { state: { get: async () => stored } },
      commit: (ops: readonly { readonly kind: number }[]) => {
        committed.push(...ops.map(({ kind }) => kind))
        return new Promise<void>((resolve) => endings.push(resolve))
      },
    },
  } as unknown as Later
  const firing = new DelayedFiring(later)
  const first = firing.fire(2_000)
  await firing.fire(2_000)
  assert.equal(committed, [opKinds.delayedFired])
  endings.shift()?.()
  await first

  const cancelled = firing.cancel('jobs', 'one')
  await new Promise((resolve) => setImmediate(resolve))
  await firing.fire(2_000)
  assert.equal(committed, [opKinds.delayedFired, opKinds.delayedCancelled])
  endings.shift()?.()
  assert.is(await cancelled, true)
})

test('a message ends once, however close the end of its append is to the end of the read', async () => {
  const ticks = async (count: number): Promise<void> => {
    for (let left = count; left > 0; left--) await undefined
  }
  for (let readAfter = 0; readAfter <= 12; readAfter++) {
    for (let commitAfter = 0; commitAfter <= 12; commitAfter++) {
      const kinds: number[] = []
      const stored = delayedKey(message.dueMs, message.sequence).subarray(1)
      let read: ((place: Uint8Array | undefined) => void) | undefined
      let commit: (() => void) | undefined
      let isThere = true
      const later = {
        delayed: { near: { lacks: () => false, first: () => [message], nextDueMs: undefined } },
        pendingIds: new Map(),
        metrics: { publishedRecords: 0, publishedBytes: 0 },
        shard: {
          catalog: { topic: () => ({ topicId: 1 }), byId: () => undefined },
          store: {
            state: {
              get: () =>
                isThere
                  ? new Promise((resolve) => (read ??= resolve))
                  : Promise.resolve<undefined>(undefined),
            },
          },
          commit: (ops: readonly { readonly kind: number }[]) => {
            kinds.push(...ops.map(({ kind }) => kind))
            return new Promise<void>((resolve) => (commit ??= resolve))
          },
        },
      } as unknown as Later
      const firing = new DelayedFiring(later)
      const cancelled = firing.cancel('jobs', 'one')
      await ticks(3)
      const fired = firing.fire(2_000)
      await ticks(3)
      // The read is of the moment before the commit.
      await Promise.all([
        ticks(readAfter).then(() => read?.(stored)),
        ticks(commitAfter).then(() => {
          isThere = false
          commit?.()
        }),
      ])
      await fired
      const close = `the read ends after ${readAfter} microtasks, the commit after ${commitAfter}`
      await new Promise((resolve) => setImmediate(resolve))
      assert.equal(kinds, [opKinds.delayedFired], close)
      assert.is(await cancelled, false, close)
    }
  }
})

/** Reads of the state that the test answers, and a commit that ends the message at once. */
function sweeping() {
  const committed: (readonly [kind: number, sequences: number[]])[] = []
  const reads: ((entries: [Uint8Array, Uint8Array][]) => void)[] = []
  const failures: Error[] = []
  const held: Promise<void>[] = []
  let isThere = true
  const near = { lacks: () => false, first: () => (isThere ? [message] : []), nextDueMs: undefined }
  const later = {
    delayed: { near },
    metrics: { publishedRecords: 0, publishedBytes: 0 },
    shard: {
      catalog: { byId: () => undefined },
      store: { state: { range: () => new Promise((resolve) => reads.push(resolve)) } },
      commit: async (ops: readonly { readonly kind: number; readonly payload: Uint8Array }[]) => {
        await held.shift()
        const [failure] = failures.splice(0)
        if (failure !== undefined) throw failure
        isThere = false
        for (const { kind, payload } of ops)
          committed.push([kind, decodeDelayedRefs(payload).map(({ sequence }) => sequence)])
      },
    },
  } as unknown as Later
  return { firing: new DelayedFiring(later), committed, reads, failures, held }
}

const ids: readonly (readonly [id: string, sequence: number])[] = [
  ['one', 7],
  ['two', 8],
]

test('a message that is appended while the ids of its deleted topic are swept is not removed as well', async () => {
  const { firing, committed, reads } = sweeping()
  const swept = firing.sweepIds(message.topicId)
  await firing.fire(2_000)
  reads.shift()?.(
    ids.map(([id, sequence]) => [
      delayedIdKey(message.topicId, id),
      delayedKey(message.dueMs, sequence).subarray(1),
    ]),
  )
  assert.is(await swept, true)
  assert.equal(committed, [
    [opKinds.delayedFired, [7]],
    [opKinds.delayedCancelled, [8]],
  ])
})

const from = delayedKey(0, 0)
const entries = ids.map(([, sequence]): [Uint8Array, Uint8Array] => {
  const entry = { ...message, id: '', sequence }
  const [encoded] = decodeMessagesDelayed(encodeMessagesDelayed(0, [entry])).entries
  return [encoded?.key ?? from, encoded?.value ?? from]
})

test('a message that is appended while a range is swept is not removed as well, and the range is read again', async () => {
  const { firing, committed, reads } = sweeping()
  const swept = firing.sweepRange(from, 10, new Set([message.topicId]))
  await firing.fire(2_000)
  reads.shift()?.(entries)
  assert.equal((await swept).next, from)
  assert.equal(committed, [
    [opKinds.delayedFired, [7]],
    [opKinds.delayedCancelled, [8]],
  ])
})

test('a range with a message whose append fails during the sweep is swept again', async () => {
  const { firing, committed, reads, failures, held } = sweeping()
  let fail = (): void => {}
  held.push(new Promise((resolve) => (fail = resolve)))
  failures.push(new Error('no disk'))
  const fired = firing.fire(2_000).catch((error: unknown) => error)
  const topicIds = new Set([message.topicId])
  const swept = firing.sweepRange(from, 10, topicIds)
  reads.shift()?.(entries.slice(0, 1))
  await new Promise((resolve) => setImmediate(resolve))
  fail()
  assert.instance(await fired, Error)
  assert.equal((await swept).next, from)
  assert.equal(committed, [])
  const again = firing.sweepRange(from, 10, topicIds)
  reads.shift()?.(entries.slice(0, 1))
  assert.is((await again).next, undefined)
  assert.equal(committed, [[opKinds.delayedCancelled, [7]]])
})

test('a sweep of a range leaves the messages of other topics', async () => {
  const { firing, committed, reads } = sweeping()
  const swept = firing.sweepRange(from, 2, new Set([message.topicId + 1]))
  reads.shift()?.(entries)
  const { next } = await swept
  assert.ok(next !== undefined && Buffer.compare(next, entries[1]?.[0] ?? from) > 0)
  assert.equal(committed, [])
})

test.run()
