import * as assert from 'uvu/assert'
import {
  type DelayedMessage,
  decodeMessagesDelayed,
  delayedKey,
  encodeMessagesDelayed,
} from '../../../broker/later/delayed_codec.js'
import { NearMessages } from '../../../broker/later/near_messages.js'
import { memoryEngines } from '../../../storage/index.js'
import { State } from '../../../storage/state.js'
import { DelayedEngine } from '../../helpers/delayed_engine.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/later/near_messages')

const body = Buffer.from('x')

/** A message, its key and its value, as the view puts them into the state. */
function entryOf(dueMs: number, sequence: number) {
  const message: DelayedMessage = { dueMs, sequence, topicId: 1, partition: 0, id: '', body }
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

test.run()
