import * as assert from 'uvu/assert'
import { encodeGroupDeleted, encodeOffsetsCommitted, OffsetsView } from '../../../broker/groups/index.js'
import { memoryEngines, opKinds } from '../../../storage/index.js'
import { State } from '../../../storage/state.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/groups/offsets_view')

async function openState(): Promise<State> {
  return State.open(await memoryEngines().open('state'))
}

async function keys(state: State): Promise<string[]> {
  const rows = await state.range({ gte: Uint8Array.of(0x14), lt: Uint8Array.of(0x15), limit: 10 })
  return rows.map(([key]) => Buffer.from(key).toString('latin1'))
}

const exists = (topicId: number): boolean => topicId < 10

function commit(view: OffsetsView, group: string, topicId: number, partition: number, offset: number): void {
  const entries = [[topicId, partition, offset, undefined]] as const
  view.apply(opKinds.offsetsCommitted, encodeOffsetsCommitted({ group, committedAtMs: 1_000, entries }))
}

test('stores what it folds and reads it back', async () => {
  const state = await openState()
  const view = new OffsetsView({ state }, exists)
  commit(view, 'billing', 1, 0, 5)
  commit(view, 'billing', 1, 40, 6)
  commit(view, 'mail.eu', 2, 0, 7)
  assert.equal(await keys(state), ['\x14/billing/1/0', '\x14/billing/1/1', '\x14/mail.eu/2/0'])

  const copy = new OffsetsView({ state }, exists)
  await copy.load()
  assert.is(copy.offsets.get('billing', 1, 0)?.offset, 5)
  assert.is(copy.offsets.get('billing', 1, 40)?.offset, 6)
  assert.is(copy.offsets.get('mail.eu', 2, 0)?.offset, 7)
})

test('reads more pages than fit into one read', async () => {
  const state = await openState()
  const view = new OffsetsView({ state }, exists)
  for (let group = 0; group < 2_001; group++) commit(view, `g${group}`, 1, 0, group)
  const copy = new OffsetsView({ state }, exists)
  await copy.load()
  assert.is([...copy.offsets.groups].length, 2_001)
  assert.is(copy.offsets.get('g2000', 1, 0)?.offset, 2_000)
})

test('ignores offsets of topics that are gone', async () => {
  const state = await openState()
  const view = new OffsetsView({ state }, exists)
  commit(view, 'billing', 10, 0, 5)
  assert.equal(await keys(state), [])
  commit(view, 'billing', 1, 0, 5)
  const copy = new OffsetsView({ state }, () => false)
  await copy.load()
  assert.not(copy.offsets.has('billing'))
})

test('deletes what it stored of groups and topics', async () => {
  const state = await openState()
  const view = new OffsetsView({ state }, exists)
  commit(view, 'billing', 1, 0, 5)
  commit(view, 'billing', 2, 0, 5)
  commit(view, 'mail', 1, 40, 5)
  view.topicDeleted(1)
  assert.equal(await keys(state), ['\x14/billing/2/0'])
  view.apply(opKinds.groupDeleted, encodeGroupDeleted('billing'))
  assert.equal(await keys(state), [])
})

test.run()
