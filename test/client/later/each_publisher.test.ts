import * as assert from 'uvu/assert'
import { commands, type RequestOf } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { fakePair } from '../fixtures.js'

const test = suite('client/later/each_publisher')

test('a repeat says how long ago the request was first sent, and only if that had an unknown outcome', async (context) => {
  const { broker, client } = await fakePair(context)
  const { port } = broker
  const sent = (): (number | undefined)[] =>
    broker
      .requests(commands.publishEach.name)
      .map(({ body }) => (body as RequestOf<typeof commands.publishEach>).repeatedAfterMs)
  let cutMs = Number.POSITIVE_INFINITY
  let isBack = false
  broker.decide = (name) => {
    if (name !== commands.publishEach.name) return { kind: 'answer' }
    if (sent().length === 1) return { kind: 'refuse', code: 'OVERLOADED' }
    if (isBack) return { kind: 'say', body: { results: [[0, 'appended', 0]] } }
    cutMs = Math.min(cutMs, performance.now())
    return { kind: 'cut' }
  }
  let isWaiting = false
  client.on('reconnecting', () => {
    isWaiting = true
  })
  const publishing = client.publish('t', { value: Buffer.from('a'), id: 'one' })
  await waitFor('the second request', () => sent().length >= 2)
  await broker.stop()
  await waitFor('the client to wait for the broker', () => isWaiting && performance.now() > cutMs + 100)
  const backMs = performance.now()
  isBack = true
  await broker.listen(port)
  assert.is((await publishing).status, 'appended')
  const [refused, cut, ...repeats] = sent()
  assert.equal([refused, cut], [undefined, undefined])
  assert.ok(repeats.every((afterMs) => afterMs !== undefined))
  assert.ok((repeats.at(-1) ?? 0) >= backMs - cutMs, `${repeats.at(-1)}`)
})

test.run()
