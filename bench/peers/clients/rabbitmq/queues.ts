import { availableParallelism } from 'node:os'
import { type ChannelModel, connect, type Options } from 'amqplib'
import type { QueueKind } from '../../rabbitmq/kinds.js'

/** What a queue is for: "long" where nobody consumes what is published, "short" where consumers keep up. */
export type QueueLength = 'long' | 'short'

/** A queue is one Erlang process and uses no more than one processor. */
const queues = availableParallelism()

/** Opens a connection to a server on this machine, as the user that every new server has. */
export function connectTo(port: number): Promise<ChannelModel> {
  return connect({ hostname: '127.0.0.1', port }, { noDelay: true })
}

/** The names of the queues that stand for a topic. */
export function queueNames(topic: string): readonly string[] {
  return Array.from({ length: queues }, (_, i) => `${topic}.${i}`)
}

/** How to declare a queue; the server refuses another declaration of the same name that differs. */
export function declaration(kind: QueueKind, length: QueueLength): Options.AssertQueue {
  if (kind === 'quorum') return { durable: true, arguments: { 'x-queue-type': 'quorum' } }
  return {
    durable: true,
    arguments: {
      'x-queue-type': 'classic',
      'x-queue-version': kind === 'classic-1' ? 1 : 2,
      'x-queue-mode': length === 'long' ? 'lazy' : 'default',
    },
  }
}
