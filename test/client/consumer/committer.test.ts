import * as assert from 'uvu/assert'
import { Committer } from '../../../client/consumer/committer.js'
import { PartitionStream } from '../../../client/consumer/partition_stream.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { FakePort } from './fake_port.js'

const test = suite('client/consumer/committer')

type Stream = PartitionStream<string, string>

function start(context: TestContext): {
  port: FakePort
  committer: Committer<string, string>
  stream: Stream
  ackTo(offset: number): void
} {
  const port = new FakePort()
  const committer = new Committer<string, string>({
    port,
    group: 'g',
    memberId: 'm',
    intervalMs: 0,
    onFenced: () => {},
    onUnknownMember: () => {},
    onFailed: () => {},
  })
  context.defer(() => committer.close())
  const decoder = { ahead: false, key: String, value: String }
  const onAck = (acked: Stream): void => committer.changed(acked)
  const stream: Stream = new PartitionStream({
    topic: 't',
    topicId: 1,
    partition: 0,
    epoch: 1,
    decoder,
    committer,
    onAck,
  })
  stream.restart(0)
  stream.state = 'active'
  const run = stream.acks?.open(0, 100)
  run?.delivered(100)
  return { port, committer, stream, ackTo: (offset) => run?.ackRange(0, offset) }
}

test('exclusive work waits for a running commit, and no other commit starts during it', async (context) => {
  const { port, committer, stream, ackTo } = start(context)
  let answer = (): void => {}
  port.commits.push(() => new Promise((resolve) => (answer = () => resolve('ok'))))
  ackTo(10)
  await waitFor('the first commit', () => port.requests.length === 1)
  const order: string[] = []
  let endWork = (): void => {}
  const work = committer.exclusively(async () => {
    order.push('work begins')
    await new Promise<void>((resolve) => (endWork = resolve))
    order.push('work ends')
  })
  const second = committer.exclusively(async () => void order.push('the next'))
  answer()
  await waitFor('the work', () => order.length === 1)
  assert.is(stream.committed, 10)
  ackTo(20)
  const committed = committer.commit([stream]).then(() => order.push('committed'))
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(port.requests.length, 1)
  endWork()
  await Promise.all([work, second, committed])
  assert.equal(order.slice(0, 2), ['work begins', 'work ends'])
  assert.equal(order.slice(2).sort(), ['committed', 'the next'])
  assert.is(stream.committed, 20)
})

test('acknowledgements during exclusive work are committed even if it fails', async (context) => {
  const { port, committer, stream, ackTo } = start(context)
  const failed = committer.exclusively(async () => {
    ackTo(7)
    throw new Error('the transaction was refused')
  })
  assert.match(String(await failed.catch((error: unknown) => error)), /was refused/)
  await waitFor('the commit', () => stream.committed === 7)
  assert.is(port.requests.length, 1)
})

test.run()
