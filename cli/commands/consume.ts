import { type Command, Option } from 'commander'
import {
  type Client,
  isMillraceError,
  MillraceError,
  type SkippedMessages,
  type StartPosition,
} from '../../client/index.js'
import { errorText } from '../errors.js'
import { type FilterOptions, type HeaderFilter, headerFilter, messageFilter } from '../messages/filter.js'
import { jsonLineOf } from '../messages/json_line.js'
import { lastOffsets, Newest } from '../messages/newest.js'
import { type ReadOptions, readMessages } from '../messages/reader.js'
import type { StopPosition } from '../messages/stops.js'
import { type MessageFormat, messageTemplate } from '../messages/template.js'
import { type CommonOptions, collect, wholeNumber, withCommon } from '../options.js'
import { Progress, writeOutput } from '../output.js'
import { startPosition, stopPosition } from '../start_position.js'
import { untilInterrupted } from '../until_interrupted.js'

interface ConsumeOptions extends CommonOptions, FilterOptions {
  readonly group?: string
  readonly from?: StartPosition
  readonly last?: number
  readonly until?: StopPosition
  readonly count?: number
  readonly follow?: true
  readonly format?: 'value' | 'json'
  readonly output?: MessageFormat
  readonly partition?: readonly number[]
  readonly header?: readonly HeaderFilter[]
}

const lastMax = 1_000_000

export function addConsume(program: Command): void {
  withCommon(program.command('consume <topic...>').description('print the messages of one or more topics'))
    .option('-g, --group <group>', 'read as a member of this group, and acknowledge messages that were read')
    .option(
      '--from <where>',
      'earliest, latest, an offset, or a time (default: earliest, with --follow latest)',
      startPosition,
    )
    .option(
      '--last <n>',
      'start with the last n messages, in the order of their timestamps',
      wholeNumber(1, lastMax),
    )
    .option('--until <where>', 'stop before this offset of each partition, or before this time', stopPosition)
    .option('-n, --count <n>', 'stop after this many printed messages', wholeNumber(1))
    .option('-F, --follow', 'wait for more messages at the end')
    .option('--partition <n>', 'only this partition, of one topic; repeatable', collect(wholeNumber()))
    .option('-k, --key <key>', 'only messages with this key')
    .option(
      '--header <name[=value]>',
      'only messages with this header; repeatable, all must match',
      collect(headerFilter),
    )
    .option('--grep <pattern>', 'only messages with a value that matches this regular expression')
    .option('-i, --ignore-case', 'ignore case in --grep')
    .addOption(
      new Option('--format <format>', 'value: one line per value; json: one JSON line per message').choices([
        'value',
        'json',
      ]),
    )
    .addOption(
      new Option(
        '-o, --output <format>',
        'print this text with %t topic, %p partition, %o offset, %T timestamp (ms), %k key, %v value, %h headers, \\n, \\t',
      )
        .argParser(messageTemplate)
        .conflicts('format'),
    )
    .action(consume)
}

async function consume(topics: readonly string[], options: ConsumeOptions): Promise<void> {
  check(topics, options)
  // A terminal shows the messages themselves; the counter is for redirected output.
  const progress = new Progress('consumed', process.stderr.isTTY === true && process.stdout.isTTY !== true)
  await untilInterrupted(
    options,
    (client, signal) => new Printing(client, [...new Set(topics)], options, progress, signal).run(),
    { progress },
  )
}

/** @throws MillraceError BAD_OPTION that names the flags */
function check(topics: readonly string[], options: ConsumeOptions): void {
  const { group, from, last, until, partition } = options
  const bad = (problem: string): MillraceError => new MillraceError('BAD_OPTION', problem)
  if (group !== undefined) {
    if (last !== undefined) throw bad('--last works without --group: a group starts at its committed offsets')
    if (until !== undefined) throw bad('--until works without --group')
    if (partition !== undefined)
      throw bad('--partition works without --group: the broker assigns the partitions of a group')
  }
  if (last !== undefined && from !== undefined) throw bad('give --last or --from, not both')
  if (partition !== undefined && new Set(topics).size > 1) throw bad('--partition works with one topic')
}

/** One run of the command. */
class Printing {
  readonly #client: Client
  readonly #topics: readonly string[]
  readonly #options: ConsumeOptions
  readonly #progress: Progress
  readonly #signal: AbortSignal
  readonly #format: MessageFormat
  readonly #passes: ReturnType<typeof messageFilter>
  readonly #count: number
  #printed = 0

  constructor(
    client: Client,
    topics: readonly string[],
    options: ConsumeOptions,
    progress: Progress,
    signal: AbortSignal,
  ) {
    this.#client = client
    this.#topics = topics
    this.#options = options
    this.#progress = progress
    this.#signal = signal
    this.#format = formatOf(options)
    this.#passes = messageFilter(options)
    this.#count = options.count ?? Number.POSITIVE_INFINITY
  }

  async run(): Promise<void> {
    const { group, last, follow = false } = this.#options
    const from = this.#options.from ?? (follow && group === undefined ? 'latest' : 'earliest')
    if (last === undefined) return this.#print({ from, follow })
    const goOn = await this.#printLast(last)
    if (follow && goOn !== undefined) await this.#print({ from, follow, starts: goOn })
  }

  async #print(reading: Pick<ReadOptions, 'from' | 'follow' | 'starts'>): Promise<void> {
    for await (const messages of this.#read(reading)) {
      const lines: Uint8Array[] = []
      let read = 0
      for (const message of messages) {
        if (this.#printed + lines.length >= this.#count) break
        read++
        if (this.#passes?.(message) ?? true) lines.push(this.#format(message))
      }
      if (!(await this.#write(lines))) return
      for (const message of messages.slice(0, read)) message.ack()
      if (this.#printed >= this.#count) return
    }
  }

  /** Prints the last messages; returns the offsets to continue from, or undefined if the command is finished. */
  async #printLast(last: number): Promise<ReadonlyMap<string, readonly number[]> | undefined> {
    const { starts, ends } = await lastOffsets(this.#client, this.#topics, last, this.#signal)
    const goOn = new Map([...ends].map(([topic, offsets]) => [topic, [...offsets]]))
    const newest = new Newest<Uint8Array | undefined>(last)
    for await (const messages of this.#read({ from: 'earliest', follow: false, starts }))
      for (const message of messages) {
        const { topic, partition, offset } = message
        const next = goOn.get(topic)
        if (next !== undefined) next[partition] = Math.max(next[partition] ?? 0, offset + 1)
        newest.add(message, (this.#passes?.(message) ?? true) ? this.#format(message) : undefined)
      }
    const lines = newest.take().filter((line) => line !== undefined)
    const isOpen = await this.#write(lines.slice(0, this.#count))
    return isOpen && this.#printed < this.#count ? goOn : undefined
  }

  #read(reading: Pick<ReadOptions, 'from' | 'follow' | 'starts'>): ReturnType<typeof readMessages> {
    const { group, until, partition: partitions } = this.#options
    const hooks = { onSkipped: tellSkipped, onError: tellRetry }
    const options = { ...reading, group, until, partitions, signal: this.#signal, hooks }
    return readMessages(this.#client, this.#topics, options)
  }

  /** Resolves with false if the reader of the output has ended. */
  async #write(lines: readonly Uint8Array[]): Promise<boolean> {
    if (lines.length > 0 && !(await writeOutput(Buffer.concat(lines)))) return false
    this.#printed += lines.length
    this.#progress.update(this.#printed)
    return true
  }
}

/** The client already reports a lost connection. */
function tellRetry(error: unknown): void {
  if (isMillraceError(error, 'CONNECTION_LOST', 'NOT_CONNECTED')) return
  process.stderr.write(`millrace: ${errorText(error)}; trying again\n`)
}

function tellSkipped({ topic, partition, fromOffset, toOffset }: SkippedMessages): void {
  process.stderr.write(
    `millrace: messages ${fromOffset} to ${toOffset - 1} of partition ${partition} of "${topic}" were dropped by retention; continuing at ${toOffset}\n`,
  )
}

const lineEnd = Buffer.from('\n')

function formatOf({ format, output, json }: ConsumeOptions): MessageFormat {
  if (output !== undefined) return output
  if ((format ?? (json ? 'json' : 'value')) === 'json')
    return (message) => Buffer.from(`${jsonLineOf(message)}\n`)
  return ({ valueBytes }) => Buffer.concat([valueBytes ?? Buffer.alloc(0), lineEnd])
}
