import * as assert from 'uvu/assert'
import { Delays } from '../../../broker/queues/delays.js'
import { Fifo } from '../../../broker/queues/fifo.js'
import type { Lane } from '../../../broker/queues/lane.js'
import { decodeQueueSettled } from '../../../broker/queues/ops.js'
import type { QueueMessage } from '../../../broker/queues/queue_message.js'
import { ReadyLine } from '../../../broker/queues/ready_line.js'
import { RecordCache } from '../../../broker/queues/record_cache.js'
import { checkRuns } from '../../../broker/queues/runs.js'
import { mergeQueueSettings, queueSettingsDefault, retryDelayMs } from '../../../broker/queues/settings.js'
import { partsOf, type Settlement, settledOps } from '../../../broker/queues/settlements.js'
import { countOf, MillraceError, offsetsOf, runsOf } from '../../../protocol/index.js'
import type { Op } from '../../../storage/index.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'

const test = suite('broker/queues/parts')

const message = (offset: number, priority = 0): QueueMessage => ({ offset, priority }) as QueueMessage

test('runs encode offsets, and decode them', () => {
  const offsets = [0, 1, 2, 7, 9, 10]
  assert.equal(runsOf(offsets), [0, 3, 7, 1, 9, 2])
  assert.equal([...offsetsOf(runsOf(offsets))], offsets)
  assert.is(countOf(runsOf(offsets)), 6)
  assert.equal(runsOf([]), [])
})

test('runs with too many offsets are refused before they are expanded', () => {
  checkRuns([
    [0, 3],
    [5, 1, 9, 99_996],
  ])
  for (const runs of [
    [0, 100_001],
    [0, 2 ** 53 - 1],
    [2 ** 53 - 1, 2],
    [1, 2, 3],
  ])
    assert.throws(
      () => checkRuns([runs]),
      (error: unknown) => error instanceof MillraceError,
    )
})

test('a line returns messages in order, and returned messages first', () => {
  const line = new Fifo<number>()
  for (let n = 0; n < 500; n++) line.push(n)
  for (let n = 0; n < 200; n++) assert.is(line.shift(), n)
  line.putBack([198, 199])
  assert.is(line.size, 302)
  for (let n = 198; n < 500; n++) assert.is(line.shift(), n)
  assert.is(line.shift(), undefined)
})

test('higher levels come first, but every eighth message is of the lowest level', () => {
  const line = new ReadyLine()
  for (let n = 0; n < 20; n++) line.push(message(n, 1))
  for (let n = 100; n < 120; n++) line.push(message(n, 9))
  const taken = Array.from({ length: 16 }, () => line.shift()?.offset ?? -1)
  assert.equal(
    taken.map((offset) => offset >= 100),
    taken.map((_, i) => i % 8 !== 7),
  )
  assert.is(line.size, 24)
})

test('a returned message of the lowest level is the first of the next turn', () => {
  const line = new ReadyLine()
  for (let n = 0; n < 20; n++) line.push(message(n, 1))
  for (let n = 100; n < 200; n++) line.push(message(n, 9))
  const taken: number[] = []
  // A worker with room for a single message sees that the next does not fit.
  for (let turn = 0; turn < 16; turn++) {
    taken.push(line.shift()?.offset ?? -1)
    line.putBack([line.shift() as QueueMessage])
  }
  assert.equal(
    taken.filter((offset) => offset < 100),
    [0, 1],
  )
  assert.equal(
    taken.filter((offset) => offset >= 100),
    Array.from({ length: 14 }, (_, i) => 100 + i),
  )
})

test('other outcomes are committed first, and dead letters a few MiB at a time', () => {
  const lane = {}
  const settlement = (offset: number, isDead: boolean): Settlement =>
    ({
      message: { offset, lane, bytes: 1024 * 1024 },
      ending: isDead ? { kind: 'dead', reason: 'attempts', error: '' } : { kind: 'failed', dueAtMs: 0 },
    }) as unknown as Settlement
  const settlements = Array.from({ length: 12 }, (_, n) => settlement(n, n % 2 === 0))
  assert.equal(
    [...partsOf(settlements)].map((part) => part.map(({ message }) => message.offset)),
    [
      [1, 3, 5, 7, 9, 11],
      [0, 2, 4, 6],
      [8, 10],
    ],
  )
  assert.equal([...partsOf([])], [])
})

test('a record that stays in memory does not hold its batch', () => {
  const cache = new RecordCache()
  const chunk = new Uint8Array(64 * 1024).fill(7)
  const one = { ...message(1), bytes: 100 }
  cache.keep(one, { firstTimestamp: 5, bytes: chunk.subarray(100, 200) })
  cache.detach(one)
  assert.is(one.record?.bytes.buffer.byteLength, 100)
  assert.equal(
    [...(one.record?.bytes ?? [])],
    Array.from({ length: 100 }, () => 7),
  )
  const whole = { ...message(2), bytes: 60_000 }
  cache.keep(whole, { firstTimestamp: 5, bytes: chunk.subarray(0, 60_000) })
  cache.detach(whole)
  assert.is(whole.record?.bytes.buffer, chunk.buffer)
})

test('delays end in the order of their times, and not early', async (context) => {
  const random = context.random()
  const ended: { readonly index: number; readonly atMs: number }[] = []
  const delays = new Delays((messages) => {
    for (const { offset } of messages) ended.push({ index: offset, atMs: performance.now() })
  })
  context.defer(() => delays.close())
  // Time passes between the two, so each due time is known as an interval.
  const due = Array.from({ length: 200 }, (_, index) => {
    const delayMs = random.int(0, 80)
    const fromMs = performance.now() + delayMs
    delays.add(message(index), delayMs)
    return { fromMs, untilMs: performance.now() + delayMs }
  })
  const dueOf = ({ index }: { readonly index: number }) => due[index] as (typeof due)[number]
  // The timers of delays do not keep a process alive.
  await waitFor('all', () => ended.length === due.length)
  assert.is(new Set(ended.map(({ index }) => index)).size, due.length)
  for (const [i, end] of ended.entries()) {
    assert.ok(end.atMs >= dueOf(end).fromMs, `${end.index} before its time`)
    const next = ended[i + 1]
    if (next !== undefined)
      assert.ok(dueOf(end).fromMs <= dueOf(next).untilMs, `${end.index} before ${next.index}`)
  }
})

test('a retry waits as long as its policy says, up to the maximum, minus a random part', () => {
  const { retry } = queueSettingsDefault
  const exponential = { ...queueSettingsDefault, retry: { ...retry, delayMs: 100, maxMs: 1_000 } }
  assert.equal(
    [1, 2, 3, 4, 5, 60].map((attempts) => retryDelayMs(exponential, attempts, 0)),
    [100, 200, 400, 800, 1_000, 1_000],
  )
  assert.is(retryDelayMs(exponential, 1, 1), 80)
  const fixed = mergeQueueSettings(queueSettingsDefault, {
    retry: { kind: 'fixed', delayMs: 50, maxMs: 0, jitterPercent: 0 },
  })
  assert.is(retryDelayMs(fixed, 9, 0.5), 50)
})

test('invalid settings are refused', () => {
  const wrong = { kind: 'exponential', delayMs: 100, maxMs: 50, jitterPercent: 0 } as const
  assert.throws(() => mergeQueueSettings(queueSettingsDefault, { retry: wrong }), isBadConfig)
  const tooLong = { kind: 'fixed', delayMs: 367 * 86_400_000, maxMs: 0, jitterPercent: 0 } as const
  assert.throws(() => mergeQueueSettings(queueSettingsDefault, { retry: tooLong }), isBadConfig)
})

function isBadConfig(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'BAD_CONFIG'
}

test('lost messages are reported once, and again after a failed commit', () => {
  const lane = { lost: [5, 2], partition: { log: { id: 3 } } } as unknown as Lane
  const toldBy = (ops: readonly Op[]) =>
    ops.map((op) => decodeQueueSettled((op as { payload: Uint8Array }).payload).done)
  const first = settledOps(1, [], [lane])
  assert.equal(toldBy(first.ops), [[5, 2]])
  assert.equal(settledOps(1, [], [lane]).ops, [])
  first.failed()
  const second = settledOps(1, [], [lane])
  assert.equal(toldBy(second.ops), [[5, 2]])
})

test.run()
