import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ThroughputWork } from '../../lib/contender.js'
import { jsonLines } from '../../lib/sample_data.js'
import { monotonicMs } from '../../lib/worker.js'
import { measureServer, type PeerServer, type PeerThroughput } from '../lib/peer_workers.js'
import { usageOf } from '../lib/processes.js'
import { ServerProcess } from '../lib/server_process.js'
import { consumerReport, producerReport, rateOfConsumer, rateOfProducer } from './output.js'
import { javaArguments } from './server.js'

const mebibyte = 1024 * 1024
/** More than any run sends: the tools are stopped. */
const recordsMax = '1000000000000'
const reportEveryMs = 100
const firstReportMsMax = 60_000
const lateReportMsMax = 10_000
const reportsMin = 2
/** What bin/kafka-producer-perf-test.sh and its like give the tools. */
const toolHeap = ['-Xmx512M']
/** Not in the values that are sent. */
const payloadDelimiter = '%%%'

const producerProperties = [
  'batch.size=262144',
  'linger.ms=10',
  'buffer.memory=67108864',
  `max.request.size=${8 * mebibyte}`,
  'compression.type=none',
  'acks=all',
]
const consumerProperties = ['fetch.min.bytes=65536', 'fetch.max.wait.ms=10', 'max.poll.records=5000']

export interface ToolsOptions {
  readonly server: PeerServer
  /** Folder below which the tools may make theirs. */
  readonly dataRoot: string
  readonly topic: string
}

/** kafka-producer-perf-test alone; counts what is acknowledged. */
export async function publishWithTools(options: ToolsOptions, work: ThroughputWork): Promise<PeerThroughput> {
  const producer = await startProducer(options, work.messageBytes)
  try {
    return await measure(producer, producerReport, rateOfProducer, [], options, work)
  } finally {
    await producer.stop()
  }
}

/** kafka-producer-perf-test and kafka-consumer-perf-test at once; counts what the latter receives. */
export async function endToEndWithTools(
  options: ToolsOptions,
  work: ThroughputWork,
): Promise<PeerThroughput> {
  const producer = await startProducer(options, work.messageBytes)
  try {
    const consumer = await startConsumer(options)
    try {
      return await measure(consumer, consumerReport, rateOfConsumer, [producer], options, work)
    } finally {
      await consumer.stop()
    }
  } finally {
    await producer.stop()
  }
}

/** A running tool and the lines that it has printed. */
class Tool {
  readonly #process: ServerProcess
  readonly #lines: string[]
  readonly name: string

  private constructor(name: string, process: ServerProcess, lines: string[]) {
    this.name = name
    this.#process = process
    this.#lines = lines
  }

  /** Resolves when it has printed a line that `isReport`. @throws Error with its output when it doesn't within a minute */
  static async start(
    name: string,
    dataRoot: string,
    args: (folder: string) => Promise<readonly string[]>,
    isReport: (line: string) => boolean,
  ): Promise<Tool> {
    const lines: string[] = []
    let rest = ''
    const process = await ServerProcess.start({
      name: `kafka-${name}`,
      dataRoot,
      command: async ({ folder }) => ({ program: 'java', args: await args(folder) }),
      onOutput: (text) => {
        const parts = `${rest}${text}`.split('\n')
        rest = parts.pop() ?? ''
        lines.push(...parts)
      },
      probe: async () => {
        if (!lines.some(isReport)) throw new Error('the tool has reported nothing')
      },
      startMsMax: firstReportMsMax,
    })
    return new Tool(name, process, lines)
  }

  get pids(): readonly number[] {
    return this.#process.pids
  }

  /** How many lines it has printed. */
  get length(): number {
    return this.#lines.length
  }

  /** The lines from one number on up to another. @throws Error when it has ended */
  linesBetween(from: number, to: number): readonly string[] {
    if (this.#process.end !== undefined)
      throw new Error(`kafka ${this.name}: ${this.#process.end}\n${this.#process.output}`)
    return this.#lines.slice(from, to)
  }

  stop(): Promise<void> {
    return this.#process.stop()
  }
}

function startProducer({ server, dataRoot, topic }: ToolsOptions, messageBytes: number): Promise<Tool> {
  const args = async (folder: string): Promise<readonly string[]> => {
    const payload = join(folder, 'payload')
    await writeFile(payload, jsonLines(messageBytes))
    return javaArguments(toolHeap, 'org.apache.kafka.tools.ProducerPerformance', [
      ...['--bootstrap-server', `127.0.0.1:${server.port}`],
      ...['--topic', topic],
      ...['--num-records', recordsMax],
      ...['--throughput', '-1'],
      ...['--payload-file', payload, '--payload-delimiter', payloadDelimiter],
      ...['--reporting-interval', String(reportEveryMs)],
      ...['--command-property', ...producerProperties],
    ])
  }
  return Tool.start('producer', dataRoot, args, (line) => producerReport(line) !== undefined)
}

function startConsumer({ server, dataRoot, topic }: ToolsOptions): Promise<Tool> {
  const args = async (): Promise<readonly string[]> =>
    javaArguments(toolHeap, 'org.apache.kafka.tools.ConsumerPerformance', [
      ...['--bootstrap-server', `127.0.0.1:${server.port}`],
      ...['--topic', topic],
      ...['--num-records', recordsMax],
      '--show-detailed-stats',
      ...['--reporting-interval', String(reportEveryMs)],
      ...['--timeout', String(firstReportMsMax)],
      ...consumerProperties.flatMap((property) => ['--command-property', property]),
    ])
  return Tool.start('consumer', dataRoot, args, (line) => consumerReport(line) !== undefined)
}

/** Waits for as many reports as a rate needs: an interval of a trial may be too short for them. */
async function untilReported<Report>(
  tool: Tool,
  from: number,
  parse: (line: string) => Report | undefined,
): Promise<void> {
  const deadlineMs = monotonicMs() + lateReportMsMax
  const reported = (): number =>
    tool.linesBetween(from, tool.length).filter((line) => parse(line) !== undefined).length
  while (reported() < reportsMin && monotonicMs() < deadlineMs) await sleep(reportEveryMs)
}

/** Measures the rate in the reports of one tool after the warm-up, and what all of them and the server used. */
async function measure<Report>(
  counting: Tool,
  parse: (line: string) => Report | undefined,
  rate: (reports: readonly Report[]) => number,
  others: readonly Tool[],
  { server }: ToolsOptions,
  { messageBytes, warmUpMs, measureMs }: ThroughputWork,
): Promise<PeerThroughput> {
  const tools = [counting, ...others]
  const serverMeasured = measureServer(server, { warmUpMs, measureMs })
  await sleep(warmUpMs)
  const [from, fromMs, before] = [counting.length, monotonicMs(), tools.map(({ pids }) => usageOf(pids))]
  const measured = await serverMeasured
  await untilReported(counting, from, parse)
  const [to, toMs, after] = [counting.length, monotonicMs(), tools.map(({ pids }) => usageOf(pids))]
  const reports = counting.linesBetween(from, to).map(parse)
  const messagesPerS = rate(reports.filter((report) => report !== undefined))
  const cpu = tools.map(({ name }, i) => {
    const usedMs = (after[i]?.cpuMs ?? 0) - (before[i]?.cpuMs ?? 0)
    return [name, usedMs / (toMs - fromMs)] as const
  })
  const rss = tools.map(({ name }, i) => [name, after[i]?.rssBytes ?? 0] as const)
  return {
    messagesPerS,
    mbPerS: (messagesPerS * messageBytes) / 1e6,
    cpu: { ...Object.fromEntries(cpu), server: measured.cpu },
    rssBytes: { ...Object.fromEntries(rss), server: measured.rssBytes },
    series: [measured.memory],
    writtenBytesPerS: measured.writtenBytesPerS,
  }
}
