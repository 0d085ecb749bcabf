import type { Command } from 'commander'
import { bytes, defineService, durationMs, isMillraceError, MillraceError } from '../../client/index.js'
import { durationText } from '../../protocol/index.js'
import { errorText, exitCodes } from '../errors.js'
import { openInput } from '../lines.js'
import { jsonBytesOf } from '../messages/json_line.js'
import {
  addHeader,
  type CommonOptions,
  duration,
  interruptSignal,
  withClient,
  withCommon,
} from '../options.js'
import { printJson, writeOutput } from '../output.js'

interface RequestOptions extends CommonOptions {
  readonly timeout: string
  readonly key?: string
  readonly header?: Readonly<Record<string, string>>
}

export function addRequest(program: Command): void {
  withCommon(
    program
      .command('request <topic> [value]')
      .description(
        'send a request to a service and print its reply; without a value, read the request from stdin',
      ),
  )
    .option(
      '--timeout <time>',
      'how long to wait for the connection and the reply, like 500ms or 10s',
      duration,
      '5s',
    )
    .option('-k, --key <key>', 'key of the request')
    .option('--header <name=value>', 'header of the request; repeatable', addHeader)
    .action(request)
}

async function request(topic: string, value: string | undefined, options: RequestOptions): Promise<void> {
  const { timeout, key, header: headers } = options
  const timeoutMs = durationMs('timeout', timeout)
  const service = defineService(topic, { request: bytes, reply: bytes })
  const interrupt = interruptSignal()
  const { signal } = interrupt
  try {
    const body = value === undefined ? await readAll() : Buffer.from(value)
    const startedMs = performance.now()
    const reply = await withClient(
      options,
      (client) => {
        const leftMs = Math.max(1, timeoutMs - (performance.now() - startedMs))
        return client.request(service, { key, value: body, headers }, { timeoutMs: leftMs, signal })
      },
      signal,
      timeoutMs,
    )
    const ms = Math.round((performance.now() - startedMs) * 10) / 10
    if (options.json) printJson({ reply: jsonBytesOf(reply), ms })
    else await writeOutput(Buffer.concat([reply, Buffer.from('\n')]))
  } catch (error) {
    if (signal.aborted) {
      process.stderr.write('millrace: interrupted; the service may still handle the request\n')
      process.exitCode = exitCodes.interrupted
    } else if (isMillraceError(error, 'REPLY_FAILED')) {
      process.stderr.write(`millrace: the service failed: ${errorText(error)}\n`)
      process.exitCode = exitCodes.failed
    } else if (isMillraceError(error, 'REQUEST_TIMEOUT')) {
      // The time for the connection is part of --timeout.
      const problem = `service "${topic}" did not reply within ${durationText(timeoutMs)}`
      throw new MillraceError('REQUEST_TIMEOUT', problem, { cause: error })
    } else throw error
  } finally {
    interrupt.release()
  }
}

async function readAll(): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of openInput('-')) chunks.push(chunk)
  return Buffer.concat(chunks)
}
