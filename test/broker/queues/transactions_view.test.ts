import * as assert from 'uvu/assert'
import { encodeTransaction, TransactionsView } from '../../../broker/queues/index.js'
import { opKinds } from '../../../storage/index.js'
import { State } from '../../../storage/state.js'
import { suite } from '../../helpers/suite.js'
import { FaultyEngines } from '../../storage/fixtures.js'

const test = suite('broker/queues/transactions_view')

const minuteMs = 60_000

test('at the maximum there is room again as soon as the oldest transactions expire', async () => {
  const view = new TransactionsView(await State.open(await new FaultyEngines().open('state')), 3)
  const commit = (id: string, atMs: number): void =>
    view.apply(opKinds.transaction, encodeTransaction(id, atMs))
  for (const [minute, id] of ['a', 'b', 'c'].entries()) {
    assert.ok(view.hasRoom(1, minute * minuteMs))
    commit(id, minute * minuteMs)
  }
  assert.not(view.hasRoom(1, 15 * minuteMs))
  assert.ok(view.has('a'))
  // No commit has removed them until then.
  assert.ok(view.hasRoom(1, 16 * minuteMs))
  commit('d', 16 * minuteMs)
  assert.equal(
    ['a', 'b', 'c', 'd'].map((id) => view.has(id)),
    [false, true, true, true],
  )
  assert.not(view.hasRoom(1, 16 * minuteMs))
})

test('a repeat is recognized for fifteen minutes, also after a restart', async () => {
  const state = await State.open(await new FaultyEngines().open('state'))
  const view = new TransactionsView(state)
  for (const [id, atMs] of [
    ['old', 0],
    ['young', minuteMs],
    ['new', 15 * minuteMs + 1],
  ] as const)
    view.apply(opKinds.transaction, encodeTransaction(id, atMs))
  const again = new TransactionsView(state)
  await again.load()
  for (const one of [view, again])
    assert.equal(
      ['old', 'young', 'new'].map((id) => one.has(id)),
      [false, true, true],
    )
})

test.run()
