import * as assert from 'uvu/assert'
import { Committer } from '../../../client/consumer/committer.js'
import { diffAssignment, GroupAssignment } from '../../../client/consumer/group_assignment.js'
import { PartitionStream, type StreamState } from '../../../client/consumer/partition_stream.js'
import { StreamTable } from '../../../client/consumer/stream_table.js'
import { suite } from '../../helpers/suite.js'
import { FakePort } from './fake_port.js'

const test = suite('client/consumer/group_assignment')

function stream(
  partition: number,
  epoch: number,
  state: StreamState = 'active',
): PartitionStream<string, string> {
  const decoder = { ahead: false, key: String, value: String }
  const made = new PartitionStream<string, string>({
    topic: 't',
    topicId: 1,
    partition,
    epoch,
    decoder,
    committer: undefined,
    onAck: undefined,
  })
  made.state = state
  return made
}

const grant = (partition: number, epoch: number) => ({ topicId: 1, topic: 't', partition, epoch })

function diff(
  streams: readonly PartitionStream<string, string>[],
  grants: readonly ReturnType<typeof grant>[],
  joined = false,
): { granted: number[]; revoked: number[]; lost: number[] } {
  const { granted, revoked, lost } = diffAssignment(streams, grants, joined)
  return {
    granted: granted.map(({ partition }) => partition),
    revoked: revoked.map(({ partition }) => partition),
    lost: lost.map(({ partition }) => partition),
  }
}

test('kept partitions do not change, new ones are granted, removed ones are revoked', () => {
  assert.equal(diff([stream(0, 10), stream(1, 11)], [grant(1, 11), grant(2, 12)]), {
    granted: [2],
    revoked: [0],
    lost: [],
  })
})

test('a new epoch means that the partition was lost and assigned again', () => {
  assert.equal(diff([stream(0, 10)], [grant(0, 20)]), { granted: [0], revoked: [], lost: [0] })
})

test('a partition that is being released is not revoked twice, and a grant of it waits', () => {
  assert.equal(diff([stream(0, 10, 'revoking')], []), { granted: [], revoked: [], lost: [] })
  assert.equal(diff([stream(0, 10, 'revoking')], [grant(0, 10)]), { granted: [], revoked: [], lost: [] })
})

test('after a new join all earlier partitions are lost, not released in order', () => {
  assert.equal(diff([stream(0, 10), stream(1, 11, 'revoking')], [grant(2, 30)], true), {
    granted: [2],
    revoked: [],
    lost: [0, 1],
  })
})

test('an invalid assignment ends the consumer, without an unhandled rejection', async () => {
  const failures: unknown[] = []
  const notAsked = new Error('the broker assigned a topic that was not asked for')
  const table = new StreamTable<string, string>(['t'])
  const assignment = new GroupAssignment({
    table,
    committer: new Committer<string, string>({
      port: new FakePort(),
      group: 'g',
      memberId: 'm',
      intervalMs: 100,
      onFenced: () => {},
      onUnknownMember: () => {},
      onFailed: () => {},
    }),
    from: 'earliest',
    revokeGraceMs: 0,
    newStream: () => {
      throw notAsked
    },
    locate: async () => {},
    activate: () => {},
    onAssigned: () => {},
    onRevoked: () => {},
    onChanged: () => {},
    onFailed: (error) => failures.push(error),
  })
  await assignment.apply({ generation: 1, partitions: [grant(0, 10)] }, true)
  assert.equal(failures, [notAsked])
  assert.ok(assignment.settled)
})

test.run()
