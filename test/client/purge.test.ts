import * as assert from 'uvu/assert'
import { startBroker } from '../../broker/index.js'
import { connect } from '../../client/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('client/purge')

test('a purge survives a restart, offsets continue, and consumers continue with the remaining messages', async (context) => {
  const dir = await context.tempDir()
  const options = { dir, port: 0, logLevel: 'silent' } as const
  const first = await startBroker(options)
  context.defer(() => first.close())
  const client = await connect(`127.0.0.1:${first.address.port}`)
  await client.topics.create('t', { partitions: 2 })
  const value = Buffer.from('x')
  for (const partition of [0, 0, 1]) await client.publish('t', { value, partition })
  assert.equal(await client.topics.purge('t'), [
    { partition: 0, startOffset: 2, dropped: 2 },
    { partition: 1, startOffset: 1, dropped: 1 },
  ])
  assert.equal(await client.topics.purge('t', { partitions: [1] }), [
    { partition: 1, startOffset: 1, dropped: 0 },
  ])
  await client.close()
  await first.close()
  const second = await startBroker(options)
  context.defer(() => second.close())
  await using again = await connect(`127.0.0.1:${second.address.port}`)
  assert.equal(await again.topics.offsets('t', 'earliest'), [2, 1])
  assert.is((await again.publish('t', { value, partition: 0 })).offset, 2)
  const found: number[] = []
  for await (const { offset } of again.consume('t', { from: 'earliest', until: 'end' })) found.push(offset)
  assert.equal(found, [2])
  const unknown = await again.topics.purge('t', { partitions: [7] }).catch((error: Error) => error.message)
  assert.match(String(unknown), /no partition 7/)
})

test.run()
