import { createHash } from 'node:crypto'
import { monotonicMs } from '../../../bench/lib/worker.js'
import { type Client, connect, defineTopic, errorTable, isMillraceError } from '../../../client/index.js'
import { serveCalls } from './calls.js'

/** The calls to the process of publishers that do not wait. */
export type PublisherCalls = {
  start(plan: PublisherPlan): Promise<void>
  /** Bytes of values acknowledged since the last call. */
  ackedBytes(): number
  /** Lets work in progress end. */
  stop(): Promise<PublisherResult>
  /** Reads everything back and returns missing or wrong messages. */
  readBack(): Promise<readonly string[]>
}

export interface PublisherPlan {
  readonly server: string
  readonly topic: string
  readonly publishers: number
  readonly valueBytes: number
  /** Unacknowledged messages of one publisher. */
  readonly inFlight: number
  /** It stops by itself after this many bytes. */
  readonly bytesMax: number
}

export interface PublisherResult {
  readonly acked: number
  /** Codes of errors, with the number of each. */
  readonly failed: Readonly<Record<string, number>>
  /** Errors that are not named and retryable. */
  readonly wrongErrors: readonly string[]
  readonly ackMs: readonly number[]
}

const nameBytes = 32
const stopped = new AbortController()
const acked = new Set<string>()
const failed: Record<string, number> = {}
const wrongErrors: string[] = []
const ackMs: number[] = []
let plan: PublisherPlan | undefined
let clients: Client[] = []
let running: Promise<void>[] = []
let ackedBytes = 0
let sentBytes = 0

const calls: PublisherCalls = {
  async start(given) {
    plan = given
    clients = await Promise.all(Array.from({ length: given.publishers }, () => connect(given.server)))
    running = clients.flatMap((client, publisher) =>
      Array.from({ length: given.inFlight }, (_, lane) => publish(client, given, `${publisher}.${lane}`)),
    )
  },

  ackedBytes() {
    const bytes = ackedBytes
    ackedBytes = 0
    return bytes
  },

  async stop() {
    stopped.abort()
    await Promise.all(running)
    return { acked: acked.size, failed, wrongErrors, ackMs }
  },

  async readBack() {
    if (plan === undefined) return []
    const [client] = clients as [Client]
    const problems: string[] = []
    const missing = new Set(acked)
    const consumer = client.consume(defineTopic(plan.topic), { from: 'earliest', until: 'end' })
    for await (const { value } of consumer) {
      const name = Buffer.from(value.subarray(0, nameBytes)).toString('latin1').trim()
      missing.delete(name)
      if (!Buffer.from(namedValue(name, plan.valueBytes)).equals(value))
        problems.push(`${name} was read with another value than it was published with`)
    }
    for (const name of missing) problems.push(`${name} was acknowledged and not read`)
    await Promise.all(clients.map((one) => one.close({ timeoutMs: 1_000 })))
    return problems
  },
}

/** One message after the other, without a pause. */
async function publish(client: Client, given: PublisherPlan, name: string): Promise<void> {
  const topic = defineTopic<Uint8Array>(given.topic)
  for (let number = 0; !stopped.signal.aborted && sentBytes < given.bytesMax; number++) {
    const value = namedValue(`${name}.${number}`, given.valueBytes)
    sentBytes += value.length
    const beganMs = monotonicMs()
    try {
      await client.publish(topic, { value })
      ackMs.push(monotonicMs() - beganMs)
      acked.add(`${name}.${number}`)
      ackedBytes += value.length
    } catch (error) {
      const code = isMillraceError(error) ? error.code : 'unnamed'
      failed[code] = (failed[code] ?? 0) + 1
      if (!isMillraceError(error) || !errorTable[error.code].retryable)
        wrongErrors.push(`${name}.${number}: ${String(error)}`)
    }
  }
}

/** A value that contains its name and is incompressible, the same for the same name. */
function namedValue(name: string, lengthBytes: number): Uint8Array {
  const value = Buffer.alloc(lengthBytes)
  const seed = createHash('sha256').update(name).digest()
  for (let at = nameBytes; at < lengthBytes; at += seed.length) seed.copy(value, at)
  value.write(name.padEnd(nameBytes), 0, 'latin1')
  return value
}

serveCalls(calls)
