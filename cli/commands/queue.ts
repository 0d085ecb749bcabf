import { type Command, Option } from 'commander'
import {
  type DeadLetter,
  MillraceError,
  type QueueDescription,
  type QueueOptions,
} from '../../client/index.js'
import { jsonLineOf } from '../messages/json_line.js'
import {
  type CommonOptions,
  collect,
  duration,
  refuseBoth,
  wholeNumber,
  withClient,
  withCommon,
} from '../options.js'
import { printJson, printTable } from '../output.js'
import { checkLetters, checkQueueTopic } from '../queue_filters.js'

interface ConfigureOptions extends CommonOptions {
  readonly order?: 'none' | 'key'
  readonly attempts?: number
  readonly retry?: 'fixed' | 'exponential'
  readonly delay?: string
  readonly maxDelay?: string
  readonly ttl?: string
  readonly expired?: 'dead-letter' | 'drop'
  readonly priorities?: boolean
}

interface LettersOptions extends CommonOptions {
  readonly reason?: string
  readonly topic?: string
  readonly limit?: number
}

interface RedriveOptions extends LettersOptions {
  readonly letter?: readonly number[]
}

interface PeekCommandOptions extends CommonOptions {
  readonly limit: number
  readonly topic?: string
  readonly state?: keyof typeof peekStates
}

const peekStates = { waiting: 'waiting', 'in-flight': 'inFlight', delayed: 'delayed' } as const
const progressEvery = 10_000

export function addQueue(program: Command): void {
  const queue = program
    .command('queue')
    .description('list, describe, configure, pause and delete queue groups, and redrive dead letters')
  withCommon(queue.command('list').description('list the queue groups')).action(
    async (options: CommonOptions) => {
      const groups = await withClient(options, (client) => client.queues.list())
      if (options.json) return printJson(groups)
      printTable([
        ['group', 'workers', 'topics', 'dead'],
        ...groups.map((one) => [one.group, one.workers, one.topics, one.dead]),
      ])
    },
  )
  withCommon(
    queue
      .command('describe <group>')
      .description('show the workers and messages of a group, and why messages do not move'),
  ).action(async (group: string, options: CommonOptions) => {
    const description = await withClient(options, (client) => client.queues.describe(group))
    if (options.json) printJson(description)
    else printDescription(description)
  })
  addPeek(queue)
  addSettings(queue)
  addDeadLetters(queue)
}

function addPeek(queue: Command): void {
  withCommon(
    queue.command('peek <group>').description('show unfinished messages of a group without leasing them'),
  )
    .option('--limit <n>', 'number of rows', wholeNumber(1, 10_000), 20)
    .option('--topic <name>', 'only messages of this topic')
    .addOption(
      new Option(
        '--state <state>',
        'waiting: ready, or behind another message of their key; in-flight: leased by a worker; delayed: waiting for a retry',
      ).choices(Object.keys(peekStates)),
    )
    .action(peek)
}

async function peek(group: string, { limit, topic, state, ...options }: PeekCommandOptions): Promise<void> {
  const wanted = state === undefined ? undefined : peekStates[state]
  const peeked = await withClient(options, async (client) => {
    await checkQueueTopic(client, group, topic)
    return client.queues.peek(group, { limit, topic, state: wanted })
  })
  if (options.json) {
    for (const { message, ...rest } of peeked)
      printJson({ ...rest, message: JSON.parse(jsonLineOf(message)) })
    return
  }
  printTable([
    ['topic', 'partition', 'offset', 'state', 'failed', 'due', 'worker', 'key', 'value'],
    ...peeked.map(({ message, state, attempts, dueAtMs, workerId }) => [
      message.topic,
      message.partition,
      message.offset,
      state === 'inFlight' ? 'in-flight' : state,
      attempts,
      dueAtMs === undefined ? '-' : new Date(dueAtMs).toISOString(),
      workerId ?? '-',
      previewOf(message.keyBytes, 20),
      previewOf(message.valueBytes, 60),
    ]),
  ])
}

/** The first characters of some bytes, on one line and without control characters. */
function previewOf(bytes: Uint8Array | undefined, charactersMax: number): string {
  if (bytes === undefined) return '-'
  const text = Buffer.from(bytes.subarray(0, 4 * charactersMax))
    .toString('utf8')
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\ufffd')
  return text.length > charactersMax ? `${text.slice(0, charactersMax - 1)}…` : text
}

function addSettings(queue: Command): void {
  const configure = queue.command('configure <group>').description('change the settings of a group')
  withCommon(configure)
    .addOption(new Option('--order <which>', 'order of messages').choices(['none', 'key']))
    .option('--attempts <n>', 'attempts after which a message is a dead letter', wholeNumber(1, 1_000_000))
    .addOption(new Option('--retry <kind>', 'how retry delays grow').choices(['fixed', 'exponential']))
    .option('--delay <time>', 'delay before the second attempt, like 500ms or 10s; with --retry', duration)
    .option('--max-delay <time>', 'limit of the retry delay; with --retry', duration)
    .option('--ttl <time>', 'age at which waiting messages expire; 0: never', durationOrZero)
    .addOption(
      new Option('--expired <what>', 'what happens to expired messages').choices(['dead-letter', 'drop']),
    )
    .option('--priorities', 'deliver messages of higher priority first')
    .option('--no-priorities', 'deliver messages in their order')
    .action(async (group: string, options: ConfigureOptions) => {
      const settings = await withClient(options, (client) =>
        client.queues.configure(group, settingsOf(options)),
      )
      if (options.json) return printJson(settings)
      printTable(Object.entries(settings).map(([name, value]) => [name, JSON.stringify(value)]))
    })
  refuseBoth(configure, '--priorities', '--no-priorities')
  for (const [name, done, description] of [
    ['pause', 'paused', 'pause deliveries until resume; leased messages continue'],
    ['resume', 'resumed', 'resume deliveries'],
  ] as const) {
    withCommon(queue.command(`${name} <group>`).description(description)).action(
      async (group: string, options: CommonOptions) => {
        await withClient(options, (client) => client.queues[name](group))
        if (options.json) printJson({ group, paused: name === 'pause' })
        else process.stdout.write(`${done} queue group "${group}"\n`)
      },
    )
  }
  withCommon(
    queue.command('delete <group>').description('delete a group, but not its dead-letter topic'),
  ).action(async (group: string, options: CommonOptions) => {
    await withClient(options, (client) => client.queues.delete(group))
    if (options.json) printJson({ group, deleted: true })
    else process.stdout.write(`deleted queue group "${group}"\n`)
  })
}

function addDeadLetters(queue: Command): void {
  withCommon(
    queue
      .command('dead <group>')
      .description('show the dead letters of a group: their reasons, and the newest'),
  )
    .option('--reason <text>', 'only dead letters with this text in their reason or error')
    .option('--topic <name>', 'only messages of this topic')
    .option('--limit <n>', 'number of rows', wholeNumber(), 20)
    .action(async (group: string, options: LettersOptions) => {
      const { limit = 0 } = options
      const counts = new Map<string, number>()
      let newest: DeadLetter[] = []
      await withClient(options, async (client) => {
        await checkQueueTopic(client, group, options.topic)
        for await (const letter of client.queues.deadLetters(group)) {
          if (!matches(letter, options)) continue
          const reason = reasonOf(letter)
          counts.set(reason, (counts.get(reason) ?? 0) + 1)
          newest.push(letter)
          if (newest.length > 2 * limit) newest = last(newest, limit)
        }
      })
      newest = last(newest, limit)
      const reasons = [...counts].sort(([, a], [, b]) => b - a)
      if (options.json) {
        printJson({ reasons: reasons.map(([reason, count]) => ({ reason, count })), letters: newest })
        return
      }
      printTable([['count', 'reason'], ...reasons.map(([reason, count]) => [count, reason])])
      if (newest.length === 0) return
      printTable([
        ['dead letter', 'topic', 'partition', 'offset', 'attempts', 'died', 'reason'],
        ...newest.map((one) => [
          one.offset,
          one.topic,
          one.partition,
          one.originOffset,
          one.attempts,
          new Date(one.diedAtMs).toISOString(),
          reasonOf(one),
        ]),
      ])
    })
  withCommon(
    queue
      .command('redrive <group>')
      .description('deliver dead letters to their group again, each at most once'),
  )
    .option(
      '--letter <n>',
      'only the dead letter with this number in `queue dead`; repeatable',
      collect(wholeNumber()),
    )
    .option('--reason <text>', 'only dead letters with this text in their reason or error')
    .option('--topic <name>', 'only messages of this topic')
    .action(async (group: string, options: RedriveOptions) => {
      let shown = 0
      const skipped: DeadLetter[] = []
      const redriven = await withClient(options, async (client) => {
        await checkQueueTopic(client, group, options.topic)
        await checkLetters(client, group, options.letter)
        return client.queues.redrive(group, {
          which: (letter) => (options.letter?.includes(letter.offset) ?? true) && matches(letter, options),
          onProgress: (count) => {
            if (options.json || count - shown < progressEvery) return
            shown = count
            process.stderr.write(`redrove ${count} so far\n`)
          },
          onSkipped: (letter) => skipped.push(letter),
        })
      })
      if (options.json) printJson({ group, redriven, skipped: skipped.length })
      else {
        process.stdout.write(`redrove ${redriven} dead letters of queue group "${group}"\n`)
        if (skipped.length > 0) process.stdout.write(skippedText(skipped))
      }
      const [first] = skipped
      if (options.letter !== undefined && first !== undefined)
        throw new MillraceError(
          'BAD_OPTION',
          `dead letter ${first.offset} of queue group "${group}" has no message to deliver; it died as ${reasonOf(first)}`,
        )
    })
}

/** `slice(-0)` would return all. */
function last<Item>(items: readonly Item[], count: number): Item[] {
  return items.slice(Math.max(0, items.length - count))
}

function settingsOf(options: ConfigureOptions): QueueOptions {
  const { order, attempts, retry, delay, maxDelay, ttl, expired, priorities } = options
  if (retry === undefined && (delay ?? maxDelay) !== undefined)
    throw new MillraceError('BAD_OPTION', '--delay and --max-delay have no effect without --retry')
  return {
    order,
    attemptsMax: attempts,
    retry: retry && { kind: retry, delay: delay ?? '1s', max: maxDelay },
    ttl: ttl === '0' ? 0 : ttl,
    expired,
    priorities,
  }
}

/** @throws InvalidArgumentError */
function durationOrZero(text: string): string {
  return text === '0' ? text : duration(text)
}

function matches(letter: DeadLetter, { reason, topic }: LettersOptions): boolean {
  return (
    (topic === undefined || letter.topic === topic) &&
    (reason === undefined || reasonOf(letter).includes(reason))
  )
}

function skippedText(letters: readonly DeadLetter[]): string {
  const unreadable = letters.filter(({ reason }) => reason === 'unreadable').length
  const tooLarge = letters.length - unreadable
  const kinds = [
    ...(unreadable > 0 ? [`${unreadable} of batches that could not be opened`] : []),
    ...(tooLarge > 0 ? [`${tooLarge} of messages that were too large for a dead letter`] : []),
  ]
  return `skipped ${letters.length} dead letters without a message to deliver: ${kinds.join(', ')}\n`
}

function reasonOf({ reason, error }: DeadLetter): string {
  return error === '' ? reason : `${reason}: ${error}`
}

function printDescription({ group, workers, partitions, dead, settings, reasons }: QueueDescription): void {
  const sum = (field: 'waiting' | 'inFlight' | 'delayed'): number =>
    partitions.reduce((total, one) => total + one[field], 0)
  const state = settings.paused ? 'paused' : `${workers.length} workers`
  process.stdout.write(
    `${group}: ${state}, ${sum('waiting')} waiting, ${sum('inFlight')} in flight, ${sum('delayed')} delayed, ${dead} dead\n`,
  )
  for (const reason of reasons) process.stdout.write(`! ${reason}\n`)
  if (workers.length > 0)
    printTable([
      ['worker', 'client', 'address', 'concurrency', 'in flight', 'asks for more'],
      ...workers.map((one) => [
        one.workerId,
        one.clientName,
        one.address,
        one.concurrency,
        one.inFlight,
        one.asking ? 'yes' : 'no',
      ]),
    ])
  if (partitions.length > 0)
    printTable([
      ['topic', 'partition', 'done before', 'end', 'waiting', 'in flight', 'delayed', 'oldest'],
      ...partitions.map((one) => [
        one.topic,
        one.partition,
        one.doneOffset,
        one.endOffset,
        one.waiting,
        one.inFlight,
        one.delayed,
        one.oldestTimestampMs === undefined ? '-' : new Date(one.oldestTimestampMs).toISOString(),
      ]),
    ])
}
