import { createWriteStream, existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import type { Command } from 'commander'
import { type Client, MillraceError, type StartPosition } from '../../client/index.js'
import { exitCodes, writeError } from '../errors.js'
import { jsonLineOf } from '../messages/json_line.js'
import { readMessages } from '../messages/reader.js'
import type { StopPosition } from '../messages/stops.js'
import { type CommonOptions, collect, wholeNumber, withCommon } from '../options.js'
import { counted, Progress, printJson, writeOutput } from '../output.js'
import { startPosition, stopPosition } from '../start_position.js'
import { untilInterrupted } from '../until_interrupted.js'

interface ExportOptions extends CommonOptions {
  readonly out?: string
  readonly force?: true
  readonly from: StartPosition
  readonly until?: StopPosition
  readonly partition?: readonly number[]
}

export function addExport(program: Command): void {
  withCommon(
    program
      .command('export <topic...>')
      .description('write all messages of topics as JSON lines, for "millrace import"'),
  )
    .option('-o, --out <file>', 'write to this file instead of stdout; .gz is compressed')
    .option('--force', 'replace an existing file')
    .option('--from <where>', 'earliest, an offset, or a time', startPosition, 'earliest')
    .option('--until <where>', 'stop before this offset of each partition, or before this time', stopPosition)
    .option('--partition <n>', 'only this partition, of one topic; repeatable', collect(wholeNumber()))
    .action(exportTopics)
}

async function exportTopics(names: readonly string[], options: ExportOptions): Promise<void> {
  const topics = [...new Set(names)]
  const { out, force, partition } = options
  if (partition !== undefined && topics.length > 1)
    throw new MillraceError('BAD_OPTION', '--partition works with one topic')
  if (out === undefined && force) throw new MillraceError('BAD_OPTION', '--force has no effect without --out')
  const progress = new Progress(
    'exported',
    process.stderr.isTTY === true && (out !== undefined || process.stdout.isTTY !== true),
  )
  let count = 0
  let isRead = true
  const onCount = (messages: number): void => {
    count += messages
    progress.update(count)
  }
  const interrupted = await untilInterrupted(
    options,
    async (client, signal) => {
      const chunks = exported(client, topics, options, signal, onCount)
      if (out === undefined) isRead = await printAll(chunks)
      else await writeFile(out, force === true, chunks)
    },
    { progress, isClean: true },
  )
  // Like every program whose reader has ended (`| head`): watchOutput sets the exit code.
  if (!isRead) return
  if (interrupted) {
    const outcome = out === undefined ? 'the export is not complete' : 'no file was written'
    process.stderr.write(`millrace: interrupted after ${counted(count)}; ${outcome}\n`)
    process.exitCode = exitCodes.interrupted
  } else if (out === undefined) process.stderr.write(`exported ${counted(count)}\n`)
  else if (options.json) printJson({ file: out, topics, count })
  else process.stdout.write(`exported ${counted(count)} to ${out}\n`)
}

/** Resolves with false if the reader of the output has ended. */
async function printAll(chunks: AsyncIterable<Uint8Array>): Promise<boolean> {
  for await (const chunk of chunks) if (!(await writeOutput(chunk))) return false
  return true
}

async function* exported(
  client: Client,
  topics: readonly string[],
  options: ExportOptions,
  signal: AbortSignal,
  onCount: (messages: number) => void,
): AsyncGenerator<Uint8Array> {
  for (const name of topics) {
    const { topic } = await client.topics.describe(name, { signal })
    const { partitions, settings } = topic
    yield Buffer.from(`${JSON.stringify({ topic: name, partitions, settings })}\n`)
  }
  const { from, until, partition: partitions } = options
  const hooks = {}
  for await (const messages of readMessages(client, topics, {
    from,
    until,
    partitions,
    follow: false,
    signal,
    hooks,
  })) {
    yield Buffer.from(messages.map((message) => `${jsonLineOf(message)}\n`).join(''))
    onCount(messages.length)
  }
  signal.throwIfAborted()
}

/** Writes to a temporary file in the same folder first, so that the file with this name is complete and durable. */
async function writeFile(path: string, replace: boolean, chunks: AsyncGenerator<Uint8Array>): Promise<void> {
  if (!replace && existsSync(path))
    throw new MillraceError('BAD_OPTION', `"${path}" exists; choose another file, or replace it with --force`)
  const part = `${path}.part`
  try {
    const source = Readable.from(chunks, { objectMode: false })
    const target = createWriteStream(part, { flush: true })
    if (path.endsWith('.gz')) await pipeline(source, createGzip(), target)
    else await pipeline(source, target)
    await rename(part, path)
  } catch (error) {
    if (existsSync(part)) await rm(part)
    throw writeError(error, path)
  }
}
