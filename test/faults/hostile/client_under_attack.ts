import { type Client, connect, defineTopic, isMillraceError, string } from '../../../client/index.js'
import { withDeadline } from '../../helpers/context.js'
import type { Finding } from '../campaign.js'
import { attackedTopic, checkedValue, isCheckedValue } from './client_values.js'

/**
 * A program: clients that use all functions against lying servers. Arguments: a token, the port whose
 * frames are damaged in ways that checksums cover, and the port whose frames may be anything. It writes a line of JSON
 * for
 * each finding, and one of progress several times a second; it ends at the end of its standard input.
 */
const [token = '', damagedPort = '', forgedPort = ''] = process.argv.slice(2)

/** Every call has a deadline far below this one; a longer call hangs. */
const hangMs = 15_000
const callMs = 300
const progressMs = 200
const lanesPerPort = 3
const oldValuesMax = 50

const topic = defineTopic(attackedTopic, { value: string })
let operations = 0
let values = 0
let stopping = false

/** More of them would add nothing, and fill the output. */
const findingsMax = 20
let findings = 0

function report(
  line: Finding | { readonly operations: number; readonly values: number; readonly rssBytes: number },
): void {
  if ('check' in line && ++findings > findingsMax) return
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

/** Runs one call; it may fail with a MillraceError, and must end. */
async function attempt(what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await withDeadline(hangMs, `${what} did not end`, work)
  } catch (error) {
    if (!isMillraceError(error)) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      report({
        check: text.includes('did not end') ? 'client-hang' : 'client-threw',
        evidence: `${what}: ${text}`,
      })
    }
  }
  operations++
}

/** Damaged frames must not become values; forged ones, with valid checksums, may. */
function judge(value: string, isForged: boolean): void {
  values++
  if (isForged || isCheckedValue(token, value)) return
  report({
    check: 'client-read-wrong-data',
    evidence: `read ${JSON.stringify(value)}, which nobody published`,
  })
}

async function read(client: Client, isForged: boolean, group: string | undefined): Promise<void> {
  const signal = AbortSignal.timeout(callMs)
  const options = {
    group,
    from: 'earliest',
    fetchWaitMs: 5,
    closeTimeoutMs: 50,
    revokeGraceMs: 10,
    signal,
  } as const
  let count = 0
  for await (const message of client.consume(topic, { ...options, onDecodeError: 'skip' })) {
    judge(message.value, isForged)
    message.ack()
    if (++count >= oldValuesMax) return
  }
}

async function lane(port: string, isForged: boolean, index: number): Promise<void> {
  let number = index * 1e9
  while (!stopping) {
    let client: Client | undefined
    await attempt('connect', async () => {
      client = await connect({
        servers: `127.0.0.1:${port}`,
        connectTimeoutMs: callMs,
        requestTimeoutMs: callMs,
        reconnect: { initialMs: 2, maxMs: 10 },
        producer: { deliveryTimeoutMs: callMs, compression: index % 2 === 0 ? 'none' : 'gzip' },
        closeTimeoutMs: 100,
      })
    })
    if (client === undefined) continue
    await useAll(client, isForged, () => checkedValue(token, number++))
    const opened = client
    await attempt('close', () => opened.close())
  }
}

async function useAll(client: Client, isForged: boolean, nextValue: () => string): Promise<void> {
  const many = (count: number) => Array.from({ length: count }, () => ({ value: nextValue() }))
  await Promise.all([
    attempt('publish', () => client.publish(topic, { value: nextValue() })),
    attempt('publishMany', () => client.publishMany(topic, many(20))),
    attempt('status', () => client.status()),
    attempt('topics.list', () => client.topics.list()),
    attempt('topics.describe', () => client.topics.describe(attackedTopic)),
    attempt('topics.offsets', () => client.topics.offsets(attackedTopic, 'latest')),
    attempt('groups.list', () => client.groups.list()),
    attempt('groups.describe', () => client.groups.describe(`${token}-group`)),
    attempt('groups.seek', () =>
      client.groups.seek(`${token}-group`, attackedTopic, 'earliest', { create: true }),
    ),
  ])
  await Promise.all([
    attempt('consume', () => read(client, isForged, undefined)),
    attempt('consume in a group', () => read(client, isForged, `${token}-group`)),
  ])
}

process.stdin.resume().on('end', () => {
  stopping = true
})
const timer = setInterval(
  () => report({ operations, values, rssBytes: process.memoryUsage().rss }),
  progressMs,
)
await Promise.all(
  Array.from({ length: lanesPerPort }, (_, index) => [
    lane(damagedPort, false, index),
    lane(forgedPort, true, index + lanesPerPort),
  ]).flat(),
)
clearInterval(timer)
