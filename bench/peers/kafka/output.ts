/** What a tool has counted in one interval of its report. */
export interface ToolReport {
  readonly messages: number
  readonly seconds: number
}

/**
 * Reads a line of kafka-producer-perf-test: "5000 records sent, 1000.0 records/sec (0.10 MB/sec), 1.0 ms avg latency, 9.0 ms
 * max latency." It counts a record when it is acknowledged.
 * @returns undefined for other lines, such as the summary at the end
 */
export function producerReport(line: string): ToolReport | undefined {
  const match = /^(\d+) records sent, ([\d.]+) records\/sec \([^)]*\), [^,]+, [\d.]+ ms max latency\.$/.exec(
    line,
  )
  const [messages, perS] = [Number(match?.[1]), Number(match?.[2])]
  return messages > 0 && perS > 0 ? { messages, seconds: messages / perS } : undefined
}

/** What a consumer has received at a time of the system's clock. */
export interface ConsumedSoFar {
  readonly timeMs: number
  readonly messages: number
}

/**
 * Reads a line of kafka-consumer-perf-test with --show-detailed-stats: "2026-11-23 07:42:05:920, 0, 17.9,
 * 17.5, 187700, ...": the time and, in the fifth field, all messages so far.
 * @returns undefined for other lines, such as the header
 */
export function consumerReport(line: string): ConsumedSoFar | undefined {
  const fields = line.split(', ')
  const match = /^(\d+-\d+-\d+) (\d+:\d+:\d+):(\d+)$/.exec(fields[0] ?? '')
  // In the summary at the end, the second field is a time as well.
  if (match === null || fields.length < 10 || !/^\d+$/.test(fields[1] ?? '')) return undefined
  return { timeMs: Date.parse(`${match[1]}T${match[2]}.${match[3]}Z`), messages: Number(fields[4]) }
}

/** Messages per second over the intervals of the reports. @throws Error when there are none */
export function rateOfProducer(reports: readonly ToolReport[]): number {
  const messages = reports.reduce((sum, report) => sum + report.messages, 0)
  const seconds = reports.reduce((sum, report) => sum + report.seconds, 0)
  if (seconds === 0) throw new Error('kafka-producer-perf-test reported nothing in the interval')
  return messages / seconds
}

/** Messages per second from the first report to the last. @throws Error when there are not two */
export function rateOfConsumer(reports: readonly ConsumedSoFar[]): number {
  const [first, last] = [reports[0], reports.at(-1)]
  if (first === undefined || last === undefined || last.timeMs <= first.timeMs)
    throw new Error('kafka-consumer-perf-test reported nothing in the interval')
  return ((last.messages - first.messages) * 1000) / (last.timeMs - first.timeMs)
}
