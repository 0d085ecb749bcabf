import * as assert from 'uvu/assert'
import { Channel } from '../../cli/channel.js'
import { brokerFor, clientFor, ok, run } from '../helpers/cli.js'
import { suite } from '../helpers/suite.js'

const test = suite('cli/publish')

test(
  'a line that fails ends the input, and the command reports how many messages were published before it',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('t')
    const input = '{"id":1}\n{"id":2}\nnonsense\n{"id":3}\n'
    const ran = await run(context, ['publish', 't', '--key-field', 'id', ...server], input)
    assert.is(ran.code, 1)
    assert.match(ran.stderr, '2 messages published before the failure')
    assert.match(ran.stderr, /line 3 is not JSON/)
    assert.is(ok(await run(context, ['consume', 't', '-o', '%k', ...server])), '1\n2\n')
  },
  { deadlineMs: 30_000 },
)

test('the writer of a channel waits while it is full, and gets the error of the reader', async () => {
  const channel = new Channel<number>(2)
  await channel.push(1)
  let isThird = false
  const second = channel.push(2).then(() => {
    isThird = true
  })
  await new Promise((resolve) => setImmediate(resolve))
  assert.not.ok(isThird, 'it is full')
  const reader = channel[Symbol.asyncIterator]()
  assert.is((await reader.next()).value, 1)
  await second
  assert.is((await reader.next()).value, 2)
  await channel.push(3)
  channel.end()
  assert.is((await reader.next()).value, 3)
  assert.is((await reader.next()).done, true)
  const failing = new Channel<number>(1)
  const stuck = failing.push(1).catch((error: unknown) => error)
  const gone = new Error('the reader is gone')
  failing.fail(gone)
  assert.is(await stuck, gone)
  assert.is(await failing.push(2).catch((error: unknown) => error), gone)
})

test.run()
