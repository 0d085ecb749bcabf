import { type Command, Option } from 'commander'
import {
  bytes,
  type Client,
  type Compression,
  defineTopic,
  type MessageInput,
  MillraceError,
  type TopicSummary,
} from '../../client/index.js'
import { compressions, limits } from '../../protocol/index.js'
import { Channel } from '../channel.js'
import { exitCodes } from '../errors.js'
import { lines, openInput } from '../lines.js'
import { importLineOf, type MessageLine, type TopicLine } from '../messages/import_line.js'
import { type CommonOptions, openClient, withCommon } from '../options.js'
import { counted, formatDuration, Progress, printJson } from '../output.js'
import { PublishInterrupt, untilAborted } from '../publish_interrupt.js'

interface ImportOptions extends CommonOptions {
  readonly topic?: string
  readonly repartition?: true
  readonly compression: Compression
}

type Input = MessageInput<Uint8Array | null, Uint8Array>

/** JSON escapes a control character as six characters. */
const lineBytesMax = 8 * limits.frameBytesMax

export function addImport(program: Command): void {
  withCommon(
    program
      .command('import [file]')
      .description('publish messages from a file of "export" or of "consume --format json", or from stdin'),
  )
    .option('--topic <topic>', 'publish to this topic instead of the one in the file')
    .option('--repartition', 'choose the partition of each message by its key, not the one in the file')
    .addOption(
      new Option('--compression <codec>', 'codec of the batches').choices(compressions).default('none'),
    )
    .action(importFile)
}

async function importFile(file: string | undefined, options: ImportOptions): Promise<void> {
  const interrupt = new PublishInterrupt()
  const client = await openClient(options, interrupt.stop, { compression: options.compression })
  const progress = new Progress('imported')
  const endWatch = interrupt.watch(client)
  const running = new Import(client, options, interrupt.giveUp, progress)
  try {
    const input = untilAborted(lines(openInput(file ?? '-'), lineBytesMax), interrupt.stop)
    await running.run(input)
  } catch (error) {
    if (!interrupt.giveUp.aborted) {
      if (running.published > 0)
        process.stderr.write(`millrace: ${counted(running.published)} published before the failure\n`)
      throw error
    }
  } finally {
    progress.done()
    endWatch()
    interrupt.release()
    await client.close(interrupt.stop.aborted ? { timeoutMs: 0 } : {})
  }
  report(running, options, interrupt)
}

function report(
  { targets, read, published }: Import,
  options: ImportOptions,
  interrupt: PublishInterrupt,
): void {
  for (const { name, settings, tooOld } of targets.values())
    if (tooOld > 0)
      process.stderr.write(
        `millrace: ${counted(tooOld)} of topic "${name}" are older than its retention of ${formatDuration(settings.retentionMs)}; the broker drops them soon\n`,
      )
  const unconfirmed = interrupt.giveUp.aborted ? read - published : 0
  const topics = Object.fromEntries([...targets.values()].map((one) => [one.name, one.published]))
  if (options.json) printJson({ count: published, topics, ...(unconfirmed > 0 ? { unconfirmed } : {}) })
  else
    process.stdout.write(
      `imported ${counted(published)} to ${
        Object.keys(topics)
          .map((name) => `"${name}"`)
          .join(', ') || 'no topic'
      }\n`,
    )
  if (unconfirmed > 0)
    process.stderr.write(
      `millrace: interrupted; ${counted(unconfirmed)} more read, which the broker has not confirmed: they may be published or not\n`,
    )
  if (interrupt.stop.aborted) process.exitCode = exitCodes.interrupted
}

/** A topic that receives imported messages. */
interface Target extends TopicSummary {
  readonly channel: Channel<Input>
  readonly done: Promise<unknown>
  published: number
  tooOld: number
}

/** One run of the command: one stream of messages per topic, so that topics do not wait for each other. */
class Import {
  readonly targets = new Map<string, Target>()
  /** Messages read so far. */
  read = 0
  readonly #client: Client
  readonly #options: ImportOptions
  readonly #signal: AbortSignal
  readonly #progress: Progress
  #onlyTopic: string | undefined

  constructor(client: Client, options: ImportOptions, signal: AbortSignal, progress: Progress) {
    this.#client = client
    this.#options = options
    this.#signal = signal
    this.#progress = progress
  }

  get published(): number {
    let published = 0
    for (const target of this.targets.values()) published += target.published
    return published
  }

  /** @throws MillraceError for the first line that is not valid; the messages before it are published */
  async run(input: AsyncIterable<Uint8Array>): Promise<void> {
    const failures: unknown[] = []
    try {
      await this.#readAll(input)
    } catch (error) {
      failures.push(error)
    }
    for (const { channel } of this.targets.values()) channel.end()
    for (const { done } of this.targets.values()) await done.catch((error: unknown) => failures.push(error))
    if (failures.length > 0) throw failures[0]
  }

  async #readAll(input: AsyncIterable<Uint8Array>): Promise<void> {
    let number = 0
    for await (const text of input) {
      number++
      if (text.length === 0) continue
      const line = importLineOf(text, number)
      const topic = this.#topicOf(line, number)
      if (line.kind === 'topic') await this.#ensure(topic, line)
      else {
        const target = this.targets.get(topic) ?? (await this.#open(topic))
        const message = this.#messageOf(line)
        if (isOlder(line, target)) target.tooOld++
        this.read++
        await target.channel.push(message)
      }
    }
  }

  #topicOf({ topic }: TopicLine | MessageLine, number: number): string {
    const { topic: other } = this.#options
    if (other === undefined) {
      if (topic !== undefined) return topic
      throw new MillraceError(
        'DECODE_FAILED',
        `line ${number}: the field "topic" is missing; name one with --topic`,
      )
    }
    if (topic !== undefined) this.#onlyTopic ??= topic
    if (topic !== undefined && topic !== this.#onlyTopic)
      throw new MillraceError(
        'BAD_OPTION',
        `--topic works with the messages of one topic; line ${number} is of "${topic}", lines before it are of "${this.#onlyTopic}"`,
      )
    return other
  }

  #messageOf({ partition, timestamp, key, headers, value }: MessageLine): Input {
    return { key, value, headers, timestamp, partition: this.#options.repartition ? undefined : partition }
  }

  /**
   * Creates the topic as in the export. An existing topic must have the same number of partitions, and keeps its
   * settings.
   */
  async #ensure(name: string, { options }: TopicLine): Promise<void> {
    const found = await this.#client.topics.ensure(name, options)
    if (found.created)
      process.stderr.write(`millrace: created topic "${name}" with ${options.partitions} partitions\n`)
    if (found.partitions >= options.partitions || this.#options.repartition) return
    throw new MillraceError(
      'UNKNOWN_PARTITION',
      `topic "${name}" has ${found.partitions} partitions, and the exported one ${options.partitions}: add some with "millrace topic alter ${name} --partitions ${options.partitions}", or use --repartition`,
    )
  }

  async #open(name: string): Promise<Target> {
    const { topic } = await this.#client.topics.describe(name, { signal: this.#signal })
    const channel = new Channel<Input>()
    const done = this.#client.publishMany(defineTopic(name, { key: bytes, tombstones: true }), channel, {
      signal: this.#signal,
      onAcknowledged: (count) => {
        target.published = count
        this.#progress.update(this.published)
      },
    })
    // The reader of the input must get the error too: otherwise it would wait for room.
    done.catch((error: unknown) => channel.fail(error))
    const target: Target = { ...topic, channel, done, published: 0, tooOld: 0 }
    this.targets.set(name, target)
    return target
  }
}

function isOlder({ timestamp }: MessageLine, { settings: { retentionMs } }: Target): boolean {
  return timestamp !== undefined && retentionMs >= 0 && timestamp < Date.now() - retentionMs
}
