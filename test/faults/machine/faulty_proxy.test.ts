import { connect, createServer, type Socket } from 'node:net'
import * as assert from 'uvu/assert'
import { suite, type TestContext } from '../../helpers/suite.js'
import { waitFor } from '../../helpers/wait_for.js'
import { FaultyProxy } from './faulty_proxy.js'

const test = suite('faults/machine/faulty_proxy')

/** More than the buffers of the kernel. */
const chunkCount = 1_000
const chunkBytes = 64 * 1024

/** One end of a connection and its received data. */
interface End {
  readonly socket: Socket
  readonly received: () => string
  readonly events: string[]
}

function observe(context: TestContext, socket: Socket): End {
  context.defer(() => socket.destroy())
  const chunks: string[] = []
  const events: string[] = []
  socket.setEncoding('latin1').on('data', (text: string) => chunks.push(text))
  socket.on('end', () => events.push('end'))
  socket.on('error', (error: NodeJS.ErrnoException) => events.push(error.code ?? ''))
  socket.on('close', () => events.push('close'))
  return { socket, received: () => chunks.join(''), events }
}

/** A connection through a proxy, with both ends. */
async function open(
  context: TestContext,
): Promise<{ proxy: FaultyProxy; client: End; server: End; again: () => End }> {
  const ends: End[] = []
  const listener = createServer({ allowHalfOpen: true }, (socket) => ends.push(observe(context, socket)))
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  context.defer(() => listener.close())
  const address = listener.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const proxy = await FaultyProxy.start(context, () => port, context.random())
  const again = (): End =>
    observe(context, connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true }))
  const client = again()
  const server = await waitFor('the connection', () => {
    if (client.events.length > 0) throw new Error(`the connection ended: ${client.events.join(', ')}`)
    return ends[0]
  })
  return { proxy, client, server, again }
}

async function exchange(client: End, server: End): Promise<void> {
  const [clientSide, serverSide] = [`${client.received()}reply`, `${server.received()}request`]
  client.socket.write('request')
  server.socket.write('reply')
  await waitFor('both', () => client.received() === clientSide && server.received() === serverSide)
}

test('counts the bytes that it forwarded', async (context) => {
  const { proxy, client, server } = await open(context)
  await exchange(client, server)
  assert.equal(proxy.relayedBytes, { requests: 'request'.length, replies: 'reply'.length })
})

test('forwards bytes and FIN in both directions', async (context) => {
  const { proxy, client, server } = await open(context)
  await exchange(client, server)
  client.socket.end('last')
  await waitFor('the end', () => server.events.includes('end'))
  assert.ok(server.received().endsWith('last'))
  server.socket.end('answer')
  await waitFor('the end', () => client.events.includes('close') && server.events.includes('close'))
  assert.ok(client.received().endsWith('answer'))
  await waitFor('the proxy to forget it', () => proxy.connections === 0)
})

test('delays one direction and not the other, and keeps the order', async (context) => {
  const { proxy, client, server } = await open(context)
  proxy.set({ delayMs: 100, jitterMs: 50 }, 'replies')
  const begin = performance.now()
  client.socket.write('request')
  await waitFor('the request', () => server.received() !== '')
  for (let i = 0; i < 10; i++) {
    server.socket.write(`${i}`)
    await new Promise(setImmediate)
  }
  await waitFor('the replies', () => client.received() === '0123456789')
  const tookMs = performance.now() - begin
  assert.ok(tookMs >= 100 && tookMs < 1_000, `${tookMs} ms`)
})

test('throttles, and slows the sender down instead of buffering', async (context) => {
  const { proxy, client, server } = await open(context)
  proxy.set({ bytesPerSecond: 100_000 })
  const begin = performance.now()
  client.socket.write(Buffer.alloc(30_000))
  await waitFor('all', () => server.received().length === 30_000)
  const tookMs = performance.now() - begin
  assert.ok(tookMs >= 250 && tookMs < 2_000, `${tookMs} ms`)
  proxy.freeze()
  const chunks = { sent: 0 }
  const sending = (async () => {
    for (; chunks.sent < chunkCount; chunks.sent++)
      await new Promise((resolve) => client.socket.write(Buffer.alloc(chunkBytes), resolve))
  })()
  let before = -1
  await waitFor('the sender to be held up', async () => {
    const same = chunks.sent === before
    before = chunks.sent
    await new Promise((resolve) => setTimeout(resolve, 100))
    return same
  })
  assert.ok(chunks.sent < chunkCount / 2, `${chunks.sent} of ${chunkCount} were taken`)
  proxy.heal()
  await sending
  await waitFor('all', () => server.received().length === 30_000 + chunkCount * chunkBytes)
})

test('freezes and resumes without loss', async (context) => {
  const { proxy, client, server } = await open(context)
  proxy.freeze()
  client.socket.write('one')
  server.socket.write('two')
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.is(client.received() + server.received(), '')
  proxy.thaw()
  await waitFor('both', () => client.received() === 'two' && server.received() === 'one')
})

test('drops replies while requests pass, and resets the connection on healing', async (context) => {
  const { proxy, client, server } = await open(context)
  await exchange(client, server)
  proxy.set({ swallow: true }, 'replies')
  client.socket.write('more')
  await waitFor('the request', () => server.received() === 'requestmore')
  server.socket.write('lost')
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.is(client.received(), 'reply')
  assert.equal(client.events, [])
  proxy.heal()
  await waitFor('the reset', () => client.events.includes('ECONNRESET'))
})

test('cuts after a number of bytes, which arrive', async (context) => {
  const { proxy, client, server } = await open(context)
  proxy.cutAfter('replies', 5)
  server.socket.write('abc')
  await waitFor('the first', () => client.received() === 'abc')
  server.socket.write('defghi')
  await waitFor('the end', () => client.events.includes('end'))
  assert.is(client.received(), 'abcde')
  await waitFor('the reset', () => server.events.includes('ECONNRESET'))
})

test('cuts with RST or FIN, half-closes, refuses', async (context) => {
  const { proxy, client, server, again } = await open(context)
  proxy.halfClose('requests')
  await waitFor('the end', () => server.events.includes('end'))
  server.socket.write('still')
  await waitFor('the other way to work', () => client.received() === 'still')
  proxy.cut('rst')
  await waitFor('the reset', () => client.events.includes('ECONNRESET'))
  const second = again()
  await waitFor('the connection', () => proxy.connections === 1)
  proxy.cut()
  await waitFor('the end', () => second.events.includes('end'))
  proxy.refuse()
  const third = again()
  await waitFor('the end', () => third.events.includes('end'))
  assert.is(proxy.connections, 0)
})

test.run()
