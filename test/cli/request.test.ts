import { type AddressInfo, createServer, type Socket } from 'node:net'
import * as assert from 'uvu/assert'
import { bytes, defineService } from '../../client/index.js'
import { brokerFor, clientFor, ok, run } from '../helpers/cli.js'
import { FakeBroker } from '../helpers/fake_broker.js'
import { suite } from '../helpers/suite.js'

const test = suite('cli/request')

test(
  'asks a service, and tells its reply, its failure and its silence apart',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('upper')
    const service = defineService('upper', { request: bytes, reply: bytes })
    const ask = (args: readonly string[], input = '') =>
      run(context, ['request', 'upper', ...args, ...server], input)
    const silent = await ask(['x', '--timeout', '100ms'])
    assert.is(silent.code, 1)
    assert.match(silent.stderr, /service "upper" did not reply within 100 ms/)
    const worker = client.respond(service, {}, ({ value, headers, key }) => {
      const text = Buffer.from(value).toString()
      if (text === '') throw new Error('nothing to do')
      return Buffer.from([text.toUpperCase(), headers.by, key].filter(Boolean).join(' '))
    })
    await worker.ready
    assert.is(ok(await ask(['hello'])), 'HELLO\n')
    assert.is(ok(await ask([], 'from stdin')), 'FROM STDIN\n')
    assert.is(ok(await ask(['hi', '--header', 'by=me', '--key', 'k'])), 'HI me k\n')
    assert.is(JSON.parse(ok(await ask(['hi', '--json']))).reply, 'HI')
    const failed = await ask([''])
    assert.is(failed.code, 1)
    assert.match(failed.stderr, /the service failed: .*nothing to do/)
    const unknown = await run(context, ['request', 'uper', 'x', ...server])
    assert.is(unknown.code, 1)
    assert.match(unknown.stderr, /no topic "uper"; did you mean "upper"/)
    await worker.close()
  },
  { deadlineMs: 30_000 },
)

test(
  'the time limit of a request holds for its connection, and when the broker goes away',
  async (context) => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => void sockets.push(socket))
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const { port } = silent.address() as AddressInfo
    context.defer(() => {
      for (const socket of sockets) socket.destroy()
      return new Promise<void>((resolve) => void silent.close(() => resolve()))
    })
    const twice = `127.0.0.1:${port},127.0.0.1:${port}`
    const ran = await run(context, ['request', 't', 'x', '--timeout', '300ms', '--server', twice])
    assert.is(ran.code, 1)
    assert.match(ran.stderr, /^millrace: no broker answers at .*no connection within 300 ms/)
    const broker = await FakeBroker.start(context)
    broker.createTopic('t')
    broker.decide = () => ({ kind: 'drop' })
    const muted = await run(context, ['request', 't', 'x', '--timeout', '300ms', '--server', broker.address])
    assert.is(muted.code, 1)
    assert.match(muted.stderr, /^millrace: service "t" did not reply within 300 ms/)
  },
  // Less than the time that a client waits for its messages when it closes.
  { deadlineMs: 20_000 },
)

test(
  'errors about times and sizes name the flag',
  async (context) => {
    const cases: [string[], RegExp][] = [
      [
        ['request', 't', 'x', '--timeout', 'soon'],
        /--timeout <time>' argument 'soon' is invalid. expected a time like/,
      ],
      [
        ['topic', 'create', 't', '--retention-time', '5x'],
        /--retention-time <time>' argument '5x' is invalid. expected a time/,
      ],
      [
        ['topic', 'create', 't', '--retention-bytes', '5x'],
        /--retention-bytes <size>' argument '5x' is invalid. expected a size/,
      ],
      [
        ['publish', 't', 'x', '--delay', 'soon'],
        /--delay <time>' argument 'soon' is invalid. expected a time/,
      ],
      [['queue', 'configure', 'g', '--ttl', 'x'], /--ttl <time>' argument 'x' is invalid. expected a time/],
      [
        ['queue', 'configure', 'g', '--attempts', '0'],
        /--attempts <n>' argument '0' is invalid. expected a whole number from 1/,
      ],
    ]
    for (const [args, message] of cases) {
      const ran = await run(context, args)
      assert.is(ran.code, 2, ran.stderr)
      assert.match(ran.stderr, message)
    }
  },
  { deadlineMs: 30_000 },
)

test.run()
