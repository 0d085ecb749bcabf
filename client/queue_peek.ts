import { commands, errorOf, isMillraceError, type ReplyOf, splitBatches } from '../protocol/index.js'
import type { Cluster } from './cluster.js'
import { type Message, recordsIn } from './consumer/index.js'
import { type CallOptions, callOptionNames, checkOptions, type OptionNames } from './options.js'

type Place = ReplyOf<typeof commands.queuePeek>['messages'][number]

export type PeekState = Place['state']

/** Which messages `queues.peek` shows. */
export interface PeekOptions extends CallOptions {
  /** Default: all topics of the group. */
  readonly topic?: string | undefined
  /** Default: all states. */
  readonly state?: PeekState | undefined
  /** Default 10, at most 10,000. */
  readonly limit?: number | undefined
}

/** A message of a queue group that is not done. */
export interface PeekedMessage {
  readonly message: Message<Uint8Array | undefined, Uint8Array>
  /** "waiting" could be leased now or waits behind another of its key, "inFlight" is leased, "delayed" waits for its retry. */
  readonly state: PeekState
  /** Attempts that have failed. */
  readonly attempts: number
  /** When a delayed message is due, ms since 1970. */
  readonly dueAtMs?: number | undefined
  /** Which worker has the message. */
  readonly workerId?: string | undefined
}

const optionNames: OptionNames<PeekOptions> = { ...callOptionNames, topic: true, state: true, limit: true }
const limitDefault = 10
const fetchBytes = 1024 * 1024

/** @throws MillraceError UNKNOWN_GROUP, BAD_OPTION */
export async function peekQueue(
  cluster: Cluster,
  group: string,
  peekOptions: PeekOptions,
): Promise<readonly PeekedMessage[]> {
  checkOptions('client.queues.peek', peekOptions, optionNames)
  const { topic, state, limit = limitDefault, ...options } = peekOptions
  const request = { group, topic, state, limit }
  const { messages: places } = await cluster.call(commands.queuePeek, request, {
    ...options,
    repeatable: true,
  })
  const byPartition = new Map<string, Place[]>()
  for (const place of places) {
    const key = `${place.topicId}/${place.partition}`
    byPartition.set(key, [...(byPartition.get(key) ?? []), place])
  }
  const found = new Map<Place, Message<Uint8Array | undefined, Uint8Array>>()
  for (const some of byPartition.values()) await readPlaces(cluster, some, found, options)
  return places.flatMap((place) => {
    const message = found.get(place)
    if (message === undefined) return []
    const { attempts, dueAtMs, workerId } = place
    return [{ message, state: place.state, attempts, dueAtMs, workerId }]
  })
}

/** Reads messages of one partition, ascending. Messages that were dropped before the read, by retention or with their topic, are missing. */
async function readPlaces(
  cluster: Cluster,
  places: readonly Place[],
  found: Map<Place, Message<Uint8Array | undefined, Uint8Array>>,
  options: CallOptions,
): Promise<void> {
  const byOffset = new Map(places.map((place) => [place.offset, place]))
  let nextOffset = 0
  for (const { topic, topicId, partition, offset } of places) {
    if (offset < nextOffset) continue
    const request = {
      waitMs: 0,
      bytesMin: 0,
      bytesMax: fetchBytes,
      partitions: [[topicId, partition, offset, fetchBytes] as const],
    }
    const owner = cluster.ownerOf(topic, partition)
    const { body, payload } = await cluster.toOwner(owner, 'fetch', commands.fetch, request, options)
    nextOffset = offset + 1
    const [, , error = 0, , , , message] = body.partitions[0] ?? []
    if (error !== 0) {
      const refused = errorOf({ error, message })
      if (isMillraceError(refused, 'OFFSET_OUT_OF_RANGE', 'CORRUPT', 'UNKNOWN_TOPIC')) continue
      throw refused
    }
    for (const batch of splitBatches(payload))
      for (const one of recordsIn(topic, partition, batch, offset)) {
        const place = byOffset.get(one.offset)
        if (place !== undefined) found.set(place, one)
        nextOffset = one.offset + 1
      }
  }
}
