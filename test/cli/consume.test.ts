import * as assert from 'uvu/assert'
import { brokerFor, clientFor, ok, run } from '../helpers/cli.js'
import { spawnMillrace } from '../helpers/spawn.js'
import { suite } from '../helpers/suite.js'

const test = suite('cli/consume')

test('reads several topics, and writes each message in the format of --output', async (context) => {
  const server = await brokerFor(context)
  const client = await clientFor(context, server)
  await client.topics.create('a')
  await client.topics.create('b')
  const headers = { one: '1', two: 'x' }
  await client.publish('a', { key: 'k', value: Buffer.from('first'), headers, timestamp: 5 })
  await client.publish('b', { value: Buffer.from([0xff, 0x00]), timestamp: 6 })
  const output = await run(context, ['consume', 'a', 'b', '-o', '%t\\t%p %o %T %k %v [%h] 100%%', ...server])
  assert.equal(ok(output).split('\n').sort(), [
    '',
    'a\t0 0 5 k first [one=1,two=x] 100%',
    'b\t0 0 6  \ufffd\0 [] 100%',
  ])
  const separated = await run(context, ['consume', 'a', '--output', '%v\\0', ...server])
  assert.is(ok(separated), 'first\0')
})

test('--last prints the last messages of all partitions by time, and --follow continues after them', async (context) => {
  const server = await brokerFor(context)
  const client = await clientFor(context, server)
  await client.topics.create('t', { partitions: 2 })
  for (let i = 1; i <= 6; i++)
    await client.publish('t', { value: Buffer.from(String(i)), partition: i % 2, timestamp: 1_000 + i })
  assert.is(ok(await run(context, ['consume', 't', '--last', '3', ...server])), '4\n5\n6\n')
  assert.is(ok(await run(context, ['consume', 't', '--last', '99', ...server])), '1\n2\n3\n4\n5\n6\n')
  assert.is(
    ok(await run(context, ['consume', 't', '--last', '3', '--partition', '0', ...server])),
    '2\n4\n6\n',
  )
  assert.is(ok(await run(context, ['consume', 't', '--last', '3', '-n', '2', ...server])), '4\n5\n')
  const follower = spawnMillrace(context, ['consume', 't', '--last', '2', '--follow', ...server])
  await follower.waitForOutput('stdout', /^5\n6\n$/)
  await client.publish('t', { value: Buffer.from('7'), partition: 1 })
  await follower.waitForOutput('stdout', /^5\n6\n7\n$/)
  follower.kill('SIGINT')
  assert.is((await follower.exited).code, 0)
})

test('--until stops before an offset of each partition, or before a time', async (context) => {
  const server = await brokerFor(context)
  const client = await clientFor(context, server)
  await client.topics.create('t', { partitions: 2 })
  const at = Date.parse('2026-01-01T00:00:00Z')
  for (let i = 0; i < 6; i++)
    await client.publish('t', { value: Buffer.from(String(i)), partition: i % 2, timestamp: at + i * 1_000 })
  const consume = async (args: readonly string[]): Promise<string[]> =>
    ok(await run(context, ['consume', 't', ...args, ...server]))
      .split('\n')
      .filter(Boolean)
      .sort()
  assert.equal(await consume(['--until', '1']), ['0', '1'])
  assert.equal(await consume(['--until', '0']), [])
  assert.equal(await consume(['--until', '99']), ['0', '1', '2', '3', '4', '5'])
  assert.equal(await consume(['--from', '1', '--until', '2']), ['2', '3'])
  assert.equal(await consume(['--from', '3', '--until', '2']), [])
  assert.equal(await consume(['--until', '2026-01-01T00:00:03Z']), ['0', '1', '2'])
  assert.equal(
    await consume(['--from', '2026-01-01T00:00:02Z', '--until', '2026-01-01T00:00:05Z', '--follow']),
    ['2', '3', '4'],
  )
  // A time that has passed is the end, also while following: nothing earlier comes.
  assert.equal(await consume(['--from', 'earliest', '--until', '2026-01-02T00:00:00Z', '--follow']), [
    '0',
    '1',
    '2',
    '3',
    '4',
    '5',
  ])
  const waiting = spawnMillrace(context, [
    'consume',
    't',
    '--from',
    '3',
    '--until',
    '4',
    '--follow',
    ...server,
  ])
  for (const partition of [0, 1, 0])
    await client.publish('t', { value: Buffer.from(`p${partition}`), partition })
  assert.equal(await waiting.exited, { code: 0, signal: null })
  assert.equal(waiting.output.stdout.split('\n').sort(), ['', 'p0', 'p1'])
})

test('--until with a time in the future ends when the clock passes it', async (context) => {
  const server = await brokerFor(context)
  const client = await clientFor(context, server)
  await client.topics.create('t')
  await client.publish('t', { value: Buffer.from('early') })
  const until = new Date(Date.now() + 500).toISOString()
  const args = ['consume', 't', '--from', 'earliest', '--follow', '--until', until]
  assert.is(ok(await run(context, [...args, ...server])), 'early\n')
})

test('filters by key, header and pattern; a group acknowledges the messages that it skips', async (context) => {
  const server = await brokerFor(context)
  const client = await clientFor(context, server)
  await client.topics.create('t')
  const kind = (value: string) => ({ headers: { kind: value } })
  await client.publish('t', { key: 'a', value: Buffer.from('Hello ann'), ...kind('x') })
  await client.publish('t', { key: 'b', value: Buffer.from('hello bob'), ...kind('y') })
  await client.publish('t', { key: 'a', value: Buffer.from('bye ann') })
  const consume = async (args: readonly string[]): Promise<string> =>
    ok(await run(context, ['consume', 't', ...args, ...server]))
  assert.is(await consume(['--key', 'a']), 'Hello ann\nbye ann\n')
  assert.is(await consume(['--header', 'kind']), 'Hello ann\nhello bob\n')
  assert.is(await consume(['--header', 'kind=y']), 'hello bob\n')
  assert.is(await consume(['--header', 'kind=y', '--key', 'a']), '')
  assert.is(await consume(['--grep', '^hello']), 'hello bob\n')
  assert.is(await consume(['--grep', '^hello', '-i', '--count', '1']), 'Hello ann\n')
  assert.is(await consume(['--group', 'g', '--grep', 'bob', '--count', '1']), 'hello bob\n')
  assert.is(await consume(['--group', 'g']), 'bye ann\n')
})

test(
  'an error names the wrong flag',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('a')
    await client.topics.create('b')
    const cases: [string[], RegExp][] = [
      [['a', 'b', '--partition', '0'], /--partition works with one topic/],
      [['a', '--group', 'g', '--partition', '0'], /--partition works without --group/],
      [['a', '--group', 'g', '--last', '1'], /--last works without --group/],
      [['a', '--group', 'g', '--until', '1'], /--until works without --group/],
      [['a', '--last', '1', '--from', '0'], /give --last or --from, not both/],
      [['a', '--grep', '('], /--grep "\(" is not a regular expression/],
      [['a', '-i'], /--ignore-case has no effect without --grep/],
      [
        ['a', '--output', '%x'],
        /--output <format>' argument '%x' is invalid. "%x" is unknown, expected %t topic/,
      ],
      [['a', '--output', '%v', '--format', 'json'], /cannot be used with option '--format/],
      [['a', '--until', 'yesterday'], /--until .*expected an offset, or a time/],
      [['a', '--header', '=x'], /--header .*expected name or name=value/],
    ]
    for (const [args, message] of cases) {
      const ran = await run(context, ['consume', ...args, ...server])
      assert.is(ran.code, 2, `${args.join(' ')}: ${ran.stderr}`)
      assert.match(ran.stderr, message)
    }
  },
  { deadlineMs: 30_000 },
)

test(
  'consume says when a group is paused, and reads nothing',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('a')
    await client.publish('a', { value: Buffer.from('one') })
    await client.groups.pause('g')
    const ran = await run(context, ['consume', 'a', '--group', 'g', ...server])
    assert.is(ok(ran), '')
    assert.is(
      ran.stderr,
      'millrace: group "g" is paused; it reads nothing. "millrace group resume g" resumes it\n',
    )
    const follower = spawnMillrace(context, [
      'consume',
      'a',
      '--group',
      'g',
      '-F',
      '--from',
      'earliest',
      ...server,
    ])
    await follower.waitForOutput('stderr', /group "g" is paused; waiting until it is resumed/)
    await client.groups.resume('g')
    await follower.waitForOutput('stdout', /one/)
    await client.groups.pause('g')
    await follower.waitForOutput('stderr', /is paused; waiting.*is paused; waiting/s)
    await client.groups.resume('g')
    await client.publish('a', { value: Buffer.from('two') })
    await follower.waitForOutput('stdout', /two/)
    follower.kill('SIGINT')
    assert.equal(await follower.exited, { code: 0, signal: null })
    const resumed = await run(context, ['consume', 'a', '--group', 'g', ...server])
    assert.is(resumed.stderr, '')
  },
  { deadlineMs: 30_000 },
)

test(
  'consume says when --from is behind the end of a partition, and waits for it with --follow',
  async (context) => {
    const server = await brokerFor(context)
    const client = await clientFor(context, server)
    await client.topics.create('a', { partitions: 2 })
    const publish = (value: string, partition: number) =>
      client.publish('a', { value: Buffer.from(value), partition })
    for (const value of ['0', '1', '2', '3', '4']) await publish(value, 1)
    await publish('early', 0)
    const ran = await run(context, ['consume', 'a', '--from', '3', ...server])
    assert.is(ok(ran), '3\n4\n')
    assert.is(ran.stderr, 'millrace: partition 0 of topic "a" ends at offset 1; it has no offset 3\n')
    const follower = spawnMillrace(context, ['consume', 'a', '--from', '3', '-F', '-o', '%p/%o', ...server])
    await follower.waitForOutput('stderr', /partition 0 of topic "a" ends at offset 1; waiting for offset 3/)
    await follower.waitForOutput('stdout', /1\/3\n1\/4\n/)
    for (const value of ['x', 'y', 'z']) await publish(value, 0)
    await follower.waitForOutput('stdout', /0\/3\n/)
    assert.is(follower.output.stdout, '1/3\n1/4\n0/3\n')
    follower.kill('SIGINT')
    assert.equal(await follower.exited, { code: 0, signal: null })
    const one = await run(context, ['consume', 'a', '--from', '3', '--partition', '1', ...server])
    assert.is(ok(one), '3\n4\n')
    assert.is(one.stderr, '')
  },
  { deadlineMs: 30_000 },
)

test.run()
