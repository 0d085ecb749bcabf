import * as assert from 'uvu/assert'
import { DeliveryState } from '../../../broker/queues/delivery_state.js'
import { Grants } from '../../../broker/queues/grants.js'
import { GroupMessages, type MessagesOwner } from '../../../broker/queues/group_messages.js'
import type { QueueHost } from '../../../broker/queues/host.js'
import type { QueueRecord } from '../../../broker/queues/queues_view.js'
import { queueSettingsDefault } from '../../../broker/queues/settings.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/queues/group_messages')

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a partition that is deleted while its open messages are read is not read ahead', async () => {
  const log = { id: 5, startOffset: 0, endOffset: 10 }
  const topic = { topicId: 1, name: 'tasks', partitions: [] as unknown[] }
  topic.partitions.push({ topic, index: 0, log, endOffset: 10, wait() {}, stopWaiting() {} })
  let exists = true
  const reads: ((result: { chunks: []; bytes: number }) => void)[] = []
  const state = new DeliveryState(0)
  state.leased(3, 1_000, [0, 1])
  const host = {
    catalog: {
      byId: (id: number) => (exists && id === 1 ? topic : undefined),
      byLog: () => (exists ? topic.partitions[0] : undefined),
    },
    view: { stateOf: () => state },
    reader: {
      readTail: () => undefined,
      read: () => {
        if (reads.length > 0) throw new Error('the deleted partition was read')
        return new Promise((resolve) => reads.push((result) => resolve([result])))
      },
    },
    nowMs: () => 0,
    latestMs: () => 0,
    lost: () => {},
  } as unknown as QueueHost
  const record = {
    queueId: 1,
    group: 'crew',
    settings: queueSettingsDefault,
    deadTopicId: 0,
    topics: new Map([[1, [0]]]),
  } as unknown as QueueRecord
  const failures: unknown[] = []
  const owner: MessagesOwner = {
    hasWorkers: true,
    hasAskers: true,
    grants: new Grants(),
    pump: () => {},
    readFailed: (error) => void failures.push(error),
    readOn: () => {},
    deadBatch: () => Promise.reject(new Error('no batch died')),
    busy: (work) => work(),
  }
  const messages = new GroupMessages(host, record, owner)
  const opened = messages.open()
  await turn()
  exists = false
  messages.interrupted()
  reads[0]?.({ chunks: [], bytes: 0 })
  await opened
  messages.refill()
  await turn()
  await turn()
  messages.close()
  assert.equal(failures, [])
})

test.run()
