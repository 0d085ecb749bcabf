import { setTimeout as sleep } from 'node:timers/promises'
import { sendAtRate } from '../../../bench/lib/latency.js'
import { monotonicMs } from '../../../bench/lib/worker.js'
import { type Client, connect, defineTopic, isMillraceError, json } from '../../../client/index.js'
import { serveCalls } from './calls.js'

/** The calls to the process of a healthy stream: one publisher at a steady rate and one consumer of its messages. */
export type StreamCalls = {
  start(plan: StreamPlan): Promise<void>
  /** End-to-end latencies in ms since the last call, from the time at which a message was due to be published. */
  latencies(): number[]
  /** Stops publishing, waits for the rest and returns the result. */
  stop(): Promise<StreamResult>
}

export interface StreamPlan {
  readonly server: string
  readonly topic: string
  readonly messagesPerS: number
}

export interface StreamResult {
  readonly published: number
  readonly received: number
  /** Codes of the errors of publishes. */
  readonly failed: readonly string[]
  /** Acknowledged and not delivered, delivered twice, out of order: one line each. */
  readonly problems: readonly string[]
}

interface Probe {
  readonly number: number
  readonly dueMs: number
}

const drainMs = 20_000
const stop = new AbortController()
const acked = new Set<number>()
const seen = new Set<number>()
const failed: string[] = []
const problems: string[] = []
const open = new Set<Promise<void>>()
let latencies: number[] = []
let sending: Promise<void> | undefined
let receiving: Promise<void> | undefined
let clients: Client[] = []

const calls: StreamCalls = {
  async start({ server, topic: name, messagesPerS }) {
    const topic = defineTopic(name, { value: json<Probe>() })
    const publisher = await connect({ servers: server, clientName: 'healthy publisher' })
    const reader = await connect({ servers: server, clientName: 'healthy consumer' })
    clients = [publisher, reader]
    await publisher.topics.create(name, { partitions: 1 })
    const consumer = reader.consume(topic, { from: 'earliest', group: `${name}-readers` })
    await consumer.start()
    receiving = (async () => {
      let last = -1
      for await (const message of consumer) {
        const { number, dueMs } = message.value
        latencies.push(monotonicMs() - dueMs)
        if (seen.has(number)) problems.push(`message ${number} was delivered twice`)
        else if (number < last) problems.push(`message ${number} was delivered after ${last}`)
        seen.add(number)
        last = number
        message.ack()
      }
    })()
    let next = 0
    const send = (dueMs: number): void => {
      const number = next++
      const publish = publisher.publish(topic, { key: 'one', value: { number, dueMs } }).then(
        () => void acked.add(number),
        (error: unknown) => void failed.push(isMillraceError(error) ? error.code : String(error)),
      )
      open.add(publish)
      void publish.then(() => open.delete(publish))
    }
    sending = sendAtRate(messagesPerS, send, stop.signal)
  },

  latencies() {
    const taken = latencies
    latencies = []
    return taken
  },

  async stop() {
    stop.abort()
    await sending
    await Promise.all(open)
    const isComplete = (): boolean => [...acked].every((number) => seen.has(number))
    for (const untilMs = monotonicMs() + drainMs; !isComplete() && monotonicMs() < untilMs; ) await sleep(20)
    for (const number of acked)
      if (!seen.has(number)) problems.push(`message ${number} was acknowledged and not delivered`)
    await Promise.all(clients.map((client) => client.close({ timeoutMs: 1_000 })))
    await receiving?.catch((error: unknown) => problems.push(`the consumer ended: ${String(error)}`))
    return { published: acked.size, received: seen.size, failed, problems }
  },
}

serveCalls(calls)
