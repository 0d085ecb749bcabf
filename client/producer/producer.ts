import {
  bytesText,
  commands,
  errorOf,
  errorTable,
  isMillraceError,
  MillraceError,
  type RecordInput,
  type ReplyOf,
} from '../../protocol/index.js'
import { type BackoffOptions, backoffMs, pause } from '../backoff.js'
import type { Cluster, TopicInfo } from '../cluster.js'
import type { Batch, BatchWatcher, Receipt } from './batch.js'
import { BufferBudget } from './buffer_budget.js'
import { Capture } from './capture.js'
import { deliveryTimeout, finalError, refusalOf } from './failures.js'
import type { PartitionQueue, SentBatch } from './partition_queue.js'
import { ReadyQueues } from './ready_queues.js'
import type { ProducerSettings } from './settings.js'
import { TopicQueues } from './topic_queues.js'

type PublishResult = ReplyOf<typeof commands.publish>['results'][number]

/** Most bytes of batches in one request with more than one batch. */
const requestBytesMax = 1024 * 1024
const requestBatchesMax = 1_000
/** Upper bound of the bytes of a request besides its batches: a frame header and some bytes for each batch. */
const requestOverheadBytes = 64 * 1024
/**
 * A partly filled batch is sent while fewer requests than this are on the wire: more would only make batches smaller.
 */
const eagerRequestsMax = 2
const expiryIntervalMs = 100
/**
 * A batch that has gathered for this long is sent like a full one: busy partitions always have requests on the wire.
 */
const gatherMsMax = 100

/**
 * Gathers messages into batches, sends them, and repeats them until they are acknowledged: each exactly once, in
 * order within its partition. One for each client.
 */
export class Producer {
  readonly settings: ProducerSettings
  readonly #cluster: Cluster
  readonly #reconnect: BackoffOptions
  readonly #buffer: BufferBudget
  readonly #topics = new Map<string, TopicQueues>()
  /** Topic and queue of the previous message: usually the next one has the same. */
  #lastTopic: TopicQueues | undefined
  #lastQueue: PartitionQueue | undefined
  /** Queues with unsent messages. */
  readonly #ready = new ReadyQueues()
  readonly #closing = new AbortController()
  /** The results of `settled`. */
  readonly #settled = new WeakMap<Batch, Promise<void>>()
  readonly #capture = new Capture<Receipt>()
  #requestsInFlight = 0
  #failures = 0
  #flushing = 0
  #pumpPlanned = false
  #paused = false
  #lingerTimer: NodeJS.Timeout | undefined
  #lingered = false
  #expiryTimer: NodeJS.Timeout | undefined
  #producerId: number | undefined
  #identifying = false

  constructor(cluster: Cluster, settings: ProducerSettings, reconnect: BackoffOptions) {
    this.#cluster = cluster
    this.settings = settings
    this.#reconnect = reconnect
    this.#buffer = new BufferBudget(settings.bufferBytesMax)
  }

  /** Bytes of unacknowledged messages. */
  get bufferedBytes(): number {
    return this.#buffer.usedBytes
  }

  /** Whether a message of at most `bytes` can be added without `reserve`. */
  hasRoom(bytes: number): boolean {
    return this.#buffer.fits(bytes)
  }

  /**
   * Waits for room in the buffer; `unreserve` must follow.
   * @param onFull what to do without room
   * @throws MillraceError BUFFER_FULL, CLOSED
   */
  async reserve(bytes: number, onFull: ProducerSettings['onFull']): Promise<void> {
    if (onFull === 'error' && !this.#buffer.fits(bytes)) {
      throw new MillraceError(
        'BUFFER_FULL',
        `the buffer holds ${bytesText(this.bufferedBytes)} of unacknowledged messages, the maximum is ${bytesText(this.settings.bufferBytesMax)}`,
      )
    }
    await this.#buffer.reserve(bytes)
  }

  unreserve(bytes: number): void {
    this.#buffer.unreserve(bytes)
  }

  /** Adds a message of at most `bytes`; there has to be room. */
  publish(topic: TopicInfo, partition: number, record: RecordInput, bytes: number): Promise<Receipt> {
    const queue = this.#queue(topic, partition)
    const batch = queue.open(bytes)
    const promise = new Promise<Receipt>(this.#capture.executor)
    this.#added(queue, batch, batch.add(record, bytes, this.#capture.resolve, this.#capture.reject))
    return promise
  }

  /** Adds a message of a bulk publish, as `publish`; returns its bytes. */
  add(
    topic: TopicInfo,
    partition: number,
    record: RecordInput,
    bytes: number,
    watcher: BatchWatcher,
  ): number {
    const queue = this.#queue(topic, partition)
    const batch = queue.open(bytes)
    const added = batch.addWatched(record, bytes, watcher)
    this.#added(queue, batch, added)
    return added
  }

  /** See TopicQueues. */
  anyPartition(topic: TopicInfo, bytes: number): number {
    return this.#topic(topic).anyPartition(bytes)
  }

  /** Resolves when all earlier messages of the partition are acknowledged or have failed; undefined: there are none. */
  settled({ name }: TopicInfo, partition: number): Promise<void> | undefined {
    if (this.#buffer.usedBytes === 0) return undefined
    // The broker takes the batches of a partition in their order, so no earlier one is on its way after the newest.
    const newest = this.#topics.get(name)?.queue(partition).unacknowledged.at(-1)
    if (newest === undefined) return undefined
    let settled = this.#settled.get(newest)
    if (settled === undefined) {
      settled = new Promise((resolve) => newest.watch({ batchDone: () => resolve() }))
      this.#settled.set(newest, settled)
    }
    return settled
  }

  /**
   * Resolves when all earlier messages are acknowledged or have failed.
   * @param others further promises to wait for
   */
  async flush(others: readonly Promise<unknown>[] = []): Promise<void> {
    this.#flushing++
    this.#pump()
    try {
      const ended: Promise<unknown>[] = []
      for (const topic of this.#topics.values()) {
        for (const queue of topic.all()) {
          for (const batch of queue.unacknowledged)
            ended.push(new Promise<void>((resolve) => batch.watch({ batchDone: () => resolve() })))
        }
      }
      await Promise.allSettled([...ended, ...others])
    } finally {
      this.#flushing--
    }
  }

  /** Ends it; unacknowledged messages fail with CLOSED. */
  close(): void {
    if (this.#closing.signal.aborted) return
    const error = new MillraceError(
      'CLOSED',
      'the client was closed before the message was acknowledged; the outcome is unknown',
    )
    this.#closing.abort(error)
    clearTimeout(this.#lingerTimer)
    this.#buffer.close(error)
    for (const topic of this.#topics.values()) this.#freed(topic.failAll(error))
    clearInterval(this.#expiryTimer)
    this.#topics.clear()
    this.#lastTopic = undefined
    this.#ready.clear()
  }

  #queue(info: TopicInfo, partition: number): PartitionQueue {
    return this.#topic(info).queue(partition)
  }

  #topic(info: TopicInfo): TopicQueues {
    if (this.#lastTopic?.info === info) return this.#lastTopic
    if (this.#closing.signal.aborted) throw new MillraceError('CLOSED', 'the client is closed')
    let topic = this.#topics.get(info.name)
    if (topic === undefined) {
      const { batchBytes, deliveryTimeoutMs, compression, requestsInFlightMax, lingerMs } = this.settings
      topic = new TopicQueues(info, {
        batchBytes: Math.min(batchBytes, this.#cluster.limits.batchBytesMax),
        batchesInFlightMax: requestsInFlightMax,
        deliveryTimeoutMs,
        gatherMsMax: Math.max(gatherMsMax, lingerMs),
        compression,
      })
      this.#topics.set(info.name, topic)
    }
    // If the queues cannot move to the new metadata, the broker refuses their batches, which settles them.
    if (topic.info !== info) topic.update(info)
    this.#lastTopic = topic
    return topic
  }

  #added(queue: PartitionQueue, batch: Batch, bytes: number): void {
    this.#buffer.add(bytes)
    // A queue with unsent messages enters the queue of queues.
    if (queue.isNews(batch)) this.#ready.add(queue)
    if (queue === this.#lastQueue) return
    this.#lastQueue = queue
    this.#expiryTimer ??= setInterval(() => this.#expire(), expiryIntervalMs)
    this.#planPump()
  }

  /** Sends at the end of this turn of the event loop, so that all messages of one turn leave together. */
  #planPump(): void {
    if (this.#pumpPlanned) return
    this.#pumpPlanned = true
    setImmediate(() => {
      this.#pumpPlanned = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#paused || this.#closing.signal.aborted || this.#ready.size(false) === 0) return
    if (this.#producerId === undefined) {
      void this.#identify()
      return
    }
    while (this.#requestsInFlight < this.settings.requestsInFlightMax && this.#ready.size(false) > 0) {
      const sent = this.#takeBatches(this.#producerId)
      if (sent.length === 0) return
      void this.#send(sent)
    }
  }

  /** Batches for one request: full ones, and others while few requests are on the wire. */
  #takeBatches(producerId: number): SentBatch[] {
    this.#lastQueue = undefined
    const fullOnly = this.#requestsInFlight >= eagerRequestsMax || this.#lingers()
    const bytesMax = Math.min(requestBytesMax, this.#cluster.limits.frameBytesMax - requestOverheadBytes)
    const taken: SentBatch[] = []
    let bytes = 0
    let owner: number | undefined
    for (let left = this.#ready.size(fullOnly); left > 0; left--) {
      const queue = this.#ready.shift(fullOnly) as PartitionQueue
      if (queue.topic.isRefreshing || (owner !== undefined && ownerOf(queue) !== owner)) {
        this.#ready.add(queue)
        continue
      }
      owner ??= ownerOf(queue)
      const takenBefore = taken.length
      let isFull = false
      while (!isFull && queue.ready(fullOnly)) {
        isFull = taken.length > 0 && bytes + queue.nextBytes > bytesMax
        if (isFull) break
        const sent = queue.take(producerId)
        taken.push(sent)
        bytes += sent.bytes.length
        isFull = taken.length >= requestBatchesMax
      }
      // Moves to the end, so that busy partitions leave room for the others; but a queue without room gets the next
      // turn.
      if (isFull && taken.length === takenBefore) this.#ready.putBack(queue, fullOnly)
      else if (!queue.isDrained) this.#ready.add(queue)
      if (isFull) break
    }
    return taken
  }

  /** Whether partly filled batches have to wait. */
  #lingers(): boolean {
    if (this.settings.lingerMs === 0 || this.#lingered || this.#flushing > 0) return false
    this.#lingerTimer ??= setTimeout(() => {
      this.#lingerTimer = undefined
      this.#lingered = true
      this.#pump()
      this.#lingered = false
    }, this.settings.lingerMs)
    return true
  }

  async #identify(): Promise<void> {
    if (this.#identifying) return
    this.#identifying = true
    const { signal } = this.#closing
    for (let failures = 1; this.#producerId === undefined && !signal.aborted; failures++) {
      try {
        const reply = await this.#cluster.call(commands.producerInit, {}, { repeatable: true, signal })
        this.#producerId = reply.producerId
      } catch (error) {
        if (signal.aborted) break
        if (isMillraceError(error) && !error.retryable) {
          for (const topic of this.#topics.values()) this.#freed(topic.failWaiting(error))
          this.#ready.clear()
          break
        }
        await pause(backoffMs(failures, this.#reconnect), signal)
      }
    }
    this.#identifying = false
    this.#pump()
  }

  async #send(sent: readonly SentBatch[]): Promise<void> {
    this.#requestsInFlight++
    let reply: readonly PublishResult[] | MillraceError
    try {
      reply = await this.#request(sent)
    } catch (error) {
      reply = isMillraceError(error)
        ? error
        : new MillraceError('INTERNAL', `publishing failed: ${String(error)}`, { cause: error })
    }
    this.#requestsInFlight--
    if (this.#closing.signal.aborted) return
    let pauses = false
    for (const [index, one] of sent.entries()) {
      const result = reply instanceof MillraceError ? reply : (reply[index] ?? noResult)
      if (this.#takeResult(one, result)) pauses = true
      if (!one.queue.isDrained) this.#ready.add(one.queue)
    }
    if (pauses) this.#backOff()
    else this.#failures = 0
    this.#pump()
  }

  async #request(sent: readonly SentBatch[]): Promise<readonly PublishResult[]> {
    const [first] = sent as [SentBatch]
    let deadlineMs = Number.POSITIVE_INFINITY
    for (const { batch } of sent) deadlineMs = Math.min(deadlineMs, batch.deadlineMs)
    const { body } = await this.#cluster.toOwner(
      ownerOf(first.queue),
      'publish',
      commands.publish,
      {
        batches: sent.map(
          ({ queue: { topic, partition }, bytes }) => [topic.info.topicId, partition, bytes.length] as const,
        ),
      },
      {
        payload: sent.map(({ bytes }) => bytes),
        timeoutMs: Math.max(1, Math.min(this.#cluster.requestTimeoutMs, deadlineMs - performance.now())),
      },
    )
    return body.results
  }

  /** Returns whether a pause should come before the next request. */
  #takeResult({ queue, batch }: SentBatch, result: PublishResult | MillraceError): boolean {
    const error = result instanceof MillraceError ? result : result.error === 0 ? undefined : errorOf(result)
    const refusal = refusalOf(error, batch)
    switch (refusal) {
      case 'none':
        this.#freed(batch.messageBytes)
        queue.succeeded(batch, result instanceof MillraceError ? undefined : result.baseOffset)
        return false
      case 'too_large':
        this.#buffer.add(queue.split(batch))
        return false
      case 'out_of_order':
        if (queue.isOldest(batch)) queue.endEpoch()
        queue.retry(batch)
        return batch.sequence === 0
      case 'moved':
        queue.retry(batch)
        void this.#refresh(queue.topic)
        return false
      case 'later':
        queue.retry(batch)
        return true
      case 'fenced':
      case 'final':
        if (refusal === 'fenced') queue.endEpoch()
        if (error?.code === 'UNKNOWN_PARTITION') this.#cluster.refused(queue.topic.info)
        this.#freed(batch.messageBytes)
        queue.gaveUp(batch, finalError(queue, batch.recordCount, error as MillraceError))
        return false
    }
  }

  /** Asks for the current owner of a topic; fails its queued messages if it is gone. */
  async #refresh(topic: TopicQueues): Promise<void> {
    if (topic.isRefreshing) return
    topic.isRefreshing = true
    const { name, topicId, partitions } = topic.info
    try {
      const info = await this.#cluster.topic(name, { fresh: true, signal: this.#closing.signal })
      // The metadata is unchanged: the broker that refused needs some time.
      if (info.topicId === topicId) await pause(backoffMs(3, this.#reconnect), this.#closing.signal)
      if (!topic.update(info)) {
        const problem = `topic "${name}" was deleted and created again with ${info.partitions} partitions instead of ${partitions}`
        this.#freed(topic.failWaiting(new MillraceError('UNKNOWN_TOPIC', problem)))
        topic.update(info)
      }
    } catch (error) {
      // Other errors are temporary: the queued messages are sent, and refused, again.
      if (isMillraceError(error, 'UNKNOWN_TOPIC')) this.#freed(topic.failWaiting(error))
    }
    topic.isRefreshing = false
    if (topic.isEmpty && this.#topics.get(name) === topic) {
      this.#topics.delete(name)
      this.#lastTopic = undefined
    }
    for (const queue of topic.all()) if (!queue.isDrained) this.#ready.add(queue)
    this.#pump()
  }

  #backOff(): void {
    if (this.#paused) return
    this.#paused = true
    this.#failures++
    void pause(backoffMs(this.#failures, this.#reconnect), this.#closing.signal).then(() => {
      this.#paused = false
      this.#pump()
    })
  }

  #freed(bytes: number): void {
    this.#buffer.free(bytes)
    if (this.#buffer.usedBytes > 0) return
    clearInterval(this.#expiryTimer)
    this.#expiryTimer = undefined
    this.#lastQueue = undefined
  }

  #expire(): void {
    const nowMs = performance.now()
    for (const topic of this.#topics.values()) {
      for (const queue of topic.all()) {
        const bytes = queue.expire(nowMs, () => deliveryTimeout(queue))
        if (bytes > 0) this.#freed(bytes)
        if (!queue.ripen(nowMs)) continue
        this.#ready.add(queue)
        this.#planPump()
      }
    }
  }
}

function ownerOf({ topic, partition }: PartitionQueue): number {
  return topic.info.owners[partition] ?? 0
}

const noResult: PublishResult = {
  error: errorTable.INTERNAL.number,
  message: 'the reply of the broker lacks a result',
}
