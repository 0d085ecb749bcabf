import * as assert from 'uvu/assert'
import { DeliveryState, type DeliveryStore } from '../../../broker/queues/delivery_state.js'
import { encodeQueueConfigured, encodeQueueLeased, encodeQueueRedriven } from '../../../broker/queues/ops.js'
import { QueuesView } from '../../../broker/queues/queues_view.js'
import { queueSettingsDefault } from '../../../broker/queues/settings.js'
import type { Catalog } from '../../../broker/topics/catalog.js'
import { memoryEngines, opKinds } from '../../../storage/index.js'
import { State } from '../../../storage/state.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/queues/delivery_state')

/** The stored entries of a state. */
class Stored implements DeliveryStore {
  next = 0
  readonly pages = new Map<number, Uint8Array>()

  putProgress(next: number): void {
    this.next = next
  }

  putPage(page: number, value: Uint8Array): void {
    this.pages.set(page, value)
  }

  delPage(page: number): void {
    this.pages.delete(page)
  }

  load(): DeliveryState {
    const state = new DeliveryState(this.next)
    for (const [page, value] of this.pages) state.load(page, value)
    return state
  }
}

function seen(state: DeliveryState): unknown {
  const open = [...state.open].sort(([a], [b]) => a - b)
  return [
    state.next,
    open.map(([offset, { attempts, dueAtMs, grantId }]) => [offset, attempts, dueAtMs, grantId]),
  ]
}

test('messages that a lease skipped wait', () => {
  const state = new DeliveryState(0)
  state.leased(7, 1_000, [2, 2])
  assert.equal(seen(state), [
    4,
    [
      [0, 0, 0, 0],
      [1, 0, 0, 0],
      [2, 0, 0, 7],
      [3, 0, 0, 7],
    ],
  ])
  assert.is(state.doneOffset, 0)
  state.done([0, 1, 3, 1])
  assert.is(state.doneOffset, 1)
})

test('failures count, releases do not, and both end the lease', () => {
  const state = new DeliveryState(0)
  state.leased(7, 1_000, [0, 3])
  state.failed(0, 5_000)
  state.released([1, 1])
  state.done([2, 1])
  state.leased(8, 1_000, [0, 1])
  state.failed(0, 0)
  assert.equal(seen(state), [
    3,
    [
      [0, 2, 0, 0],
      [1, 0, 0, 0],
    ],
  ])
})

test('a billion lost offsets are skipped at once', () => {
  const state = new DeliveryState(0)
  state.leased(7, 1_000, [0, 2])
  state.done([1, 2 ** 31])
  assert.equal(seen(state), [2 ** 31 + 1, [[0, 0, 0, 7]]])
  state.leased(8, 1_000, [2 ** 31 + 1, 1])
  assert.is(state.open.size, 2)
})

test('redriven dead letters are open, and no other message of their log', () => {
  const state = new DeliveryState(Number.MAX_SAFE_INTEGER)
  state.reopened([5, 2])
  state.leased(7, 1_000, [5, 1])
  state.done([5, 1])
  assert.equal(seen(state), [Number.MAX_SAFE_INTEGER, [[6, 0, 0, 0]]])
})

test('a dead letter that two requests redrive at once is reopened once', async () => {
  const catalog = { onChange: () => {}, byLog: () => ({ topic: { topicId: 9 }, index: 0 }) }
  const state = await State.open(await memoryEngines().open('state'))
  const view = new QueuesView(state, catalog as unknown as Catalog)
  const configured = { queueId: 1, group: 'crew', settings: queueSettingsDefault, deadTopicId: 9 }
  view.apply(opKinds.queueConfigured, encodeQueueConfigured(configured))
  const redriven = encodeQueueRedriven({ queueId: 1, logId: 5, offsets: [3, 2] })
  view.apply(opKinds.queueRedriven, redriven)
  const leased = { queueId: 1, logId: 5, grantId: 7, leaseMs: 1_000, offsets: [3, 1], workerId: 'w' }
  view.apply(opKinds.queueLeased, encodeQueueLeased(leased))
  view.apply(opKinds.queueRedriven, redriven)
  const open = view.byName('crew')?.states.get(5)?.open
  assert.equal([open?.get(3)?.grantId, open?.get(4)?.grantId], [7, 0])
})

test('the loaded state is the stored state, over random events', (context) => {
  const random = context.random()
  const stored = new Stored()
  const state = new DeliveryState(0)
  for (let step = 0; step < 2_000; step++) {
    const open = [...state.open.keys()]
    const some = open[random.int(0, Math.max(0, open.length - 1))]
    switch (random.int(0, 5)) {
      case 0:
        state.leased(step + 1, 1_000, [state.next + random.int(0, 3), random.int(1, 20)])
        break
      case 1:
        if (some !== undefined) state.failed(some, random.int(0, 1) * 1_700_000_000_000)
        break
      case 2:
        if (some !== undefined) state.released([some, 1])
        break
      case 3:
        if (some !== undefined) state.leased(step + 1, 1_000, [some, 1])
        break
      default:
        if (some !== undefined) state.done([some, 1])
    }
    if (random.int(0, 20) > 0) continue
    state.save(stored)
    assert.equal(seen(stored.load()), seen(state))
  }
})

test.run()
