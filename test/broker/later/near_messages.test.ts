import * as assert from 'uvu/assert'
import {
  type DelayedMessage,
  decodeMessagesDelayed,
  delayedKey,
  encodeMessagesDelayed,
  readDelayed,
} from '../../../broker/later/delayed_codec.js'
import { NearMessages } from '../../../broker/later/near_messages.js'
import { slicesOf } from '../../../broker/later/slices.js'
import { memoryEngines } from '../../../storage/index.js'
import { State } from '../../../storage/state.js'
import { DelayedEngine } from '../../helpers/delayed_engine.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/later/near_messages')

const body = Buffer.from('x')

/** A message, its key and its value, as the view puts them into the state. */
function entryOf(dueMs: number, sequence: number, ofBody = body) {
  const message: DelayedMessage = { dueMs, sequence, topicId: 1, partition: 0, id: '', body: ofBody }
  const [entry] = decodeMessagesDelayed(encodeMessagesDelayed(0, [message])).entries
  if (entry === undefined) throw new Error('the message was lost on its way')
  return entry
}

test('no message is missed or comes back while checkpoints are written', async (context) => {
  for (let round = 0; round < 4; round++) {
    const random = context.random()
    const state = await State.open(new DelayedEngine(await memoryEngines().open('state'), random))
    const near = new NearMessages((range) => state.range(range), 1_000_000, 1_000_000_000)
    const there = new Map<number, number>()
    let sequence = 0
    let horizonMs = 0
    let isRunning = true
    const change = async (): Promise<void> => {
      for (let step = 0; step < 150; step++) {
        for (let burst = random.int(0, 20); burst > 0; burst--) {
          const { key, value, message } = entryOf(horizonMs + random.int(0, 400), ++sequence)
          state.put(key, value)
          near.added(key, message)
          there.set(message.sequence, message.dueMs)
        }
        for (const [one, dueMs] of [...there].slice(0, random.int(0, 10))) {
          const key = delayedKey(dueMs, one)
          state.del(key)
          near.removed(key)
          there.delete(one)
        }
        await new Promise((resolve) => setImmediate(resolve))
      }
      isRunning = false
    }
    const checkpoint = async (): Promise<void> => {
      for (let position = 1; isRunning; position++) await state.write({ position, link: 0 })
    }
    const load = async (): Promise<void> => {
      while (isRunning) {
        horizonMs += random.int(0, 50)
        await near.load(horizonMs, random.int(10, 200))
      }
    }
    await Promise.all([change(), checkpoint(), load()])
    const endMs = horizonMs + 1_000
    while (near.lacks(endMs)) await near.load(endMs, 1_000)
    const found = near.first(1_000_000).map((message) => message.sequence)
    assert.equal(
      found.sort((a, b) => a - b),
      [...there.keys()].sort((a, b) => a - b),
      `round ${round}`,
    )
  }
})

test('a load of large messages reads a bounded part of them at a time', async () => {
  const state = await State.open(await memoryEngines().open('state'))
  const large = Buffer.alloc(1024 * 1024)
  const count = 300
  for (let sequence = 1; sequence <= count; sequence++) {
    const { key, value } = entryOf(sequence, sequence, large)
    state.put(key, value)
  }
  const reads: number[] = []
  const near = new NearMessages(
    async (range) => {
      const entries = await state.range(range)
      reads.push(entries.length)
      return entries
    },
    1_000_000,
    1_000_000_000,
  )
  const loads: number[] = []
  for (let before = -1; near.count > before; ) {
    before = near.count
    await near.load(count + 1, 4_000)
    loads.push(near.count - before)
  }
  assert.is(near.count, count)
  assert.ok(reads[0] === 64 && Math.max(...reads.slice(1)) <= 64, `${reads}`)
  assert.ok(Math.max(...loads) <= 64, `${loads}`)
  assert.is(near.lacks(count + 1), false)
})

test('slices of small entries grow, and have every entry once', async () => {
  const state = await State.open(await memoryEngines().open('state'))
  for (let sequence = 1; sequence <= 3_000; sequence++) {
    const { key, value } = entryOf(sequence, sequence)
    state.put(key, value)
  }
  const sizes: number[] = []
  const seen: number[] = []
  const range = { gte: delayedKey(0, 0), lt: delayedKey(10_000, 0), limit: 2_500 }
  for await (const slice of slicesOf((options) => state.range(options), range)) {
    sizes.push(slice.length)
    for (const [key, value] of slice) seen.push(readDelayed(key, value).sequence)
  }
  assert.equal(
    seen,
    Array.from({ length: 2_500 }, (_, n) => n + 1),
  )
  assert.equal(sizes.slice(0, 4), [64, 128, 256, 512])
  assert.is(Math.max(...sizes), 512)
})

test.run()
