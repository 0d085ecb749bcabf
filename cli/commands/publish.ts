import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  type Client,
  type Compression,
  defineTopic,
  type MessageInput,
  MillraceError,
  type Receipt,
} from '../../client/index.js'
import { compressions } from '../../protocol/index.js'
import { exitCodes } from '../errors.js'
import { lines, openInput } from '../lines.js'
import { addHeader, type CommonOptions, duration, openClient, wholeNumber, withCommon } from '../options.js'
import { counted, Progress, printJson } from '../output.js'
import { PublishInterrupt, untilAborted } from '../publish_interrupt.js'

interface PublishOptions extends CommonOptions {
  readonly file?: string
  readonly key?: string
  readonly keyField?: string
  readonly header?: Readonly<Record<string, string>>
  readonly partition?: number
  readonly delay?: string
  readonly deliverAt?: Date
  readonly id?: string
  readonly compression: Compression
}

type Input = MessageInput<Uint8Array, string>

export function addPublish(program: Command): void {
  withCommon(
    program
      .command('publish <topic> [value]')
      .description('publish a value, or each line of a file or of stdin'),
  )
    .option('-f, --file <file>', 'read lines from a file, - for stdin; .gz is decompressed')
    .option('-k, --key <key>', 'key of every message')
    .option('--key-field <name>', 'take the key from this field of each JSON value')
    .option('--header <name=value>', 'header of every message; repeatable', addHeader)
    .option('--partition <n>', 'publish to this partition', wholeNumber())
    .addOption(
      new Option('--delay <time>', 'deliver the message after this delay, like 30s or 2h')
        .argParser(duration)
        .conflicts('deliverAt'),
    )
    .option('--deliver-at <time>', 'deliver the message at this time, like 2027-01-31T08:00:00Z', timeOf)
    .option('--id <id>', 'message id for deduplication; for a single value')
    .addOption(
      new Option('--compression <codec>', 'codec of the batches').choices(compressions).default('none'),
    )
    .action(publish)
}

function timeOf(text: string): Date {
  const time = new Date(text)
  if (Number.isNaN(time.getTime()))
    throw new InvalidArgumentError('expected a time like 2027-01-31T08:00:00Z')
  return time
}

async function publish(topicName: string, value: string | undefined, options: PublishOptions): Promise<void> {
  if (value !== undefined && options.file !== undefined) {
    throw new MillraceError('BAD_OPTION', 'give a value or --file, not both')
  }
  if (value === undefined && options.id !== undefined) {
    throw new MillraceError(
      'BAD_OPTION',
      '--id works with one value: the broker would drop all lines after the first as duplicates',
    )
  }
  if (options.key !== undefined && options.keyField !== undefined) {
    throw new MillraceError('BAD_OPTION', 'give --key or --key-field, not both')
  }
  const interrupt = new PublishInterrupt()
  const signal = interrupt.stop
  const client = await openClient(options, signal, { compression: options.compression })
  try {
    if (value !== undefined) await publishOne(client, topicName, value, options, signal)
    else await publishLines(client, topicName, options, interrupt)
  } finally {
    interrupt.release()
    await client.close(signal.aborted ? { timeoutMs: 0 } : {})
  }
}

async function publishOne(
  client: Client,
  topicName: string,
  value: string,
  options: PublishOptions,
  signal: AbortSignal,
): Promise<void> {
  const message = messageOf(Buffer.from(value), 1, options)
  let receipt: Receipt
  try {
    receipt = await client.publish(defineTopic(topicName), message, { signal })
  } catch (error) {
    if (!signal.aborted) throw error
    process.stderr.write(
      'millrace: interrupted; the broker has not confirmed the message, it may be published\n',
    )
    process.exitCode = exitCodes.interrupted
    return
  }
  if (options.json) printJson(receipt)
  else process.stdout.write(receiptText(receipt))
}

function receiptText({ partition, offset, id, status }: Receipt): string {
  switch (status) {
    case 'delayed':
      return `delayed for partition ${partition}, with the id ${id}\n`
    case 'duplicate':
      return `not published again: ${id} ${offset < 0 ? 'is delayed' : `is at offset ${offset} of partition ${partition}`}\n`
    default:
      return `published to partition ${partition} at offset ${offset}\n`
  }
}

async function publishLines(
  client: Client,
  topicName: string,
  options: PublishOptions,
  interrupt: PublishInterrupt,
): Promise<void> {
  const { stop, giveUp } = interrupt
  const topic = defineTopic(topicName)
  const progress = new Progress('published')
  let read = 0
  let published = 0
  if (options.file === undefined && process.stdin.isTTY === true) {
    process.stderr.write('reading lines from the terminal; Ctrl-D ends the input\n')
  }
  async function* messages(): AsyncGenerator<Input> {
    for await (const line of lines(openInput(options.file ?? '-'))) {
      if (stop.aborted) return
      const message = messageOf(line, read + 1, options)
      read++
      yield message
    }
  }
  const onAcknowledged = (count: number): void => {
    published = count
    progress.update(count)
  }
  const endWatch = interrupt.watch(client)
  try {
    const input = untilAborted(messages(), stop)
    await client.publishMany(topic, input, { signal: giveUp, onAcknowledged })
  } catch (error) {
    if (!giveUp.aborted) {
      if (published > 0)
        process.stderr.write(`millrace: ${counted(published)} published before the failure\n`)
      throw error
    }
  } finally {
    progress.done()
    endWatch()
  }
  const unconfirmed = giveUp.aborted ? read - published : 0
  if (options.json)
    printJson({ topic: topicName, count: published, ...(unconfirmed > 0 ? { unconfirmed } : {}) })
  else process.stdout.write(`published ${counted(published)} to "${topicName}"\n`)
  if (unconfirmed > 0)
    process.stderr.write(
      `millrace: interrupted; ${counted(unconfirmed)} more read, which the broker has not confirmed: they may be published or not\n`,
    )
  if (stop.aborted) process.exitCode = exitCodes.interrupted
}

function messageOf(value: Buffer, line: number, options: PublishOptions): Input {
  const { key, keyField, header, partition, delay, deliverAt, id } = options
  return {
    key: keyField === undefined ? key : fieldOf(value, keyField, line),
    value,
    headers: header,
    partition,
    delay,
    deliverAt,
    id,
  }
}

function fieldOf(value: Buffer, name: string, line: number): string {
  let parsed: unknown
  try {
    parsed = JSON.parse(value.toString('utf8'))
  } catch (cause) {
    throw new MillraceError(
      'ENCODE_FAILED',
      `line ${line} is not JSON, expected an object with the field "${name}" for --key-field`,
      { cause },
    )
  }
  const field =
    typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>)[name] : undefined
  if (typeof field === 'string') return field
  if (typeof field === 'number' || typeof field === 'boolean') return String(field)
  throw new MillraceError(
    'ENCODE_FAILED',
    `line ${line} has no text, number or boolean in the field "${name}"`,
  )
}
