import { type Command, Option } from 'commander'
import {
  defineTopic,
  isMillraceError,
  type Message,
  MillraceError,
  type SkippedMessages,
  type StartPosition,
} from '../../client/index.js'
import { errorText } from '../errors.js'
import {
  type CommonOptions,
  collect,
  interruptSignal,
  wholeNumber,
  withClient,
  withCommon,
} from '../options.js'
import { Progress, writeOutput } from '../output.js'
import { startPosition } from '../start_position.js'

interface ConsumeOptions extends CommonOptions {
  readonly group?: string
  readonly from?: StartPosition
  readonly count?: number
  readonly follow?: true
  readonly format?: 'value' | 'json'
  readonly partition?: readonly number[]
}

export function addConsume(program: Command): void {
  withCommon(program.command('consume <topic>').description('print the messages of a topic'))
    .option('-g, --group <group>', 'as a member of this group; what was printed is acknowledged')
    .option(
      '--from <where>',
      'earliest, latest, an offset, or a time (default: earliest, with --follow latest)',
      startPosition,
    )
    .option('-n, --count <n>', 'stop after this many messages', wholeNumber(1))
    .option('-F, --follow', 'wait for more at the end')
    .option('--partition <n>', 'only this partition; repeatable', collect(wholeNumber()))
    .addOption(
      new Option('--format <format>', 'value: a line for each value; json: a line for each message').choices([
        'value',
        'json',
      ]),
    )
    .action(consume)
}

async function consume(topicName: string, options: ConsumeOptions): Promise<void> {
  const { group, count = Number.POSITIVE_INFINITY, follow = false } = options
  const format = options.format ?? (options.json ? 'json' : 'value')
  const interrupt = interruptSignal()
  // A terminal shows the messages themselves; a counter is for output that goes elsewhere.
  const progress = new Progress('consumed', process.stderr.isTTY === true && process.stdout.isTTY !== true)
  try {
    await withClient(
      options,
      async (client) => {
        await client.topics.describe(topicName)
        const consumer = client.consume(defineTopic(topicName), {
          group,
          from: options.from ?? (follow && group === undefined ? 'latest' : 'earliest'),
          partitions: options.partition,
          until: follow ? undefined : 'end',
          signal: interrupt.signal,
          onSkipped: tellSkipped,
          onError: tellRetry,
        })
        let printed = 0
        for await (const batch of consumer.batches({ messagesMax: Math.min(count, 1_000) })) {
          const messages = batch.messages.slice(0, count - printed)
          const text = messages.map((message) => lineOf(message, format))
          if (!(await writeOutput(Buffer.concat(text)))) break
          for (const message of messages) message.ack()
          printed += messages.length
          progress.update(printed)
          if (printed >= count) break
        }
      },
      interrupt.signal,
    )
  } finally {
    progress.done()
    interrupt.release()
  }
}

/** The loss of the connection is told by the client. */
function tellRetry(error: unknown): void {
  if (isMillraceError(error, 'CONNECTION_LOST', 'NOT_CONNECTED')) return
  process.stderr.write(`millrace: ${errorText(error)}; trying again\n`)
}

function tellSkipped({ topic, partition, fromOffset, toOffset }: SkippedMessages): void {
  process.stderr.write(
    `millrace: messages ${fromOffset} to ${toOffset - 1} of partition ${partition} of "${topic}" are no longer kept; going on at ${toOffset}\n`,
  )
}

const lineEnd = Buffer.from('\n')

function lineOf(message: Message<Uint8Array, string>, format: 'value' | 'json'): Buffer {
  if (format === 'value') return Buffer.concat([message.valueBytes ?? Buffer.alloc(0), lineEnd])
  const { topic, partition, offset, timestamp } = message
  const headers = Object.fromEntries(
    Object.entries(message.headerBytes).map(([name, bytes]) => [name, textOf(bytes)]),
  )
  const value = {
    topic,
    partition,
    offset,
    timestamp,
    key: textOf(message.keyBytes),
    headers,
    value: textOf(message.valueBytes),
  }
  return Buffer.from(`${JSON.stringify(value)}\n`)
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** UTF-8 as text, other bytes as `{ base64 }`, nothing as null. */
function textOf(bytes: Uint8Array | undefined): string | { base64: string } | null {
  if (bytes === undefined) return null
  try {
    return strictUtf8.decode(bytes)
  } catch (error) {
    if (!(error instanceof TypeError)) throw new MillraceError('DECODE_FAILED', undefined, { cause: error })
    return { base64: Buffer.from(bytes).toString('base64') }
  }
}
