import * as assert from 'uvu/assert'
import { encodeGroupDeleted, encodeOffsetsCommitted, OffsetsView } from '../../../broker/groups/index.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/groups/offsets_view')

class FakeState {
  readonly values = new Map<string, Uint8Array>()

  put(key: Uint8Array, value: Uint8Array): void {
    this.values.set(Buffer.from(key).toString(), value)
  }

  del(key: Uint8Array): void {
    this.values.delete(Buffer.from(key).toString())
  }
}

function commit(view: OffsetsView, group: string, topicId: number, partition: number, offset: number): void {
  const entries = [[topicId, partition, offset, undefined]] as const
  view.applyCommitted(encodeOffsetsCommitted({ group, committedAtMs: 1_000, entries }), (id) => id < 10)
}

test('stores the offsets that it applies and reads them back', () => {
  const state = new FakeState()
  const view = new OffsetsView(state, 'go')
  commit(view, 'billing', 1, 0, 5)
  commit(view, 'billing', 1, 40, 6)
  commit(view, 'mail.eu', 2, 0, 7)
  assert.equal([...state.values.keys()], ['go/billing/1/0', 'go/billing/1/1', 'go/mail.eu/2/0'])

  const copy = new OffsetsView(state, 'go')
  for (const [key, value] of state.values) copy.load(Buffer.from(key), value)
  assert.is(copy.offsets.get('billing', 1, 0)?.offset, 5)
  assert.is(copy.offsets.get('billing', 1, 40)?.offset, 6)
  assert.is(copy.offsets.get('mail.eu', 2, 0)?.offset, 7)
})

test('ignores offsets of deleted topics', () => {
  const state = new FakeState()
  const view = new OffsetsView(state, 'go')
  commit(view, 'billing', 10, 0, 5)
  assert.is(state.values.size, 0)
  assert.not(view.offsets.has('billing'))
})

test('deletes its stored offsets of groups and topics', () => {
  const state = new FakeState()
  const view = new OffsetsView(state, 'go')
  commit(view, 'billing', 1, 0, 5)
  commit(view, 'billing', 2, 0, 5)
  commit(view, 'mail', 1, 40, 5)
  view.topicDeleted(1)
  assert.equal([...state.values.keys()], ['go/billing/2/0'])
  view.applyDeleted(encodeGroupDeleted('billing'))
  assert.is(state.values.size, 0)
})

test.run()
