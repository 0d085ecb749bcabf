import * as assert from 'uvu/assert'
import type { Client } from '../../client/index.js'
import { brokerFor, clientFor, ok, type Ran, run } from '../helpers/cli.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('cli/wrong_names')
const deadlineMs = 60_000

/** A broker with the stream group "readers" of the topic "t", and a queue group "crew" of the topic "jobs" with a dead letter. */
async function start(
  context: TestContext,
): Promise<{ readonly client: Client; millrace(...args: string[]): Promise<Ran> }> {
  const server = await brokerFor(context)
  const client = await clientFor(context, server)
  for (const topic of ['t', 'jobs', 'other']) await client.topics.create(topic)
  await client.publish('t', { value: Buffer.from('a') })
  await client.groups.commit('readers', [{ topic: 't', partition: 0, offset: 1 }])
  await client.publish('jobs', { value: Buffer.from('broken') })
  const worker = client.work(
    'jobs',
    { group: 'crew', settings: { attemptsMax: 1 }, onFailed: () => {} },
    () => {
      throw new Error('no')
    },
  )
  await waitFor('a dead letter', async () => {
    await worker.ready
    return (await client.queues.describe('crew')).dead === 1
  })
  await worker.close()
  return { client, millrace: (...args) => run(context, [...args, ...server]) }
}

test(
  'redrive fails for an unknown letter or topic, and then redrives nothing',
  async (context) => {
    const { client, millrace } = await start(context)
    const letter = await millrace(
      'queue',
      'redrive',
      'crew',
      '--letter',
      '0',
      '--letter',
      '99',
      '--letter',
      '7',
    )
    assert.is(letter.code, 2)
    assert.match(
      letter.stderr,
      'queue group "crew" has no dead letter 7, 99; "millrace queue dead crew" lists',
    )
    const topic = await millrace('queue', 'redrive', 'crew', '--topic', 'job')
    assert.is(topic.code, 1)
    assert.match(topic.stderr, 'there is no topic "job"; did you mean "jobs"?')
    const other = await millrace('queue', 'redrive', 'crew', '--topic', 'other')
    assert.is(other.code, 2)
    assert.match(other.stderr, '--topic is "other", which queue group "crew" does not read; it reads "jobs"')
    for (const command of ['dead', 'peek']) {
      const shown = await millrace('queue', command, 'crew', '--topic', 'job')
      assert.is(shown.code, 1)
      assert.match(shown.stderr, 'did you mean "jobs"?')
    }
    assert.is((await client.queues.describe('crew')).dead, 1)
    const redriven = await millrace('queue', 'redrive', 'crew', '--letter', '0', '--topic', 'jobs')
    assert.match(ok(redriven), 'redrove 1 dead letters')
    const again = await millrace('queue', 'redrive', 'crew', '--letter', '0')
    assert.is(again.code, 2)
    assert.match(again.stderr, 'queue group "crew" has no dead letter 0;')
  },
  { deadlineMs },
)

test(
  'seek refuses a group that does not exist, and creates it with --create',
  async (context) => {
    const { client, millrace } = await start(context)
    const typo = await millrace('group', 'seek', 'reader', 't', '--to', 'earliest')
    assert.is(typo.code, 1)
    assert.match(
      typo.stderr,
      'there is no stream group "reader"; did you mean "readers"?; --create makes a new group',
    )
    const groups = async () => (await client.groups.list()).map(({ group }) => group)
    assert.equal(await groups(), ['readers'])
    ok(await millrace('group', 'seek', 'readers', 't', '--to', 'earliest'))
    ok(await millrace('group', 'seek', 'fresh', 't', '--to', 'latest', '--create'))
    assert.equal(await groups(), ['fresh', 'readers'])
    assert.is(ok(await millrace('consume', 't', '--group', 'fresh')), '')
  },
  { deadlineMs },
)

test(
  'an error says when a group of the other kind has the name',
  async (context) => {
    const { client, millrace } = await start(context)
    for (const args of [
      ['group', 'describe', 'crew'],
      ['group', 'seek', 'crew', 'jobs', '--to', 'latest'],
      ['group', 'pause', 'crew'],
      ['group', 'resume', 'crew'],
      ['group', 'delete', 'crew'],
    ]) {
      const ran = await millrace(...args)
      assert.is(ran.code, 1, args.join(' '))
      assert.match(
        ran.stderr,
        'there is no stream group "crew"; a queue group has this name: use "millrace queue"',
      )
    }
    for (const args of [
      ['queue', 'describe', 'readers'],
      ['queue', 'pause', 'readers'],
      ['queue', 'redrive', 'readers'],
      ['queue', 'dead', 'readers'],
      ['queue', 'peek', 'readers'],
      ['queue', 'configure', 'readers', '--attempts', '2'],
      ['queue', 'delete', 'readers'],
    ]) {
      const ran = await millrace(...args)
      assert.is(ran.code, 1, args.join(' '))
      assert.match(
        ran.stderr,
        'there is no queue group "readers"; a stream group has this name: use "millrace group"',
      )
    }
    assert.equal(
      (await client.queues.list()).map(({ group }) => group),
      ['crew'],
    )
  },
  { deadlineMs },
)

test(
  'flags that contradict each other, and a window over its limit, are refused by their names',
  async (context) => {
    const { client, millrace } = await start(context)
    for (const flags of [
      ['--priorities', '--no-priorities'],
      ['--no-priorities', '--priorities'],
    ]) {
      const both = await millrace('queue', 'configure', 'crew', ...flags)
      assert.is(both.code, 2)
      assert.match(both.stderr, 'millrace: give --priorities or --no-priorities, not both')
    }
    ok(await millrace('queue', 'configure', 'crew', '--priorities'))
    const long = await millrace('topic', 'create', 'x', '--dedupe-window', '8d')
    assert.is(long.code, 2)
    assert.match(long.stderr, /--dedupe-window.*8d.*expected at most 7 days/)
    ok(await millrace('topic', 'create', 'x', '--dedupe-window', '1h'))
    assert.match(ok(await millrace('topic', 'describe', 'x')), 'message ids remembered 1 h,')
    ok(await millrace('topic', 'alter', 'x', '--dedupe-window', '0'))
    assert.is((await client.topics.describe('x')).topic.settings.dedupeWindowMs, 0)
    assert.match(ok(await millrace('topic', 'describe', 'x')), 'message ids not remembered,')
  },
  { deadlineMs },
)

test.run()
