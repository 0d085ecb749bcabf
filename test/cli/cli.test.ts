import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import * as assert from 'uvu/assert'
import { parseAddress } from '../../client/address.js'
import { connect, Reject } from '../../client/index.js'
import { commands } from '../../protocol/index.js'
import { brokerFor, ok, type Ran, run } from '../helpers/cli.js'
import { enginesAreDelayed } from '../helpers/engine_mode.js'
import { unopenableBatch } from '../helpers/lying_batches.js'
import { connectHello } from '../helpers/raw_client.js'
import { spawnMillrace } from '../helpers/spawn.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('cli')

test('publishes a value and prints it again', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 'orders', '--partitions', '2', ...server]))
  const published = await run(context, [
    'publish',
    'orders',
    'hello',
    '--key',
    'k',
    '--header',
    'a=b',
    ...server,
  ])
  assert.match(ok(published), /published to partition \d at offset 0/)
  assert.is(ok(await run(context, ['consume', 'orders', ...server])), 'hello\n')
  const [line = ''] = ok(await run(context, ['consume', 'orders', '--format', 'json', ...server])).split('\n')
  const { timestamp, partition, ...message } = JSON.parse(line)
  assert.equal(message, { topic: 'orders', offset: 0, key: 'k', headers: { a: 'b' }, value: 'hello' })
  assert.type(timestamp, 'number')
  assert.type(partition, 'number')
})

test('consume prints a warning about a malformed batch and continues after it', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 'orders', ...server]))
  const raw = await connectHello(parseAddress(server[1]))
  context.defer(() => raw.destroy())
  const { topic } = (await raw.request(commands.topicDescribe, { topic: 'orders' })).body
  const batch = unopenableBatch(3)
  await raw.request(commands.publish, { batches: [[topic.topicId, 0, batch.length]] }, batch)
  ok(await run(context, ['publish', 'orders', 'after', ...server]))
  const consumed = await run(context, ['consume', 'orders', ...server])
  assert.is(ok(consumed), 'after\n')
  assert.match(consumed.stderr, /partition 0, offsets 0 to 2 is malformed.*; continuing at 3/)
})

test('a last line without a newline is a message, CR LF is a line end, and a gz file is unpacked', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 'lines', ...server]))
  assert.is(
    ok(await run(context, ['publish', 'lines', ...server], 'one\ntwo\r\n\nlast')),
    'published 4 messages to "lines"\n',
  )
  const file = join(await context.tempDir(), 'more.gz')
  await writeFile(file, gzipSync('packed\n'))
  ok(await run(context, ['publish', 'lines', '--file', file, '--compression', 'lz4', ...server]))
  assert.is(ok(await run(context, ['consume', 'lines', ...server])), 'one\ntwo\n\nlast\npacked\n')
})

test('takes keys from a field, and names the line that has none', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 'keyed', '--partitions', '8', ...server]))
  ok(
    await run(
      context,
      ['publish', 'keyed', '--key-field', 'user', ...server],
      '{"user":"ann","n":1}\n{"user":"ann","n":2}\n',
    ),
  )
  const partitions = ok(await run(context, ['consume', 'keyed', '--json', ...server]))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.is(partitions[0].partition, partitions[1].partition)
  assert.is(partitions[0].key, 'ann')
  const bad = await run(
    context,
    ['publish', 'keyed', '--key-field', 'user', ...server],
    '{"user":"ann"}\n{"n":2}\n',
  )
  assert.is(bad.code, 1)
  assert.match(bad.stderr, 'line 2 has no text, number or boolean in the field "user"')
})

test('a group continues where it stopped, and can be moved back', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 't', ...server]))
  ok(await run(context, ['publish', 't', ...server], '1\n2\n3\n4\n5\n'))
  assert.is(ok(await run(context, ['consume', 't', '--group', 'g', '--count', '2', ...server])), '1\n2\n')
  assert.is(ok(await run(context, ['consume', 't', '--group', 'g', ...server])), '3\n4\n5\n')
  assert.is(ok(await run(context, ['consume', 't', '--group', 'g', ...server])), '')
  ok(await run(context, ['group', 'seek', 'g', 't', '--to', '3', ...server]))
  assert.match(ok(await run(context, ['group', 'describe', 'g', ...server])), 'g: empty, 0 members, lag 2')
  assert.is(ok(await run(context, ['consume', 't', '--group', 'g', ...server])), '4\n5\n')
  assert.equal(JSON.parse(ok(await run(context, ['group', 'list', '--json', ...server]))), [
    { group: 'g', members: 0, topics: 1 },
  ])
  ok(await run(context, ['group', 'delete', 'g', ...server]))
})

test('consume --follow ends cleanly on Ctrl-C with all printed messages acknowledged', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 't', ...server]))
  const follower = spawnMillrace(context, ['consume', 't', '--group', 'g', '--follow', ...server])
  ok(await run(context, ['publish', 't', 'first', ...server]))
  await follower.waitForOutput('stdout', /first/)
  follower.kill('SIGINT')
  assert.equal(await follower.exited, { code: 0, signal: null })
  assert.match(ok(await run(context, ['group', 'describe', 'g', ...server])), 'lag 0')
})

test('topics are altered, described, listed and deleted', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 't', '--retention-time', '12h', ...server]))
  ok(await run(context, ['topic', 'alter', 't', '--partitions', '3', '--retention-bytes', '10GB', ...server]))
  const { topic, partitions } = JSON.parse(
    ok(await run(context, ['topic', 'describe', 't', '--json', ...server])),
  )
  assert.is(partitions.length, 3)
  assert.is(topic.settings.retentionMs, 43_200_000)
  assert.is(topic.settings.retentionBytes, 10_000_000_000)
  assert.match(ok(await run(context, ['topic', 'list', ...server])), /t +3 +kept 12 h, 10\.0 GB a partition/)
  ok(await run(context, ['topic', 'delete', 't', ...server]))
  assert.equal(JSON.parse(ok(await run(context, ['topic', 'list', '--json', ...server]))), [])
})

test(
  'errors tell a new user what to do',
  async (context) => {
    const server = await brokerFor(context)
    ok(await run(context, ['topic', 'create', 'orders', ...server]))
    const longLine = Buffer.concat([Buffer.from('short\n'), Buffer.alloc(17_000_000, 'x')])
    const cases: [string[], number, RegExp, (string | Buffer)?][] = [
      [
        ['status', '--server', '127.0.0.1:1'],
        1,
        /no broker answers at 127\.0\.0\.1:1; start one with "millrace serve"/,
      ],
      [['consume', 'order', ...server], 1, /no topic "order"; did you mean "orders"/],
      [['publish', 'oders', 'x', ...server], 1, /no topic "oders"; did you mean "orders"/],
      [['topic', 'create', 'a b', ...server], 1, /only letters, digits/],
      [['topic', 'create', 'orders', ...server], 1, /a topic with the name "orders" already exists/],
      [
        ['publish', 'orders', ...server],
        1,
        /has [\d,]+ bytes \(.* MiB\), the broker allows at most 4 MiB/,
        'x'.repeat(5_000_000),
      ],
      [['consume', 'orders', '--frm', 'earliest', ...server], 2, /Did you mean --from/],
      [
        ['consume', 'orders', '--from', 'yesterday', ...server],
        2,
        /expected earliest, latest, an offset, or a time/,
      ],
      [['pubish', 'orders'], 2, /Did you mean publish/],
      [['topic', 'create', 't', '--partitions', '0', ...server], 2, /expected a whole number from 1/],
      [
        ['serve', '--set', 'retentionMss=1'],
        2,
        /unknown setting "retentionMss" in flags; did you mean "retentionMs"/,
      ],
      [['serve', '--port', '99999'], 2, /--port: expected a whole number, from 0 to 65535, got "99999"/],
      [
        ['serve', '--set', 'port=99999'],
        2,
        /--set port: expected a whole number, from 0 to 65535, got "99999"/,
      ],
      [['serve', '--set', 'port=1', '--port', '2'], 2, /give --port or --set port, not both/],
      [
        ['status', '--server', 'not an address'],
        2,
        /"not an address" is not an address: "not an address" is not a host; expected host:port/,
      ],
      [['status', '--server', 'localhost:7420,'], 2, /"localhost:7420," has a comma without an address/],
      [
        ['status', '--server', 'http://localhost:7420'],
        2,
        /a URL with the scheme "http".*did you mean "localhost:7420"/,
      ],
      [['publish', 'orders', 'x', '--file', 'y', ...server], 2, /give a value or --file, not both/],
      [['publish', 'orders', '--file', '/none', ...server], 1, /can't read "\/none": it does not exist/],
      [['publish', 'orders', ...server], 1, /line 2 has more than 16 MiB/, longLine],
      [['publish', 'orders', 'x', '--partition', '9', ...server], 1, /has no partition 9, expected 0/],
    ]
    for (const [args, code, message, input] of cases) {
      const ran = await run(context, args, input)
      assert.is(ran.code, code, `${args.join(' ')}: ${ran.stderr}`)
      assert.match(ran.stderr, message)
      assert.is(ran.stdout, '', 'errors do not go to stdout')
    }
  },
  { deadlineMs: 60_000 },
)

test(
  'serve prints its address, a second one names the process that uses the folder, and SIGTERM drains',
  async (context) => {
    const data = await context.tempDir()
    const first = spawnMillrace(context, ['serve', '--data', data, '--port', '0'])
    const [, port = ''] = await first.waitForOutput('stderr', /millrace is ready on 127\.0\.0\.1:(\d+)/)
    const second = await run(context, ['serve', '--data', data, '--port', '0'])
    assert.is(second.code, 1)
    assert.match(second.stderr, `in use by process ${first.pid}`)
    const taken = await run(context, ['serve', '--data', await context.tempDir(), '--port', port])
    assert.is(taken.code, 1)
    assert.match(taken.stderr, `port ${port} is in use by another process`)
    assert.not.match(taken.stderr, 'EADDRINUSE')
    assert.match(ok(await run(context, ['status', '--server', `127.0.0.1:${port}`])), /health +ok/)
    first.kill('SIGTERM')
    assert.equal(await first.exited, { code: 0, signal: null })
  },
  { deadlineMs: 30_000 },
)

test('serve has eight threads for blocking calls, not the four that are the default', async (context) => {
  if (process.platform !== 'linux') context.skip('counts threads in /proc')
  if (enginesAreDelayed) context.skip('the module that delays engines uses the threads before the command')
  const threadsOf = async (env: Record<string, string>) => {
    const data = await context.tempDir()
    const broker = spawnMillrace(context, ['serve', '--data', data, '--port', '0'], { env })
    await broker.waitForOutput('stderr', /millrace is ready/)
    const [, threads] = /^Threads:\s+(\d+)/m.exec(await readFile(`/proc/${broker.pid}/status`, 'utf8')) ?? []
    return Number(threads)
  }
  assert.is(await threadsOf({}), (await threadsOf({ UV_THREADPOOL_SIZE: '4' })) + 4)
})

test('serve takes any setting with --set, and makes no folder when its port is taken', async (context) => {
  const data = join(await context.tempDir(), 'data')
  const set = ['--set', `dir=${data}`, '--set', 'host=127.0.0.2']
  const first = spawnMillrace(context, ['serve', ...set, '--set', 'port=0'], {
    env: { MILLRACE_QUEUE_PORT: 'tcp://10.0.0.1:7420', MILLRACE_PORT: 'tcp://10.0.0.1:7420' },
  })
  const [, port = ''] = await first.waitForOutput('stderr', /millrace is ready on 127\.0\.0\.2:(\d+)/)
  assert.match(first.output.stderr, `data in ${data}`)
  assert.match(
    first.output.stderr,
    /"variables":\["MILLRACE_QUEUE_PORT","MILLRACE_PORT"\].*ignored environment/,
  )
  const parent = await context.tempDir()
  const other = ['--data', join(parent, 'other'), '--host', '127.0.0.2', '--port', port]
  const taken = await run(context, ['serve', ...other])
  assert.is(taken.code, 1)
  assert.match(taken.stderr, `port ${port} is in use by another process`)
  assert.equal(await readdir(parent), [])
})

test('a server without a host is a port of this machine', async (context) => {
  const [, address = ''] = await brokerFor(context)
  const port = address.split(':')[1] ?? ''
  assert.match(ok(await run(context, ['status', '--server', port])), /health +ok/)
  assert.match(ok(await run(context, ['status', '--server', `:${port}`])), /health +ok/)
  const refused = await connect(port).then(String, (error: Error) => error.message)
  assert.match(refused, `"${port}" is not an address: it has no host`)
  assert.match(refused, `did you mean "localhost:${port}"?`)
})

test('a folder with other files is refused and not changed', async (context) => {
  const data = await context.tempDir()
  await writeFile(join(data, 'notes.txt'), 'mine')
  const ran = await run(context, ['serve', '--data', data, '--port', '0'])
  assert.is(ran.code, 1)
  assert.match(ran.stderr, 'it contains "notes.txt" and no MILLRACE file')
})

test('ends quietly when its reader closes the pipe', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 't', ...server]))
  ok(await run(context, ['publish', 't', ...server], 'x'.repeat(1000).concat('\n').repeat(5_000)))
  const consumer = spawnMillrace(context, ['consume', 't', ...server])
  await consumer.waitForOutput('stdout', /x\n/)
  consumer.closeOutput()
  assert.equal(await consumer.exited, { code: 141, signal: null })
  assert.is(consumer.output.stderr, '')
})

test('every command ends quietly when its reader closes the pipe', async (context) => {
  const child = spawnMillrace(context, ['serve', '--settings'])
  child.closeOutput()
  assert.equal(await child.exited, { code: 141, signal: null })
  assert.is(child.output.stderr, '')
})

test('Ctrl-C ends a publish after the lines that were read are stored', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 't', ...server]))
  const publisher = spawnMillrace(context, ['publish', 't', ...server])
  publisher.stdin.write('first\nsecond\nunfin')
  const follower = spawnMillrace(context, ['consume', 't', '--follow', '--from', 'earliest', ...server])
  await follower.waitForOutput('stdout', /second\n/)
  publisher.kill('SIGINT')
  assert.equal(await publisher.exited, { code: 130, signal: null })
  assert.is(publisher.output.stdout, 'published 2 messages to "t"\n')
})

test(
  'consume --follow continues after its broker was killed and restarted',
  async (context) => {
    const data = await context.tempDir()
    const first = spawnMillrace(context, ['serve', '--data', data, '--port', '0'])
    const [, port = ''] = await first.waitForOutput('stderr', /millrace is ready on 127\.0\.0\.1:(\d+)/)
    const server = ['--server', `127.0.0.1:${port}`]
    ok(await run(context, ['topic', 'create', 't', ...server]))
    ok(await run(context, ['publish', 't', 'before', ...server]))
    const follower = spawnMillrace(context, ['consume', 't', '--group', 'g', '--follow', ...server])
    await follower.waitForOutput('stdout', /before\n/)
    first.kill('SIGKILL')
    await first.exited
    const second = spawnMillrace(context, ['serve', '--data', data, '--port', port])
    await second.waitForOutput('stderr', /millrace is ready/)
    ok(await run(context, ['publish', 't', 'after', ...server]))
    await follower.waitForOutput('stdout', /after\n/, { deadlineMs: 20_000 })
    follower.kill('SIGINT')
    assert.equal(await follower.exited, { code: 0, signal: null })
    assert.match(follower.output.stdout, /^(before\n)+after\n$/)
    assert.match(ok(await run(context, ['group', 'describe', 'g', ...server])), 'lag 0')
  },
  { deadlineMs: 60_000 },
)

test('shows queue groups with their reasons, pauses them, and redrives dead letters', async (context) => {
  const server = await brokerFor(context)
  const client = await connect(server[1] ?? '')
  context.defer(() => client.close({ timeoutMs: 0 }))
  await client.topics.create('jobs')
  await client.publishMany('jobs', [{ value: Buffer.from('good') }, { value: Buffer.from('bad') }])
  const worker = client.work('jobs', { group: 'crew' }, ({ value }) => {
    if (Buffer.from(value).toString() === 'bad') throw new Reject('it is bad')
  })
  await worker.ready
  const described = async (): Promise<string> =>
    ok(await run(context, ['queue', 'describe', 'crew', ...server]))
  await waitFor('the dead letter', async () => (await client.queues.describe('crew')).dead === 1)
  assert.match(await described(), /crew: 1 workers, 0 waiting, 0 in flight, 0 delayed, 1 dead/)
  assert.match(ok(await run(context, ['queue', 'list', ...server])), /crew +1 +1 +1/)
  assert.match(ok(await run(context, ['queue', 'pause', 'crew', ...server])), /paused queue group "crew"/)
  await worker.close()
  assert.match(await described(), /! the group is paused/)
  assert.match(
    ok(await run(context, ['queue', 'configure', 'crew', '--attempts', '3', '--retry', 'fixed', ...server])),
    /attemptsMax +3/,
  )
  const useless = await run(context, ['queue', 'configure', 'crew', '--delay', '5s', ...server])
  assert.is(useless.code, 2)
  assert.match(useless.stderr, /--delay and --max-delay have no effect without --retry/)
  const dead = ok(await run(context, ['queue', 'dead', 'crew', ...server]))
  assert.match(dead, /1 +rejected: it is bad/)
  const redrive = (args: readonly string[]): Promise<Ran> =>
    run(context, ['queue', 'redrive', 'crew', ...args, ...server])
  assert.match(ok(await redrive(['--reason', 'something else'])), /redrove 0 dead letters/)
  assert.match(ok(await redrive(['--letter', '0'])), /redrove 1 dead letters/)
  assert.match(ok(await redrive([])), /redrove 0 dead letters/)
  assert.match(await described(), /crew: paused, 1 waiting, 0 in flight, 0 delayed, 0 dead/)
  const unknown = await run(context, ['queue', 'describe', 'crow', ...server])
  assert.is(unknown.code, 1)
  assert.match(unknown.stderr, /no queue group "crow"/)
})

test('delays, lists and cancels a message; creates schedules', async (context) => {
  const server = await brokerFor(context)
  ok(await run(context, ['topic', 'create', 'mails', ...server]))
  const publish = (args: readonly string[]): Promise<Ran> =>
    run(context, ['publish', 'mails', 'hello', ...args, ...server])
  assert.match(
    ok(await publish(['--delay', '1h', '--id', 'one'])),
    /delayed for partition 0, with the id one/,
  )
  assert.match(ok(await publish(['--id', 'one'])), /not published again: one is delayed/)
  assert.match(ok(await publish(['--deliver-at', '2020-01-01T00:00:00Z'])), /published to partition 0/)
  assert.match(ok(await run(context, ['delayed', 'list', ...server])), /1 delayed\n(.*\n)*.* mails +0 +one/)
  assert.match(ok(await run(context, ['delayed', 'cancel', 'mails', 'one', ...server])), /cancelled one/)
  assert.is((await run(context, ['delayed', 'cancel', 'mails', 'one', ...server])).code, 1)
  const set = (cron: string): Promise<Ran> =>
    run(context, ['schedule', 'set', 'nightly', 'mails', 'report', '--cron', cron, ...server])
  assert.match(ok(await set('30 2 * * *')), /schedule "nightly" fires next at .*T02:30:00/)
  const bad = await set('every night')
  assert.is(bad.code, 1)
  assert.match(bad.stderr, /cron pattern "every night"/)
  assert.match(ok(await run(context, ['schedule', 'list', ...server])), /nightly +mails +30 2 \* \* \* +UTC/)
  assert.match(ok(await run(context, ['schedule', 'delete', 'nightly', ...server])), /deleted schedule/)
})

test.run()
