import * as assert from 'uvu/assert'
import { type Broker, startBroker } from '../../broker/index.js'
import { connect } from '../../client/index.js'
import { FakeBroker } from '../helpers/fake_broker.js'
import { spawnMillrace } from '../helpers/spawn.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('cli/connection')

async function brokerWith({ defer }: TestContext, topic: string): Promise<Broker> {
  const broker = await startBroker({ engine: 'memory', port: 0, logLevel: 'silent' })
  defer(() => broker.close())
  await using client = await connect(`127.0.0.1:${broker.address.port}`)
  await client.topics.create(topic, { partitions: 1 })
  return broker
}

test('a command says on stderr when its broker is gone, once, and when it is back', async (context) => {
  const broker = await brokerWith(context, 't')
  const { port } = broker.address
  const follower = spawnMillrace(context, ['consume', 't', '--follow', '--server', `127.0.0.1:${port}`])
  const watcher = await connect(`127.0.0.1:${port}`)
  // The watcher has one connection, the follower has one for requests and one for fetches.
  await waitFor('the follower to fetch', async () => (await watcher.status()).connections === 3)
  await watcher.close()
  await broker.close()
  await follower.waitForOutput(
    'stderr',
    new RegExp(`millrace: reconnecting to 127\\.0\\.0\\.1:${port} … \\(.+\\)\\n`),
  )
  const again = await startBroker({ engine: 'memory', port, logLevel: 'silent' })
  context.defer(() => again.close())
  await follower.waitForOutput('stderr', new RegExp(`connected to 127\\.0\\.0\\.1:${port} again\\n`))
  follower.kill('SIGINT')
  await follower.exited
  assert.is(follower.output.stderr.match(/reconnecting to/g)?.length, 1)
  assert.not.match(follower.output.stderr, /Warning/)
})

test('Ctrl-C on a publish whose broker is gone ends it, and reports published and unconfirmed messages', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.createTopic('t')
  const args = ['publish', 't', '--json', '--server', broker.address]
  const publisher = spawnMillrace(context, args)
  publisher.stdin.write('one\ntwo\n')
  await waitFor('both to be published', () => broker.topics.get('t')?.partitions[0]?.values.length === 2)
  const held = broker.requests('publish').length
  broker.decide = (name) => ({ kind: name === 'publish' ? 'drop' : 'answer' })
  publisher.stdin.write('three\nfour\nfive\n')
  await waitFor('the other lines to be read', () => broker.requests('publish').length > held)
  await broker.stop()
  await publisher.waitForOutput('stderr', /reconnecting to/)
  publisher.kill('SIGINT')
  assert.equal(await publisher.exited, { code: 130, signal: null })
  assert.equal(JSON.parse(publisher.output.stdout), { topic: 't', count: 2, unconfirmed: 3 })
  assert.match(
    publisher.output.stderr,
    /interrupted; 3 messages more read, which the broker has not confirmed/,
  )
})

test('Ctrl-C on an unconfirmed publish waits, and a second Ctrl-C gives up', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.createTopic('t')
  broker.decide = (name) => ({ kind: name === 'publish' ? 'drop' : 'answer' })
  const publisher = spawnMillrace(context, ['publish', 't', '--server', broker.address])
  publisher.stdin.write('one\n')
  await waitFor('the line to be sent', () => broker.requests('publish').length > 0)
  publisher.kill('SIGINT')
  await publisher.waitForOutput('stderr', /interrupted; publishing the lines that were read/)
  publisher.kill('SIGINT')
  assert.equal(await publisher.exited, { code: 130, signal: null })
  assert.is(publisher.output.stdout, 'published 0 messages to "t"\n')
  assert.match(publisher.output.stderr, /1 message more read, which the broker has not confirmed/)
})

test('Ctrl-C on one value reports that it is not confirmed', async (context) => {
  const broker = await FakeBroker.start(context)
  broker.createTopic('t')
  broker.decide = (name) => ({ kind: name === 'publish' ? 'drop' : 'answer' })
  const publisher = spawnMillrace(context, ['publish', 't', 'value', '--server', broker.address])
  await waitFor('the value to be sent', () => broker.requests('publish').length > 0)
  publisher.kill('SIGINT')
  assert.equal(await publisher.exited, { code: 130, signal: null })
  assert.match(publisher.output.stderr, /interrupted; the broker has not confirmed the message/)
})

test.run()
