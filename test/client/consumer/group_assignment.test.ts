import * as assert from 'uvu/assert'
import { Committer } from '../../../client/consumer/committer.js'
import {
  diffAssignment,
  GroupAssignment,
  type GroupAssignmentOptions,
} from '../../../client/consumer/group_assignment.js'
import type { TopicPartition } from '../../../client/consumer/options.js'
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

/** An assignment whose options record the calls of the hooks in `calls`, as text. */
function recorded(changes: Partial<GroupAssignmentOptions<string, string>> = {}): {
  readonly assignment: GroupAssignment<string, string>
  readonly calls: string[]
} {
  const calls: string[] = []
  const partitionsOf = (partitions: readonly TopicPartition[]): string =>
    partitions.map(({ partition }) => partition).join()
  const assignment = new GroupAssignment<string, string>({
    table: new StreamTable<string, string>(['t']),
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
    newStream: ({ partition, epoch }) => stream(partition, epoch, 'starting'),
    locate: async () => {},
    activate: (streams) => {
      for (const one of streams) one.state = 'active'
    },
    onAssigned: (partitions) => void calls.push(`assigned ${partitionsOf(partitions)}`),
    onRevoked: (partitions, { lost }) =>
      void calls.push(`${lost ? 'lost' : 'revoked'} ${partitionsOf(partitions)}`),
    onChanged: () => {},
    onFailed: (error) => void calls.push(String(error)),
    ...changes,
  })
  return { assignment, calls }
}

for (const joined of [false, true])
  test(`a partition that is ${joined ? 'lost' : 'revoked'} during the search for its start is not assigned afterwards`, async () => {
    let found = (): void => {}
    const searched = new Promise<void>((resolve) => {
      found = resolve
    })
    const { assignment, calls } = recorded({ locate: () => searched })
    const first = assignment.apply({ generation: 1, partitions: [grant(0, 10), grant(1, 11)] }, true)
    const kept = grant(1, joined ? 21 : 11)
    const second = assignment.apply({ generation: 2, partitions: [kept] }, joined)
    found()
    await Promise.all([first, second])
    assert.equal(calls, ['assigned 1'])
    await assignment.apply({ generation: 3, partitions: [] }, false)
    assert.equal(calls, ['assigned 1', 'revoked 1'])
    assert.ok(assignment.settled)
  })

test('an invalid assignment ends the consumer, without an unhandled rejection', async () => {
  const notAsked = new Error('the broker assigned a topic that was not asked for')
  const { assignment, calls } = recorded({
    newStream: () => {
      throw notAsked
    },
  })
  await assignment.apply({ generation: 1, partitions: [grant(0, 10)] }, true)
  assert.equal(calls, [String(notAsked)])
  assert.ok(assignment.settled)
})

test.run()
