import type { ConfirmChannel } from 'amqplib'
import { type PeerPublisher, servePublisher } from '../../lib/publisher.js'
import type { QueueKind } from '../../rabbitmq/kinds.js'
import { connectTo, declaration, queueNames } from './queues.js'

/** Enough that the server always has some to confirm; more made it slower. */
const unconfirmedMax = 2_000
const unconfirmedBytesMax = 16 * 1024 * 1024

/** Publishes persistent messages to the queues in turn, each confirmed. */
class Publisher {
  readonly #channel: ConfirmChannel
  readonly #queues: readonly string[]
  #next = 0

  constructor(channel: ConfirmChannel, queues: readonly string[]) {
    this.#channel = channel
    this.#queues = queues
  }

  /** Keeps a window of messages that are not confirmed yet, filled again when half of it is. */
  publishBulk(value: Buffer, acknowledged: (messages: number) => void, signal: AbortSignal): Promise<void> {
    const window = Math.max(2, Math.min(unconfirmedMax, Math.floor(unconfirmedBytesMax / value.length)))
    const refillAt = Math.floor(window / 2)
    let unconfirmed = 0
    return new Promise((resolve, reject) => {
      const confirmed = (error: Error | null): void => {
        if (error !== null) {
          reject(error)
          return
        }
        acknowledged(1)
        unconfirmed--
        if (!signal.aborted && unconfirmed === refillAt) fill()
        else if (signal.aborted && unconfirmed === 0) resolve()
      }
      const fill = (): void => {
        for (; unconfirmed < window; unconfirmed++) this.#send(value, confirmed)
      }
      fill()
    })
  }

  publish(value: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#send(value, (error) => (error === null ? resolve() : reject(error)))
    })
  }

  #send(value: Buffer, confirmed: (error: Error | null) => void): void {
    const queue = this.#queues[this.#next++ % this.#queues.length] as string
    this.#channel.sendToQueue(queue, value, { persistent: true }, confirmed)
  }
}

await servePublisher(async ({ port, topic, topicKind, removesTopic }): Promise<PeerPublisher> => {
  const connection = await connectTo(port)
  const channel = await connection.createConfirmChannel()
  const queues = queueNames(topic)
  // Where there is a consumer, it removes the topic.
  for (const queue of queues)
    await channel.assertQueue(queue, declaration(topicKind as QueueKind, removesTopic ? 'long' : 'short'))
  const publisher = new Publisher(channel, queues)
  return {
    publishBulk: (...args) => publisher.publishBulk(...args),
    publish: (value) => publisher.publish(value),
    close: async () => {
      if (removesTopic) for (const queue of queues) await channel.deleteQueue(queue)
      await connection.close()
    },
  }
})
