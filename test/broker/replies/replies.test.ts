import * as assert from 'uvu/assert'
import { type PolledReplies, Replies } from '../../../broker/replies/replies.js'
import { commands, isMillraceError } from '../../../protocol/index.js'
import { suite, type TestContext } from '../../helpers/suite.js'
import { testBroker, testClient } from '../harness.js'

const test = suite('broker/replies')

const mib = 1024 * 1024

function start({ defer }: TestContext): Replies {
  const replies = new Replies({ frameBytesMax: 16 * mib })
  defer(() => replies.drain())
  return replies
}

function send(replies: Replies, to: string, requestId: string, bytes = 1): void {
  replies.send(to, { requestId, error: undefined, value: new Uint8Array(bytes) })
}

function poll(replies: Replies, address: string, received?: number): Promise<PolledReplies> {
  return replies.poll(address, 0, received, () => () => {})
}

function idsOf({ replies }: PolledReplies): string[] {
  return replies.map(({ requestId }) => requestId)
}

test('sent replies come again, in order, until a poll acknowledges them', async (context) => {
  const replies = start(context)
  send(replies, 'a', '1')
  const first = await poll(replies, 'a', 0)
  assert.equal(idsOf(first), ['1'])
  send(replies, 'a', '2')
  const second = await poll(replies, 'a', 0)
  assert.equal(idsOf(second), ['1', '2'])
  // The first answer arrived late: the second one is still on its way.
  const third = await poll(replies, 'a', first.number)
  assert.equal(idsOf(third), ['2'])
  assert.is(third.number, second.number)
  send(replies, 'a', '3')
  const fourth = await poll(replies, 'a', third.number)
  assert.equal(idsOf(fourth), ['3'])
  assert.equal(await poll(replies, 'a', fourth.number), { replies: [], number: undefined })
  assert.is(replies.bytes, 0)
})

test('a number that the broker did not send for the address acknowledges nothing', async (context) => {
  const replies = start(context)
  send(replies, 'other', 'x')
  const other = await poll(replies, 'other', 0)
  send(replies, 'a', '1')
  const { number = 0 } = await poll(replies, 'a', 0)
  send(replies, 'a', '2')
  for (const unknown of [other.number, number - 2, number + 2, Number.MAX_SAFE_INTEGER])
    assert.is(idsOf(await poll(replies, 'a', unknown))[0], '1')
})

test('numbers of a broker mean nothing to the next one', async (context) => {
  const before = start(context)
  send(before, 'a', '1')
  const { number } = await poll(before, 'a', 0)
  const after = start(context)
  send(after, 'a', '2')
  await poll(after, 'a', 0)
  assert.equal(idsOf(await poll(after, 'a', number)), ['2'])
})

test('an answer stays within its limit, also with replies that come again', async (context) => {
  const replies = start(context)
  for (const id of ['1', '2', '3']) send(replies, 'a', id, 1.5 * mib)
  for (let i = 0; i < 3; i++) assert.equal(idsOf(await poll(replies, 'a', 0)), ['1', '2'])
  const { number } = await poll(replies, 'a', 0)
  assert.equal(idsOf(await poll(replies, 'a', number)), ['3'])
})

test('the reasons of replies count in the limits', async (context) => {
  const replies = start(context)
  for (let i = 0; i < 3; i++)
    replies.send('a', { requestId: String(i), error: 'x'.repeat(1.5 * mib), value: new Uint8Array(0) })
  assert.ok(replies.bytes > 4.5 * mib)
  assert.equal(idsOf(await poll(replies, 'a', 0)), ['0', '1'])
})

test('replies expire ten seconds after the last poll that got them', async (context) => {
  const replies = start(context)
  send(replies, 'a', '1')
  await poll(replies, 'a', 0)
  const sentMs = performance.now()
  replies.sweep(sentMs + 9_000)
  assert.equal(idsOf(await poll(replies, 'a', 0)), ['1'])
  replies.sweep(performance.now() + 10_000)
  assert.is(replies.bytes, 0)
  assert.equal(idsOf(await poll(replies, 'a', 0)), [])
})

test('sent replies count as memory, and go before other replies are refused', async (context) => {
  const replies = start(context)
  for (const address of ['a', 'b']) {
    send(replies, address, '1', 4 * mib)
    await poll(replies, address, 0)
  }
  assert.ok(replies.bytes > 8 * mib)
  // They fill what is left, but for the overhead of each reply.
  for (let i = 0; i < 14; i++) send(replies, 'absent', String(i), 4 * mib - 400)
  send(replies, 'absent', '14', 4 * mib - 400)
  assert.equal(idsOf(await poll(replies, 'a', 0)), [], 'the oldest goes first')
  assert.equal(idsOf(await poll(replies, 'b', 0)), ['1'])
  send(replies, 'absent', '15', 4 * mib - 400)
  assert.equal(idsOf(await poll(replies, 'b', 0)), [])
  assert.throws(
    () => send(replies, 'absent', '16', 4 * mib),
    (error: unknown) => isMillraceError(error, 'OVERLOADED'),
  )
  assert.ok(replies.bytes <= 64 * mib)
})

test('only sent replies go when memory runs out, the oldest answer first', async (context) => {
  const replies = start(context)
  send(replies, 'acknowledged', '1')
  const { number } = await poll(replies, 'acknowledged', 0)
  await poll(replies, 'acknowledged', number)
  send(replies, 'acknowledged', '2')
  for (const address of ['a', 'b']) send(replies, address, '1', 4 * mib)
  for (const address of ['a', 'b', 'a']) await poll(replies, address, 0)
  for (let i = 0; i < 15; i++) send(replies, 'absent', String(i), 4 * mib - 1_000)
  assert.equal(idsOf(await poll(replies, 'b', 0)), [])
  assert.equal(idsOf(await poll(replies, 'a', 0)), ['1'])
  assert.equal(idsOf(await poll(replies, 'acknowledged', 0)), ['2'])
})

test('a poll that was replaced does not remove a reply that came after', async (context) => {
  const replies = start(context)
  const replaced = replies.poll('a', 10_000, 0, () => () => {})
  const empty = poll(replies, 'a', 0)
  send(replies, 'a', '1')
  assert.equal([idsOf(await replaced), idsOf(await empty)], [[], []])
  assert.equal(idsOf(await poll(replies, 'a', 0)), ['1'])
})

test('addresses with sent replies alone make room for other clients', async (context) => {
  const replies = start(context)
  for (let i = 0; i < 100_000; i++) {
    send(replies, `gone-${i}`, '1', 0)
    await poll(replies, `gone-${i}`, 0)
  }
  send(replies, 'new', '1')
  assert.equal(idsOf(await poll(replies, 'gone-0', 0)), [])
  assert.equal(idsOf(await poll(replies, 'gone-99999', 0)), ['1'])
  assert.equal(idsOf(await poll(replies, 'new', 0)), ['1'])
})

test('an answer fits into a frame, also if the broker has small frames', async (context) => {
  const frameBytesMax = 64 * 1024
  const broker = await testBroker(context, { frameBytesMax, batchBytesMax: 16 * 1024 })
  const client = await testClient(context, broker)
  // The longest reply with a short address: the address is not in the answer.
  const requestId = 'r'.repeat(100)
  const error = 'x'.repeat(1_000)
  const send = (bytes: number): Promise<unknown> =>
    client.request(commands.replySend, { to: 'a', requestId, error }, Buffer.alloc(bytes))
  const refusal: unknown = await send(frameBytesMax - 1_170).catch((reason: unknown) => reason)
  assert.ok(isMillraceError(refusal, 'LIMIT_EXCEEDED'), String(refusal))
  const limit = Number(/at most ([\d,]+) bytes/.exec(String(refusal))?.[1]?.replaceAll(',', ''))
  const sizes = [limit, limit, 30_000, 30_000, 30_000]
  for (const bytes of sizes) await send(bytes)
  const answers: number[][] = []
  let received = 0
  for (let left = sizes.length; left > 0; ) {
    client.socket.once('data', (chunk: Buffer) => assert.ok(chunk.readUInt32LE(0) <= frameBytesMax))
    const { body } = await client.request(commands.replyPoll, { address: 'a', waitMs: 0, received })
    answers.push(body.replies.map(([, bytes]) => bytes))
    received = body.number ?? 0
    left -= body.replies.length
  }
  assert.equal(answers, [[limit], [limit], [30_000, 30_000], [30_000]])
})

test('a client reads replies again on a new connection; one without acknowledgements gets them once', async (context) => {
  const broker = await testBroker(context)
  const responder = await testClient(context, broker)
  const reply = (to: string): Promise<unknown> =>
    responder.request(commands.replySend, { to, requestId: '0' }, Buffer.from('value'))
  const ask = async (request: { address: string; received?: number }) => {
    const client = await testClient(context, broker)
    const { body, payload } = await client.request(commands.replyPoll, { ...request, waitMs: 0 })
    client.destroy()
    return { ...body, value: Buffer.from(payload).toString() }
  }
  await reply('a')
  const first = await ask({ address: 'a', received: 0 })
  assert.equal(first.replies, [['0', 5, undefined]])
  assert.is(first.value, 'value')
  assert.equal(await ask({ address: 'a', received: 0 }), first)
  assert.equal((await ask({ address: 'a', received: first.number ?? 0 })).replies, [])
  await reply('old')
  const old = await ask({ address: 'old' })
  assert.equal([old.replies, old.number, old.value], [[['0', 5, undefined]], undefined, 'value'])
  assert.equal((await ask({ address: 'old' })).replies, [])
})

test.run()
