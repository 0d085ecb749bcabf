import * as assert from 'uvu/assert'
import { parseAddress } from '../../client/address.js'
import { Reject } from '../../client/index.js'
import { commands } from '../../protocol/index.js'
import { brokerFor, clientFor, ok, type Ran, run } from '../helpers/cli.js'
import { unopenableBatch } from '../helpers/lying_batches.js'
import { connectHello } from '../helpers/raw_client.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('cli/redrive')
const deadlineMs = 60_000

/** A queue group "crew" with two dead letters: 0 of a batch that does not open, 1 of the message behind it. */
async function start(context: TestContext): Promise<(...args: string[]) => Promise<Ran>> {
  const server = await brokerFor(context)
  const client = await clientFor(context, server)
  const { topicId } = await client.topics.create('jobs')
  const raw = await connectHello(parseAddress(server[1]))
  context.defer(() => raw.destroy())
  const batch = unopenableBatch(3)
  await raw.request(commands.publish, { batches: [[topicId, 0, batch.length]] }, batch)
  await client.publish('jobs', { value: Buffer.from('bad') })
  const worker = client.work('jobs', { group: 'crew', start: 'earliest', onFailed: () => {} }, () => {
    throw new Reject('it is bad')
  })
  await waitFor('two dead letters', async () => {
    await worker.ready
    return (await client.queues.describe('crew')).dead === 2
  })
  await worker.close()
  return (...args) => run(context, ['queue', 'redrive', 'crew', ...args, ...server])
}

test(
  'a redrive prints how many dead letters it skipped, and why',
  async (context) => {
    const redrive = await start(context)
    assert.is(
      ok(await redrive()),
      'redrove 1 dead letters of queue group "crew"\n' +
        'skipped 1 dead letters without a message to deliver: 1 of batches that could not be opened\n',
    )
    assert.equal(JSON.parse(ok(await redrive('--json'))), { group: 'crew', redriven: 0, skipped: 1 })
  },
  { deadlineMs },
)

test(
  'a redrive of a letter without a message fails, and says why the message died',
  async (context) => {
    const redrive = await start(context)
    const failed = await redrive('--letter', '0', '--letter', '1')
    assert.is(failed.code, 2)
    assert.match(failed.stdout, 'redrove 1 dead letters')
    assert.match(
      failed.stderr,
      'dead letter 0 of queue group "crew" has no message to deliver; it died as unreadable: ',
    )
  },
  { deadlineMs },
)

test.run()
