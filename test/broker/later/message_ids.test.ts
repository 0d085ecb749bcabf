import * as assert from 'uvu/assert'
import { digestOf, IdTable } from '../../../broker/later/id_table.js'
import {
  encodeMessageIds,
  encodeMessageIdsExpired,
  MessageIds,
  type SeenMessage,
} from '../../../broker/later/message_ids.js'
import type { Topic } from '../../../broker/topics/topic.js'
import { opKinds } from '../../../storage/index.js'
import { State } from '../../../storage/state.js'
import { suite } from '../../helpers/suite.js'
import { FaultyEngines } from '../../storage/fixtures.js'

const test = suite('broker/later/message_ids')

const windowMs = 10_000
const topics = new Map(
  [1, 2].map((topicId) => [topicId, { topicId, settings: { dedupeWindowMs: windowMs } } as Topic]),
)
const topicOf = (topicId: number): Topic | undefined => topics.get(topicId)

interface Known extends SeenMessage {
  readonly second: number
}

test('it agrees with a plain map over random events and restarts', async (context) => {
  const random = context.random()
  const state = await State.open(await new FaultyEngines().open('state'))
  let ids = new MessageIds(state, topicOf)
  const model = new Map<string, Known>()
  let nowMs = 1_700_000_000_000
  const isOver = ({ second }: Known): boolean => (second + 1) * 1000 + windowMs <= nowMs
  for (let step = 0; step < 6_000; step++) {
    const topicId = random.int(1, 2)
    const topic = topicOf(topicId) as Topic
    const id = `id ${random.int(0, 300)}`
    const key = `${topicId}/${id}`
    const known = model.get(key)
    const at: SeenMessage = { partition: random.int(0, 7), offset: random.int(-1, 2 ** 40) }
    if (random.chance(0.5)) {
      // A publisher asks first, and does not add a known id again.
      if (ids.seen(topic, id, nowMs) === undefined) {
        const entry = random.chance(0.5) ? at : { ...at, offset: -1 }
        const stored = [id, entry.partition, entry.offset] as const
        ids.apply(opKinds.messageIds, encodeMessageIds({ arrivedAtMs: nowMs, topicId, ids: [stored] }))
        model.set(key, { ...entry, second: Math.floor(nowMs / 1000) })
      }
    } else if (random.chance(0.3)) {
      const dueMs = nowMs + random.int(-2_000, 0)
      const second = Math.floor(dueMs / 1000)
      ids.appended(topicId, id, at, dueMs)
      if (known === undefined) model.set(key, { second, ...at })
      else if (known.offset === -1) model.set(key, { second: Math.max(known.second, second), ...at })
    } else if (random.chance(0.2)) {
      ids.forget(topicId, id)
      model.delete(key)
    } else if (random.chance(0.1)) {
      nowMs += random.int(0, 3_000)
      ids.apply(opKinds.messageIdsExpired, encodeMessageIdsExpired(nowMs))
      for (const [other, entry] of model) if (isOver(entry)) model.delete(other)
    } else if (random.chance(0.25)) {
      ids.save()
      if (random.chance(0.5)) {
        ids = new MessageIds(state, topicOf)
        await ids.load()
      }
    }
    const expected = model.get(key)
    assert.equal(
      ids.seen(topic, id, nowMs),
      expected && { partition: expected.partition, offset: expected.offset },
      `${key} in step ${step}`,
    )
    assert.is(ids.count, model.size)
    const delayed = [...model].filter(
      ([other, { offset }]) => other.startsWith(`${topicId}/`) && offset === -1,
    )
    assert.is(ids.delayedCount(topicId), delayed.length)
  }
})

test('the table stays as small as its content while many ids come and go', () => {
  const table = new IdTable()
  const fields = { second: 1, partition: 2, offset: 3 }
  for (let round = 0; round < 3; round++) {
    const slots: number[] = []
    for (let i = 0; i < 20_000; i++)
      slots.push(table.add(digestOf(round, String(i)), { ...fields, offset: i }, -1))
    assert.is(Math.max(...slots), 19_999)
    for (let i = 0; i < 20_000; i++) {
      const slot = table.find(digestOf(round, String(i)))
      assert.is(table.offset(slot), i)
      assert.is(table.partition(slot), 2)
    }
    assert.is(table.find(digestOf(round + 1, '1')), -1)
    for (const [i, slot] of slots.entries()) {
      table.hide(slot, -2)
      assert.is(table.find(digestOf(round, String(i))), -1)
      if (i % 1_000 === 0 && i + 1 < slots.length)
        assert.is(table.find(digestOf(round, String(i + 1))), slots[i + 1])
      table.free(slot)
    }
    assert.is(table.size, 0)
  }
})

test('an id that was delayed for longer than its window is remembered from its delivery on', async () => {
  const state = await State.open(await new FaultyEngines().open('state'))
  const ids = new MessageIds(state, topicOf)
  const topic = topicOf(1) as Topic
  const arrivedAtMs = 1_700_000_000_000
  const dueMs = arrivedAtMs + 3_600_000
  for (const [id, expires] of [
    ['forgotten while it was delayed', true],
    ['known when it was due', false],
  ] as const) {
    const delayedId = [id, 0, -1] as const
    ids.apply(opKinds.messageIds, encodeMessageIds({ arrivedAtMs, topicId: 1, ids: [delayedId] }))
    if (expires) ids.apply(opKinds.messageIdsExpired, encodeMessageIdsExpired(dueMs))
    ids.appended(1, id, { partition: 3, offset: 7 }, dueMs)
    assert.equal(ids.seen(topic, id, dueMs + windowMs - 1), { partition: 3, offset: 7 })
    assert.is(ids.seen(topic, id, dueMs + windowMs + 1_000), undefined)
  }
})

test('an id that fires is not remembered when there is no room for more', async () => {
  const state = await State.open(await new FaultyEngines().open('state'))
  const ids = new MessageIds(state, topicOf, 1)
  ids.appended(1, 'one', { partition: 0, offset: 1 }, 1_700_000_000_000)
  ids.appended(1, 'two', { partition: 0, offset: 2 }, 1_700_000_000_000)
  assert.is(ids.count, 1)
})

test.run()
